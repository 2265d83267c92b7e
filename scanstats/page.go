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

// Handler serves the report as a page, and its data as JSON and CSV below it. Protect is your
// middleware: it lets in those who may see how the account does. There is no default but to
// refuse: with nil nobody gets in.
//
//	http.Handle("/stats/", http.StripPrefix("/stats", stats.Handler(requireLogin)))
//
// The page works without the Internet, in English and in Chinese by the browser's language, and
// shows no OpenIDs. Its Content-Security-Policy allows it nothing but its own files, and no frame
// around it.
//
// report.json and report.csv take the parameters from and to (days such as 2026-11-21, both
// included), by, scene (repeatable), group, search and limit, as in a [Query]; report.csv also
// each=1, for [Query.EachScene].
func (s *Store) Handler(protect func(http.Handler) http.Handler) http.Handler {
	return newPage(s, s.now, s.cfg.Logger, protect)
}

// A reporter makes the reports that the page shows. It is a [Store].
type reporter interface {
	Report(ctx context.Context, q Query) (*Report, error)
	Location(ctx context.Context) (*time.Location, error)
}

// newPage returns the page with all that it loads. Everything is behind protect, the user's
// own middleware; without one, everybody is refused.
func newPage(r reporter, now func() time.Time, log *slog.Logger, protect func(http.Handler) http.Handler) http.Handler {
	if protect == nil {
		return http.HandlerFunc(refuse)
	}
	return protect(&statsPage{reports: r, now: now, log: log})
}

const refusal = `This page is closed: the program has not said who may see it. Open it with a middleware of your own, a func(http.Handler) http.Handler that lets in those who are logged in:

    http.Handle("/stats/", http.StripPrefix("/stats", stats.Handler(requireLogin)))

此页面未开放：程序没有指定谁可以查看。请传入你自己的登录校验中间件，类型为 func(http.Handler) http.Handler，写法见上面的代码。
`

func refuse(w http.ResponseWriter, _ *http.Request) {
	setPageHeaders(w.Header())
	http.Error(w, refusal, http.StatusForbidden)
}

// A statsPage serves the report as HTML, JSON and CSV.
type statsPage struct {
	reports reporter
	now     func() time.Time
	log     *slog.Logger
}

// ServeHTTP routes by itself: a [http.ServeMux] cleans paths by redirects that know nothing
// of the prefix that was stripped.
func (p *statsPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setPageHeaders(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are allowed here", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path == "" && addSlash(w, r) {
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/") // a prefix may be stripped with its last slash
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

// setPageHeaders sets what every answer has. Those that may be kept set Cache-Control anew.
func setPageHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "+
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// addSlash redirects from /stats to /stats/, as the page's links are relative, and reports
// whether it did. The new address is relative too, "./stats/": it cannot lead to another
// host, however the path begins, and is right behind a proxy that strips more of it.
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
	w.Header().Set("Location", target) // http.Redirect would join it with the stripped path
	w.WriteHeader(http.StatusTemporaryRedirect)
	return true
}

// serveJSON serves the report that the page shows, and what day it is where the store is.
func (p *statsPage) serveJSON(w http.ResponseWriter, r *http.Request) {
	report, ok := p.report(w, r, "")
	if !ok {
		return
	}
	p.writeJSON(w, http.StatusOK, struct {
		*Report
		Today string `json:"today"`
	}{report, p.now().In(report.From.Location()).Format(time.DateOnly)})
}

// serveCSV serves all scenes as a file; with each=1 one row for each of their buckets.
func (p *statsPage) serveCSV(w http.ResponseWriter, r *http.Request) {
	report, ok := p.report(w, r, "each")
	if !ok {
		return
	}
	name := fmt.Sprintf("scans-%s-%s.csv", report.From.Format(time.DateOnly), report.To.AddDate(0, 0, -1).Format(time.DateOnly))
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_ = report.WriteCSV(w) // fails only if the client has gone
}

// query reads the query, or tells the client what is wrong with it.
func (p *statsPage) query(w http.ResponseWriter, r *http.Request, more string) (Query, bool) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		p.writeError(w, http.StatusBadRequest, "the query cannot be read: "+err.Error())
		return Query{}, false
	}
	zone, err := p.reports.Location(r.Context()) // which the days in the query are of
	if err != nil {
		p.writeFailure(w, r, err)
		return Query{}, false
	}
	q, err := readQuery(values, zone, more)
	if err != nil {
		p.writeError(w, http.StatusBadRequest, err.Error())
		return Query{}, false
	}
	return q, true
}

// report makes the report that a request asks for, or tells the client why there is none. More is
// a further parameter that is allowed; see readQuery.
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

// writeFailure tells the client of the store's error, but what only concerns those who run the
// program is for the log.
func (p *statsPage) writeFailure(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrInvalidQuery) {
		p.writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	if r.Context().Err() == nil { // else the client has gone, which is no fault
		p.log.ErrorContext(r.Context(), "scanstats: the report for the page cannot be made", "error", err)
	}
	p.writeError(w, http.StatusServiceUnavailable, "the report cannot be made now; the program's log says why")
}

func (p *statsPage) writeError(w http.ResponseWriter, status int, text string) {
	p.writeJSON(w, status, struct {
		Error string `json:"error"`
	}{text})
}

// writeJSON makes the whole text first, so that no half of it is sent as a success.
func (p *statsPage) writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		p.log.Error("scanstats: the report cannot be written as JSON", "error", err)
		http.Error(w, "the report cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(text)
}
