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

// A poster is a code of the month that is made up.
type poster struct {
	scene     string
	label     scanstats.Label
	perDay    float64 // scans
	weekend   float64 // as often as on a weekday
	fades     float64 // how much of that is lost until the end of the month
	returning float64 // how many of the scans are by followers
	leaving   float64 // how many of the new followers leave
}

// The posters: the first is the best, and of those whom the flyer brings most do not stay.
var posters = []poster{
	{"poster-1", scanstats.Label{Name: "南京路步行街", Group: "上海"}, 34, 1.8, 0, 0.30, 0.10},
	{"poster-2", scanstats.Label{Name: "徐家汇地铁站", Group: "上海"}, 19, 0.9, 0, 0.35, 0.15},
	{"poster-3", scanstats.Label{Name: "三里屯太古里", Group: "北京"}, 16, 1.9, 0, 0.25, 0.16},
	{"poster-4", scanstats.Label{Name: "Airport T3", Group: "北京"}, 10, 1.2, 0, 0.10, 0.24},
	{"flyer-1", scanstats.Label{Name: "Win a phone!", Group: "Flyers"}, 36, 0.7, 0.9, 0.05, 0.70},
	{"parcel-1", scanstats.Label{Name: "包裹卡 Parcel card", Group: "Online"}, 13, 1.1, 0, 0.75, 0.05},
}

// recordMonth records the events of a month, and what its posters are called. It is the same
// for everybody who begins on that day.
func recordMonth(ctx context.Context, stats *scanstats.Store, from time.Time) error {
	for _, p := range posters {
		if err := stats.Label(ctx, p.scene, p.label); err != nil {
			return err
		}
	}
	return recordAll(ctx, stats, makeUpMonth(from, time.Now()))
}

// recordAll records events as they come from many people at once; those of each of them come in
// their order.
func recordAll(ctx context.Context, stats *scanstats.Store, people [][]*wxqrcode.Event) error {
	const atATime = 250
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan []*wxqrcode.Event)
	var wg sync.WaitGroup
	for range atATime {
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
	for _, events := range people {
		queue <- events
	}
	close(queue)
	wg.Wait()
	return context.Cause(ctx)
}

// A month makes events up.
type month struct {
	random *rand.Rand
	now    time.Time
	people [][]*wxqrcode.Event // by person
	stay   [][]int             // by poster: those whom it brought on earlier days and who stay
}

// makeUpMonth returns what everybody did from a day on until now, in order. It begins some days earlier, so that
// there are followers on the first day.
func makeUpMonth(from, now time.Time) [][]*wxqrcode.Event {
	const before, days = 4, 34
	m := &month{
		random: rand.New(rand.NewPCG(20261121, 20)), //nolint:gosec // G404: the same month each time
		now:    now, stay: make([][]int, len(posters)),
	}
	for n := range days {
		day := from.AddDate(0, 0, n-before)
		came := make([][]int, len(posters))
		for i, p := range posters {
			for range m.scansOn(p, day, float64(n)/days) {
				came[i] = append(came[i], m.scan(i, day)...)
			}
		}
		for range 1 + m.random.IntN(5) {
			m.follow(m.timeOn(day), "", 0.1)
		}
		for i := range posters {
			m.stay[i] = append(m.stay[i], came[i]...)
		}
	}
	for _, events := range m.people {
		slices.SortFunc(events, func(a, b *wxqrcode.Event) int { return cmp.Compare(a.CreatedAt.Unix(), b.CreatedAt.Unix()) })
	}
	return m.people
}

// scansOn returns how often a poster is scanned on a day, of which this part of the month has passed.
func (m *month) scansOn(p poster, day time.Time, passed float64) int {
	n := p.perDay * (1 - p.fades*passed) * (0.85 + 0.3*m.random.Float64())
	if day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
		n *= p.weekend
	}
	return int(n + 0.5)
}

// scan lets somebody scan a poster, and returns them if they are new and stay.
func (m *month) scan(poster int, day time.Time) (came []int) {
	p, at := posters[poster], m.timeOn(day)
	if known := m.stay[poster]; len(known) > 0 && m.random.Float64() < p.returning {
		m.happen(known[m.random.IntN(len(known))], at, wxqrcode.EventScan, p.scene)
		return nil
	}
	person, stays := m.follow(at, "qrscene_"+p.scene, p.leaving)
	if !stays {
		return nil
	}
	return []int{person}
}

// follow adds somebody new. Some leave again, most of them soon.
func (m *month) follow(at time.Time, key string, leaving float64) (person int, stays bool) {
	person = len(m.people)
	m.people = append(m.people, nil)
	m.happen(person, at, wxqrcode.EventSubscribe, key)
	if m.random.Float64() >= leaving {
		return person, true
	}
	wait := m.random.Float64()
	m.happen(person, at.Add(time.Minute+time.Duration(wait*wait*wait*20*24*float64(time.Hour))), wxqrcode.EventUnsubscribe, "")
	return person, false
}

// timeOn returns a time of a day: at lunch, in the evening, or at any other time from 8 to 23.
func (m *month) timeOn(day time.Time) time.Time {
	hour := 8 + 15*m.random.Float64()
	switch kind := m.random.Float64(); {
	case kind < 0.25:
		hour = 11.5 + 2*m.random.Float64()
	case kind < 0.65:
		hour = 17.5 + 3.5*m.random.Float64()
	}
	return day.Add(time.Duration(hour * float64(time.Hour))).Truncate(time.Second)
}

// happen adds an event, unless it is still to come.
func (m *month) happen(person int, at time.Time, what wxqrcode.EventType, key string) {
	if at.After(m.now) {
		return
	}
	m.people[person] = append(m.people[person], &wxqrcode.Event{
		ToUserName: "gh_demo", OpenID: fmt.Sprintf("oDemo%023d", person), CreatedAt: at, MsgType: "event", Type: what, EventKey: key,
	})
}
