package scanstats

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// A naive report is made in the plain way, of all events.
type model struct {
	zone   zone
	events []*wxqrcode.Event
}

// counts returns what a report must say of the scenes that in accepts, from one time to
// another, both beginnings of days or hours.
func (n model) counts(in func(scene string) bool, from, to time.Time, withStays bool) Counts {
	c := Counts{Retention: emptyRetention()}
	users := map[string]bool{}
	cameBy := map[string]*wxqrcode.Event{}
	within := func(t time.Time) bool { return !t.Before(from) && t.Before(to) }
	id := map[string]int{} // somebody who left is somebody else when they come back
	who := func(e *wxqrcode.Event) string { return fmt.Sprint(e.OpenID, "/", id[e.OpenID]) }
	type stay struct {
		came time.Time
		left time.Time
	}
	var stays []*stay
	current := map[string]*stay{}
	for _, e := range n.events {
		scene, _ := e.SceneKey()
		if e.Type != wxqrcode.EventUnsubscribe && scene != "" && in(scene) && within(e.CreatedAt) {
			c.Scans++
			if e.Type == wxqrcode.EventScan {
				c.ScansByFollowers++
			}
			users[who(e)] = true
		}
		switch e.Type {
		case wxqrcode.EventSubscribe:
			cameBy[e.OpenID] = e
			delete(current, e.OpenID)
			if !in(scene) || !within(e.CreatedAt) {
				break
			}
			c.NewFollowers++
			current[e.OpenID] = &stay{came: e.CreatedAt, left: now.AddDate(1, 0, 0)}
			stays = append(stays, current[e.OpenID])
		case wxqrcode.EventUnsubscribe:
			scene := ""
			if came := cameBy[e.OpenID]; came != nil {
				scene, _ = came.SceneKey()
			}
			if in(scene) && within(e.CreatedAt) {
				c.Unfollows++
			}
			if s := current[e.OpenID]; s != nil {
				s.left = e.CreatedAt
			}
			delete(cameBy, e.OpenID)
			delete(current, e.OpenID)
			id[e.OpenID]++
		}
	}
	c.UniqueUsers = int64(len(users))
	c.NetFollowers = c.NewFollowers - c.Unfollows
	for _, s := range stays {
		for i, days := range retentionDays {
			dayEnds := n.zone.start(n.zone.dayOf(s.came) + 1)
			if !withStays || dayEnds.AddDate(0, 0, days).After(now) {
				continue
			}
			c.Retention[i].Cohort++
			if s.left.Sub(s.came) >= time.Duration(days)*24*time.Hour {
				c.Retention[i].Retained++
			}
		}
	}
	return c
}

// history makes events of 70 days, in order.
func makeEvents(people, scenes, events int) []*wxqrcode.Event {
	rng := rand.New(rand.NewPCG(7, 7))
	all := make([]*wxqrcode.Event, 0, events)
	follows := map[string]bool{}
	begin := now.AddDate(0, 0, -70)
	step := now.Sub(begin) / time.Duration(events)
	for i := range events {
		// Distinct seconds, so that the order is certain.
		at := begin.Add(time.Duration(i) * step).Truncate(time.Second)
		openID, scene := fmt.Sprint("o-", rng.IntN(people)), fmt.Sprint("poster-", rng.IntN(scenes))
		switch n := rng.IntN(10); {
		case !follows[openID] && n == 0:
			scene = "" // found by search
			fallthrough
		case !follows[openID]:
			all = append(all, followed(openID, scene, at))
			follows[openID] = true
		case n < 3:
			all = append(all, unfollowed(openID, at))
			follows[openID] = false
		default:
			all = append(all, scanned(openID, scene, at))
		}
	}
	return all
}

func TestStore_ReportMatchesModel(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			c := testConfig()
			c.DedupWindow = 100 * 24 * time.Hour
			s := newTestStore(t, d, c)
			n := model{zone{shanghai}, makeEvents(60, 5, 4000)}
			entries := make([]entry, 0, len(n.events))
			for _, e := range n.events {
				entry, ok, err := s.entry(e)
				require.NoError(t, err)
				require.True(t, ok)
				entries = append(entries, entry)
			}
			for some := range slices.Chunk(entries, 37) {
				require.NoError(t, s.apply(t.Context(), some))
			}

			coded := func(scene string) bool { return scene != "" }
			for _, q := range []Query{
				{From: now.AddDate(0, 0, -80)},
				{},
				{Interval: Week},
				{Interval: Month, From: now.AddDate(0, 0, -65), To: now.AddDate(0, 0, -3)},
				{Interval: Hour, From: now.AddDate(0, 0, -9), To: now.AddDate(0, 0, -5)},
				{Interval: Day, From: now, To: now},
			} {
				t.Run(fmt.Sprint(q.Interval, q.From.Day(), q.To.Day()), func(t *testing.T) {
					q.PerScene = true
					r, err := s.Report(t.Context(), q)
					require.NoError(t, err)
					assert.Equal(t, n.counts(coded, r.From, r.To, true), r.Total, "total")
					other := n.counts(func(scene string) bool { return scene == "" }, r.From, r.To, true)
					assert.Equal(t, other, r.Unattributed, "other")
					stays := r.Interval != Hour
					require.NotEmpty(t, r.Buckets)
					require.Equal(t, r.From, r.Buckets[0].Start)
					require.Equal(t, r.To, r.Buckets[len(r.Buckets)-1].End)
					for i, b := range r.Buckets {
						require.Equal(t, n.counts(coded, b.Start, b.End, stays), b.Counts, "all scenes from %v to %v", b.Start, b.End)
						require.True(t, i == 0 || r.Buckets[i-1].End.Equal(b.Start), "no gaps")
					}
					require.Len(t, r.Scenes, 5)
					require.True(t, slices.IsSortedFunc(r.Scenes, func(a, b SceneReport) int { return cmp.Compare(b.Scans, a.Scans) }))
					for _, scene := range r.Scenes {
						one := func(name string) bool { return name == scene.Scene }
						require.Equal(t, n.counts(one, r.From, r.To, true), scene.Counts, scene.Scene)
						for _, b := range scene.Buckets {
							require.Equal(t, n.counts(one, b.Start, b.End, stays), b.Counts, "%s from %v to %v", scene.Scene, b.Start, b.End)
						}
					}

					q.PerScene = false
					q.Scenes = []string{"poster-1"}
					alone, err := s.Report(t.Context(), q)
					require.NoError(t, err)
					one := func(name string) bool { return name == "poster-1" }
					assert.Equal(t, n.counts(one, r.From, r.To, true), alone.Total)
					for _, b := range alone.Buckets {
						require.Equal(t, n.counts(one, b.Start, b.End, stays), b.Counts)
					}
				})
			}
		})
	}
}
