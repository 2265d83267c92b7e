package scanstats

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// readQuery reads what both forms of the report take. More is one further parameter that is
// allowed, "each"; where it is, all scenes are reported unless a limit is given.
func readQuery(values url.Values, loc *time.Location, more string) (Query, error) {
	var q Query
	if more == "each" {
		q.Limit = -1
	}
	for name, given := range values {
		if len(given) > 1 && name != "scene" {
			return Query{}, fmt.Errorf("%s is given %d times; only scene may be given more than once", name, len(given))
		}
		for _, v := range given {
			if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return Query{}, badValue(name, v, "text in UTF-8 without NUL")
			}
		}
		if name == "each" && name != more {
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
		q.From, err = readDay(name, v, loc)
	case "to":
		q.To, err = readDay(name, v, loc)
	case "by":
		switch q.By = Interval(v); q.By {
		case Hour, Day, Week, Month:
		default:
			err = badValue(name, v, "hour, day, week or month")
		}
	case "scene":
		q.Scenes = given
	case "group":
		q.Group = v
	case "search":
		q.Search = v
	case "limit":
		if q.Limit, err = strconv.Atoi(v); err != nil {
			err = badValue(name, v, "a whole number; a negative one for all scenes")
		}
	case "each":
		if q.EachScene = v == "1"; !q.EachScene {
			err = badValue(name, v, "1")
		}
	default:
		err = unknownParameter(name, more)
	}
	return err
}

// readDay returns the noon of a day: at a midnight that a change of clocks skips, the time
// would be one of the day before.
func readDay(name, v string, loc *time.Location) (time.Time, error) {
	day, err := time.Parse(time.DateOnly, v)
	if err != nil {
		return time.Time{}, badValue(name, v, "a day such as 2026-11-21")
	}
	return time.Date(day.Year(), day.Month(), day.Day(), 12, 0, 0, 0, loc), nil
}

func badValue(name, value, allowed string) error {
	return fmt.Errorf("%s is %.100q; it must be %s", name, value, allowed)
}

func unknownParameter(name, more string) error {
	allowed := "from, to, by, scene, group, search and limit"
	if more != "" {
		allowed = "from, to, by, scene, group, search, limit and " + more
	}
	return fmt.Errorf("there is no parameter %.100q; there are %s", name, allowed)
}
