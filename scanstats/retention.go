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
	if err := s.purgePeople(ctx, now, now.Add(-s.cfg.KeepPeople)); err != nil {
		return err
	}
	if err := s.purgeEvents(ctx, now.Add(-s.cfg.KeepEvents)); err != nil {
		return err
	}
	return s.change(ctx, func(t *tx) error { return t.insert(settingTable, []any{settingPurged, today}) })
}

// settledBefore returns the time before which no event can arrive any more, also
// at an instance whose clock is a day behind.
func (s *Store) settledBefore() int64 {
	const clockSkew = 24 * time.Hour
	return s.now().Add(-s.cfg.KeepEvents - clockSkew).Unix()
}

// purgePeople deletes the history of users without an event since a time, and
// that of users who unfollowed, up to the unfollow.
func (s *Store) purgePeople(ctx context.Context, now, before time.Time) error {
	for first := range 256 { // a part of the hashes, by their first byte
		from, to := []byte{byte(first)}, []byte{byte(first + 1)}
		if first == 255 {
			to = bytes.Repeat([]byte{255}, len(person{})+1)
		}
		err := s.change(ctx, func(t *tx) error {
			if err := t.exec(t.dialect.sql("DELETE FROM scanstats_person WHERE person >= ? AND person < ? AND last_at < ?"), from, to, before.Unix()); err != nil {
				return err
			}
			return t.compactUnfollowed(from, to, s.settledBefore(), now.Add(-unfollowRetention).Unix())
		})
		if err != nil {
			return fmt.Errorf("delete users: %w", err)
		}
	}
	return nil
}

// compactUnfollowed compacts the histories in a range of hashes that have an
// unfollow before forgotten.
func (t *tx) compactUnfollowed(from, to []byte, settled, forgotten int64) error {
	var persons []person
	histories := make(map[person]history)
	var id, stored []byte
	err := t.queryEach(t.dialect.sql("SELECT person, history FROM scanstats_person WHERE person >= ? AND person < ? AND unfollowed_at BETWEEN 1 AND ?"),
		[]any{from, to, forgotten - 1}, func() {
			p := person(id)
			persons = append(persons, p)
			histories[p] = decodeHistory(stored).compact(settled, forgotten)
		}, &id, &stored)
	if err != nil {
		return err
	}
	return t.saveHistories(persons, histories)
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
