package scanstats

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
)

// apply records entries in one update of the prepared database. Duplicates are
// ignored.
func (s *Store) apply(ctx context.Context, entries []entry) error {
	if err := s.sqliteFile.check(); err != nil {
		return err
	}
	err := s.update(ctx, func(t *tx) error {
		entries, err := t.newEntries(entries)
		if err != nil || len(entries) == 0 {
			return err
		}
		a := newAggregator(*s.currentZone())
		if err := t.load(a, entries); err != nil {
			return err
		}
		for _, e := range entries {
			a.add(e)
		}
		return t.save(a, s.settledBefore())
	})
	if err == nil && slices.ContainsFunc(entries, func(e entry) bool { return e.kind == forget }) {
		s.eraseDeleted(ctx)
	}
	return err
}

// newEntries returns the entries that are not duplicates, and stores their event
// IDs.
func (t *tx) newEntries(entries []entry) ([]entry, error) {
	known := make(map[eventID]bool, len(entries))
	var ids []any
	for _, e := range entries {
		if e.kind != forget && !known[e.id] {
			known[e.id] = true
			ids = append(ids, e.id[:])
		}
	}
	clear(known)
	var id []byte
	if err := t.selectKeys(eventTable, ids, func() { known[eventID(id)] = true }, &id); err != nil {
		return nil, err
	}
	fresh := make([]entry, 0, len(entries))
	ids = ids[:0]
	for _, e := range entries {
		if e.kind != forget {
			if known[e.id] {
				continue
			}
			known[e.id] = true
			ids = append(ids, e.id[:])
		}
		fresh = append(fresh, e)
	}
	slices.SortFunc(ids, func(a, b any) int { return bytes.Compare(a.([]byte), b.([]byte)) })
	if err := t.insert(eventTable, ids); err != nil {
		return nil, err
	}
	return fresh, nil
}

// load reads the scenes and histories of entries.
func (t *tx) load(a *aggregator, entries []entry) error {
	if err := t.loadScenes(a, entries); err != nil {
		return err
	}
	var keys []any
	for _, e := range entries {
		if a.persons[e.person] == nil {
			at(a.persons, e.person)
			keys = append(keys, e.person[:])
		}
	}
	var id, stored []byte
	byPerson := table{name: personTable.name, columns: []string{"person", "history"}}
	return t.selectKeys(byPerson, keys, func() {
		s := a.persons[personHash(id)]
		s.stored = decodeHistory(stored)
		s.current = s.stored
	}, &id, &stored)
}

// loadScenes reads the IDs of the scenes in entries, and creates new scenes.
func (t *tx) loadScenes(a *aggregator, entries []entry) error {
	var scenes []string
	for _, e := range entries {
		if _, ok := a.sceneID[e.scene]; !ok && e.scene != "" {
			a.sceneID[e.scene] = noScene
			scenes = append(scenes, e.scene)
		}
	}
	ids, err := t.sceneIDs(scenes)
	maps.Copy(a.sceneID, ids)
	return err
}

// sceneIDs returns the IDs of scenes, and creates new scenes.
func (t *tx) sceneIDs(scenes []string) (map[string]sceneID, error) {
	ids := make(map[string]sceneID, len(scenes))
	keys := make([]any, len(scenes))
	for i, scene := range scenes {
		keys[i] = t.dialect.text(scene)
	}
	var id sceneID
	var scene string
	byScene := table{name: sceneTable.name, columns: []string{"scene", "id"}}
	if err := t.selectKeys(byScene, keys, func() { ids[scene] = id }, &scene, &id); err != nil || len(ids) == len(scenes) {
		return ids, err
	}
	next := firstScene
	if err := t.query("SELECT COALESCE(MAX(id) + 1, 0) FROM scanstats_scene", nil, &id); err != nil {
		return nil, err
	}
	next = max(next, id)
	var rows []any
	for _, scene := range scenes {
		if _, ok := ids[scene]; !ok {
			rows = append(rows, int64(next), t.dialect.text(scene), t.dialect.text(""), t.dialect.text(""))
			ids[scene] = next
			next++
		}
	}
	return ids, t.insert(sceneTable, rows)
}

// save writes the histories and the counts.
func (t *tx) save(a *aggregator, settled int64) error {
	persons := slices.SortedFunc(maps.Keys(a.persons), func(p, q personHash) int { return bytes.Compare(p[:], q[:]) })
	histories := make(map[personHash]history, len(persons))
	for _, p := range persons {
		s := a.persons[p]
		a.finish(s)
		histories[p] = s.current.compact(settled, 0)
	}
	if err := t.saveHistories(persons, histories); err != nil {
		return err
	}
	return t.saveCounts(a)
}

// saveHistories writes the histories of persons, sorted by key so that fewer pages
// are touched, and deletes empty ones.
func (t *tx) saveHistories(persons []personHash, histories map[personHash]history) error {
	var rows, empty []any
	for _, p := range persons {
		if h := histories[p]; len(h) > 0 {
			rows = append(rows, p[:], h.lastAt(), h.unfollowedAt(), h.encode())
		} else {
			empty = append(empty, p[:])
		}
	}
	if err := t.insert(personTable, rows); err != nil {
		return err
	}
	for len(empty) > 0 {
		n := powerOfTwo(min(len(empty), 256))
		var list strings.Builder
		t.dialect.placeholders(&list, 0, n)
		if err := t.exec("DELETE FROM scanstats_person WHERE person IN "+list.String(), empty[:n]...); err != nil {
			return err
		}
		empty = empty[n:]
	}
	return nil
}

func (t *tx) saveCounts(a *aggregator) error {
	var hours, days, unique []any
	for key, c := range a.hours {
		if *c != (counts{}) {
			hours = append(hours, key.at, int64(key.scene), c.scans, c.newFollowers, c.uniqueUsers, c.unfollows)
		}
	}
	for key, c := range a.days {
		if *c != (dayCounts{}) {
			days = append(days, int64(key.day), int64(key.scene), c.scans, c.newFollowers, c.uniqueUsers, c.unfollows, c.unfollowed[0], c.unfollowed[1], c.unfollowed[2])
		}
	}
	for key, n := range a.unique {
		if n != 0 {
			unique = append(unique, int64(key.day), int64(key.scene), int64(key.previous), n)
		}
	}
	if err := t.insert(hourTable, hours); err != nil {
		return err
	}
	if err := t.insert(dayTable, days); err != nil {
		return err
	}
	return t.insert(uniqueTable, unique)
}
