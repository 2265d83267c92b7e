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

// startPurge starts the daily purge. A store without a key does not write.
func (s *Store) startPurge() {
	if len(s.key) > 0 {
		s.goroutines.Go(s.runPurge)
	}
}

// runPurge purges once a day.
func (s *Store) runPurge() {
	const interval = time.Hour // another instance may have failed
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := s.purge(s.stop); err != nil && s.stop.Err() == nil {
			s.cfg.Logger.LogAttrs(s.stop, slog.LevelWarn, "scanstats: purge failed", slog.String("error", err.Error()))
		}
		select {
		case <-tick.C:
		case <-s.stop.Done():
			return
		}
	}
}

// purge deletes expired rows, unless an instance has done so today. It runs many
// small updates, so that events do not wait.
func (s *Store) purge(ctx context.Context) error {
	zone := s.currentZone()
	if zone == nil {
		return nil // the database is unavailable
	}
	now := s.now()
	today := strconv.Itoa(int(zone.dayOf(now)))
	purged := ""
	err := s.update(ctx, func(t *tx) (err error) {
		purged, err = t.setting(settingPurged, "")
		return err
	})
	if err != nil || purged == today {
		return err
	}
	if err := s.purgePersons(ctx, now, now.Add(-s.cfg.PersonRetention)); err != nil {
		return err
	}
	if err := s.purgeEvents(ctx, now.Add(-s.cfg.DedupWindow)); err != nil {
		return err
	}
	s.eraseDeleted(ctx)
	return s.update(ctx, func(t *tx) error { return t.insert(settingTable, []any{settingPurged, today}) })
}

// settledBefore returns the time before which no event can arrive anymore, even at
// an instance whose clock is a day behind.
func (s *Store) settledBefore() int64 {
	const clockSkew = 24 * time.Hour
	return s.now().Add(-s.cfg.DedupWindow - clockSkew).Unix()
}

// purgePersons deletes the histories of users without an event since a time, and
// the events up to an unfollow of users who unfollowed.
func (s *Store) purgePersons(ctx context.Context, now, before time.Time) error {
	for first := range 256 { // ranges of hashes by first byte
		from, to := []byte{byte(first)}, []byte{byte(first + 1)}
		if first == 255 {
			to = bytes.Repeat([]byte{255}, len(personHash{})+1)
		}
		err := s.update(ctx, func(t *tx) error {
			if err := t.exec(t.dialect.sql("DELETE FROM scanstats_person WHERE person >= ? AND person < ? AND last_at < ?"), from, to, min(before.Unix(), s.settledBefore())); err != nil {
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
	var persons []personHash
	histories := make(map[personHash]history)
	var id, stored []byte
	err := t.queryEach(t.dialect.sql("SELECT person, history FROM scanstats_person WHERE person >= ? AND person < ? AND unfollowed_at BETWEEN 1 AND ?"),
		[]any{from, to, forgotten - 1}, func() {
			p := personHash(id)
			persons = append(persons, p)
			histories[p] = decodeHistory(stored).compact(settled, forgotten)
		}, &id, &stored)
	if err != nil {
		return err
	}
	return t.saveHistories(persons, histories)
}

// purgeEvents deletes the IDs of events before a time.
func (s *Store) purgeEvents(ctx context.Context, before time.Time) error {
	const step = 15 * time.Minute
	d := s.writer.dialect
	for done := false; !done; {
		err := s.update(ctx, func(t *tx) error {
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
