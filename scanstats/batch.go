package scanstats

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"time"
)

// apply records entries in one change of the database, which has been prepared. Those that are
// there already it leaves out.
func (s *Store) apply(ctx context.Context, entries []entry) error {
	if err := s.file.check(); err != nil {
		return err
	}
	return s.change(ctx, func(t *tx) error {
		entries, err := t.newEntries(entries)
		if err != nil || len(entries) == 0 {
			return err
		}
		counted := newTally(*s.currentZone())
		if err := t.load(counted, entries); err != nil {
			return err
		}
		for _, e := range entries {
			counted.add(e)
		}
		return t.save(counted)
	})
}

// newEntries returns the entries that were not recorded before, in the order in which they
// happened, and takes note of them.
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
	sortByTime(fresh)
	return fresh, nil
}

// sortByTime puts entries into the order in which they happened. But who was to be forgotten stays where
// it is: it is about what was recorded before, whatever the clocks say.
func sortByTime(entries []entry) {
	for len(entries) > 0 {
		n := slices.IndexFunc(entries, func(e entry) bool { return e.kind == forget })
		if n < 0 {
			n = len(entries)
		}
		slices.SortStableFunc(entries[:n], func(a, b entry) int { return cmp.Compare(a.at, b.at) })
		entries = entries[min(n+1, len(entries)):]
	}
}

// load tells the tally what the database knows of those in the entries.
func (t *tx) load(counted *tally, entries []entry) error {
	if err := t.loadScenes(counted, entries); err != nil {
		return err
	}
	var visitors, followers []any
	seen := make(map[string]bool, 2*len(entries))
	want := func(keys *[]any, key []byte) {
		if !seen[string(key)] {
			seen[string(key)] = true
			*keys = append(*keys, key)
		}
	}
	for _, e := range entries {
		if e.kind == follow || e.kind == leave {
			want(&followers, e.person[:])
		}
		if e.scene != "" {
			want(&visitors, visitorID(e.person, counted.sceneID[e.scene]))
		}
		if e.kind != forget {
			want(&visitors, visitorID(e.person, allScenes)) // which tells when they left, too
		}
	}
	if err := t.loadVisits(counted, visitors); err != nil {
		return err
	}
	var id []byte
	var f follower
	return t.selectKeys(followerTable, followers, func() { counted.state(person(id)).follower = f }, &id, &f.scene, &f.at)
}

// visitorID is the key of the table of visitors. All rows of a person stand together.
func visitorID(p person, scene sceneID) []byte {
	return binary.BigEndian.AppendUint32(slices.Clone(p[:]), uint32(scene))
}

// departureRow is a row of the table of visitors that tells when somebody left. It has no days.
func departureRow(z zone, p person, d departure) []any {
	isOpen := int64(0)
	if d.isOpen {
		isOpen = 1
	}
	return []any{visitorID(p, allScenes), int64(z.dayOf(time.Unix(d.at, 0))), int64(0), isOpen, d.at}
}

func (t *tx) loadVisits(counted *tally, ids []any) error {
	var id []byte
	var v visits
	var days, hours int64 // no driver takes a uint64 whose highest bit is set
	return t.selectKeys(visitorTable, ids, func() {
		kept := visits{last: v.last, days: uint64(days), before: v.before, hours: uint32(hours)}
		p, scene := person(id[:len(person{})]), sceneID(binary.BigEndian.Uint32(id[len(person{}):]))
		if s := counted.state(p); kept.days == 0 {
			s.left = departure{at: hours, isOpen: kept.before != 0}
		} else {
			s.visits[scene] = &kept
		}
	}, &id, &v.last, &days, &v.before, &hours)
}

// loadScenes tells the tally the ids of all scenes in the entries, and makes those that
// are new.
func (t *tx) loadScenes(counted *tally, entries []entry) error {
	var scenes []string
	for _, e := range entries {
		if _, ok := counted.sceneID[e.scene]; !ok && e.scene != "" {
			counted.sceneID[e.scene] = noScene
			scenes = append(scenes, e.scene)
		}
	}
	ids, err := t.sceneIDs(scenes)
	maps.Copy(counted.sceneID, ids)
	return err
}

// sceneIDs returns the ids of scenes, and makes those that are new.
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

// save writes what the tally collected.
func (t *tx) save(counted *tally) error {
	var gone []person
	var visitors, followers []any
	persons := slices.SortedFunc(maps.Keys(counted.persons), func(a, b person) int { return bytes.Compare(a[:], b[:]) })
	for _, p := range persons { // in the order in which they stand, which touches fewer pages at a time
		s := counted.persons[p]
		if s.gone {
			gone = append(gone, p)
		}
		for scene := range s.scanned {
			v := s.visits[scene]
			visitors = append(visitors, visitorID(p, scene), int64(v.last), int64(v.days), int64(v.before), int64(v.hours))
		}
		if s.leaves && s.visits[allScenes] == nil {
			visitors = append(visitors, departureRow(counted.zone, p, s.left)...)
		}
		if s.follows {
			followers = append(followers, p[:], int64(s.follower.scene), s.follower.at)
		}
	}
	if err := t.erase(gone); err != nil {
		return err
	}
	if err := t.insert(visitorTable, visitors); err != nil {
		return err
	}
	if err := t.insert(followerTable, followers); err != nil {
		return err
	}
	return t.saveCounts(counted)
}

func (t *tx) saveCounts(counted *tally) error {
	var hours, days, people []any
	for key, c := range counted.hours {
		hours = append(hours, key.at, int64(key.scene), c.scans, c.newFollowers, c.people, c.lost)
	}
	for key, c := range counted.days {
		days = append(days, int64(key.day), int64(key.scene), c.scans, c.newFollowers, c.people, c.lost, c.left[0], c.left[1], c.left[2])
	}
	for key, n := range counted.people {
		if n != 0 {
			people = append(people, int64(key.day), int64(key.scene), int64(key.previous), n)
		}
	}
	if err := t.insert(hourTable, hours); err != nil {
		return err
	}
	if err := t.insert(dayTable, days); err != nil {
		return err
	}
	return t.insert(peopleTable, people)
}

// erase deletes what the database knows of people.
func (t *tx) erase(people []person) error {
	const last = ^sceneID(0) // as four bytes no scene is greater
	for len(people) > 0 {
		n := powerOfTwo(min(len(people), t.dialect.chunk(), 64))
		var ranges, persons []any
		for _, p := range people[:n] {
			ranges = append(ranges, visitorID(p, allScenes), visitorID(p, last))
			persons = append(persons, p[:])
		}
		where := strings.Repeat("id BETWEEN ? AND ? OR ", n)
		if err := t.exec(t.dialect.sql("DELETE FROM scanstats_visitor WHERE "+strings.TrimSuffix(where, " OR ")), ranges...); err != nil {
			return err
		}
		var list strings.Builder
		t.dialect.placeholders(&list, 0, n)
		if err := t.exec("DELETE FROM scanstats_follower WHERE person IN "+list.String(), persons...); err != nil {
			return err
		}
		people = people[n:]
	}
	return nil
}
