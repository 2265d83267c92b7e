package scanstats

import (
	"context"
	"fmt"
	"time"
)

// Location returns the time zone in which the days of the database begin: [Config.Location], or
// that with which the database was begun. The database is asked until it has answered once; from
// then on the zone is known, and there is no error.
//
// Errors: [ErrClosed]; what kind of failure of the database it was, such as [ErrUnavailable]; and if
// it was away when the store was opened, also [ErrMismatch] and [ErrInvalidConfig], as of [Open].
func (s *Store) Location(ctx context.Context) (*time.Location, error) {
	z := s.currentZone()
	if z == nil {
		if err := s.ready(ctx); err != nil {
			return nil, fmt.Errorf("scanstats: location: %w", explain(err))
		}
		z = s.currentZone()
	}
	return z.Location, nil
}

// shanghai needs no table of time zones, which some machines lack: China has had this offset all the time that
// WeChat has been there.
var shanghai = time.FixedZone("Asia/Shanghai", 8*60*60)

// loadZone returns the location of that name.
func loadZone(name string) (*time.Location, error) {
	if name == shanghai.String() {
		return shanghai, nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%w: the time zone %q of the database is not known on this machine: import time/tzdata, or install it: %w",
			ErrInvalidConfig, name, err)
	}
	return loc, nil
}

// isNamed reports whether others who know the location's name mean the same.
func isNamed(loc *time.Location) bool {
	if loc.String() == "Local" {
		return false
	}
	other, err := loadZone(loc.String())
	if err != nil {
		return false
	}
	for _, month := range []time.Month{time.January, time.July} { // winter and summer
		t := time.Date(2026, month, 1, 0, 0, 0, 0, time.UTC)
		_, offset := t.In(loc).Zone()
		if _, otherOffset := t.In(other).Zone(); offset != otherOffset {
			return false
		}
	}
	return true
}

// A day is a date, in days since 1970-01-01. No event is as old as that, so 0 is
// no day.
type day int32

// A zone tells days and hours.
type zone struct{ *time.Location }

// dayOf returns the date of t.
func (z zone) dayOf(t time.Time) day {
	y, m, d := t.In(z.Location).Date()
	return day(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / (24 * 60 * 60))
}

// start returns the beginning of the day, which in some zones is not at midnight when summer
// time begins.
func (z zone) start(d day) time.Time {
	y, m, date := time.Unix(int64(d)*24*60*60, 0).UTC().Date()
	t := time.Date(y, m, date, 0, 0, 0, 0, z.Location)
	if t.Day() != date {
		_, t = t.ZoneBounds()
	}
	return t
}

// A moment is when something happened, as it is counted.
type moment struct {
	day  day
	hour int   // since the day began, at most 31; a day has 26 at most, and has had odder ones
	at   int64 // when the hour began, in Unix seconds
}

const secondsPerHour = 60 * 60

func (z zone) moment(unix int64) moment {
	m := moment{day: z.dayOf(time.Unix(unix, 0))}
	start := z.start(m.day).Unix()
	m.hour = int(min(max((unix-start)/secondsPerHour, 0), 31))
	m.at = start + int64(m.hour)*secondsPerHour
	return m
}
