package scanstats

// A kind is what an entry tells.
type kind byte

const (
	scan   kind = iota + 1 // a follower scanned a code
	follow                 // somebody followed, by a code if there is a scene
	leave                  // somebody unfollowed
	forget                 // nobody wants to know them any more
)

// An entry is an event as it is counted, and as it stands in the journal: without an
// OpenID.
type entry struct {
	kind   kind
	at     int64 // Unix seconds
	person person
	id     eventID // none for forget
	scene  string  // "" for none
}

// A tally counts entries: it knows what the database knows of those who are in them, and
// collects what becomes of it.
type tally struct {
	zone    zone
	sceneID map[string]sceneID
	persons map[person]*state

	hours  map[hourKey]*counts
	days   map[dayKey]*dayCounts
	people map[peopleKey]int64

	moments map[int64]moment // by quarters of an hour, which no offset of a zone splits
}

type (
	hourKey struct {
		at    int64
		scene sceneID
	}
	dayKey struct {
		day   day
		scene sceneID
	}
	peopleKey struct {
		day      day
		scene    sceneID
		previous day
	}
	counts    struct{ scans, newFollowers, people, lost int64 }
	dayCounts struct {
		counts
		left [3]int64 // of those who came on that day, within stayDays
	}
)

// stayDays are the days of Counts.Stayed.
var stayDays = [3]int{1, 7, 30}

// A state is what is known of a person.
type state struct {
	visits   map[sceneID]*visits
	scanned  map[sceneID]bool // those of visits that changed
	follower follower
	follows  bool // follower changed
	gone     bool // what the database knew must go
	left     departure
	leaves   bool // left changed
}

// A departure is when somebody left, in Unix seconds; 0 is never. It is known for a day or two: so long a push
// about something that they did before may come late.
type departure struct {
	at     int64
	isOpen bool // nobody knew which scene had brought them
}

// A follower came by a scene at some time, in Unix seconds; 0 is none.
type follower struct {
	scene sceneID
	at    int64
}

func newTally(z zone) *tally {
	return &tally{
		zone: z, sceneID: make(map[string]sceneID), persons: make(map[person]*state),
		hours: make(map[hourKey]*counts), days: make(map[dayKey]*dayCounts), people: make(map[peopleKey]int64),
		moments: make(map[int64]moment),
	}
}

// state returns what is known of a person.
func (t *tally) state(p person) *state {
	s := t.persons[p]
	if s == nil {
		s = &state{visits: make(map[sceneID]*visits), scanned: make(map[sceneID]bool)}
		t.persons[p] = s
	}
	return s
}

// add counts an entry.
func (t *tally) add(e entry) {
	scene := noScene
	if e.scene != "" {
		scene = t.sceneID[e.scene]
	}
	s := t.state(e.person)
	switch e.kind {
	case follow:
		t.follow(s, follower{scene, e.at})
		if scene != noScene {
			t.scan(s, scene, e.at)
		}
	case scan:
		t.scan(s, scene, e.at)
	case leave:
		t.leave(s, e.at)
	case forget:
		s.erase()
	}
}

func (t *tally) scan(s *state, scene sceneID, at int64) {
	if at <= s.left.at {
		t.count(scene, at, func(c *counts) { c.scans++ }) // whether they were among the people is forgotten
		return
	}
	m := t.moment(at)
	for _, id := range [...]sceneID{scene, allScenes} {
		v := s.visits[id]
		if v == nil {
			v = new(visits)
			s.visits[id] = v
		}
		c := v.add(m.day, m.hour)
		s.scanned[id] = true
		hour, day := t.hour(m, id), t.day(m.day, id)
		hour.scans++
		day.scans++
		if c.newHour {
			hour.people++
		}
		if c.newDay {
			day.people++
			t.people[peopleKey{m.day, id, c.previous}]++
		}
		if c.newDay && c.next != 0 { // whose previous visit is this one
			t.people[peopleKey{c.next, id, c.previous}]--
			t.people[peopleKey{c.next, id, m.day}]++
		}
	}
}

func (t *tally) follow(s *state, f follower) {
	t.count(f.scene, f.at, func(c *counts) { c.newFollowers++ })
	if f.at <= s.left.at {
		t.followLate(s, f)
		return
	}
	// Who follows twice has left in between, and the push about it was lost, or is late.
	known := s.follower
	switch {
	case known.at == 0:
	case known.at <= f.at:
		t.lose(known, f.at)
	default:
		t.lose(f, known.at)
		return
	}
	s.follower, s.follows = f, true
}

// followLate counts a follow of somebody who has left since, and of whom nothing is kept any more.
func (t *tally) followLate(s *state, f follower) {
	t.lose(f, s.left.at)
	if s.left.isOpen { // it was this one
		t.count(noScene, s.left.at, func(c *counts) { c.lost-- })
		s.left.isOpen, s.leaves = false, true
	}
	if f.scene == noScene {
		return
	}
	m := t.moment(f.at)
	for _, id := range andAll(f.scene) {
		t.hour(m, id).people++
		t.day(m.day, id).people++
		t.people[peopleKey{m.day, id, 0}]++
	}
}

func (t *tally) leave(s *state, at int64) {
	if s.follower.at > at {
		return // late: that they left was seen when they came again
	}
	isOpen := s.follower.at == 0
	if isOpen {
		t.count(noScene, at, func(c *counts) { c.lost++ }) // they came before anybody counted, or the push about it is late
	} else {
		t.lose(s.follower, at)
	}
	s.erase()
	s.left, s.leaves = departure{at, isOpen}, true
}

// lose counts a follower who left, for the scene that had brought them.
func (t *tally) lose(f follower, at int64) {
	t.count(f.scene, at, func(c *counts) { c.lost++ })
	for i, days := range stayDays {
		if at-f.at >= int64(days)*24*secondsPerHour {
			continue
		}
		came := t.moment(f.at).day
		for _, id := range andAll(f.scene) {
			t.day(came, id).left[i]++
		}
	}
}

// erase drops all that is known of a person.
func (s *state) erase() {
	clear(s.visits)
	clear(s.scanned)
	s.follower, s.follows, s.gone = follower{}, false, true
	s.left, s.leaves = departure{}, false
}

// count changes the counts of a scene, and of all together, by hour and by day.
func (t *tally) count(scene sceneID, at int64, change func(*counts)) {
	m := t.moment(at)
	for _, id := range andAll(scene) {
		change(t.hour(m, id))
		change(&t.day(m.day, id).counts)
	}
}

// andAll returns the ids for which something of a scene is counted.
func andAll(scene sceneID) []sceneID {
	if scene == noScene {
		return []sceneID{noScene}
	}
	return []sceneID{scene, allScenes}
}

func (t *tally) hour(m moment, scene sceneID) *counts { return at(t.hours, hourKey{m.at, scene}) }

func (t *tally) day(d day, scene sceneID) *dayCounts { return at(t.days, dayKey{d, scene}) }

// at returns the value of a key, and makes it if there is none.
func at[K comparable, V any](m map[K]*V, key K) *V {
	v := m[key]
	if v == nil {
		v = new(V)
		m[key] = v
	}
	return v
}

func (t *tally) moment(unix int64) moment {
	const quarter = secondsPerHour / 4
	m, ok := t.moments[unix/quarter]
	if !ok {
		m = t.zone.moment(unix)
		t.moments[unix/quarter] = m
	}
	return m
}
