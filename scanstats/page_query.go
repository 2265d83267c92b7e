package scanstats

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// parseQuery parses the parameters of report.json and report.csv. more is an
// additional parameter, "per_scene" or ""; with it, the default limit is none.
func parseQuery(values url.Values, loc *time.Location, more string) (Query, error) {
	var q Query
	if more == "per_scene" {
		q.Limit = -1
	}
	for name, given := range values {
		if len(given) > 1 && name != "scene" {
			return Query{}, fmt.Errorf("%s is given %d times; only scene can be repeated", name, len(given))
		}
		for _, v := range given {
			if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return Query{}, invalidValue(name, v, "text in UTF-8 without NUL")
			}
		}
		if name == "per_scene" && name != more {
			return Query{}, unknownParameter(name, more)
		}
		if err := q.set(name, given, loc, more); err != nil {
			return Query{}, err
		}
	}
	return q, nil
}

func (q *Query) set(name string, given []string, loc *time.Location, more string) (err error) {
	v := given[0]
	switch name {
	case "from":
		q.From, err = parseDay(name, v, loc)
	case "to":
		q.To, err = parseDay(name, v, loc)
	case "interval":
		switch q.Interval = Interval(v); q.Interval {
		case Hour, Day, Week, Month:
		default:
			err = invalidValue(name, v, "hour, day, week or month")
		}
	case "scene":
		q.Scenes = given
	case "group":
		q.Group = v
	case "search":
		q.Search = v
	case "limit":
		if q.Limit, err = strconv.Atoi(v); err != nil {
			err = invalidValue(name, v, "an integer; negative for all scenes")
		}
	case "per_scene":
		if q.PerScene = v == "1"; !q.PerScene {
			err = invalidValue(name, v, "1")
		}
	default:
		err = unknownParameter(name, more)
	}
	return err
}

// parseDay returns noon of a day: a midnight that a change to daylight saving time
// skips would be a time of the day before.
func parseDay(name, v string, loc *time.Location) (time.Time, error) {
	day, err := time.Parse(time.DateOnly, v)
	if err != nil {
		return time.Time{}, invalidValue(name, v, "a day such as 2026-11-21")
	}
	return time.Date(day.Year(), day.Month(), day.Day(), 12, 0, 0, 0, loc), nil
}

func invalidValue(name, value, allowed string) error {
	return fmt.Errorf("%s is %.100q; it must be %s", name, value, allowed)
}

func unknownParameter(name, more string) error {
	allowed := "from, to, interval, scene, group, search and limit"
	if more != "" {
		allowed = "from, to, interval, scene, group, search, limit and " + more
	}
	return fmt.Errorf("unknown parameter %.100q; the parameters are %s", name, allowed)
}
