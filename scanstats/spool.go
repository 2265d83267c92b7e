package scanstats

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A spool stores entries in an SQLite file while the database is unavailable. It
// contains hashes, no OpenIDs.
//
// An entry is acknowledged after the transaction that inserts it was committed and
// synced, and deleted after the database has committed it. A crash in between
// records it twice, which the database detects as a duplicate.
type spool struct {
	db   *sql.DB // one connection, which locks the file
	file *sqliteFile

	mu        sync.Mutex // guards the fields below and serializes the methods
	pending   int        // entries that the database does not have yet
	drained   int64      // the last entry that it has; entries before are deleted, unless the disk is full
	diverting bool       // entries go to the spool although none is pending
	draining  bool       // Store.drain is running
}

// A spooledEntry is an entry with its position in the spool.
type spooledEntry struct {
	id int64
	entry
}

const maxSpoolPages = 256 << 20 / 4096 // 256 MiB

const spoolSchema = `
CREATE TABLE IF NOT EXISTS spool_key (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS spool_entry (
	id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, at INTEGER NOT NULL, person BLOB NOT NULL, event BLOB NOT NULL, scene TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS spool_rejected (
	id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, at INTEGER NOT NULL, person BLOB NOT NULL, event BLOB NOT NULL, scene TEXT NOT NULL, error TEXT NOT NULL);`

// openSpool opens or creates a spool and locks it. fingerprint identifies the key
// of its hashes.
func openSpool(path, fingerprint string) (*spool, error) {
	db, file, err := openSQLiteFile(path, "locking_mode(EXCLUSIVE)", fmt.Sprintf("max_page_count(%d)", maxSpoolPages))
	if err != nil {
		return nil, fmt.Errorf("%w: open %q: %w", ErrSpool, path, err)
	}
	db.SetMaxOpenConns(1)
	sp := &spool{db: db, file: file}
	if err := sp.init(fingerprint); err != nil {
		_ = db.Close()
		if errors.Is(classify(err), ErrLocked) {
			err = fmt.Errorf("another process has it open; each process needs its own spool: %w", err)
		}
		return nil, sp.wrap("open", err)
	}
	return sp, nil
}

func (sp *spool) init(fingerprint string) error {
	ctx := context.Background()
	if err := checkOwnDatabase(ctx, sp.db, "spool_entry"); err != nil {
		return err
	}
	return sp.update(func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, spoolSchema); err != nil {
			return err
		}
		var rejected int
		var key string
		err := tx.QueryRowContext(ctx, "SELECT (SELECT COUNT(*) FROM spool_entry), (SELECT COUNT(*) FROM spool_rejected), COALESCE((SELECT fingerprint FROM spool_key), '')").
			Scan(&sp.pending, &rejected, &key)
		if err != nil {
			return err
		}
		switch {
		case key == fingerprint: // nothing to write: the disk may be full
			return nil
		case sp.pending+rejected > 0:
			return fmt.Errorf("%w: the spool %q has events of another Config.Key", ErrConfigMismatch, sp.file.path)
		}
		_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO spool_key (id, fingerprint) VALUES (1, ?)", fingerprint)
		return err
	})
}

// wrap returns the error of an operation as an ErrSpool.
func (sp *spool) wrap(op string, err error) error {
	if err == nil || errors.Is(err, ErrConfigMismatch) {
		return err
	}
	return fmt.Errorf("%w: %s %q: %w", ErrSpool, op, sp.file.path, wrapDBError(err))
}

// update runs fn in a transaction.
func (sp *spool) update(fn func(*sql.Tx) error) error {
	tx, err := sp.db.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		_ = tx.Rollback() // err is returned
		return err
	}
	return tx.Commit()
}

// divert sends entries to the spool until it is drained.
func (sp *spool) divert() {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.diverting = true
}

// hasPending reports whether entries must go to the spool, because the database is
// unavailable or older entries are pending.
func (sp *spool) hasPending() bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return sp.diverting || sp.pending > 0
}

// startDrain reports whether the caller must start Store.drain.
func (sp *spool) startDrain() bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	start := !sp.draining && (sp.diverting || sp.pending > 0)
	sp.draining = sp.draining || start
	return start
}

// append stores entries, in one transaction.
func (sp *spool) append(entries []entry) error {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if err := sp.file.check(); err != nil {
		return sp.wrap("write", err)
	}
	err := sp.update(func(tx *sql.Tx) error {
		insert, err := tx.PrepareContext(context.Background(), "INSERT INTO spool_entry (kind, at, person, event, scene) VALUES (?, ?, ?, ?, ?)")
		if err != nil {
			return err
		}
		for _, e := range entries {
			if _, err := insert.ExecContext(context.Background(), int64(e.kind), e.at, e.person[:], e.id[:], e.scene); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		sp.pending += len(entries)
	}
	return sp.wrap("write", err)
}

// next returns the oldest entries, at most n.
func (sp *spool) next(n int) (entries []spooledEntry, err error) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	rows, err := sp.db.QueryContext(context.Background(), "SELECT id, kind, at, person, event, scene FROM spool_entry WHERE id > ? ORDER BY id LIMIT ?", sp.drained, n)
	if err != nil {
		return nil, sp.wrap("read", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error
	for rows.Next() {
		var e spooledEntry
		var person, event []byte
		if err := rows.Scan(&e.id, &e.kind, &e.at, &person, &event, &e.scene); err != nil {
			return nil, sp.wrap("read", err)
		}
		copy(e.person[:], person)
		copy(e.entry.id[:], event)
		entries = append(entries, e)
	}
	return entries, sp.wrap("read", rows.Err())
}

// remove deletes entries that the database has, and moves the rejected ones to a
// table of their own. If the deletion fails, next skips the entries until the next
// start; then the database detects them as duplicates.
func (sp *spool) remove(entries []spooledEntry, rejected map[int64]error) error {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	ctx := context.Background()
	err := sp.update(func(tx *sql.Tx) error {
		for id, reason := range rejected {
			_, err := tx.ExecContext(ctx, "INSERT INTO spool_rejected SELECT *, ? FROM spool_entry WHERE id = ?", reason.Error(), id)
			if err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM spool_entry WHERE id <= ?", entries[len(entries)-1].id)
		return err
	})
	if err == nil || len(rejected) == 0 {
		sp.pending -= len(entries)
		sp.drained = entries[len(entries)-1].id
	}
	return sp.wrap("write", err)
}

// finish ends a drain if no entry is pending, and reports whether it did.
func (sp *spool) finish() bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.pending > 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = eraseDeleted(ctx, sp.db) // which also shrinks the file; it can fail if the disk is full
	sp.diverting, sp.draining = false, false
	return true
}

func (sp *spool) close() error { return sp.db.Close() }

// How long drain waits after a failure.
const (
	minDrainDelay = time.Second
	maxDrainDelay = 30 * time.Second
)

// drain records the entries of the spool in the database, in order, until none is
// pending.
func (s *Store) drain() {
	delay, size := minDrainDelay, batchSize(maxBatch)
	for s.stop.Err() == nil {
		n, err := s.drainBatch(int(size))
		size = size.next(err)
		switch {
		case err == nil && n == 0 && s.spool.finish():
			s.cfg.Logger.LogAttrs(s.stop, slog.LevelWarn, "scanstats: the spool is drained, the database has all events")
			return
		case err == nil:
			delay = minDrainDelay
			continue
		}
		s.cfg.Logger.LogAttrs(s.stop, slog.LevelWarn, "scanstats: the spool cannot be drained yet",
			slog.String("error", err.Error()), slog.Duration("retry_in", delay))
		select {
		case <-time.After(delay):
		case <-s.stop.Done():
		}
		delay = min(2*delay, maxDrainDelay)
	}
}

// drainBatch records at most limit entries in the database and returns their number.
func (s *Store) drainBatch(limit int) (int, error) {
	if err := s.prepare(s.stop); err != nil { // the database may have been unavailable since Open
		return 0, wrapDBError(err)
	}
	spooled, err := s.spool.next(limit)
	if err != nil || len(spooled) == 0 {
		return 0, err
	}
	entries := make([]entry, len(spooled))
	for i, e := range spooled {
		entries[i] = e.entry
	}
	var rejected map[int64]error
	ctx := context.WithoutCancel(s.stop)
	err = wrapDBError(s.apply(ctx, entries))
	if err != nil && !isTransient(err) {
		rejected, err = s.applyEach(ctx, spooled)
	}
	if err != nil {
		return 0, err
	}
	return len(spooled), s.spool.remove(spooled, rejected)
}

// applyEach records entries one by one, after a permanent error of all of them. It
// returns the entries that fail although others succeed. If all fail, it is not
// because of an entry, and drain retries.
func (s *Store) applyEach(ctx context.Context, entries []spooledEntry) (map[int64]error, error) {
	rejected := make(map[int64]error)
	var last error
	for _, e := range entries {
		err := wrapDBError(s.apply(ctx, []entry{e.entry}))
		if isTransient(err) {
			return nil, err
		}
		if err != nil {
			rejected[e.id], last = err, err
		}
	}
	if len(rejected) == len(entries) {
		return nil, last
	}
	for id, err := range rejected {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelError, "scanstats: the database rejects an event, moved to the table spool_rejected of the spool",
			slog.Int64("id", id), slog.String("error", err.Error()))
	}
	return rejected, nil
}
