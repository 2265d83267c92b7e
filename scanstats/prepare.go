package scanstats

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ready reports why the database cannot be used.
func (s *Store) ready(ctx context.Context) error {
	if s.stop.Err() != nil {
		return ErrClosed
	}
	if err := s.file.check(); err != nil {
		return err
	}
	return s.prepare(ctx)
}

// prepare brings the tables up to date and agrees with the other instances, once.
func (s *Store) prepare(ctx context.Context) error {
	if s.currentZone() != nil {
		return nil
	}
	if s.journal != nil { // which can wait, but not for a server that says nothing
		const most = 30 * time.Second
		limit := min(10*s.cfg.Timeout, most)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, slowError(limit))
		defer cancel()
	}
	if err := s.checkDialect(ctx); err != nil {
		return err
	}
	if err := s.checkOurs(ctx); err != nil {
		return err
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	loc, err := s.agree(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = &zone{loc}
	return nil
}

// checkDialect makes sure that the database is of its dialect, by something that others do not know.
func (s *Store) checkDialect(ctx context.Context) error {
	d := s.writer.dialect
	var version string
	err := s.db.QueryRowContext(ctx, map[Dialect]string{
		SQLite: "SELECT sqlite_version()", Postgres: "SELECT current_setting('server_version_num')", MySQL: "SELECT @@version_comment",
	}[d]).Scan(&version)
	if err != nil && kindOf(err) == nil && ctx.Err() == nil {
		return fmt.Errorf("%w: the database is none of %v's: %w", ErrInvalidConfig, d, err)
	}
	return err
}

// currentZone returns nil while the database has not been prepared.
func (s *Store) currentZone() *zone {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.zone
}

// Names of settings.
const (
	settingZone   = "zone"
	settingKey    = "key"
	settingPurged = "purged" // the day on which old rows were deleted last
)

// agree makes sure that this instance counts as the others do, and returns the time zone.
func (s *Store) agree(ctx context.Context) (*time.Location, error) {
	wanted := s.cfg.Location
	if wanted == nil {
		wanted = shanghai
	}
	zone, err := s.setting(ctx, settingZone, wanted.String())
	if err != nil {
		return nil, err
	}
	if s.cfg.Location != nil && zone != wanted.String() {
		return nil, fmt.Errorf("%w: Config.Location is %v, but the days of this database begin in %s", ErrMismatch, wanted, zone)
	}
	if len(s.key) > 0 {
		key, err := s.setting(ctx, settingKey, s.fingerprint())
		if err != nil {
			return nil, err
		}
		if key != s.fingerprint() {
			return nil, fmt.Errorf("%w: Config.Key is not the one that made the hashes in this database", ErrMismatch)
		}
	}
	if s.cfg.Location != nil {
		return wanted, nil
	}
	return loadZone(zone)
}

// setting returns a setting, and makes it if it is not there. A database that may only be
// read is good enough for one that is.
func (s *Store) setting(ctx context.Context, name, otherwise string) (value string, err error) {
	err = s.db.QueryRowContext(ctx, s.writer.dialect.sql(selectSetting), name).Scan(&value)
	if !errors.Is(err, sql.ErrNoRows) {
		return value, err
	}
	err = s.change(ctx, func(t *tx) error {
		value, err = t.setting(name, otherwise)
		return err
	})
	return value, err
}

const selectSetting = "SELECT value FROM scanstats_setting WHERE name = ?"

// setting returns a setting, and makes it if it is not there.
func (t *tx) setting(name, otherwise string) (value string, err error) {
	err = t.query(t.dialect.sql(selectSetting), []any{name}, &value)
	if errors.Is(err, sql.ErrNoRows) {
		return otherwise, t.insert(settingTable, []any{name, otherwise})
	}
	return value, err
}
