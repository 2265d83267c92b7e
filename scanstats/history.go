package scanstats

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"
)

// Why counts do not depend on the order in which events arrive
//
// A user's events, sorted by time, fall into eras: an unfollow ends one, because
// it deletes the user's data, and a user who returns is a new one. Within an
// era, each first visit of a day to a scene adds one user to the row (day, scene,
// previous day) of scanstats_unique; the previous day is that of the visit
// before, or 0. The users of any range of days are then the sum of the rows whose
// day is in the range and whose previous day is before it: each era with a visit
// in the range has exactly one such row, that of its first visit in the range.
//
// All counts of a user are a function of the sorted events: aggregator.count. A
// late event changes the rows of later events too. So the database stores
// the events of each user as long as an earlier one can arrive, and an event changes
// the counts by
//
//	count(history with the event) - count(history without it)
//
// which is exact in any order, for any number of writers, because one of them
// writes at a time. compact shortens a history without changing that difference
// for any event that can still arrive:
//
//   - An event older than Config.DedupWindow is rejected, so of older events only
//     the last visit to each scene and the follow remain.
//   - The daily purge leaves nothing of the events before an unfollow that is older
//     than unfollowRetention but the time of the unfollow, and deletes the row if
//     nothing follows it. An event that arrives still later counts as a scan, a new
//     follower or an unfollow, but not exactly as a user: see Store.Record.
//   - Of more than maxHistory events the older half is compacted likewise.

// A history is what is known about a user: what remains of compacted events,
// then the events in order.
type history []event

// An event is what a user did, or what remains of several events.
type event struct {
	kind  kind
	at    int64 // Unix seconds
	scene sceneID
}

const (
	unfollowRetention = 3 * 24 * time.Hour // how long the events before an unfollow are stored
	maxHistory        = 400                // events
)

// insert returns the history with another event.
func (h history) insert(e event) history {
	i, _ := slices.BinarySearchFunc(h, e, func(a, b event) int {
		return cmp.Or(cmp.Compare(min(a.kind, follow), min(b.kind, follow)), cmp.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind), cmp.Compare(a.scene, b.scene))
	})
	return slices.Insert(slices.Clip(h), i, e)
}

// compact replaces the events before settled, and all events up to an unfollow
// before forgotten, by what remains of them. The result counts the same for every
// event that can still arrive. It is empty if nothing needs to be stored.
func (h history) compact(settled, forgotten int64) history {
	if len(h) > maxHistory {
		settled = max(settled, h[len(h)-maxHistory/2].at)
	}
	end := 0 // of the events to replace
	var summary summary
	for i, r := range h {
		switch {
		case r.kind.isSummary() || r.at < settled:
			summary.add(r)
			end = i + 1
		case r.kind == unfollow && r.at < forgotten:
			for _, r := range h[end : i+1] {
				summary.add(r)
			}
			end = i + 1
		}
	}
	if end == 0 {
		return h
	}
	if end == len(h) && summary.follower == (event{}) && len(summary.visits) == 0 {
		return nil
	}
	return append(summary.events(), h[end:]...)
}

// A summary is what remains of the events of a history.
type summary struct {
	unfollow event   // the last unfollow
	follower event   // the follow that made the user a follower
	visits   []event // the last visit to each scene, and to any
}

// add takes over the next event.
func (s *summary) add(r event) {
	if !r.kind.isSummary() && s.precedes(r) {
		return
	}
	switch r.kind {
	case unfollow, pastUnfollow:
		*s = summary{unfollow: event{pastUnfollow, r.at, 0}}
	case pastFollow:
		s.follower = r
	case pastVisit:
		s.visit(r.scene, r.at)
	case follow:
		s.follower = event{pastFollow, r.at, r.scene}
		if r.scene != noScene {
			s.visit(r.scene, r.at)
			s.visit(allScenes, r.at)
		}
	case scan:
		s.visit(r.scene, r.at)
		s.visit(allScenes, r.at)
	}
}

// precedes reports whether r is before the last unfollow, and so late.
func (s *summary) precedes(r event) bool { return s.unfollow.at != 0 && r.at <= s.unfollow.at }

// visit replaces the last visit to a scene and returns the time of the one
// before, 0 if there is none.
func (s *summary) visit(scene sceneID, at int64) (previous int64) {
	for i, v := range s.visits {
		if v.scene == scene {
			s.visits[i].at = max(at, v.at)
			return v.at
		}
	}
	s.visits = append(s.visits, event{pastVisit, at, scene})
	return 0
}

func (s *summary) events() history {
	var h history
	if s.unfollow != (event{}) {
		h = append(h, s.unfollow)
	}
	if s.follower != (event{}) {
		h = append(h, s.follower)
	}
	return append(h, s.visits...)
}

// lastAt returns the time of the last event, and unfollowedAt that of the first
// unfollow whose events are still stored, 0 if there is none.
func (h history) lastAt() (at int64) {
	for _, r := range h {
		at = max(at, r.at)
	}
	return at
}

func (h history) unfollowedAt() int64 {
	for _, r := range h {
		if r.kind == unfollow {
			return r.at
		}
	}
	return 0
}

// eventSize is the length of an encoded event: kind, time and scene.
const eventSize = 1 + 8 + 4

// encode returns the history as it is stored.
func (h history) encode() []byte {
	b := make([]byte, 0, len(h)*eventSize)
	for _, r := range h {
		b = append(b, byte(r.kind))
		b = binary.BigEndian.AppendUint64(b, uint64(r.at))
		b = binary.BigEndian.AppendUint32(b, uint32(r.scene))
	}
	return b
}

func decodeHistory(b []byte) history {
	h := make(history, 0, len(b)/eventSize+1)
	for ; len(b) >= eventSize; b = b[eventSize:] {
		h = append(h, event{kind(b[0]), int64(binary.BigEndian.Uint64(b[1:])), sceneID(binary.BigEndian.Uint32(b[9:]))})
	}
	return h
}
