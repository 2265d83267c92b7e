package scanstats

import "math/bits"

// A day is a date, in days since 1970-01-01. No event is as old as that, so 0 is no day.
type day int32

// visits are the days on which one person scanned a code of one scene. Its zero value is of
// somebody who never did.
type visits struct {
	last   day    // the latest
	days   uint64 // bit n: was there on last-n; bit 0 is set
	before day    // the latest before those 64, or 0
	hours  uint32 // bit n: was there in the n-th hour of last
}

const daysKept = 64 // in visits.days

// A change is what a scan adds to the numbers of people.
type change struct {
	newDay, newHour bool // the first scan of the day, of the hour
	// Of a new day: the visits before and after it, or 0.
	previous, next day
}

// add takes note of a scan, which may come late, and tells what it changes. What is older
// than the days kept and than the one before them changes nothing: nobody knows any more.
func (v *visits) add(d day, hour int) change {
	age := int64(v.last) - int64(d)
	switch {
	case age < 0:
		c := change{newDay: true, newHour: true, previous: v.last}
		v.advance(d)
		v.hours = 1 << hour
		return c
	case age == 0:
		c := change{newHour: v.hours>>hour&1 == 0}
		v.hours |= 1 << hour
		return c
	case age < daysKept && v.days>>age&1 == 1: // in which of its hours is forgotten
		return change{}
	case age < daysKept:
		c := change{newDay: true, newHour: true, previous: v.before}
		if older := v.days >> age; older != 0 {
			c.previous = d - day(bits.TrailingZeros64(older))
		}
		c.next = v.last - day(bits.Len64(v.days&(1<<age-1))-1)
		v.days |= 1 << age
		return c
	case d > v.before:
		c := change{newDay: true, newHour: true, previous: v.before, next: v.last - day(bits.Len64(v.days)-1)}
		v.before = d
		return c
	}
	return change{}
}

// advance makes d, which is later than last, the last day.
func (v *visits) advance(d day) {
	gone := int64(d) - int64(v.last)
	if gone >= daysKept {
		v.last, v.days, v.before = d, 1, v.last
		return
	}
	if out := v.days >> (daysKept - gone); out != 0 {
		v.before = v.last - day(daysKept-gone) - day(bits.TrailingZeros64(out))
	}
	v.last, v.days = d, v.days<<gone|1
}
