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

// OpenFile returns a store in a file of SQLite, which needs no server and which it makes if it is
// not there, for its user alone. Several processes on one machine may have it open; not on a network
// drive. See [Open].
func OpenFile(ctx context.Context, path string, c Config) (*Store, error) {
	db, file, err := openDatabaseFile(path)
	if err != nil {
		return nil, fmt.Errorf("scanstats: open %q: %w", path, explain(err))
	}
	s, err := newStore(db, SQLite, c)
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("scanstats: open %q: %w", path, err)
	}
	s.owned, s.file = true, file
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("%w; the file is %q", err, path)
	}
	s.keepHouse()
	return s, nil
}

// A databaseFile is one that must stay where it is: SQLite goes on writing to a file that was
// deleted, and nobody would ever see what it wrote.
type databaseFile struct {
	path string
	info os.FileInfo
}

func openDatabaseFile(path string) (*sql.DB, *databaseFile, error) {
	if path == "" {
		return nil, nil, fmt.Errorf("%w: no path", ErrInvalidConfig)
	}
	path, err := filepath.Abs(path) // the process may change its folder
	if err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would let everybody read it
	if err != nil {
		if readable, openErr := os.Open(path); openErr == nil { // SQLite will tell that it may only be read
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
	const most = 8 // connections, as each has a cache of some MiB
	db.SetMaxOpenConns(most)
	return db, &databaseFile{path, info}, nil
}

// checkOurs makes sure that a file of OpenFile is no database of another program.
func (s *Store) checkOurs(ctx context.Context) error {
	if s.file == nil {
		return nil
	}
	var tables, ours int
	err := s.db.QueryRowContext(ctx, "SELECT COUNT(*), COALESCE(SUM(name = 'scanstats_version'), 0) FROM sqlite_master WHERE type = 'table'").Scan(&tables, &ours)
	if err == nil && tables > 0 && ours == 0 {
		err = fmt.Errorf("%w: the file is the database of another program", ErrInvalidConfig)
	}
	return err
}

// dataSource returns the settings of a connection.
func dataSource(path string) string {
	pragmas := url.Values{"_pragma": {
		"busy_timeout(200)",   // longer waits are ours, as this one does not end with a context
		"journal_mode(WAL)",   // reports do not hold up scans
		"synchronous(FULL)",   // what is committed survives a loss of power
		"secure_delete(FAST)", // what is deleted is overwritten, but for pages that fall free as a whole
		// In pages: more than a batch changes, so that not every commit copies them to the file.
		"wal_autocheckpoint(16384)",
	}}
	return "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + pragmas.Encode()
}

// check reports whether the file is where it was.
func (f *databaseFile) check() error {
	if f == nil {
		return nil
	}
	info, err := os.Stat(f.path)
	if err == nil && !os.SameFile(info, f.info) {
		err = errors.New("another file is there now")
	}
	if err != nil {
		return fmt.Errorf("%w: the file %q was moved or removed: %w", ErrUnavailable, f.path, err)
	}
	return nil
}
