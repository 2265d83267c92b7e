package scanstats

import (
	"bytes"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// spoolConfig is a configuration with a spool.
func spoolConfig(t testing.TB) Config {
	t.Helper()
	c := testConfig()
	c.Timeout = time.Second
	c.Spool = filepath.Join(t.TempDir(), "scans.spool")
	return c
}

// drained waits until the spool is drained.
func drained(t testing.TB, s *Store) {
	t.Helper()
	require.Eventually(t, func() bool {
		s.spool.mu.Lock()
		defer s.spool.mu.Unlock()
		return !s.spool.draining && s.spool.pending == 0
	}, 5*time.Minute, 10*time.Millisecond)
	require.Zero(t, rowCount(t, s.spool.db, "spool_entry"))
}

func rowCount(t testing.TB, db *sql.DB, table string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n))
	return n
}

// newTestSpool opens a spool of the test key.
func newTestSpool(t testing.TB, path string) *spool {
	t.Helper()
	sp, err := openSpool(path, "0123456789abcdef")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sp.close()) })
	return sp
}

// someEntries returns n entries that differ in every field.
func someEntries(n int) (entries []entry) {
	for i := range n {
		e := entry{kind: kind(1 + i%4), at: now.Unix() + int64(i), scene: strings.Repeat("场", i)}
		e.person[0], e.id[15] = byte(i), byte(i)
		entries = append(entries, e)
	}
	return entries
}

func TestSpool_StoresEventsDuringAnOutage(t *testing.T) {
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
					require.NoError(t, s.Record(t.Context(), e), "duplicates")
				}
				require.True(t, s.spool.hasPending())
				release()
				for _, e := range part[150:] { // during and after the drain
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

func TestSpool_ServerOutage(t *testing.T) {
	for _, dialect := range []Dialect{Postgres, MySQL} {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			proxy := newProxy(t)
			through := proxy.route(t, d)
			s := newTestStore(t, through, spoolConfig(t))
			require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", now)))

			proxy.disconnect()
			for i := range 5 {
				require.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", i), "poster", now)))
			}
			_, err := s.Report(t.Context(), Query{})
			require.ErrorIs(t, err, ErrUnavailable)
			require.NoError(t, s.Forget(t.Context(), "o-3"))

			t.Run("opened during the outage", func(t *testing.T) {
				c := spoolConfig(t)
				var logged bytes.Buffer
				c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
				early := newTestStore(t, through, c)
				require.NoError(t, early.Record(t.Context(), scanned("o-early", "poster", now)))
				require.NoError(t, early.Close())
				require.Contains(t, logged.String(), "the database is unavailable, events go to the spool")

				c.Spool = ""
				_, err = Open(t.Context(), through.open(t), dialect, c)
				require.ErrorIs(t, err, ErrUnavailable, "without a spool it is an error")
			})

			proxy.reconnect()
			drained(t, s)
			assert.Equal(t, int64(5), total(t, s).Scans)
		})
	}
}

func TestSpool_OpenDuringAnOutage(t *testing.T) {
	d := newDatabase(t, Postgres)
	proxy := newProxy(t)
	proxy.disconnect()
	s := newTestStore(t, proxy.route(t, d), spoolConfig(t))
	require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", now)))
	proxy.reconnect()
	drained(t, s)
	require.NoError(t, s.Record(t.Context(), scanned("o-2", "poster", now)))
	assert.Equal(t, int64(2), total(t, s).Scans)
}

func TestSpool_OpenWithoutTables(t *testing.T) {
	d := newDatabase(t, SQLite)
	s, err := newStore(d.open(t), SQLite, spoolConfig(t))
	require.NoError(t, err)
	s.now = func() time.Time { return now }
	s.spool, err = openSpool(s.cfg.Spool, s.fingerprint())
	require.NoError(t, err)
	defer s.Close()
	s.spool.divert() // the database responds, but is not migrated yet
	require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", now)))
	drained(t, s)
	assert.Equal(t, int64(1), total(t, s).Scans)
}

func TestSpool_UnresponsiveServer(t *testing.T) {
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

func TestSpool_Order(t *testing.T) {
	sp := newTestSpool(t, filepath.Join(t.TempDir(), "spool"))
	want := someEntries(5)
	for part := range slices.Chunk(want, 2) {
		require.NoError(t, sp.append(part))
	}
	spooled, err := sp.next(3)
	require.NoError(t, err)
	require.Len(t, spooled, 3)
	require.NoError(t, sp.remove(spooled, nil))
	require.NoError(t, sp.append(want[:1]))
	rest, err := sp.next(10)
	require.NoError(t, err)
	var got []entry
	for _, e := range append(spooled, rest...) {
		got = append(got, e.entry)
	}
	assert.Equal(t, append(want, want[0]), got)
}

func TestSpool_Pragmas(t *testing.T) {
	sp := newTestSpool(t, filepath.Join(t.TempDir(), "spool"))
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "locking_mode": "exclusive", "max_page_count": "65536", "page_size": "4096",
	} {
		var got string
		require.NoError(t, sp.db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
		assert.Equal(t, want, got, pragma)
	}
}

func TestSpool_DrainsOnceAfterACrash(t *testing.T) {
	d := newDatabase(t, SQLite)
	c := spoolConfig(t)
	s := newTestStore(t, d, c)
	release := holdLock(t, d)
	for i := range 100 {
		require.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", i), "poster", now)))
	}
	require.NoError(t, s.Close(), "during the outage")
	spooled, err := os.ReadFile(c.Spool)
	require.NoError(t, err)
	release()

	for range 2 { // the second time as after a crash before the entries were deleted
		require.NoError(t, os.WriteFile(c.Spool, spooled, 0o600))
		again := newTestStore(t, d, c)
		drained(t, again)
		assert.Equal(t, int64(100), total(t, again).Scans)
		require.NoError(t, again.Close())
	}
}

func TestSpool_Full(t *testing.T) {
	d := newDatabase(t, SQLite)
	s := newTestStore(t, d, spoolConfig(t))
	_, err := s.spool.db.ExecContext(t.Context(), "PRAGMA max_page_count = 1") // that is, the current size
	require.NoError(t, err)
	release := holdLock(t, d)
	recorded := 0
	for ; recorded < 1000; recorded++ {
		if err = s.Record(t.Context(), scanned(fmt.Sprint("o-", recorded), "poster", now)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorIs(t, err, ErrSpool)
	require.NotZero(t, recorded)
	release()
	drained(t, s)
	assert.Equal(t, int64(recorded), total(t, s).Scans)
	require.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", recorded), "poster", now)))
	assert.Equal(t, int64(recorded+1), total(t, s).Scans)
}

func TestSpool_FullDisk(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs tmpfs")
	}
	folder := t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(folder, 0)) })
	d := newDatabase(t, SQLite)
	c := spoolConfig(t)
	c.Spool = filepath.Join(folder, "spool")
	s := newTestStore(t, d, c)
	release := holdLock(t, d)
	recorded := 0
	var err error
	for ; recorded < 5000; recorded++ {
		if err = s.Record(t.Context(), scanned(fmt.Sprint("o-", recorded), "poster", now)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, ErrNoSpace)
	require.NoError(t, s.Close())
	require.NotZero(t, recorded)

	s = newTestStore(t, d, c) // as after a crash
	release()
	drained(t, s)
	assert.Equal(t, int64(recorded), total(t, s).Scans)
	require.NoError(t, s.Close())
}

// rejectScene makes the database reject events with the scene "bad".
func rejectScene(t *testing.T, d database) {
	t.Helper()
	statement := "CREATE TRIGGER reject BEFORE INSERT ON scanstats_scene WHEN NEW.scene = 'bad' BEGIN SELECT RAISE(ABORT, 'rejected by a trigger'); END"
	if d.dialect != SQLite {
		statement = "ALTER TABLE scanstats_scene ADD CONSTRAINT reject CHECK (scene <> 'bad')"
	}
	_, err := d.open(t).ExecContext(t.Context(), statement)
	require.NoError(t, err)
}

// A rejected event fails alone: not the others of its batch, and not those that
// wait behind it.
func TestStore_RejectedEventFailsAlone(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			s := newTestStore(t, d, testConfig())
			rejectScene(t, d)
			var recorded, rejected atomic.Int64
			var all sync.WaitGroup
			for i := range 500 {
				scene := "good"
				if i%50 == 0 {
					scene = "bad"
				}
				all.Go(func() {
					if err := s.Record(t.Context(), scanned(fmt.Sprint("o-", i), scene, now)); err == nil {
						recorded.Add(1)
					} else {
						rejected.Add(1)
					}
				})
			}
			all.Wait()
			assert.EqualValues(t, 490, recorded.Load())
			assert.EqualValues(t, 10, rejected.Load())
			assert.EqualValues(t, 490, total(t, s).Scans)
		})
	}
}

func TestSpool_RejectedEvent(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			c := spoolConfig(t)
			var logged bytes.Buffer
			c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
			s := newTestStore(t, d, c)
			rejectScene(t, d)
			release := holdLock(t, d)
			for i, scene := range []string{"poster", "bad", "shop", "poster"} {
				require.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", i), scene, now)))
			}
			release()
			drained(t, s)
			assert.Equal(t, int64(3), total(t, s).Scans)
			assert.Equal(t, 1, rowCount(t, s.spool.db, "spool_rejected"))
			var scene string
			require.NoError(t, s.spool.db.QueryRowContext(t.Context(), "SELECT scene FROM spool_rejected WHERE error <> ''").Scan(&scene))
			assert.Equal(t, "bad", scene)
			require.NoError(t, s.Close())
			assert.Contains(t, logged.String(), "the database rejects an event")
		})
	}
}

func TestSpool_PermanentErrorOfAllEvents(t *testing.T) {
	d := newDatabase(t, SQLite)
	s := newTestStore(t, d, spoolConfig(t))
	db := d.open(t)
	var entries []entry
	for i := range 3 {
		e, _, err := s.entry(scanned(fmt.Sprint("o-", i), "poster", now))
		require.NoError(t, err)
		entries = append(entries, e)
	}
	require.NoError(t, s.spool.append(entries))
	_, err := db.ExecContext(t.Context(), "ALTER TABLE scanstats_event RENAME COLUMN id TO other")
	require.NoError(t, err)
	_, err = s.drainBatch(10)
	require.ErrorContains(t, err, "no such column")
	assert.Equal(t, 3, rowCount(t, s.spool.db, "spool_entry"), "no event is rejected")

	_, err = db.ExecContext(t.Context(), "ALTER TABLE scanstats_event RENAME COLUMN other TO id")
	require.NoError(t, err)
	n, err := s.drainBatch(10)
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	assert.Equal(t, int64(3), total(t, s).Scans)
}

func TestSpool_TakesNoPermanentErrors(t *testing.T) {
	d := newDatabase(t, SQLite)
	s := newTestStore(t, d, spoolConfig(t))
	_, err := d.open(t).ExecContext(t.Context(), "ALTER TABLE scanstats_event RENAME COLUMN id TO other")
	require.NoError(t, err)
	require.ErrorContains(t, s.Record(t.Context(), scanned("o-1", "poster", now)), "no such column")
	require.False(t, s.spool.hasPending())
}

func TestSpool_OtherKey(t *testing.T) {
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
	require.NotErrorIs(t, err, ErrSpool)
	require.NotContains(t, err.Error(), "another key for tests")

	again := newTestStore(t, d, c)
	drained(t, again)
	require.NoError(t, again.Close())
	require.NoError(t, newTestStore(t, newDatabase(t, SQLite), other).Close(), "an empty spool can change its key")
}

func TestSpool_IsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool")
	sp, err := openSpool(path, "0123456789abcdef")
	require.NoError(t, err)
	_, err = openSpool(path, "0123456789abcdef")
	require.ErrorIs(t, err, ErrSpool)
	require.ErrorContains(t, err, "another process")
	require.NoError(t, sp.close())
	newTestSpool(t, path)
}

func TestSpool_RejectsOtherFiles(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(text, []byte(strings.Repeat("this is not a database\n", 10)), 0o600))
	scans := filepath.Join(t.TempDir(), "scans.db")
	s, err := OpenSQLite(t.Context(), scans, testConfig())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for path, want := range map[string]string{
		text:  "not a database",
		scans: "a database of another program",
		filepath.Join(t.TempDir(), "none", "spool"): "no such file",
	} {
		before, _ := os.ReadFile(path)
		_, err := openSpool(path, "0123456789abcdef")
		require.ErrorIs(t, err, ErrSpool)
		require.ErrorContains(t, err, want)
		after, _ := os.ReadFile(path)
		assert.Equal(t, before, after)
	}
}

func TestSpool_MissingFile(t *testing.T) {
	d := newDatabase(t, SQLite)
	c := spoolConfig(t)
	s := newTestStore(t, d, c)
	holdLock(t, d)
	require.NoError(t, os.Rename(c.Spool, c.Spool+".old"))
	err := s.Record(t.Context(), scanned("o-1", "poster", now))
	require.ErrorIs(t, err, ErrSpool)
	require.ErrorContains(t, err, "was moved or removed")
}
