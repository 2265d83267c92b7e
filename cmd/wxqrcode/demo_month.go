package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/scanstats"
)

// A poster is a code in the generated month.
type poster struct {
	scene         string
	label         scanstats.Label
	perDay        float64 // scans on a weekday
	weekend       float64 // factor on weekends
	decay         float64 // share of scans lost until the end of the month
	followerShare float64 // share of scans by followers
	unfollowRate  float64 // share of new followers who unfollow
}

// posters has a best one first, and a flyer whose new followers mostly unfollow.
var posters = []poster{
	{"poster-1", scanstats.Label{Name: "南京路步行街", Group: "上海"}, 34, 1.8, 0, 0.30, 0.10},
	{"poster-2", scanstats.Label{Name: "徐家汇地铁站", Group: "上海"}, 19, 0.9, 0, 0.35, 0.15},
	{"poster-3", scanstats.Label{Name: "三里屯太古里", Group: "北京"}, 16, 1.9, 0, 0.25, 0.16},
	{"poster-4", scanstats.Label{Name: "Airport T3", Group: "北京"}, 10, 1.2, 0, 0.10, 0.24},
	{"flyer-1", scanstats.Label{Name: "Win a phone!", Group: "Flyers"}, 36, 0.7, 0.9, 0.05, 0.70},
	{"parcel-1", scanstats.Label{Name: "包裹卡 Parcel card", Group: "Online"}, 13, 1.1, 0, 0.75, 0.05},
}

// recordMonth labels the posters and records the events of a month, which depend
// only on the first day.
func recordMonth(ctx context.Context, stats *scanstats.Store, from time.Time) error {
	for _, p := range posters {
		if err := stats.Label(ctx, p.scene, p.label); err != nil {
			return err
		}
	}
	return recordAll(ctx, stats, generateMonth(from, time.Now()))
}

// recordAll records the events of many users concurrently, those of each user in
// order.
func recordAll(ctx context.Context, stats *scanstats.Store, users [][]*wxqrcode.Event) error {
	const concurrency = 250
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan []*wxqrcode.Event)
	var wg sync.WaitGroup
	for range concurrency {
		wg.Go(func() {
			for events := range queue {
				for _, e := range events {
					if err := stats.Record(ctx, e); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	for _, events := range users {
		queue <- events
	}
	close(queue)
	wg.Wait()
	return context.Cause(ctx)
}

// A monthGenerator generates events.
type monthGenerator struct {
	random    *rand.Rand
	now       time.Time
	users     [][]*wxqrcode.Event // events by user
	followers [][]int             // users by poster that brought them on earlier days
}

// generateMonth returns the events of each user until now, in order. They begin some
// days before from, so that there are followers on the first day.
func generateMonth(from, now time.Time) [][]*wxqrcode.Event {
	const before, days = 4, 34
	m := &monthGenerator{
		random: rand.New(rand.NewPCG(20261121, 20)), //nolint:gosec // G404: the same month each time
		now:    now, followers: make([][]int, len(posters)),
	}
	for n := range days {
		day := from.AddDate(0, 0, n-before)
		newFollowers := make([][]int, len(posters))
		for i, p := range posters {
			for range m.scansOn(p, day, float64(n)/days) {
				newFollowers[i] = append(newFollowers[i], m.scan(i, day)...)
			}
		}
		for range 1 + m.random.IntN(5) {
			m.follow(m.timeOn(day), "", 0.1)
		}
		for i := range posters {
			m.followers[i] = append(m.followers[i], newFollowers[i]...)
		}
	}
	for _, events := range m.users {
		slices.SortFunc(events, func(a, b *wxqrcode.Event) int { return cmp.Compare(a.CreatedAt.Unix(), b.CreatedAt.Unix()) })
	}
	return m.users
}

// scansOn returns the number of scans of a poster on a day, when the given share of
// the month has passed.
func (m *monthGenerator) scansOn(p poster, day time.Time, passed float64) int {
	n := p.perDay * (1 - p.decay*passed) * (0.85 + 0.3*m.random.Float64())
	if day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
		n *= p.weekend
	}
	return int(n + 0.5)
}

// scan adds the scan of a poster, and returns the user if it is a new follower who
// stays.
func (m *monthGenerator) scan(poster int, day time.Time) (newFollowers []int) {
	p, at := posters[poster], m.timeOn(day)
	if followers := m.followers[poster]; len(followers) > 0 && m.random.Float64() < p.followerShare {
		m.addEvent(followers[m.random.IntN(len(followers))], at, wxqrcode.EventScan, p.scene)
		return nil
	}
	user, stays := m.follow(at, "qrscene_"+p.scene, p.unfollowRate)
	if !stays {
		return nil
	}
	return []int{user}
}

// follow adds a new follower, and perhaps an unfollow, mostly soon after.
func (m *monthGenerator) follow(at time.Time, key string, leaving float64) (user int, stays bool) {
	user = len(m.users)
	m.users = append(m.users, nil)
	m.addEvent(user, at, wxqrcode.EventSubscribe, key)
	if m.random.Float64() >= leaving {
		return user, true
	}
	wait := m.random.Float64()
	m.addEvent(user, at.Add(time.Minute+time.Duration(wait*wait*wait*20*24*float64(time.Hour))), wxqrcode.EventUnsubscribe, "")
	return user, false
}

// timeOn returns a time of a day from 8 to 23 o'clock, often around noon or in the
// evening.
func (m *monthGenerator) timeOn(day time.Time) time.Time {
	hour := 8 + 15*m.random.Float64()
	switch kind := m.random.Float64(); {
	case kind < 0.25:
		hour = 11.5 + 2*m.random.Float64()
	case kind < 0.65:
		hour = 17.5 + 3.5*m.random.Float64()
	}
	return day.Add(time.Duration(hour * float64(time.Hour))).Truncate(time.Second)
}

// addEvent adds an event, unless it is in the future.
func (m *monthGenerator) addEvent(user int, at time.Time, what wxqrcode.EventType, key string) {
	if at.After(m.now) {
		return
	}
	m.users[user] = append(m.users[user], &wxqrcode.Event{
		ToUserName: "gh_demo", OpenID: fmt.Sprintf("oDemo%023d", user), CreatedAt: at, MsgType: "event", Type: what, EventKey: key,
	})
}
