package scanstats

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An Interval is the length of a [Bucket].
type Interval string

// The intervals. Days begin in the time zone of [Store.Location], weeks on Monday.
const (
	Hour  Interval = "hour"
	Day   Interval = "day"
	Week  Interval = "week"
	Month Interval = "month"
)

// A Query selects what a [Report] contains. The zero value selects the last 30
// days, including today, by day.
//
// A query has at most [MaxDays] days, all of them from 1970-01-02 to 9999-12-30,
// and 1,500 buckets: 62 days by hour. With PerScene, scenes times buckets are at
// most 400,000. Beyond these limits, Report returns [ErrInvalidQuery].
type Query struct {
	// From and To are the first and the last day, both included: their dates in the
	// time zone of [Store.Location]. Zero: To is today, From is 29 days before To.
	From, To time.Time
	Interval Interval // zero: Day

	Scenes []string // only these scenes, named as they are counted; see [Config.SceneName]
	Group  string   // only scenes of this group; see [Store.Label]
	Search string   // only scenes whose Scene, Name or Group contains this text, ignoring case

	// Limit is the maximum length of Report.Scenes, which has the scenes with the
	// most scans. Zero: 1,000; negative: unlimited.
	Limit    int
	PerScene bool // fill SceneReport.Buckets
}

// Limits of a query.
const (
	// MaxDays is the maximum number of days of a [Query], the first and the last
	// included: about ten years.
	MaxDays = 3700

	firstDay, lastDay = day(1), day(2932895) // 1970-01-02, and 9999-12-30: times in JSON have four-digit years

	maxBuckets = 1500
	maxCells   = 400_000 // scenes times buckets
)

// isFiltered reports whether the query selects some scenes only.
func (q Query) isFiltered() bool { return len(q.Scenes) > 0 || q.Group != "" || q.Search != "" }

// filter returns a function that reports whether the query selects a scene.
func (q Query) filter() func(SceneReport) bool {
	scenes := make(map[string]bool)
	for _, scene := range q.Scenes {
		scenes[normalizeScene(scene)] = true
	}
	search := strings.ToLower(q.Search)
	return func(s SceneReport) bool {
		return (len(scenes) == 0 || scenes[s.Scene]) && (q.Group == "" || q.Group == s.Group) &&
			(search == "" || strings.Contains(strings.ToLower(s.Scene+"\x00"+s.Name+"\x00"+s.Group), search))
	}
}

// A dayRange is the range of days of a query, divided into buckets.
type dayRange struct {
	zone     zone
	interval Interval
	from     day
	to       day // the last
	buckets  []Bucket
	bucket   []int // index of the bucket of each day; not for Hour
}

// dayRange validates the query and returns its days.
func (q Query) dayRange(z zone, now time.Time) (dayRange, error) {
	for _, t := range []time.Time{q.From, q.To} {
		if !t.IsZero() && (t.Year() < 1969 || t.Year() > 9999) { // would overflow a day
			return dayRange{}, outsideCalendar(t, t)
		}
	}
	r := dayRange{zone: z, interval: cmp.Or(q.Interval, Day), to: z.dayOf(now)}
	if !q.To.IsZero() {
		r.to = z.dayOf(q.To)
	}
	r.from = r.to - 29
	if !q.From.IsZero() {
		r.from = z.dayOf(q.From)
	}
	from, to := z.start(r.from).Format(time.DateOnly), z.start(r.to).Format(time.DateOnly)
	switch days := int64(r.to) - int64(r.from) + 1; {
	case !slices.Contains([]Interval{Hour, Day, Week, Month}, r.interval):
		return r, fmt.Errorf("%w: the interval is %q; it must be hour, day, week or month", ErrInvalidQuery, q.Interval)
	case days < 1:
		return r, fmt.Errorf("%w: it begins on %s, after its end on %s", ErrInvalidQuery, from, to)
	case r.from < firstDay || r.to > lastDay:
		return r, outsideCalendar(z.start(r.from), z.start(r.to))
	case days > MaxDays:
		return r, fmt.Errorf("%w: from %s to %s are %d days; at most %d are allowed", ErrInvalidQuery, from, to, days, MaxDays)
	}
	if r.interval == Hour {
		r.divideByHour()
	} else {
		r.divideByDay()
	}
	if len(r.buckets) > maxBuckets {
		return r, fmt.Errorf("%w: from %s to %s by %s are %d buckets; at most %d are allowed: choose a longer interval or fewer days",
			ErrInvalidQuery, from, to, r.interval, len(r.buckets), maxBuckets)
	}
	return r, nil
}

func outsideCalendar(from, to time.Time) error {
	return fmt.Errorf("%w: the days are %s to %s; they must be from 1970-01-02 to 9999-12-30", ErrInvalidQuery, from.Format(time.DateOnly), to.Format(time.DateOnly))
}

func (r *dayRange) divideByHour() {
	end := r.zone.start(r.to + 1)
	for d := r.from; d <= r.to && len(r.buckets) <= maxBuckets; d++ {
		next := r.zone.start(d + 1)
		for t := r.zone.start(d); t.Before(next); t = t.Add(time.Hour) {
			r.buckets = append(r.buckets, Bucket{Start: t, End: t.Add(time.Hour)})
		}
	}
	r.buckets[len(r.buckets)-1].End = end
}

func (r *dayRange) divideByDay() {
	for d := r.from; d <= r.to; d++ {
		start := r.zone.start(d)
		begins := d == r.from
		switch r.interval {
		case Day:
			begins = true
		case Week:
			begins = begins || start.Weekday() == time.Monday
		case Month:
			begins = begins || start.Day() == 1
		}
		if begins {
			r.buckets = append(r.buckets, Bucket{Start: start})
		}
		r.bucket = append(r.bucket, len(r.buckets)-1)
		r.buckets[len(r.buckets)-1].End = r.zone.start(d + 1)
	}
}
