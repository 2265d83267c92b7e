package scanstats

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
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
			"busy_timeout(200)",   // beginSQLite waits longer: this wait ignores the context
			"synchronous(FULL)",   // a commit survives a power failure
			"secure_delete(FAST)", // deleted data is overwritten, except in pages that become free
			// In pages; more than a batch changes, so that not every commit checkpoints.
			"wal_autocheckpoint(16384)",
		}),
		"_journal_mode": {"WAL"}, // reports do not block updates; applied after locking_mode
	}
	return "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + query.Encode()
}

// truncateWAL removes overwritten data from the write-ahead log.
const truncateWAL = "PRAGMA wal_checkpoint(TRUNCATE)"

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
