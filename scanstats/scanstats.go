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

// A Config holds the settings of a [Store]. All instances that share a database
// need the same Key, Location and SceneName.
type Config struct {
	// Key is the HMAC key of the hashes that are stored in place of OpenIDs. It
	// has at least [MinKey] bytes, must stay secret, and cannot be changed later:
	// a different key makes every user look new. A store without a Key cannot
	// record, but [Store.Report] works.
	Key []byte

	// Location is the time zone in which days begin. It cannot be changed later,
	// because days are counted as events arrive. It needs a name that is the same
	// on every machine, so time.Local is rejected. Zero: the time zone of the
	// database, and Asia/Shanghai for a new database; see [Store.Location].
	Location *time.Location

	// SceneName returns the name under which a scene is counted. If it returns "",
	// the event is counted as if it had no scene. Zero: [FoldRandom], which counts
	// all codes of [wxqrcode.RandomScene] with one prefix as one scene.
	SceneName func(scene string) string

	// PersonRetention is how long the hash of a user without new events is stored.
	// After that the user looks new, and an unfollow is unattributed. At least 31
	// days, which [Counts.Retention] needs, and a day more than DedupWindow. Zero: 400
	// days.
	PersonRetention time.Duration

	// DedupWindow is how long the hash of an event is stored to detect duplicates,
	// and so how old an event may be when it is recorded. At least 1 hour. Zero:
	// 35 days. It costs one row of 16 bytes per event, plus the database's overhead.
	DedupWindow time.Duration

	// Spool is the path of an SQLite file that stores events while the database is
	// unavailable. They are recorded in order when it is available again; events that
	// wait longer than DedupWindow can count twice or not exactly. Each process
	// needs its own file, which is locked while the store is open. The file has at
	// most 256 MiB, about four million events; beyond that, Record returns
	// [ErrNoSpace]. An event that the database rejects is moved to the table
	// spool_rejected of the file and logged. Zero: no spool.
	Spool string

	// Timeout limits how long the database may take for one batch of events. At
	// least 1 ms. Zero: 3 s, so that a callback can respond within WeChat's 5 s.
	Timeout time.Duration

	Logger *slog.Logger // zero: slog.Default
}

// MinKey is the minimum length of [Config.Key], in bytes. A shorter key is
// rejected with [ErrInvalidConfig]; an empty one makes a store that only reports.
const MinKey = 16

const (
	minPersonRetention = 31 * 24 * time.Hour // the longest period of Counts.Retention
	minDedupWindow     = time.Hour
	minTimeout         = time.Millisecond
)

func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		name       string
		value      *time.Duration
		min, other time.Duration
	}{
		{"PersonRetention", &c.PersonRetention, minPersonRetention, 400 * 24 * time.Hour},
		{"DedupWindow", &c.DedupWindow, minDedupWindow, 35 * 24 * time.Hour},
		{"Timeout", &c.Timeout, minTimeout, 3 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.other
		}
		if *d.value < d.min {
			return c, fmt.Errorf("%w: Config.%s is %v; it must be at least %v", ErrInvalidConfig, d.name, *d.value, d.min)
		}
	}
	if len(c.Key) > 0 && len(c.Key) < MinKey {
		return c, fmt.Errorf("%w: Config.Key has %d bytes; it must have at least %d", ErrInvalidConfig, len(c.Key), MinKey)
	}
	if c.Location != nil && !isNamed(c.Location) {
		return c, fmt.Errorf("%w: Config.Location is %q, which is not the same on every machine; use time.LoadLocation", ErrInvalidConfig, c.Location)
	}
	if c.SceneName == nil {
		c.SceneName = FoldRandom
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// Format redacts the key for every verb of fmt.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.LogValue().String()) }

// LogValue redacts the key in logs.
func (c Config) LogValue() slog.Value {
	return slog.StringValue(fmt.Sprintf("scanstats.Config(%d bytes of key)", len(c.Key)))
}

// A Store counts scans in a database. It is safe for concurrent use, and several
// processes can share a database. Call Close when it is no longer needed.
type Store struct {
	cfg        Config
	key        []byte
	db         *sql.DB
	owned      bool // db is closed with the store
	sqliteFile *sqliteFile
	now        func() time.Time

	writer *writer
	spool  *spool // nil: none

	stop       context.Context // canceled by Close
	cancel     context.CancelFunc
	goroutines sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	zone      *zone      // nil until the database is prepared
	queue     []*request
	batchSize batchSize
	writing   bool // writeBatches is running
	closed    bool
}

// Open returns a store that uses a database of the given dialect. It creates or
// migrates its tables, whose names begin with scanstats_; several instances may do
// so at once. The store reserves one connection of db, so SetMaxOpenConns must
// allow at least two. The caller closes db, after the store. ctx is used only
// while Open runs.
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL")) // import _ "github.com/jackc/pgx/v5/stdlib"
//	stats, err := scanstats.Open(ctx, db, scanstats.Postgres, scanstats.Config{
//		Key: key, Spool: "/var/lib/shop/scans.spool", // one file per instance
//	})
//
// If the database is unavailable and there is a [Config.Spool], Open succeeds,
// logs the reason and retries in the background.
//
// Errors: [ErrInvalidConfig]; [ErrConfigMismatch] if the database was created
// with another Key or Location, or the spool has events of another Key; [ErrSpool];
// the kind of a database failure, such as [ErrUnavailable].
func Open(ctx context.Context, db *sql.DB, d Dialect, c Config) (*Store, error) {
	s, err := newStore(db, d, c)
	if err != nil {
		return nil, fmt.Errorf("scanstats: open: %w", err)
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	s.startPurge()
	return s, nil
}

func newStore(db *sql.DB, d Dialect, c Config) (*Store, error) {
	if db == nil {
		return nil, fmt.Errorf("%w: db is nil", ErrInvalidConfig)
	}
	if !d.valid() {
		return nil, fmt.Errorf("%w: the dialect is %v; it must be SQLite, Postgres or MySQL", ErrInvalidConfig, d)
	}
	if db.Stats().MaxOpenConnections == 1 {
		return nil, fmt.Errorf("%w: SetMaxOpenConns allows one connection, which the store reserves; allow at least two", ErrInvalidConfig)
	}
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: c, key: slices.Clone(c.Key), db: db, now: time.Now, batchSize: maxBatch}
	s.writer = newWriter(db, d)
	s.stop, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// start prepares the database and starts to drain the spool.
func (s *Store) start(ctx context.Context) (err error) {
	if s.cfg.Spool != "" {
		if s.spool, err = openSpool(s.cfg.Spool, s.fingerprint()); err != nil {
			s.closeFailed()
			return fmt.Errorf("scanstats: open: %w", err)
		}
	}
	if err := s.prepare(ctx); err != nil {
		err = wrapDBError(err)
		if s.spool == nil || !isTransient(err) {
			s.closeFailed()
			return fmt.Errorf("scanstats: open: %w", err)
		}
		s.logDivert(err)
		s.spool.divert()
	}
	if s.spool != nil && s.spool.startDrain() {
		s.goroutines.Go(s.drain)
	}
	return nil
}

func (s *Store) logDivert(err error) {
	s.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, "scanstats: the database is unavailable, events go to the spool", slog.String("error", err.Error()))
}

// closeFailed releases the resources of a store that could not be opened.
func (s *Store) closeFailed() {
	s.cancel()
	s.writer.close()
	if s.spool != nil {
		_ = s.spool.close() // another error is returned
	}
	if s.owned {
		_ = s.db.Close()
	}
}

// Close waits until the queued events are recorded, each batch for at most
// [Config.Timeout], and closes the store. Events in the spool stay there until
// the next start.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.goroutines.Wait()
	s.writer.close()
	var err error
	if s.spool != nil {
		err = s.spool.close()
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

// Format redacts the key for every verb of fmt.
func (s *Store) Format(f fmt.State, _ rune) { io.WriteString(f, s.LogValue().String()) }

// LogValue redacts the key in logs.
func (s *Store) LogValue() slog.Value {
	if s == nil {
		return slog.StringValue("scanstats.Store(nil)")
	}
	return slog.StringValue(fmt.Sprintf("scanstats.Store(%v)", s.writer.dialect))
}
