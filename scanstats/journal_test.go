package scanstats

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// journaled is a configuration with a journal.
func spoolConfig(t testing.TB) Config {
	t.Helper()
	c := testConfig()
	c.Timeout = time.Second
	c.Journal = filepath.Join(t.TempDir(), "journal")
	return c
}

// played waits until the journal has been played back.
func drained(t testing.TB, s *Store) {
	t.Helper()
	require.Eventually(t, func() bool { return !s.journal.waiting() }, 5*time.Minute, 10*time.Millisecond)
	info, err := os.Stat(s.journal.path)
	require.NoError(t, err)
	require.Equal(t, int64(len(s.journal.head)), info.Size(), "nothing is left in it")
}

func TestTheJournalTakesEventsWhileTheDatabaseIsAway(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			c := spoolConfig(t)
			c.DedupWindow = 100 * 24 * time.Hour
			s := newTestStore(t, d, c)
			n := model{zone{shanghai}, makeEvents(20, 3, 600)}
			for part := range slices.Chunk(n.events, 200) {
				for _, e := range part[:50] {
					require.NoError(t, s.Record(t.Context(), e))
				}
				release := holdLock(t, d)
				for _, e := range part[50:150] {
					require.NoError(t, s.Record(t.Context(), e))
				}
				for _, e := range part[100:120] {
					require.NoError(t, s.Record(t.Context(), e), "again")
				}
				require.True(t, s.journal.waiting())
				release()
				for _, e := range part[150:] { // while the journal is played back, or behind it
					require.NoError(t, s.Record(t.Context(), e))
				}
				drained(t, s)
			}
			r, err := s.Report(t.Context(), Query{From: now.AddDate(0, 0, -80)})
			require.NoError(t, err)
			assert.Equal(t, n.counts(func(scene string) bool { return scene != "" }, r.From, r.To, true), r.Total)
		})
	}
}

func TestAServerThatIsDownAndBack(t *testing.T) {
	for _, dialect := range []Dialect{Postgres, MySQL} {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			line := newProxy(t)
			through := line.route(t, d)
			c := spoolConfig(t)
			s := newTestStore(t, through, c)
			require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", now)))

			line.disconnect()
			for i := range 5 {
				require.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", i), "poster", now)))
			}
			_, err := s.Report(t.Context(), Query{})
			require.ErrorIs(t, err, ErrUnavailable)
			require.NoError(t, s.Forget(t.Context(), "o-3"))

			t.Run("and a start meanwhile", func(t *testing.T) {
				c := spoolConfig(t)
				var logged bytes.Buffer
				c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
				early := newTestStore(t, through, c)
				require.NoError(t, early.Record(t.Context(), scanned("o-early", "poster", now)))
				require.NoError(t, early.Close())
				require.Contains(t, logged.String(), "the database is away, events go to the journal")

				c.Journal = ""
				_, err := newStore(through.open(t), dialect, c)
				require.NoError(t, err)
				_, err = Open(t.Context(), through.open(t), dialect, c)
				require.ErrorIs(t, err, ErrUnavailable, "without a journal it is an error")
			})

			line.reconnect()
			drained(t, s)
			assert.Equal(t, int64(5), total(t, s).Scans)
		})
	}
}

func TestAStoreThatBeganWithoutItsDatabase(t *testing.T) {
	d := newDatabase(t, Postgres)
	line := newProxy(t)
	line.disconnect()
	s := newTestStore(t, line.route(t, d), spoolConfig(t))
	require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", now)))
	line.reconnect()
	drained(t, s)
	require.NoError(t, s.Record(t.Context(), scanned("o-2", "poster", now)))
	assert.Equal(t, int64(2), total(t, s).Scans)
}

func TestLocationIsThatOfTheDatabase(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	t.Run("where none was chosen it is Shanghai's", func(t *testing.T) {
		s := newTestStore(t, newDatabase(t, SQLite), testConfig())
		loc, err := s.Location(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "Asia/Shanghai", loc.String())
	})
	for _, dialect := range []Dialect{Postgres, MySQL} {
		t.Run("of one that was away at the start and has a journal: "+dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			c := testConfig()
			c.Location = berlin
			require.NoError(t, newTestStore(t, d, c).Close())

			line := newProxy(t)
			line.disconnect()
			s := newTestStore(t, line.route(t, d), spoolConfig(t)) // which chooses no zone
			_, err := s.Location(t.Context())
			require.ErrorIs(t, err, ErrUnavailable)
			require.ErrorContains(t, err, "scanstats: location: ")

			line.reconnect()
			loc, err := s.Location(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "Europe/Berlin", loc.String())

			line.disconnect()
			loc, err = s.Location(t.Context())
			require.NoError(t, err, "it is known now")
			assert.Equal(t, "Europe/Berlin", loc.String())
		})
	}
	t.Run("a closed store that never learned it says so", func(t *testing.T) {
		s, err := newStore(newDatabase(t, SQLite).open(t), SQLite, testConfig())
		require.NoError(t, err)
		require.NoError(t, s.Close())
		_, err = s.Location(t.Context())
		require.ErrorIs(t, err, ErrClosed)
	})
}

// A line leads to a server, and can be cut.
type proxy struct {
	listener net.Listener

	mu           sync.Mutex // guards what follows
	target       string
	disconnected bool
	conns        map[net.Conn]bool
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &proxy{listener: listener, conns: make(map[net.Conn]bool)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { l.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		l.disconnect()
		serving.Wait()
	})
	return l
}

// to returns the database as it is reached through the line.
func (l *proxy) route(t *testing.T, d database) database {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	host, port, err := net.SplitHostPort(l.listener.Addr().String())
	require.NoError(t, err)
	if d.dialect == MySQL {
		config, err := mysql.ParseDSN(d.dsn)
		require.NoError(t, err)
		require.Equal(t, "tcp", config.Net, "the tests need TCP")
		l.target, config.Addr = config.Addr, l.listener.Addr().String()
		d.dsn = config.FormatDSN()
		return d
	}
	config, err := pgx.ParseConfig(fromEnv(envPostgres, defaultPostgres))
	require.NoError(t, err)
	db := d.open(t)
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT current_database()").Scan(&config.Database))
	l.target = net.JoinHostPort(config.Host, fmt.Sprint(config.Port))
	config.Host = host
	_, err = fmt.Sscan(port, &config.Port)
	require.NoError(t, err)
	config.Fallbacks = nil
	d.dsn = stdlib.RegisterConnConfig(config)
	return d
}

func (l *proxy) serve(conn net.Conn) {
	defer conn.Close()
	target := l.register(conn)
	if target == "" {
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	if l.register(server) == "" {
		return
	}
	var copying sync.WaitGroup
	copying.Go(func() {
		_, _ = io.Copy(server, conn) // until one of them is cut
		server.Close()
	})
	_, _ = io.Copy(conn, server)
	conn.Close()
	copying.Wait()
}

// keep takes note of a connection, and returns where the line leads, or "" if it is cut.
func (l *proxy) register(conn net.Conn) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[conn] = true
	if l.disconnected {
		return ""
	}
	return l.target
}

func (l *proxy) disconnect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.disconnected = true
	for conn := range l.conns {
		conn.Close()
	}
	clear(l.conns)
}

func (l *proxy) reconnect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.disconnected = false
}

// entries makes some that differ.
func someEntries(n int) (entries []entry) {
	for i := range n {
		e := entry{kind: kind(1 + i%4), at: now.Unix() + int64(i), scene: strings.Repeat("场", i)}
		e.person[0], e.id[15] = byte(i), byte(i)
		entries = append(entries, e)
	}
	return entries
}

func readAll(t *testing.T, j *journal) []entry {
	t.Helper()
	entries, _, err := j.next(1000)
	require.NoError(t, err)
	return entries
}

func TestAJournalIsWholeWhereverACrashEndedIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := openJournal(path, "0123456789abcdef", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	wrote := someEntries(5)
	ends := []int64{j.size}
	for _, e := range wrote {
		_, err := j.append([]entry{e})
		require.NoError(t, err)
		ends = append(ends, j.size)
	}
	require.Equal(t, wrote, readAll(t, j))
	require.NoError(t, j.close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for size := range len(whole) + 1 {
		path := filepath.Join(t.TempDir(), "journal")
		require.NoError(t, os.WriteFile(path, whole[:size], 0o600))
		j, err := openJournal(path, "0123456789abcdef", slog.New(slog.DiscardHandler))
		require.NoError(t, err, size)
		n := 0
		for n < len(wrote) && ends[n+1] <= int64(size) {
			n++
		}
		require.Equal(t, wrote[:n], append([]entry{}, readAll(t, j)...), "%d bytes", size)
		rest, err := filepath.Glob(path + ".rest-*")
		require.NoError(t, err)
		if int64(size) > ends[n] {
			require.Len(t, rest, 1, "what is cut off is kept")
			kept, err := os.ReadFile(rest[0])
			require.NoError(t, err)
			require.Equal(t, whole[ends[n]:size], kept)
		} else {
			require.Empty(t, rest)
		}
		_, err = j.append(wrote[:1])
		require.NoError(t, err)
		require.Len(t, readAll(t, j), n+1)
		require.NoError(t, j.close())
	}
}

func TestAJournalIsPlayedOnceAlsoAfterACrash(t *testing.T) {
	d := newDatabase(t, SQLite)
	c := spoolConfig(t)
	s := newTestStore(t, d, c)
	release := holdLock(t, d)
	for i := range 100 {
		require.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", i), "poster", now)))
	}
	require.NoError(t, s.Close(), "while the database is away")
	kept, err := os.ReadFile(c.Journal)
	require.NoError(t, err)
	release()

	for range 2 { // the second time as if a crash had come before the journal was emptied
		require.NoError(t, os.WriteFile(c.Journal, kept, 0o600))
		again := newTestStore(t, d, c)
		drained(t, again)
		assert.Equal(t, int64(100), total(t, again).Scans)
		require.NoError(t, again.Close())
	}
}

func TestAJournalThatCannotTakeMoreIsAnError(t *testing.T) {
	t.Run("it is full", func(t *testing.T) {
		d := newDatabase(t, SQLite)
		s := newTestStore(t, d, spoolConfig(t))
		s.journal.max = int64(len(s.journal.head) + 2*(headSize+fixedSize+len("poster")))
		release := holdLock(t, d)
		require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", now)))
		require.NoError(t, s.Record(t.Context(), scanned("o-2", "poster", now)))
		err := s.Record(t.Context(), scanned("o-3", "poster", now))
		require.ErrorIs(t, err, ErrJournal)
		require.ErrorContains(t, err, "is full")
		release()
		drained(t, s)
		require.NoError(t, s.Record(t.Context(), scanned("o-3", "poster", now)))
		assert.Equal(t, int64(3), total(t, s).Scans)
	})
	t.Run("its disk fails", func(t *testing.T) {
		d := newDatabase(t, SQLite)
		s := newTestStore(t, d, spoolConfig(t))
		holdLock(t, d)
		writable := s.journal.file
		var err error
		s.journal.file, err = os.Open(s.journal.path) // for reading
		require.NoError(t, err)
		require.ErrorIs(t, s.Record(t.Context(), scanned("o-1", "poster", now)), ErrJournal)
		require.NoError(t, s.journal.file.Close())
		s.journal.file = writable
		// Who came while the failure was being told may still be told of it.
		require.Eventually(t, func() bool { return s.Record(t.Context(), scanned("o-1", "poster", now)) == nil }, time.Minute, 10*time.Millisecond)
	})
}

// A syncedFile tells what was synced. It can be made to fail.
type syncedFile struct {
	journalFile
	written, synced int
	fails           error
}

func (f *syncedFile) WriteAt(b []byte, at int64) (int, error) {
	f.written++
	return f.journalFile.WriteAt(b, at)
}

func (f *syncedFile) Sync() error {
	if f.fails != nil {
		return f.fails
	}
	f.synced = f.written
	return f.journalFile.Sync()
}

func TestWhatAJournalAcknowledgesIsSynced(t *testing.T) {
	j, err := openJournal(filepath.Join(t.TempDir(), "journal"), "0123456789abcdef", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, j.close()) }()
	file := &syncedFile{journalFile: j.file}
	j.file = file
	wrote := someEntries(3)
	for i, e := range wrote[:2] {
		_, err := j.append([]entry{e})
		require.NoError(t, err)
		require.Equal(t, i+1, file.synced)
	}
	file.fails = errors.New("input/output error")
	_, err = j.append(wrote[2:])
	require.ErrorIs(t, err, ErrJournal)
	require.Equal(t, wrote[:2], readAll(t, j), "what was not synced is not there")
	file.fails = nil
	_, err = j.append(wrote[2:])
	require.NoError(t, err)
	require.Equal(t, wrote, readAll(t, j))
}

func TestEventsWaitUntilTheDatabaseIsPrepared(t *testing.T) {
	d := newDatabase(t, SQLite)
	s, err := newStore(d.open(t), SQLite, spoolConfig(t))
	require.NoError(t, err)
	s.now = func() time.Time { return now }
	s.journal, err = openJournal(s.cfg.Journal, s.fingerprint(), s.cfg.Logger)
	require.NoError(t, err)
	defer s.Close()
	s.journal.hold() // the database answers, but has no tables yet
	require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", now)))
	drained(t, s)
	assert.Equal(t, int64(1), total(t, s).Scans)
}

func TestAJournalIsOfOneKey(t *testing.T) {
	d := newDatabase(t, SQLite)
	c := spoolConfig(t)
	s := newTestStore(t, d, c)
	release := holdLock(t, d)
	require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", now)))
	require.NoError(t, s.Close())
	release()
	other := c
	other.Key = []byte("another key for tests")
	_, err := Open(t.Context(), newDatabase(t, SQLite).open(t), SQLite, other)
	require.ErrorIs(t, err, ErrConfigMismatch)
	require.NotErrorIs(t, err, ErrJournal)
	require.NotContains(t, err.Error(), "another key for tests")

	again := newTestStore(t, d, c)
	drained(t, again)
	require.NoError(t, again.Close())
	require.NoError(t, newTestStore(t, newDatabase(t, SQLite), other).Close(), "nothing waits any more")
}

func TestAServerThatSaysNothingDoesNotHoldUpAStart(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	db, err := sql.Open("mysql", "root@tcp("+silent.Addr().String()+")/")
	require.NoError(t, err)
	defer db.Close()
	c := spoolConfig(t)
	c.Timeout = 20 * time.Millisecond
	s, err := Open(t.Context(), db, MySQL, c)
	require.NoError(t, err)
	require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", time.Now())))
	require.NoError(t, s.Close())
}

func TestAJournalOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := openJournal(path, "0123456789abcdef", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	_, err = openJournal(path, "0123456789abcdef", slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, ErrJournal)
	require.ErrorContains(t, err, "another process")
	require.NoError(t, j.close())

	require.NoError(t, os.WriteFile(path, []byte("letters, and nothing of ours in them"), 0o600))
	_, err = openJournal(path, "0123456789abcdef", slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, ErrJournal)
	require.ErrorContains(t, err, "is not a journal")
	left, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(left), "letters")
}

func TestAnErrorThatNoWaitMendsDoesNotFillTheJournal(t *testing.T) {
	d := newDatabase(t, SQLite)
	s := newTestStore(t, d, spoolConfig(t))
	_, err := d.open(t).ExecContext(t.Context(), "ALTER TABLE scanstats_event RENAME COLUMN id TO other")
	require.NoError(t, err)
	require.ErrorContains(t, s.Record(t.Context(), scanned("o-1", "poster", now)), "no such column")
	require.False(t, s.journal.waiting())
}

func FuzzJournal(f *testing.F) {
	var good []byte
	for _, e := range someEntries(3) {
		good = appendEntry(good, e)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		var whole []byte
		require.NoError(t, readEntries(bytes.NewReader(b), 0, func(e entry, end int64) bool {
			whole = appendEntry(whole, e)
			require.Equal(t, b[:end], whole, "what was read is what stands there")
			return true
		}))
	})
}
