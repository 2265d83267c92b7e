package scanstats

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A reporter makes the reports that the page shows. It is a [Store].
type reporter interface {
	Report(ctx context.Context, q Query) (*Report, error)
}

// newPage returns the page with all that it loads. Everything is behind protect, the user's
// own middleware; without one, everybody is refused.
func newPage(r reporter, now func() time.Time, loc func() *time.Location, log *slog.Logger, protect func(http.Handler) http.Handler) http.Handler {
	if protect == nil {
		return http.HandlerFunc(refuse)
	}
	return protect(&statsPage{reports: r, now: now, loc: loc, log: log})
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
	loc     func() *time.Location // is known when the database has answered
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
	}{report, p.now().In(p.loc()).Format(time.DateOnly)})
}

// serveCSV serves all scenes as a file; with each=1 one row for each of their intervals.
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
	q, err := readQuery(values, p.loc(), more)
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
	switch {
	case err == nil:
		return report, true
	case errors.Is(err, ErrInvalidQuery):
		p.writeError(w, http.StatusBadRequest, err.Error())
	default:
		if r.Context().Err() == nil { // else the client has gone, which is no fault
			p.log.ErrorContext(r.Context(), "scanstats: the report for the page cannot be made", "error", err)
		}
		p.writeError(w, http.StatusServiceUnavailable, "the report cannot be made now; the program's log says why")
	}
	return nil, false
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

// web has in chart.js the library of the charts, dist/chart.umd.min.js of chart.js 4.6.1 in the
// npm registry without its last line, which names a source map, and beside it its licence.
//
//go:embed web
var web embed.FS

var pageFiles = readPageFiles()

// A pageFile is a file of the page. Browsers keep it, and ask each time whether its ETag is
// still right, so that a new version of the program is never mixed with old files.
type pageFile struct {
	name string
	etag string
	text []byte
}

func readPageFiles() map[string]*pageFile {
	files := map[string]*pageFile{}
	entries, err := fs.ReadDir(web, "web")
	if err != nil {
		panic(err) // the files are part of the program
	}
	for _, entry := range entries {
		text, err := fs.ReadFile(web, path.Join("web", entry.Name()))
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(text)
		files[entry.Name()] = &pageFile{entry.Name(), `"` + hex.EncodeToString(sum[:12]) + `"`, text}
	}
	return files
}

// pageTypes is our own: that of the system may call JavaScript text/plain.
var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".md":   "text/plain; charset=utf-8",
}

func (f *pageFile) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", pageTypes[path.Ext(f.name)])
	if f.name != "index.html" {
		w.Header().Set("Cache-Control", "private, no-cache")
		w.Header().Set("ETag", f.etag)
	}
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.text))
}
