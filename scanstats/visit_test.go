package scanstats

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// model counts in the plain way: it keeps all visits.
type model map[day]map[int]bool

func (m model) add(d day, hour int) change {
	c := change{newDay: m[d] == nil, newHour: !m[d][hour]}
	if c.newDay {
		for other := range m {
			if other < d && other > c.previous {
				c.previous = other
			}
			if other > d && (c.next == 0 || other < c.next) {
				c.next = other
			}
		}
		m[d] = map[int]bool{}
	}
	m[d][hour] = true
	return c
}

// rollUp is the table of people.
type rollUp map[[2]day]int

func (r rollUp) add(d day, c change) {
	if !c.newDay {
		return
	}
	r[[2]day{d, c.previous}]++
	if c.next != 0 {
		r[[2]day{c.next, c.previous}]--
		r[[2]day{c.next, d}]++
	}
}

func (r rollUp) people(from, to day) (n int) {
	for key, count := range r {
		if key[0] >= from && key[0] <= to && key[1] < from {
			n += count
		}
	}
	return n
}

func TestVisitsCountAsIfAllWereKept(t *testing.T) {
	for name, tt := range map[string]struct{ days, scans int }{
		"close together": {70, 200},
		"far apart":      {400, 40},
		"a few":          {2000, 8},
	} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			for range 300 {
				var v visits
				all, counted := model{}, rollUp{}
				now := day(20000)
				for range tt.scans {
					// The clock goes on, and some scans come late, by less than what is kept.
					now += day(rng.IntN(1 + 2*tt.days/tt.scans))
					d := now
					if rng.IntN(3) == 0 {
						d -= day(rng.IntN(daysKept))
					}
					late := v.last > d
					hour := rng.IntN(25)
					want, got := all.add(d, hour), v.add(d, hour)
					if late && !want.newDay {
						want.newHour = false // the hours of a day that is over are not kept
					}
					require.Equal(t, want, got)
					counted.add(d, got)
				}
				days := slices.Sorted(func(yield func(day) bool) {
					for d := range all {
						if !yield(d) {
							return
						}
					}
				})
				for _, from := range days {
					require.Equal(t, 1, counted.people(from, from))
					require.Equal(t, 1, counted.people(from-30, from))
					require.Equal(t, 1, counted.people(from, days[len(days)-1]))
				}
				require.Equal(t, 0, counted.people(days[0]-1000, days[0]-1))
			}
		})
	}
}

func TestVisitsThatComeVeryLate(t *testing.T) {
	v := visits{}
	v.add(20000, 0)
	v.add(20200, 0)
	require.Equal(t, day(20000), v.before)
	require.Equal(t, change{newDay: true, newHour: true, previous: 20000, next: 20200}, v.add(20100, 3), "between the days kept and the one before them")
	require.Equal(t, day(20100), v.before)
	require.Equal(t, change{}, v.add(20100, 3), "known")
	require.Equal(t, change{}, v.add(20050, 3), "older than anything known")
	require.Equal(t, visits{last: 20200, days: 1, before: 20100, hours: 1}, v)
}
