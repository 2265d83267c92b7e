package scanstats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Handler serves the report as a page, and below it as JSON and CSV. protect is a
// middleware that admits authorized requests only; if it is nil, every request is
// rejected with 403.
//
//	http.Handle("/stats/", http.StripPrefix("/stats", stats.Handler(requireLogin)))
//
// The page loads nothing from other hosts, is in English or Chinese depending on
// the browser, and shows no OpenIDs. Its Content-Security-Policy allows its own
// files only and no embedding in frames.
//
// report.json and report.csv accept the parameters of a [Query]: from and to (days
// such as 2026-11-21, both included), interval, scene (repeatable), group, search
// and limit; report.csv also per_scene=1.
func (s *Store) Handler(protect func(http.Handler) http.Handler) http.Handler {
	return newPage(s, s.now, s.cfg.Logger, protect)
}

// A reporter returns the reports that the page shows. [Store] implements it.
type reporter interface {
	Report(ctx context.Context, q Query) (*Report, error)
	Location(ctx context.Context) (*time.Location, error)
}

// newPage returns the page and the files that it loads, all behind protect.
func newPage(r reporter, now func() time.Time, log *slog.Logger, protect func(http.Handler) http.Handler) http.Handler {
	if protect == nil {
		return http.HandlerFunc(serveClosed)
	}
	return protect(&statsPage{reports: r, now: now, log: log})
}

const closedText = `This page is not accessible: the program has no access control for it. Pass your own middleware, a func(http.Handler) http.Handler that admits authorized requests only:

    http.Handle("/stats/", http.StripPrefix("/stats", stats.Handler(requireLogin)))

此页面未开放：程序没有指定谁可以查看。请传入你自己的登录校验中间件，类型为 func(http.Handler) http.Handler，写法见上面的代码。
`

func serveClosed(w http.ResponseWriter, _ *http.Request) {
	setPageHeaders(w.Header())
	http.Error(w, closedText, http.StatusForbidden)
}

// A statsPage serves the report as HTML, JSON and CSV.
type statsPage struct {
	reports reporter
	now     func() time.Time
	log     *slog.Logger
}

// ServeHTTP does not use [http.ServeMux], whose redirects to a clean path lack the
// stripped prefix.
func (p *statsPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setPageHeaders(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are allowed", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path == "" && addSlash(w, r) {
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/") // the stripped prefix may include the slash
	switch {
	case name == "":
		pageFiles["index.html"].serve(w, r)
	case name == "report.json":
		p.serveJSON(w, r)
	case name == "report.csv":
		p.serveCSV(w, r)
	case pageFiles[name] != nil && name != "index.html":
		pageFiles[name].serve(w, r)
	default:
		http.NotFound(w, r)
	}
}

// setPageHeaders sets the headers of every response. Cacheable ones override
// Cache-Control.
func setPageHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "+
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// addSlash redirects from /stats to /stats/, because the links of the page are
// relative, and reports whether it did. The target is relative, "./stats/": so it
// cannot lead to another host, and works behind a proxy that strips a prefix.
func addSlash(w http.ResponseWriter, r *http.Request) bool {
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil || strings.HasSuffix(u.Path, "/") {
		return false
	}
	full := u.EscapedPath()
	target := "./" + full[strings.LastIndexByte(full, '/')+1:] + "/"
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", target) // http.Redirect would make it absolute
	w.WriteHeader(http.StatusTemporaryRedirect)
	return true
}

// serveJSON serves the report with the current time and date in its time zone.
func (p *statsPage) serveJSON(w http.ResponseWriter, r *http.Request) {
	report, ok := p.report(w, r, "")
	if !ok {
		return
	}
	now := p.now().In(report.From.Location())
	p.writeJSON(w, http.StatusOK, struct {
		*Report
		Now   time.Time `json:"now"` // buckets that end later are incomplete
		Today string    `json:"today"`
	}{report, now, now.Format(time.DateOnly)})
}

// serveCSV serves all scenes as a file; with per_scene=1 one row per bucket.
func (p *statsPage) serveCSV(w http.ResponseWriter, r *http.Request) {
	report, ok := p.report(w, r, "per_scene")
	if !ok {
		return
	}
	name := fmt.Sprintf("scans-%s-%s.csv", report.From.Format(time.DateOnly), report.To.AddDate(0, 0, -1).Format(time.DateOnly))
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_ = report.WriteCSV(w) // fails only if the client is gone
}

// query parses the query. If it is invalid, it responds with the error.
func (p *statsPage) query(w http.ResponseWriter, r *http.Request, more string) (Query, bool) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		p.writeError(w, http.StatusBadRequest, "invalid query: "+err.Error())
		return Query{}, false
	}
	zone, err := p.reports.Location(r.Context()) // of the days in the query
	if err != nil {
		p.writeFailure(w, r, err)
		return Query{}, false
	}
	q, err := parseQuery(values, zone, more)
	if err != nil {
		p.writeError(w, http.StatusBadRequest, err.Error())
		return Query{}, false
	}
	return q, true
}

// report returns the report for a request. On failure it responds with the error.
// more is an additional parameter; see parseQuery.
func (p *statsPage) report(w http.ResponseWriter, r *http.Request, more string) (*Report, bool) {
	q, ok := p.query(w, r, more)
	if !ok {
		return nil, false
	}
	report, err := p.reports.Report(r.Context(), q)
	if err != nil {
		p.writeFailure(w, r, err)
		return nil, false
	}
	return report, true
}

// writeFailure responds with an error of the store. Details of database failures
// go to the log only.
func (p *statsPage) writeFailure(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrInvalidQuery) {
		p.writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	if r.Context().Err() == nil { // else the client is gone
		p.log.ErrorContext(r.Context(), "scanstats: the report for the page failed", "error", err)
	}
	p.writeError(w, http.StatusServiceUnavailable, "the report is unavailable; see the log of the program")
}

func (p *statsPage) writeError(w http.ResponseWriter, status int, text string) {
	p.writeJSON(w, status, struct {
		Error string `json:"error"`
	}{text})
}

// writeJSON encodes the response before it writes the status.
func (p *statsPage) writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		p.log.Error("scanstats: encode the report as JSON", "error", err)
		http.Error(w, "the report cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(text)
}
