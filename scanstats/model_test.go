package scanstats

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// burstsOfEvents returns the events of 50 days in order: users who follow, scan
// and unfollow several times within seconds, minutes and hours.
func burstsOfEvents(rng *rand.Rand, users, scenes int) []*wxqrcode.Event {
	var all []*wxqrcode.Event
	for user := range users {
		openID, follows := fmt.Sprint("o-", user), false
		at := now.AddDate(0, 0, -50)
		for at = at.Add(time.Duration(rng.IntN(5*24*3600)) * time.Second); at.Before(now); {
			scene := fmt.Sprint("poster-", rng.IntN(scenes))
			switch n := rng.IntN(10); {
			case !follows && n == 0:
				all, follows = append(all, followed(openID, "", at)), true
			case !follows:
				all, follows = append(all, followed(openID, scene, at)), true
			case n < 4:
				all, follows = append(all, unfollowed(openID, at)), false
			default:
				all = append(all, scanned(openID, scene, at))
			}
			pause := []int{20, 20, 900, 4 * 3600, 12 * 24 * 3600}[rng.IntN(5)]
			at = at.Add(time.Duration(1+rng.IntN(pause)) * time.Second)
		}
	}
	slices.SortStableFunc(all, func(a, b *wxqrcode.Event) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return all
}

// The proof that counts are exact in any order of arrival: four writers record
// events of which a third arrives late, with purges in between, and each cell of
// the report is what a model counts from the sorted events.
func TestStore_CountsAreExactInAnyOrder(t *testing.T) {
	for _, late := range []time.Duration{0, 20 * time.Second, 10 * time.Minute, 20 * time.Hour, 60 * time.Hour} {
		for _, dialect := range dialects {
			t.Run(fmt.Sprint(late, " late, ", dialect), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(late), 1))
				users, purgeInterval := 25, 1
				if dialect != SQLite { // servers are slower, and count with the same code
					users, purgeInterval = 8, 10
				}
				n := model{zone{shanghai}, burstsOfEvents(rng, users, 3)}
				type arrival struct {
					at    time.Time
					event *wxqrcode.Event
				}
				var arrivals []arrival
				for _, e := range n.events {
					at := e.CreatedAt
					if late > 0 && rng.IntN(3) == 0 {
						at = at.Add(time.Duration(rng.Int64N(int64(late))))
					}
					arrivals = append(arrivals, arrival{at, e})
				}
				slices.SortStableFunc(arrivals, func(a, b arrival) int { return a.at.Compare(b.at) })

				d := newDatabase(t, dialect)
				clock := now.AddDate(0, 0, -51)
				var writers []*Store
				for range 4 {
					s := newTestStore(t, d, testConfig())
					s.now = func() time.Time { return clock }
					writers = append(writers, s)
				}
				day := 0
				for part := range slices.Chunk(arrivals, 16) {
					clock = part[len(part)-1].at
					var all sync.WaitGroup
					for i, a := range part {
						all.Go(func() { assert.NoError(t, writers[i%4].Record(t.Context(), a.event)) })
					}
					all.Wait()
					if clock.YearDay() >= day+purgeInterval {
						day = clock.YearDay()
						require.NoError(t, writers[0].purge(t.Context()))
					}
				}
				clock = now
				wrong, cells := n.compare(t, writers[1])
				t.Logf("%d events, %d of %d cells are wrong", len(n.events), wrong, cells)
				assert.Zero(t, wrong)
			})
		}
	}
}

// compare compares the report of each day, week and hour with the model and
// returns how many cells differ.
func (n model) compare(t *testing.T, s *Store) (wrong, cells int) {
	t.Helper()
	check := func(want, got Counts) {
		cells++
		if want != got {
			wrong++
		}
	}
	for _, q := range []Query{{Interval: Day, From: now.AddDate(0, 0, -50)}, {Interval: Week, From: now.AddDate(0, 0, -50)}, {Interval: Hour, From: now.AddDate(0, 0, -6)}} {
		q.PerScene = true
		r, err := s.Report(t.Context(), q)
		require.NoError(t, err)
		coded := func(scene string) bool { return scene != "" }
		retention := q.Interval != Hour
		check(n.counts(coded, r.From, r.To, true), r.Total)
		check(n.counts(func(scene string) bool { return scene == "" }, r.From, r.To, true), r.Unattributed)
		for _, b := range r.Buckets {
			check(n.counts(coded, b.Start, b.End, retention), b.Counts)
		}
		for _, scene := range r.Scenes {
			one := func(name string) bool { return name == scene.Scene }
			check(n.counts(one, r.From, r.To, true), scene.Counts)
			for _, b := range scene.Buckets {
				check(n.counts(one, b.Start, b.End, retention), b.Counts)
			}
		}
	}
	return wrong, cells
}

// The law of compact: for every later event, the compacted history counts the
// same difference as the whole one.
func FuzzHistory_Compact(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed, int64(5), int64(3))
	}
	f.Fuzz(func(t *testing.T, seed uint64, settled, forgotten int64) {
		rng := rand.New(rand.NewPCG(seed, 2))
		const hours = 200
		settled, forgotten = int64(uint64(settled)%hours)*secondsPerHour+1e9, int64(uint64(forgotten)%hours)*secondsPerHour+1e9
		randomEvent := func(earliest int64) event {
			e := event{kind: follow + kind(rng.IntN(3)), at: earliest + rng.Int64N(1e9+hours*secondsPerHour-earliest), scene: firstScene + sceneID(rng.IntN(2))}
			if e.kind == unfollow || e.kind == follow && rng.IntN(4) == 0 {
				e.scene = noScene
			}
			return e
		}
		var whole history
		for range rng.IntN(30) {
			whole = whole.insert(randomEvent(1e9))
		}
		compacted := whole.compact(settled, forgotten)
		assert.LessOrEqual(t, len(compacted), len(whole)+4)
		assert.True(t, slices.Equal(compacted, decodeHistory(compacted.encode())), "encoding")
		assert.True(t, slices.Equal(compacted, compacted.compact(settled, forgotten)), "once is enough")

		// Events can still arrive after settled and after the last unfollow before forgotten.
		earliest := settled
		for _, e := range whole {
			if e.kind == unfollow && e.at < forgotten {
				earliest = max(earliest, e.at+1)
			}
		}
		if len(compacted) == 0 { // deleted: later events are those of a new user
			return
		}
		difference := func(before, after history) map[string]int64 {
			a := newAggregator(zone{shanghai})
			a.count(after, 1)
			a.count(before, -1)
			d := map[string]int64{}
			for key, c := range a.hours {
				d[fmt.Sprint("hour ", key)] = c.scans + 1000*c.newFollowers + 1e6*c.uniqueUsers + 1e9*c.unfollows
			}
			for key, c := range a.days {
				d[fmt.Sprint("day ", key)] = c.scans + 1000*c.newFollowers + 1e6*c.uniqueUsers + 1e9*c.unfollows + 1e12*(c.unfollowed[0]+100*c.unfollowed[1]+10000*c.unfollowed[2])
			}
			for key, n := range a.unique {
				d[fmt.Sprint("unique ", key)] = n
			}
			for key, n := range d {
				if n == 0 {
					delete(d, key)
				}
			}
			return d
		}
		longer, shorter := whole, compacted
		for range 1 + rng.IntN(4) {
			e := randomEvent(earliest)
			longer, shorter = longer.insert(e), shorter.insert(e)
		}
		assert.Equal(t, difference(whole, longer), difference(compacted, shorter))
		assert.True(t, slices.IsSortedFunc(longer, func(a, b event) int { return cmp.Compare(a.at, b.at) }))
	})
}
