package scanstats

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A span is a range of days, cut into buckets.
type span struct {
	zone    zone
	by      Interval
	from    day
	to      day // the last
	buckets []Bucket
	bucket  []int // of each day; not by hour
}

// Limits of a query.
const (
	// MaxDays is how many days a [Query] may ask for, the first and the last of them included: some
	// ten years. For more there is [ErrInvalidQuery].
	MaxDays = 3700

	maxBuckets = 1500
	maxCells   = 400_000 // scenes times buckets
)

// span checks the query and returns its days.
func (q Query) span(z zone, now time.Time) (span, error) {
	s := span{zone: z, by: cmp.Or(q.By, Day), to: z.dayOf(now)}
	if !q.To.IsZero() {
		s.to = z.dayOf(q.To)
	}
	s.from = s.to - 29
	if !q.From.IsZero() {
		s.from = z.dayOf(q.From)
	}
	from, to := z.start(s.from).Format(time.DateOnly), z.start(s.to).Format(time.DateOnly)
	switch days := int64(s.to) - int64(s.from) + 1; {
	case !slices.Contains([]Interval{Hour, Day, Week, Month}, s.by):
		return s, fmt.Errorf("%w: By %q must be hour, day, week or month", ErrInvalidQuery, q.By)
	case days < 1:
		return s, fmt.Errorf("%w: it begins on %s, after its end on %s", ErrInvalidQuery, from, to)
	case days > MaxDays || s.from < 1:
		return s, fmt.Errorf("%w: from %s to %s are %d days, at most %d are allowed", ErrInvalidQuery, from, to, days, MaxDays)
	}
	if s.by == Hour {
		s.hours()
	} else {
		s.days()
	}
	if len(s.buckets) > maxBuckets {
		return s, fmt.Errorf("%w: from %s to %s by %s are %d buckets, at most %d are allowed: choose a longer interval, or fewer days",
			ErrInvalidQuery, from, to, s.by, len(s.buckets), maxBuckets)
	}
	return s, nil
}

func (s *span) hours() {
	end := s.zone.start(s.to + 1)
	for d := s.from; d <= s.to && len(s.buckets) <= maxBuckets; d++ {
		next := s.zone.start(d + 1)
		for t := s.zone.start(d); t.Before(next); t = t.Add(time.Hour) {
			s.buckets = append(s.buckets, Bucket{Start: t, End: t.Add(time.Hour)})
		}
	}
	s.buckets[len(s.buckets)-1].End = end
}

func (s *span) days() {
	for d := s.from; d <= s.to; d++ {
		start := s.zone.start(d)
		begins := d == s.from
		switch s.by {
		case Day:
			begins = true
		case Week:
			begins = begins || start.Weekday() == time.Monday
		case Month:
			begins = begins || start.Day() == 1
		}
		if begins {
			s.buckets = append(s.buckets, Bucket{Start: start})
		}
		s.bucket = append(s.bucket, len(s.buckets)-1)
		s.buckets[len(s.buckets)-1].End = s.zone.start(d + 1)
	}
}
