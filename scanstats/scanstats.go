package scanstats

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// A Config holds the settings of a [Store]. All instances that share a database need the
// same Key, Location and Scene.
type Config struct {
	// Key makes the hashes that stand for OpenIDs. It has [MinKey] bytes or more, must stay secret,
	// and cannot be changed later: with another key everybody is somebody else. Without one nothing
	// can be recorded, but [Store.Report] works.
	Key []byte

	// Location is the time zone in which days begin; it has a name that all machines know, so
	// time.Local is refused. It cannot be changed later, as days are counted when they happen. Zero:
	// that of the database, and for a new one Asia/Shanghai. [Store.Location] tells which it is.
	Location *time.Location

	// Scene returns the name under which a scene is counted; with "" the event is counted as if it
	// had no scene. Zero: [FoldRandom], so that a code for each login does not make a scene each.
	Scene func(scene string) string

	// KeepPeople is how long somebody who neither scans nor follows is remembered. Then their hash
	// is deleted: who comes back is new, and nobody knows which scene has lost them if they leave. At
	// least 31 days, as the last number of [Counts.Stayed] needs them. Zero: 400 days.
	KeepPeople time.Duration

	// KeepEvents is how long repeats of an event are known, and so how old an event may be that
	// is recorded. At least 1 hour. Zero: 35 days. It costs a row for each event, of 16 bytes and
	// what the database adds.
	KeepEvents time.Duration

	// Journal names a file that takes events while the database is away, and plays them back
	// when it answers again. It belongs to one process, by a lock on a file beside it with the
	// further ending .lock. It takes at most 256 MiB, some three million events; then there is
	// [ErrJournal]. If a crash or somebody else left something at its end that is no event, that is
	// put beside it, with the ending .rest- and the time. Zero: none.
	Journal string

	// Timeout is how long the database may take for one batch of events. At least 1 ms. Zero: 3 s,
	// so that a callback can still answer within WeChat's 5 s.
	Timeout time.Duration

	Logger *slog.Logger // zero: slog.Default
}

// MinKey is how many bytes a [Config.Key] has at least. A shorter one is refused with
// [ErrInvalidConfig]; none at all is not, and makes a store that only reports.
const MinKey = 16

// The least that a [Config] may ask for.
const (
	minKeepPeople = 31 * 24 * time.Hour // the longest that Counts.Stayed looks back
	minKeepEvents = time.Hour
	minTimeout    = time.Millisecond
)

func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		name       string
		value      *time.Duration
		min, other time.Duration
	}{
		{"KeepPeople", &c.KeepPeople, minKeepPeople, 400 * 24 * time.Hour},
		{"KeepEvents", &c.KeepEvents, minKeepEvents, 35 * 24 * time.Hour},
		{"Timeout", &c.Timeout, minTimeout, 3 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.other
		}
		if *d.value < d.min {
			return c, fmt.Errorf("%w: Config.%s is %v, and must be at least %v", ErrInvalidConfig, d.name, *d.value, d.min)
		}
	}
	if len(c.Key) > 0 && len(c.Key) < MinKey {
		return c, fmt.Errorf("%w: Config.Key has %d bytes, and must have at least %d", ErrInvalidConfig, len(c.Key), MinKey)
	}
	if c.Location != nil && !isNamed(c.Location) {
		return c, fmt.Errorf("%w: Config.Location is %q, which is not the same on every machine: take one by time.LoadLocation", ErrInvalidConfig, c.Location)
	}
	if c.Scene == nil {
		c.Scene = FoldRandom
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// Format prints no key, for any verb of fmt.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.LogValue().String()) }

// LogValue keeps the key out of logs.
func (c Config) LogValue() slog.Value {
	return slog.StringValue(fmt.Sprintf("scanstats.Config(%d bytes of key)", len(c.Key)))
}

// A Store counts scans in a database. Close it. It is safe for concurrent use, by any number
// of processes too.
type Store struct {
	cfg   Config
	key   []byte
	db    *sql.DB
	owned bool // db is closed with the store
	file  *databaseFile
	now   func() time.Time

	writer  *writer
	journal *journal // nil: none

	mu       sync.Mutex // guards what follows
	zone     *zone      // nil until the database has been prepared
	queue    []*request
	most     batchSize
	working  bool // a goroutine empties the queue
	closed   bool
	stop     context.Context // ends with Close
	cancel   context.CancelFunc
	routines sync.WaitGroup
}

// Open returns a store in a database of the dialect. It makes its tables, whose names begin with
// scanstats_, or brings them up to date; several instances may do so at once. The database stays the
// caller's to close, after the store, which keeps one of its connections and so needs two or more
// (SetMaxOpenConns). ctx bounds the opening only.
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL")) // import _ "github.com/jackc/pgx/v5/stdlib"
//	stats, err := scanstats.Open(ctx, db, scanstats.Postgres, scanstats.Config{
//		Key: key, Journal: "/var/lib/shop/scans.journal", // of this instance alone
//	})
//
// If the database cannot be reached and there is a [Config.Journal], Open succeeds, logs the reason,
// and goes on trying.
//
// Errors: [ErrInvalidConfig]; [ErrMismatch] if the database or the journal was begun with another key,
// or the database with another time zone; [ErrJournal]; what kind of failure of the database it was,
// such as [ErrUnavailable].
func Open(ctx context.Context, db *sql.DB, d Dialect, c Config) (*Store, error) {
	s, err := newStore(db, d, c)
	if err != nil {
		return nil, fmt.Errorf("scanstats: open: %w", err)
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	s.keepHouse()
	return s, nil
}

func newStore(db *sql.DB, d Dialect, c Config) (*Store, error) {
	if db == nil {
		return nil, fmt.Errorf("%w: no database", ErrInvalidConfig)
	}
	if !d.valid() {
		return nil, fmt.Errorf("%w: the dialect %v must be SQLite, Postgres or MySQL", ErrInvalidConfig, d)
	}
	if db.Stats().MaxOpenConnections == 1 {
		return nil, fmt.Errorf("%w: the database may have one connection at a time (SetMaxOpenConns), and the store keeps one for itself: allow two or more", ErrInvalidConfig)
	}
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: c, key: slices.Clone(c.Key), db: db, now: time.Now, most: maxBatch}
	s.writer = newWriter(db, d)
	s.stop, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// start prepares the database, or waits for it with a journal, and begins to play that back.
func (s *Store) start(ctx context.Context) (err error) {
	if s.cfg.Journal != "" {
		if s.journal, err = openJournal(s.cfg.Journal, s.fingerprint(), s.cfg.Logger); err != nil {
			s.abandon()
			return fmt.Errorf("scanstats: open: %w", err)
		}
	}
	if err := s.prepare(ctx); err != nil {
		err = explain(err)
		if s.journal == nil || !isAway(err) {
			s.abandon()
			return fmt.Errorf("scanstats: open: %w", err)
		}
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "scanstats: the database is away, events go to the journal", slog.String("error", err.Error()))
		s.journal.hold()
	}
	if s.journal != nil && s.journal.mustPlay() {
		s.routines.Go(s.play)
	}
	return nil
}

// abandon ends a store that could not be opened.
func (s *Store) abandon() {
	s.cancel()
	s.writer.close()
	if s.journal != nil {
		_ = s.journal.close() // there is an error already
	}
	if s.owned {
		_ = s.db.Close()
	}
}

// Close records what is still waiting, for as long as the database may take, and ends the store.
// What is in the journal stays there, for the next time.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.routines.Wait()
	s.writer.close()
	var err error
	if s.journal != nil {
		err = s.journal.close()
	}
	if s.owned {
		if closeErr := s.db.Close(); err == nil {
			err = closeErr
		}
	}
	if err != nil {
		return fmt.Errorf("scanstats: close: %w", err)
	}
	return nil
}

// Format prints no key, for any verb of fmt.
func (s *Store) Format(f fmt.State, _ rune) { io.WriteString(f, s.LogValue().String()) }

// LogValue keeps the key out of logs.
func (s *Store) LogValue() slog.Value {
	if s == nil {
		return slog.StringValue("scanstats.Store(nil)")
	}
	return slog.StringValue(fmt.Sprintf("scanstats.Store(%v)", s.writer.dialect))
}
