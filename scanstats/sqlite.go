package scanstats

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

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

func openSQLiteFile(path string) (*sql.DB, *sqliteFile, error) {
	if path == "" {
		return nil, nil, fmt.Errorf("%w: the path is empty", ErrInvalidConfig)
	}
	path, err := filepath.Abs(path) // the process may change its working directory
	if err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would create it with mode 0644
	if err != nil {
		if readable, openErr := os.Open(path); openErr == nil { // SQLite opens it read-only
			f, err = readable, nil
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	info, err := f.Stat()
	_ = f.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	db, err := sql.Open("sqlite", dataSource(path))
	if err != nil {
		return nil, nil, err
	}
	const maxConns = 8 // each has a cache of some MiB
	db.SetMaxOpenConns(maxConns)
	return db, &sqliteFile{path, info}, nil
}

// checkOwnDatabase rejects a file that is a database of another program.
func (s *Store) checkOwnDatabase(ctx context.Context) error {
	if s.sqliteFile == nil {
		return nil
	}
	var tables, own int
	err := s.db.QueryRowContext(ctx, "SELECT COUNT(*), COALESCE(SUM(name = 'scanstats_version'), 0) FROM sqlite_master WHERE type = 'table'").Scan(&tables, &own)
	if err == nil && tables > 0 && own == 0 {
		err = fmt.Errorf("%w: the file is a database of another program", ErrInvalidConfig)
	}
	return err
}

// dataSource returns the DSN of an SQLite file.
func dataSource(path string) string {
	pragmas := url.Values{"_pragma": {
		"busy_timeout(200)",   // beginSQLite waits longer: this wait ignores the context
		"journal_mode(WAL)",   // reports do not block updates
		"synchronous(FULL)",   // a commit survives a power failure
		"secure_delete(FAST)", // deleted data is overwritten, except in pages that become free
		// In pages; more than a batch changes, so that not every commit checkpoints.
		"wal_autocheckpoint(16384)",
	}}
	return "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + pragmas.Encode()
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
