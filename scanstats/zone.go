package scanstats

import (
	"context"
	"fmt"
	"time"
)

// Location returns the time zone in which days begin: [Config.Location], or the one
// with which the database was created. It queries the database until it has
// responded once, and then returns no error.
//
// Errors: [ErrClosed]; the kind of a database failure, such as [ErrUnavailable]; if
// the database was unavailable when the store was opened, also [ErrConfigMismatch]
// and [ErrInvalidConfig], as in [Open].
func (s *Store) Location(ctx context.Context) (*time.Location, error) {
	z := s.currentZone()
	if z == nil {
		if err := s.ready(ctx); err != nil {
			return nil, fmt.Errorf("scanstats: location: %w", wrapDBError(err))
		}
		z = s.currentZone()
	}
	return z.Location, nil
}

// shanghai does not need the time zone database, which some machines lack: the
// offset has not changed since 1991.
var shanghai = time.FixedZone("Asia/Shanghai", 8*60*60)

// loadZone returns the location with the given name.
func loadZone(name string) (*time.Location, error) {
	if name == shanghai.String() {
		return shanghai, nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%w: the time zone %q of the database is unknown on this machine; import time/tzdata: %w",
			ErrInvalidConfig, name, err)
	}
	return loc, nil
}

// isNamed reports whether the name of the location identifies it.
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

// A day is a date, in days since 1970-01-01. 0 stands for no day.
type day int32

// A zone converts times to days and hours.
type zone struct{ *time.Location }

// dayOf returns the date of t.
func (z zone) dayOf(t time.Time) day {
	y, m, d := t.In(z.Location).Date()
	return day(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / (24 * 60 * 60))
}

// start returns the beginning of the day, which is not midnight if a change to
// daylight saving time skips midnight.
func (z zone) start(d day) time.Time {
	y, m, date := time.Unix(int64(d)*24*60*60, 0).UTC().Date()
	t := time.Date(y, m, date, 0, 0, 0, 0, z.Location)
	if t.Day() != date {
		_, t = t.ZoneBounds()
	}
	return t
}

// A moment is the day and the hour of an event.
type moment struct {
	day  day
	hour int   // since the day began, at most 31
	at   int64 // the beginning of the hour, in Unix seconds
}

const secondsPerHour = 60 * 60

func (z zone) moment(unix int64) moment {
	m := moment{day: z.dayOf(time.Unix(unix, 0))}
	start := z.start(m.day).Unix()
	m.hour = int(min(max((unix-start)/secondsPerHour, 0), 31))
	m.at = start + int64(m.hour)*secondsPerHour
	return m
}
