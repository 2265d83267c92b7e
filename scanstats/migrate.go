package scanstats

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// migrate creates or migrates the tables.
func (s *Store) migrate(ctx context.Context) error {
	var err error
	for range 10 {
		err = migrate(ctx, s.db, s.writer.dialect)
		if class := classify(err); err == nil || ctx.Err() != nil || class != nil && !errors.Is(class, ErrLocked) {
			break
		}
		// Concurrent migrations can conflict: SQLite has no lock that spans several
		// transactions, and goose reads the tables before it takes the lock of a server.
		// One of them fails and finds the migration done when it retries.
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	if err != nil {
		return fmt.Errorf("migrate the tables: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, db *sql.DB, d Dialect) error {
	var dialect goose.Dialect
	options := []goose.ProviderOption{goose.WithTableName("scanstats_version"), goose.WithDisableGlobalRegistry(true)}
	folder := ""
	switch d {
	case SQLite:
		dialect, folder = goose.DialectSQLite3, "migrations/sqlite"
	case Postgres:
		const lockID = 0x7778737461747321 // arbitrary, unlikely to be used by another program
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(lockID), lock.WithLockTimeout(1, 300), lock.WithUnlockTimeout(1, 3))
		if err != nil {
			return err
		}
		dialect, folder = goose.DialectPostgres, "migrations/postgres"
		options = append(options, goose.WithSessionLocker(locker))
	case MySQL:
		dialect, folder = goose.DialectMySQL, "migrations/mysql"
		options = append(options, goose.WithSessionLocker(mysqlLock{}))
	}
	files, err := fs.Sub(migrations, folder)
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(dialect, db, files, options...)
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// mysqlLock serializes the migrations of several instances.
type mysqlLock struct{}

func (mysqlLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	var got sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK('scanstats', 300)").Scan(&got); err != nil {
		return err
	}
	if got.Int64 != 1 {
		return fmt.Errorf("%w: another instance has been migrating the tables for 5 minutes", ErrLocked)
	}
	return nil
}

func (mysqlLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "DO RELEASE_LOCK('scanstats')")
	return err
}
