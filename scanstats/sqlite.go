package scanstats

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	_ "modernc.org/sqlite" // the driver "sqlite", in pure Go
)

// OpenSQLite returns a store that uses an SQLite file, which it creates, readable
// only for the current user, if it does not exist. Several processes on one machine
// can share the file; network file systems are not supported. See [Open].
func OpenSQLite(ctx context.Context, path string, c Config) (*Store, error) {
	db, file, err := openSQLiteFile(path)
	if err != nil {
		return nil, fmt.Errorf("scanstats: open %q: %w", path, wrapDBError(err))
	}
	s, err := newStore(db, SQLite, c)
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("scanstats: open %q: %w", path, err)
	}
	s.owned, s.sqliteFile = true, file
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("%w (%q)", err, path)
	}
	s.startPurge()
	return s, nil
}

// An sqliteFile detects that the file was moved or deleted: SQLite continues to
// write to a deleted file, and those events would be lost.
type sqliteFile struct {
	path string
	info os.FileInfo
}

func openSQLiteFile(path string, pragmas ...string) (*sql.DB, *sqliteFile, error) {
	if path == "" {
		return nil, nil, fmt.Errorf("%w: the path is empty", ErrInvalidConfig)
	}
	path, err := filepath.Abs(path) // the process may change its working directory
	if err != nil {
		return nil, nil, err
	}
	// SQLite would create it with mode 0644. An existing file must not be opened
	// here: closing it would release SQLite's POSIX locks in this process.
	f, createErr := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if createErr == nil {
		_ = f.Close()
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, cmp.Or(createErr, err))
	}
	db, err := sql.Open("sqlite", dataSource(path, pragmas...))
	if err != nil {
		return nil, nil, err
	}
	const maxConns = 8 // each has a cache of some MiB
	db.SetMaxOpenConns(maxConns)
	return db, &sqliteFile{path, info}, nil
}

// checkOwnDatabase rejects an SQLite database with tables but not ours.
func checkOwnDatabase(ctx context.Context, db *sql.DB, table string) error {
	var tables, own int
	err := db.QueryRowContext(ctx, "SELECT COUNT(*), COALESCE(SUM(name = ?), 0) FROM sqlite_master WHERE type = 'table'", table).Scan(&tables, &own)
	if err == nil && tables > 0 && own == 0 {
		err = fmt.Errorf("%w: the file is a database of another program", ErrInvalidConfig)
	}
	return err
}

// dataSource returns the DSN of an SQLite file.
func dataSource(path string, pragmas ...string) string {
	query := url.Values{
		"_pragma": slices.Concat(pragmas, []string{
			"busy_timeout(200)", // beginSQLite waits longer: this wait ignores the context
			"synchronous(FULL)", // a commit survives a power failure
			"secure_delete(ON)", // deleted data is overwritten
			// In pages; more than a batch changes, so that not every commit checkpoints.
			"wal_autocheckpoint(16384)",
		}),
		"_journal_mode": {"WAL"}, // reports do not block updates; applied after locking_mode
	}
	return "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + query.Encode()
}

// maxVacuumPages limits the pages in use of a database for which eraseDeleted runs
// VACUUM: 32 MiB, which takes less than half a second.
const maxVacuumPages = 32 << 20 / 4096

// eraseDeleted erases deleted data that secure_delete does not: the write-ahead log,
// and copies in unused parts of pages, which SQLite leaves when it moves rows. Larger
// databases are not vacuumed; there later rows overwrite these copies.
func eraseDeleted(ctx context.Context, db *sql.DB) error {
	return retryLocked(ctx, func() error {
		var pages int
		err := db.QueryRowContext(ctx, "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count").Scan(&pages)
		if err == nil && pages <= maxVacuumPages {
			_, err = db.ExecContext(ctx, "VACUUM")
		}
		if err != nil {
			return err
		}
		var busy, frames, moved int
		err = db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved)
		if err == nil && busy != 0 {
			err = fmt.Errorf("%w: a reader prevents a checkpoint", ErrLocked)
		}
		return err
	})
}

// eraseDeleted erases deleted data from the file of an SQLite database.
func (s *Store) eraseDeleted(ctx context.Context) {
	if s.writer.dialect != SQLite {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Timeout, timeoutError(s.cfg.Timeout))
	defer cancel()
	if err := eraseDeleted(ctx, s.db); err != nil && s.stop.Err() == nil { // else the next purge erases it
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "scanstats: deleted data may still be in the file", slog.String("error", err.Error()))
	}
}

// check returns an error if the file was moved or removed.
func (f *sqliteFile) check() error {
	if f == nil {
		return nil
	}
	info, err := os.Stat(f.path)
	if err == nil && !os.SameFile(info, f.info) {
		err = errors.New("it was replaced by another file")
	}
	if err != nil {
		return fmt.Errorf("%w: the file %q was moved or removed: %w", ErrUnavailable, f.path, err)
	}
	return nil
}
