package scanstats

import (
	"net/http"
	"time"
)

// Handler serves the report as a page, and its data as JSON and CSV below it. Protect is your
// middleware: it lets in those who may see how the account does. There is no default but to refuse:
// with nil nobody gets in.
//
//	http.Handle("/stats/", http.StripPrefix("/stats", stats.Handler(requireLogin)))
//
// The page works without the Internet, in English and in Chinese by the browser's language, and shows no
// OpenIDs. Its Content-Security-Policy allows it nothing but its own files, and no frame around it.
//
// report.json and report.csv take the parameters from and to (days such as 2026-11-21, both included), by, scene
// (repeatable), group, search and limit, as in a [Query]; report.csv also each=1, for [Query.EachScene].
func (s *Store) Handler(protect func(http.Handler) http.Handler) http.Handler {
	return newPage(s, s.now, s.location, s.cfg.Logger, protect)
}

// location returns the time zone, or the one that a new database would get while it is away.
func (s *Store) location() *time.Location {
	if z := s.currentZone(); z != nil {
		return z.Location
	}
	if s.cfg.Location != nil {
		return s.cfg.Location
	}
	return shanghai
}
