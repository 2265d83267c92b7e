package scanstats

// A kind is the kind of an event.
type kind byte

// The kinds, in the order of events in one second.
const (
	pastUnfollow kind = iota + 1 // what remains of compacted events
	pastFollow
	pastVisit
	follow   // a user followed, by a code if there is a scene
	scan     // a follower scanned a code
	unfollow // a user unfollowed
	forget   // the user's data is to be deleted
)

func (k kind) isSummary() bool { return k < follow }

// An entry is an event as it is counted and spooled: without an OpenID.
type entry struct {
	kind   kind
	at     int64 // Unix seconds
	person personHash
	id     eventID // none for forget
	scene  string  // empty for none
}

// An aggregator collects what entries change in the counts.
type aggregator struct {
	zone    zone
	sceneID map[string]sceneID
	persons map[personHash]*personState

	hours  map[hourKey]*counts
	days   map[dayKey]*dayCounts
	unique map[uniqueKey]int64

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
	uniqueKey struct {
		day      day
		scene    sceneID
		previous day
	}
	counts    struct{ scans, newFollowers, uniqueUsers, unfollows int64 }
	dayCounts struct {
		counts
		unfollowed [3]int64 // new followers of the day who unfollowed within retentionDays
	}
)

// retentionDays are the days of Counts.Retention.
var retentionDays = [3]int{1, 7, 30}

// A personState is the history of a person: as it is in the database, and with
// the entries.
type personState struct{ stored, current history }

func newAggregator(z zone) *aggregator {
	return &aggregator{
		zone: z, sceneID: make(map[string]sceneID), persons: make(map[personHash]*personState),
		hours: make(map[hourKey]*counts), days: make(map[dayKey]*dayCounts), unique: make(map[uniqueKey]int64),
		moments: make(map[int64]moment),
	}
}

// add adds an entry to the history of its person.
func (a *aggregator) add(e entry) {
	s := at(a.persons, e.person)
	if e.kind == forget {
		a.finish(s)
		s.stored, s.current = nil, nil
		return
	}
	scene := noScene
	if e.scene != "" {
		scene = a.sceneID[e.scene]
	}
	s.current = s.current.insert(event{e.kind, e.at, scene})
}

// finish counts the difference that the entries of a person make.
func (a *aggregator) finish(s *personState) {
	a.count(s.current, 1)
	a.count(s.stored, -1)
}

// count adds n times what a history counts for.
func (a *aggregator) count(h history, n int64) {
	var past summary
	for _, r := range h {
		switch {
		case r.kind.isSummary(): // counted before
		case past.precedes(r):
			a.countLate(r, n)
		case r.kind == scan:
			a.countVisit(&past, r, n)
		case r.kind == follow:
			a.addTo(r.scene, r.at, counts{newFollowers: n})
			if past.follower.at != 0 { // the unfollow in between was lost, or is late
				a.countUnfollow(past.follower, r.at, n)
			}
			if r.scene != noScene {
				a.countVisit(&past, r, n)
			}
		case r.kind == unfollow:
			a.countUnfollow(past.follower, r.at, n)
		}
		past.add(r)
	}
}

// countLate counts an event before an unfollow whose events are no longer known.
func (a *aggregator) countLate(r event, n int64) {
	switch r.kind {
	case follow:
		a.addTo(r.scene, r.at, counts{newFollowers: n})
		if r.scene != noScene {
			a.addTo(r.scene, r.at, counts{scans: n})
		}
	case scan:
		a.addTo(r.scene, r.at, counts{scans: n})
	case unfollow:
		a.addTo(noScene, r.at, counts{unfollows: n})
	}
}

// countVisit counts a scan, and the user if it is the first one of the day or of
// the hour.
func (a *aggregator) countVisit(past *summary, r event, n int64) {
	m := a.moment(r.at)
	for _, scene := range [...]sceneID{r.scene, allScenes} {
		hour, day := a.hour(m, scene), a.day(m.day, scene)
		hour.scans += n
		day.scans += n
		previous := past.visit(scene, r.at)
		if previous > r.at { // r is older than Config.DedupWindow: its hour and day are unknown
			continue
		}
		var before moment
		if previous != 0 {
			before = a.moment(previous)
		}
		if before.at != m.at {
			hour.uniqueUsers += n
		}
		if before.day != m.day {
			day.uniqueUsers += n
			a.unique[uniqueKey{m.day, scene, before.day}] += n
		}
	}
}

// countUnfollow counts an unfollow for the scene that brought the follower, which
// is unknown if the follow is.
func (a *aggregator) countUnfollow(followed event, at, n int64) {
	if followed.at == 0 {
		a.addTo(noScene, at, counts{unfollows: n})
		return
	}
	a.addTo(followed.scene, at, counts{unfollows: n})
	for i, days := range retentionDays {
		if at-followed.at >= int64(days)*24*secondsPerHour {
			continue
		}
		day := a.moment(followed.at).day
		for _, scene := range withAllScenes(followed.scene) {
			a.day(day, scene).unfollowed[i] += n
		}
	}
}

// addTo adds counts to a scene and to all scenes together, by hour and by day.
func (a *aggregator) addTo(scene sceneID, at int64, c counts) {
	m := a.moment(at)
	for _, id := range withAllScenes(scene) {
		a.hour(m, id).add(c)
		a.day(m.day, id).add(c)
	}
}

// withAllScenes returns the ids under which a count of a scene is stored.
func withAllScenes(scene sceneID) []sceneID {
	if scene == noScene {
		return []sceneID{noScene}
	}
	return []sceneID{scene, allScenes}
}

func (c *counts) add(o counts) {
	c.scans += o.scans
	c.newFollowers += o.newFollowers
	c.uniqueUsers += o.uniqueUsers
	c.unfollows += o.unfollows
}

func (a *aggregator) hour(m moment, scene sceneID) *counts { return at(a.hours, hourKey{m.at, scene}) }

func (a *aggregator) day(d day, scene sceneID) *dayCounts { return at(a.days, dayKey{d, scene}) }

// at returns the value of a key, and creates it if there is none.
func at[K comparable, V any](m map[K]*V, key K) *V {
	v := m[key]
	if v == nil {
		v = new(V)
		m[key] = v
	}
	return v
}

func (a *aggregator) moment(unix int64) moment {
	const quarter = secondsPerHour / 4
	m, ok := a.moments[unix/quarter]
	if !ok {
		m = a.zone.moment(unix)
		a.moments[unix/quarter] = m
	}
	return m
}
