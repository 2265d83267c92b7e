package callback

import (
	"maps"
	"slices"
	"time"
)

// A recent keeps values for a while, and of those that are too many the newest. It
// is not safe for concurrent use; it has no goroutine, and forgets when it is used.
type recent[K comparable, V any] struct {
	limit   int // of all costs together
	cost    int
	entries map[K]recentEntry[V]
	peak    int         // of entries, since the map was made
	queue   []queued[K] // in the order in which they came
	head    int         // of queue
}

type recentEntry[V any] struct {
	value   V
	cost    int
	expires time.Duration // on the clock of whoever calls
}

type queued[K comparable] struct {
	key     K
	expires time.Duration
}

func newRecent[K comparable, V any](limit int) recent[K, V] {
	return recent[K, V]{limit: limit, entries: make(map[K]recentEntry[V])}
}

// get returns the value of key, up to and including the time at which it expires.
func (r *recent[K, V]) get(key K, now time.Duration) (value V, ok bool) {
	e, ok := r.entries[key]
	if !ok || now > e.expires {
		var none V
		return none, false
	}
	return e.value, true
}

// put keeps a value. It reports whether one that was still of use had to go.
func (r *recent[K, V]) put(key K, value V, cost int, now, expires time.Duration) (full bool) {
	r.cost += cost - r.entries[key].cost
	r.entries[key] = recentEntry[V]{value, cost, expires}
	r.peak = max(r.peak, len(r.entries))
	r.queue = append(r.queue, queued[K]{key, expires})
	r.forget(now)
	for r.cost > r.limit {
		full = r.pop() >= now || full
	}
	return full
}

// forget drops some of what has expired: no more at once than a push can wait for,
// and more than one push adds.
func (r *recent[K, V]) forget(now time.Duration) {
	for range 8 {
		if r.head == len(r.queue) || now <= r.queue[r.head].expires {
			return
		}
		r.pop()
	}
}

// pop drops the oldest.
func (r *recent[K, V]) pop() (expires time.Duration) {
	oldest := r.queue[r.head]
	r.queue[r.head] = queued[K]{}
	r.head++
	if e, ok := r.entries[oldest.key]; ok && e.expires == oldest.expires { // else it came again since
		r.cost -= e.cost
		delete(r.entries, oldest.key)
	}
	if r.head >= 1024 && r.head >= len(r.queue)/2 {
		r.queue, r.head = slices.Clone(r.queue[r.head:]), 0
	}
	if r.peak >= 1024 && len(r.entries) <= r.peak/8 { // a map does not shrink by itself
		entries := make(map[K]recentEntry[V], len(r.entries))
		maps.Copy(entries, r.entries)
		r.entries, r.peak = entries, len(entries)
	}
	return oldest.expires
}
