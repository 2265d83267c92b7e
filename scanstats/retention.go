package scanstats

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strconv"
	"time"
)

// keepHouse starts the housekeeping. A store without a key only reads, and leaves it to others.
func (s *Store) keepHouse() {
	if len(s.key) > 0 {
		s.routines.Go(s.housekeeping)
	}
}

// housekeeping deletes once a day what is kept no longer.
func (s *Store) housekeeping() {
	const interval = time.Hour // looking whether it is time
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := s.purge(s.stop); err != nil && s.stop.Err() == nil {
			s.cfg.Logger.LogAttrs(s.stop, slog.LevelWarn, "scanstats: delete what is kept no longer", slog.String("error", err.Error()))
		}
		select {
		case <-tick.C:
		case <-s.stop.Done():
			return
		}
	}
}

// purge deletes what is kept no longer, unless an instance has today. It does so in many small changes, so that
// events need not wait for it.
func (s *Store) purge(ctx context.Context) error {
	zone := s.currentZone()
	if zone == nil {
		return nil // the database is away
	}
	now := s.now()
	today := strconv.Itoa(int(zone.dayOf(now)))
	purged := ""
	err := s.change(ctx, func(t *tx) (err error) {
		purged, err = t.setting(settingPurged, "")
		return err
	})
	if err != nil || purged == today {
		return err
	}
	if err := s.purgePeople(ctx, *zone, now.Add(-s.cfg.KeepPeople)); err != nil {
		return err
	}
	if err := s.purgeEvents(ctx, now.Add(-s.cfg.KeepEvents)); err != nil {
		return err
	}
	return s.change(ctx, func(t *tx) error { return t.insert(settingTable, []any{settingPurged, today}) })
}

// purgePeople deletes visitors who have not scanned since a time, followers who came before it and have not
// scanned since, and those departures that no late push can be about any more.
func (s *Store) purgePeople(ctx context.Context, z zone, before time.Time) error {
	d := s.writer.dialect
	visitors := d.sql("DELETE FROM scanstats_visitor WHERE id >= ? AND id < ? AND (last_day < ? OR days = 0 AND last_day < ?)")
	// The first row of visitors behind a person is theirs, or they have none.
	followers := d.sql("DELETE FROM scanstats_follower WHERE person >= ? AND person < ? AND followed_at < ? AND " +
		"COALESCE(SUBSTR((SELECT id FROM scanstats_visitor WHERE id > scanstats_follower.person ORDER BY id LIMIT 1), 1, 16) <> person, TRUE)")
	yesterday := z.dayOf(s.now()) - 1
	for first := range 256 { // a part of the hashes, by their first byte
		from, to := []byte{byte(first)}, []byte{byte(first + 1)}
		if first == 255 {
			to = bytes.Repeat([]byte{255}, len(visitorID(person{}, 0))+1) // behind all of them
		}
		err := s.change(ctx, func(t *tx) error {
			if err := t.exec(visitors, from, to, int64(z.dayOf(before)), int64(yesterday)); err != nil {
				return err
			}
			return t.exec(followers, from, to, before.Unix())
		})
		if err != nil {
			return fmt.Errorf("delete people not seen since %v: %w", before.Format(time.DateOnly), err)
		}
	}
	return nil
}

// purgeEvents deletes what tells repeats of events that happened before a time.
func (s *Store) purgeEvents(ctx context.Context, before time.Time) error {
	const step = 15 * time.Minute
	d := s.writer.dialect
	for done := false; !done; {
		err := s.change(ctx, func(t *tx) error {
			var first []byte
			err := t.queryEach("SELECT id FROM scanstats_event ORDER BY id LIMIT 1", nil, func() {}, &first)
			if err != nil || len(first) == 0 {
				done = true
				return err
			}
			var id eventID
			copy(id[:], first)
			until := time.Unix(int64(binary.BigEndian.Uint32(id[:])), 0).Add(step)
			if until.After(before) {
				until, done = before, true
			}
			return t.exec(d.sql("DELETE FROM scanstats_event WHERE id < ?"), binary.BigEndian.AppendUint32(nil, uint32(until.Unix())))
		})
		if err != nil {
			return fmt.Errorf("delete events before %v: %w", before.Format(time.DateOnly), err)
		}
	}
	return nil
}
