package scanstats

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ready returns an error if the database cannot be used.
func (s *Store) ready(ctx context.Context) error {
	if s.stop.Err() != nil {
		return ErrClosed
	}
	if err := s.sqliteFile.check(); err != nil {
		return err
	}
	return s.prepare(ctx)
}

// prepare migrates the tables and checks the settings, once.
func (s *Store) prepare(ctx context.Context) error {
	if s.currentZone() != nil {
		return nil
	}
	if s.spool != nil { // a server that does not respond must not block Open
		const maxWait = 30 * time.Second
		limit := min(10*s.cfg.Timeout, maxWait)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, timeoutError(limit))
		defer cancel()
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	loc, err := s.checkSettings(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = &zone{loc}
	return nil
}

// connect opens the first connection and checks the database. SQLite needs an
// exclusive lock to switch a new file to WAL, and other processes may do the same.
func (s *Store) connect(ctx context.Context) error {
	if s.writer.dialect == SQLite {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.cfg.Timeout, timeoutError(s.cfg.Timeout))
		defer cancel()
	}
	return retryLocked(ctx, func() error {
		err := s.checkDialect(ctx)
		if err == nil && s.sqliteFile != nil {
			err = checkOwnDatabase(ctx, s.db, "scanstats_version")
		}
		return err
	})
}

// checkDialect runs a query that only a database of the dialect supports.
func (s *Store) checkDialect(ctx context.Context) error {
	d := s.writer.dialect
	var version string
	err := s.db.QueryRowContext(ctx, map[Dialect]string{
		SQLite: "SELECT sqlite_version()", Postgres: "SELECT current_setting('server_version_num')", MySQL: "SELECT @@version_comment",
	}[d]).Scan(&version)
	if err != nil && classify(err) == nil && ctx.Err() == nil {
		return fmt.Errorf("%w: the database is not %v: %w", ErrInvalidConfig, d, err)
	}
	return err
}

// currentZone returns nil until the database is prepared.
func (s *Store) currentZone() *zone {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.zone
}

// Rows of scanstats_setting.
const (
	settingZone   = "zone"
	settingKey    = "key"
	settingPurged = "purged" // the day of the last purge
)

// checkSettings compares the settings with those of the database, and returns the
// time zone.
func (s *Store) checkSettings(ctx context.Context) (*time.Location, error) {
	wanted := s.cfg.Location
	if wanted == nil {
		wanted = shanghai
	}
	zone, err := s.setting(ctx, settingZone, wanted.String())
	if err != nil {
		return nil, err
	}
	if s.cfg.Location != nil && zone != wanted.String() {
		return nil, fmt.Errorf("%w: Config.Location is %v; the time zone of the database is %s", ErrConfigMismatch, wanted, zone)
	}
	if len(s.key) > 0 {
		key, err := s.setting(ctx, settingKey, s.fingerprint())
		if err != nil {
			return nil, err
		}
		if key != s.fingerprint() {
			return nil, fmt.Errorf("%w: the hashes in the database were made with another Config.Key", ErrConfigMismatch)
		}
	}
	if s.cfg.Location != nil {
		return wanted, nil
	}
	return loadZone(zone)
}

// setting returns a setting, and stores the default if there is none. A read-only
// database can be used if the setting exists.
func (s *Store) setting(ctx context.Context, name, defaultValue string) (value string, err error) {
	err = s.db.QueryRowContext(ctx, s.writer.dialect.sql(selectSetting), name).Scan(&value)
	if !errors.Is(err, sql.ErrNoRows) {
		return value, err
	}
	err = s.update(ctx, func(t *tx) error {
		value, err = t.setting(name, defaultValue)
		return err
	})
	return value, err
}

const selectSetting = "SELECT value FROM scanstats_setting WHERE name = ?"

// setting returns a setting, and stores the default if there is none.
func (t *tx) setting(name, defaultValue string) (value string, err error) {
	err = t.query(t.dialect.sql(selectSetting), []any{name}, &value)
	if errors.Is(err, sql.ErrNoRows) {
		return defaultValue, t.insert(settingTable, []any{name, defaultValue})
	}
	return value, err
}
