package scanstats

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pageNow is when the page is asked for in these tests.
var pageNow = time.Date(2026, time.November, 21, 15, 4, 5, 0, shanghai)

// hostileScenes would be harmful if they were anything but data.
var hostileScenes = []string{
	`<script>window.pwned=1</script>`,
	`<img src=x onerror="window.pwned=1">`,
	`"><svg onload=alert(1)>`,
	`'; DROP TABLE scans; --`,
	`=HYPERLINK("https://evil.example","click")`,
	"\u202egnp.exe\u202d",
	"🧧🎉👨‍👩‍👧",
	"__proto__",
	"${7*7}{{7*7}}",
	"a&scene=b#c?d=%00",
	"tab\tand\r\nline",
	strings.Repeat("long", 16),
	strings.Repeat("很长的渠道名字", 24)[:500-500%3], // 498 bytes
}

// A stubReporter reports what some shops' codes brought from 1 August 2026 on. Equal queries
// have equal reports.
type stubReporter struct {
	scenes []SceneReport // without counts

	mu      sync.Mutex // guards the rest
	err     error
	queries []Query
}

// newStubReporter has 40 scenes in four groups.
func newStubReporter() *stubReporter {
	s := &stubReporter{}
	add := func(group string, names ...string) {
		for i, name := range names {
			key, _, _ := strings.Cut(group, " ")
			s.scenes = append(s.scenes, SceneReport{Scene: fmt.Sprintf("%s-%02d", strings.ToLower(key), i+1), Name: name, Group: group})
		}
	}
	add("Stores", "Nanjing Road store", "Xujiahui store", "Lujiazui store", "Hongqiao Airport T2", "静安寺店", "人民广场店", "中山公园店", "五角场店",
		"Suzhou Centre", "Hangzhou Hubin store", "Ningbo Tianyi Square", "Wuxi Hui Shan", "南京新街口店", "Hefei Baida")
	add("Posters", "Metro line 2, People's Square", "Metro line 10, Yuyuan", "Bus stop, Huaihai Road", "公交站·淮海路", "Lift, Raffles City", "电梯·来福士", "Cinema, IAPM",
		"Office tower, Lujiazui", "写字楼大堂", "Car park P3")
	add("Online", "Newsletter, November", "Weibo profile", "小红书主页", "Bilibili video", "Website footer", "App banner", "公众号文章", "Receipt by e-mail")
	add("Events 2026", "Singles' Day booth", "双十一快闪店", "Coffee festival", "Marathon expo", "Trade fair, hall 5", "校园招聘", "", "")
	return s
}

func (s *stubReporter) addHostile() *stubReporter {
	for _, scene := range hostileScenes {
		s.scenes = append(s.scenes, SceneReport{Scene: scene})
	}
	s.scenes = append(s.scenes, SceneReport{Scene: "named", Name: hostileScenes[0], Group: hostileScenes[1]})
	return s
}

func (s *stubReporter) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// asked returns the last query.
func (s *stubReporter) asked() Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries[len(s.queries)-1]
}

func (s *stubReporter) Report(_ context.Context, q Query) (*Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = append(s.queries, q)
	if s.err != nil {
		return nil, s.err
	}
	r := &Report{Interval: cmp.Or(q.Interval, Day), Zone: shanghai.String(), Scenes: []SceneReport{}, Groups: []string{}, perScene: q.PerScene}
	r.From, r.To = stubRange(q)
	if !r.From.Before(r.To) {
		return nil, fmt.Errorf("scanstats: report: %w: From is after To", ErrInvalidQuery)
	}
	r.Buckets = stubBuckets(r)
	for i, scene := range s.scenes {
		if scene.Group != "" && !slices.Contains(r.Groups, scene.Group) {
			r.Groups = append(r.Groups, scene.Group)
		}
		if stubWants(q, scene) {
			stubCount(r, &scene, i, q.PerScene)
		}
	}
	slices.Sort(r.Groups)
	stubDays(&r.Total)
	if len(q.Scenes) == 0 && q.Group == "" && q.Search == "" && r.Total.Scans > 0 {
		r.Unattributed = Counts{NewFollowers: 731, Unfollows: 88, NetFollowers: 643}
	}
	stubDays(&r.Unattributed)
	slices.SortFunc(r.Scenes, func(a, b SceneReport) int { return cmp.Compare(b.Scans, a.Scans) })
	if limit := cmp.Or(q.Limit, 1000); limit > 0 && len(r.Scenes) > limit {
		r.OmittedScenes = len(r.Scenes) - limit
		r.Scenes = r.Scenes[:limit]
	}
	return r, nil
}

func (s *stubReporter) Location(context.Context) (*time.Location, error) { return shanghai, nil }

func stubWants(q Query, s SceneReport) bool {
	return (len(q.Scenes) == 0 || slices.Contains(q.Scenes, s.Scene)) &&
		(q.Group == "" || q.Group == s.Group) &&
		strings.Contains(strings.ToLower(s.Scene+"\n"+s.Name+"\n"+s.Group), strings.ToLower(q.Search))
}

func stubRange(q Query) (from, to time.Time) {
	if q.To.IsZero() {
		q.To = pageNow
	}
	if q.From.IsZero() {
		q.From = q.To.AddDate(0, 0, -29)
	}
	midnight := func(t time.Time) time.Time {
		return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, shanghai)
	}
	return midnight(q.From), midnight(q.To).AddDate(0, 0, 1)
}

func stubBuckets(r *Report) []Bucket {
	buckets := []Bucket{}
	for start := r.From; start.Before(r.To); {
		var end time.Time
		switch r.Interval {
		case Hour:
			end = start.Add(time.Hour)
		case Week:
			end = start.AddDate(0, 0, 7-(int(start.Weekday())+6)%7)
		case Month:
			end = time.Date(start.Year(), start.Month()+1, 1, 0, 0, 0, 0, shanghai)
		default:
			end = start.AddDate(0, 0, 1)
		}
		if end.After(r.To) {
			end = r.To
		}
		b := Bucket{Start: start, End: end}
		stubDays(&b.Counts)
		buckets = append(buckets, b)
		start = end
	}
	return buckets
}

// stubCount counts what the i-th scene brought, and adds the scene if that is anything.
func stubCount(r *Report, scene *SceneReport, i int, each bool) {
	own := stubBuckets(r)
	for k := range own {
		for at := own[k].Start; at.Before(own[k].End); at = at.Add(time.Hour) {
			stubAdd(&own[k].Counts, stubHour(i, at))
		}
		stubAdd(&r.Buckets[k].Counts, own[k].Counts)
		stubAdd(&scene.Counts, own[k].Counts)
	}
	stubAdd(&r.Total, scene.Counts)
	stubDays(&scene.Counts)
	if each {
		scene.Buckets = own
	}
	if scene.Scans > 0 {
		r.Scenes = append(r.Scenes, *scene)
	}
}

// stubHour makes up what a scene brought in one hour: less by night, more on weekends, much
// on Singles' Day.
func stubHour(scene int, at time.Time) Counts {
	if at.Before(time.Date(2026, time.August, 1, 0, 0, 0, 0, shanghai)) || at.After(pageNow) || at.Hour() < 8 {
		return Counts{}
	}
	random := rand.New(rand.NewPCG(uint64(scene), uint64(at.Unix())))
	busy := 6 / (1 + 0.13*float64(scene%60))
	if at.Weekday() == time.Saturday || at.Weekday() == time.Sunday {
		busy *= 1.5
	}
	if at.Month() == time.November && at.Day() == 11 {
		busy *= 2.2
	}
	c := Counts{Scans: int64(busy * 2 * random.Float64())}
	c.NewFollowers = int64(float64(c.Scans) * (0.3 + 0.3*random.Float64()))
	c.UniqueUsers = c.Scans - int64(float64(c.Scans)*0.5*random.Float64())
	c.Unfollows = int64(float64(c.NewFollowers)*0.9*random.Float64() + 0.5)
	c.ScansByFollowers, c.NetFollowers = c.Scans-c.NewFollowers, c.NewFollowers-c.Unfollows
	for i, days := range []int{1, 7, 30} {
		if at.AddDate(0, 0, days).Before(pageNow) {
			c.Retention[i].Cohort = c.NewFollowers
			c.Retention[i].Retained = int64(float64(c.NewFollowers)*(0.95-0.09*float64(i)-0.003*float64(scene%60)) + 0.5*random.Float64())
		}
	}
	return c
}

func stubDays(c *Counts) {
	for i, days := range []int{1, 7, 30} {
		c.Retention[i].Days = days
	}
}

func stubAdd(c *Counts, more Counts) {
	c.Scans += more.Scans
	c.NewFollowers += more.NewFollowers
	c.UniqueUsers += more.UniqueUsers
	c.Unfollows += more.Unfollows
	c.NetFollowers += more.NetFollowers
	c.ScansByFollowers += more.ScansByFollowers
	for i := range c.Retention {
		c.Retention[i].Cohort += more.Retention[i].Cohort
		c.Retention[i].Retained += more.Retention[i].Retained
	}
}

// letIn is the middleware of a program that lets in everybody.
func allowAll(next http.Handler) http.Handler { return next }

// servePage answers one request to a page at /stats/.
func servePage(r reporter, protect func(http.Handler) http.Handler, request *http.Request) *httptest.ResponseRecorder {
	log := slog.New(slog.DiscardHandler)
	page := newPage(r, func() time.Time { return pageNow }, log, protect)
	recorder := httptest.NewRecorder()
	http.StripPrefix("/stats", page).ServeHTTP(recorder, request)
	return recorder
}

func getPage(r reporter, target string) *httptest.ResponseRecorder {
	return servePage(r, allowAll, httptest.NewRequest(http.MethodGet, target, nil))
}

// readError returns the text of an answer that says what went wrong.
func readError(t *testing.T, answer *httptest.ResponseRecorder) string {
	t.Helper()
	require.Equal(t, "application/json; charset=utf-8", answer.Header().Get("Content-Type"))
	var body map[string]string
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &body))
	require.Len(t, body, 1)
	return body["error"]
}

func TestPage_ServesFiles(t *testing.T) {
	for target, contentType := range map[string]string{
		"/stats/":                 "text/html; charset=utf-8",
		"/stats/?from=2026-11-01": "text/html; charset=utf-8",
		"/stats/app.js":           "text/javascript; charset=utf-8",
		"/stats/chart.js":         "text/javascript; charset=utf-8",
		"/stats/draw.js":          "text/javascript; charset=utf-8",
		"/stats/table.js":         "text/javascript; charset=utf-8",
		"/stats/text.js":          "text/javascript; charset=utf-8",
		"/stats/style.css":        "text/css; charset=utf-8",
		"/stats/icon.svg":         "image/svg+xml",
		"/stats/chart.LICENSE.md": "text/plain; charset=utf-8",
		"/stats/report.json":      "application/json; charset=utf-8",
		"/stats/report.csv":       "text/csv; charset=utf-8",
	} {
		t.Run(target, func(t *testing.T) {
			answer := getPage(newStubReporter(), target)
			assert.Equal(t, http.StatusOK, answer.Code)
			assert.Equal(t, contentType, answer.Header().Get("Content-Type"))
			assert.NotEmpty(t, answer.Body.Bytes())
			assertPageHeaders(t, answer)

			head := servePage(newStubReporter(), allowAll, httptest.NewRequest(http.MethodHead, target, nil))
			assert.Equal(t, http.StatusOK, head.Code)
			assert.Equal(t, contentType, head.Header().Get("Content-Type"))
		})
	}
}

func assertPageHeaders(t *testing.T, answer *httptest.ResponseRecorder) {
	t.Helper()
	h := answer.Header()
	csp := h.Get("Content-Security-Policy")
	assert.Contains(t, csp, "default-src 'none'; script-src 'self'; style-src 'self';")
	assert.Contains(t, csp, "frame-ancestors 'none'")
	assert.NotContains(t, csp, "unsafe")
	assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
	assert.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
	assert.Equal(t, "same-origin", h.Get("Cross-Origin-Resource-Policy"))
	if h.Get("Cache-Control") != "no-store" {
		assert.Equal(t, "private, no-cache", h.Get("Cache-Control"))
		assert.NotEmpty(t, h.Get("ETag"))
	}
}

func TestPage_RejectsMethodsAndPaths(t *testing.T) {
	for name, test := range map[string]struct {
		method, target string
		status         int
	}{
		"a POST":                           {http.MethodPost, "/stats/", http.StatusMethodNotAllowed},
		"a DELETE of the report":           {http.MethodDelete, "/stats/report.json", http.StatusMethodNotAllowed},
		"OPTIONS":                          {http.MethodOptions, "/stats/report.csv", http.StatusMethodNotAllowed},
		"an unknown file":                  {http.MethodGet, "/stats/unknown.js", http.StatusNotFound},
		"the page under its file's name":   {http.MethodGet, "/stats/index.html", http.StatusNotFound},
		"a path that leads out of the web": {http.MethodGet, "/stats/../page.go", http.StatusNotFound},
		"a file in a folder":               {http.MethodGet, "/stats/web/app.js", http.StatusNotFound},
		"an empty folder":                  {http.MethodGet, "/stats//app.js", http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			answer := servePage(newStubReporter(), allowAll, httptest.NewRequest(test.method, test.target, nil))
			assert.Equal(t, test.status, answer.Code)
			assertPageHeaders(t, answer)
			if test.status == http.StatusMethodNotAllowed {
				assert.Equal(t, "GET, HEAD", answer.Header().Get("Allow"))
			}
		})
	}
}

func TestPage_RejectsAllWithoutMiddleware(t *testing.T) {
	for _, target := range []string{"/stats", "/stats/", "/stats/report.json", "/stats/report.csv", "/stats/app.js", "/stats/nothing"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(method+" "+target, func(t *testing.T) {
				reports := newStubReporter()
				answer := servePage(reports, nil, httptest.NewRequest(method, target, nil))
				assert.Equal(t, http.StatusForbidden, answer.Code)
				assert.Equal(t, "text/plain; charset=utf-8", answer.Header().Get("Content-Type"))
				assert.Contains(t, answer.Body.String(), `http.Handle("/stats/", http.StripPrefix("/stats", stats.Handler(requireLogin)))`)
				assert.Contains(t, answer.Body.String(), "此页面未开放")
				assert.Empty(t, reports.queries)
				assertPageHeaders(t, answer)
			})
		}
	}
}

func TestPage_IsBehindTheMiddleware(t *testing.T) {
	locked := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	}
	for _, target := range []string{"/stats", "/stats/", "/stats/report.json", "/stats/report.csv", "/stats/app.js", "/stats/chart.js", "/stats/nothing"} {
		t.Run(target, func(t *testing.T) {
			reports := newStubReporter()
			answer := servePage(reports, locked, httptest.NewRequest(http.MethodGet, target, nil))
			assert.Equal(t, http.StatusUnauthorized, answer.Code)
			assert.Empty(t, answer.Body.String())
			assert.Empty(t, reports.queries)
		})
	}
}

func TestPage_AddsTheTrailingSlash(t *testing.T) {
	for name, test := range map[string]struct{ prefix, target, location string }{
		"a plain prefix":                       {"/stats", "/stats", "./stats/"},
		"a query stays":                        {"/stats", "/stats?from=2026-11-01&scene=%2F%2Fevil.example", "./stats/?from=2026-11-01&scene=%2F%2Fevil.example"},
		"a long prefix":                        {"/admin/stats", "/admin/stats", "./stats/"},
		"a path that looks like a host":        {"//evil.example", "//evil.example", "./evil.example/"},
		"backslashes":                          {`/\evil.example`, `/\evil.example`, "./%5Cevil.example/"},
		"a whole address, as proxies are sent": {"/stats", "http://evil.example/stats", "./stats/"},
		"what looks like a scheme":             {"/javascript:alert(1)", "/javascript:alert(1)", "./javascript:alert(1)/"},
	} {
		t.Run(name, func(t *testing.T) {
			page := newPage(newStubReporter(), time.Now, slog.New(slog.DiscardHandler), allowAll)
			request := httptest.NewRequest(http.MethodGet, "/", nil)
			request.RequestURI = test.target
			request.URL.Path = ""
			_, request.URL.RawQuery, _ = strings.Cut(test.target, "?")
			answer := httptest.NewRecorder()
			page.ServeHTTP(answer, request)
			assert.Equal(t, http.StatusTemporaryRedirect, answer.Code)
			assert.Equal(t, test.location, answer.Header().Get("Location"))
			assertPageHeaders(t, answer)
		})
	}
}

func TestPage_AcceptsAPrefixWithSlash(t *testing.T) {
	page := newPage(newStubReporter(), func() time.Time { return pageNow }, slog.New(slog.DiscardHandler), allowAll)
	for _, target := range []string{"/stats/", "/stats/app.js", "/stats/report.json?interval=week"} {
		answer := httptest.NewRecorder()
		http.StripPrefix("/stats/", page).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, target, nil))
		assert.Equal(t, http.StatusOK, answer.Code, target)
	}
}

func TestPage_FilesHaveETags(t *testing.T) {
	first := getPage(newStubReporter(), "/stats/chart.js")
	require.NotEmpty(t, first.Header().Get("ETag"))

	request := httptest.NewRequest(http.MethodGet, "/stats/chart.js", nil)
	request.Header.Set("If-None-Match", first.Header().Get("ETag"))
	second := servePage(newStubReporter(), allowAll, request)
	assert.Equal(t, http.StatusNotModified, second.Code)
	assert.Empty(t, second.Body.Bytes())

	assert.NotEqual(t, first.Header().Get("ETag"), getPage(newStubReporter(), "/stats/app.js").Header().Get("ETag"))
}

func TestPage_LoadsNothingFromOtherHosts(t *testing.T) {
	for name, file := range pageFiles {
		if name == "chart.js" || name == "chart.LICENSE.md" || name == "icon.svg" {
			continue // a comment, the licence and the namespace name sites
		}
		assert.NotContains(t, string(file.text), "://", name)
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("} {
			assert.NotContains(t, string(file.text), bad, name)
		}
	}
	assert.NotContains(t, string(pageFiles["chart.js"].text), "sourceMappingURL")
}

func TestPage_ParsesTheQuery(t *testing.T) {
	noon := func(month time.Month, day int) time.Time { return time.Date(2026, month, day, 12, 0, 0, 0, shanghai) }
	for name, test := range map[string]struct {
		target string
		want   Query
	}{
		"nothing":                         {"report.json", Query{}},
		"days":                            {"report.json?from=2026-10-01&to=2026-10-31", Query{From: noon(10, 1), To: noon(10, 31)}},
		"an interval":                     {"report.json?interval=hour", Query{Interval: Hour}},
		"a scene":                         {"report.json?scene=a%26b", Query{Scenes: []string{"a&b"}}},
		"scenes":                          {"report.json?scene=a&scene=%3Cb%3E&scene=", Query{Scenes: []string{"a", "<b>", ""}}},
		"a group":                         {"report.json?group=%E9%97%A8%E5%BA%97", Query{Group: "门店"}},
		"a search":                        {"report.json?search=%25_'", Query{Search: "%_'"}},
		"a limit":                         {"report.json?limit=5", Query{Limit: 5}},
		"no limit":                        {"report.json?limit=-1", Query{Limit: -1}},
		"a CSV file has all scenes":       {"report.csv", Query{Limit: -1}},
		"a CSV file can be limited":       {"report.csv?limit=5", Query{Limit: 5}},
		"a CSV file can have more detail": {"report.csv?per_scene=1&interval=week", Query{Limit: -1, PerScene: true, Interval: Week}},
	} {
		t.Run(name, func(t *testing.T) {
			reports := newStubReporter()
			answer := getPage(reports, "/stats/"+test.target)
			require.Equal(t, http.StatusOK, answer.Code, answer.Body)
			assert.Equal(t, test.want, reports.asked())
		})
	}
}

func TestPage_ParsesADayWithoutMidnight(t *testing.T) {
	santiago, err := time.LoadLocation("America/Santiago")
	if err != nil {
		t.Skip("the system knows no time zones")
	}
	day, err := parseDay("from", "2022-09-11", santiago) // clocks went from 24:00 to 1:00
	require.NoError(t, err)
	assert.Equal(t, "2022-09-11", day.Format(time.DateOnly))
}

func TestPage_RejectsInvalidQueries(t *testing.T) {
	for query, want := range map[string]string{
		"from=yesterday":          `from is "yesterday"; it must be a day such as 2026-11-21`,
		"from=":                   `from is ""; it must be a day such as 2026-11-21`,
		"to=2026-02-30":           `to is "2026-02-30"; it must be a day such as 2026-11-21`,
		"to=2026-1-2":             `to is "2026-1-2"; it must be a day such as 2026-11-21`,
		"to=2026-11-21T00:00:00Z": `to is "2026-11-21T00:00:00Z"; it must be a day such as 2026-11-21`,
		"interval=year":           `interval is "year"; it must be hour, day, week or month`,
		"interval=":               `interval is ""; it must be hour, day, week or month`,
		"limit=many":              `limit is "many"; it must be an integer; negative for all scenes`,
		"limit=1.5":               `limit is "1.5"; it must be an integer; negative for all scenes`,
		"limit=99999999999999999999": `limit is "99999999999999999999"; ` +
			`it must be an integer; negative for all scenes`,
		"from=2026-11-01&from=2026-11-02":         `from is given 2 times; only scene can be repeated`,
		"interval=day&interval=day&interval=week": `interval is given 3 times; only scene can be repeated`,
		"group=a&group=b":                         `group is given 2 times; only scene can be repeated`,
		"search=a&search=b":                       `search is given 2 times; only scene can be repeated`,
		"From=2026-11-01":                         `unknown parameter "From"; the parameters are from, to, interval, scene, group, search and limit`,
		"unknown=":                                `unknown parameter "unknown"; the parameters are from, to, interval, scene, group, search and limit`,
		"per_scene=1":                             `unknown parameter "per_scene"; the parameters are from, to, interval, scene, group, search and limit`,
		"scene=%FF":                               `scene is "\xff"; it must be text in UTF-8 without NUL`,
		"search=a%00b":                            `search is "a\x00b"; it must be text in UTF-8 without NUL`,
		"scene=%zz":                               `invalid query: invalid URL escape "%zz"`,
		"interval=" + strings.Repeat("x", 1000):   `interval is "` + strings.Repeat("x", 100) + `"; it must be hour, day, week or month`,
	} {
		t.Run(query[:min(len(query), 40)], func(t *testing.T) {
			reports := newStubReporter()
			answer := getPage(reports, "/stats/report.json?"+query)
			assert.Equal(t, http.StatusBadRequest, answer.Code)
			assert.Equal(t, want, readError(t, answer))
			assert.Empty(t, reports.queries)
			assertPageHeaders(t, answer)

			if query != "per_scene=1" {
				assert.Equal(t, http.StatusBadRequest, getPage(reports, "/stats/report.csv?"+query).Code)
			}
		})
	}
	t.Run("of a CSV file", func(t *testing.T) {
		assert.Equal(t, `per_scene is "yes"; it must be 1`, readError(t, getPage(newStubReporter(), "/stats/report.csv?per_scene=yes")))
		assert.Equal(t, `unknown parameter "x"; the parameters are from, to, interval, scene, group, search, limit and per_scene`,
			readError(t, getPage(newStubReporter(), "/stats/report.csv?x=1")))
	})
}

func TestStore_HandlerRejectsDaysOutsideTheCalendar(t *testing.T) {
	page := newTestStore(t, newDatabase(t, SQLite), testConfig()).Handler(allowAll)
	for query, status := range map[string]int{
		"to=9999-12-31":                 http.StatusBadRequest,
		"from=9999-12-31":               http.StatusBadRequest,
		"from=9999-12-31&to=9999-12-31": http.StatusBadRequest,
		"to=9999-12-30":                 http.StatusOK,
		"to=9999-12-30&interval=hour":   http.StatusOK,
		"to=9999-12-30&interval=month":  http.StatusOK,
		"to=1970-01-30":                 http.StatusBadRequest,
		"to=1970-01-31":                 http.StatusOK,
		"to=0001-01-01":                 http.StatusBadRequest,
		"to=0000-01-01":                 http.StatusBadRequest,
		"from=0000-01-01&to=0000-01-02": http.StatusBadRequest,
	} {
		for _, file := range []string{"report.json", "report.csv"} {
			response := httptest.NewRecorder()
			page.ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/"+file+"?"+query, nil))
			assert.Equal(t, status, response.Code, "%s?%s: %s", file, query, response.Body)
		}
	}
}

func TestPage_ReportErrors(t *testing.T) {
	for _, file := range []string{"report.json", "report.csv"} {
		t.Run(file+": a query that the store refuses", func(t *testing.T) {
			answer := getPage(newStubReporter(), "/stats/"+file+"?from=2026-11-02&to=2026-11-01")
			assert.Equal(t, http.StatusBadRequest, answer.Code)
			assert.Equal(t, "scanstats: report: invalid query: From is after To", readError(t, answer))
		})
		t.Run(file+": anything else is for the log alone", func(t *testing.T) {
			reports := newStubReporter()
			reports.fail(errors.New("database 10.0.0.7 is down"))
			var log bytes.Buffer
			page := newPage(reports, time.Now, slog.New(slog.NewTextHandler(&log, nil)), allowAll)
			answer := httptest.NewRecorder()
			page.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/"+file, nil))
			assert.Equal(t, http.StatusServiceUnavailable, answer.Code)
			assert.Equal(t, "the report is unavailable; see the log of the program", readError(t, answer))
			assert.Equal(t, 1, strings.Count(log.String(), "database 10.0.0.7 is down"), log.String())
			assert.Empty(t, answer.Header().Get("Content-Disposition"))
		})
		t.Run(file+": a client that has gone is no fault", func(t *testing.T) {
			reports := newStubReporter()
			reports.fail(context.Canceled)
			var log bytes.Buffer
			page := newPage(reports, time.Now, slog.New(slog.NewTextHandler(&log, nil)), allowAll)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			page.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/"+file, nil))
			assert.Empty(t, log.String())
		})
	}
}

func TestPage_ServesJSON(t *testing.T) {
	reports := newStubReporter().addHostile()
	answer := getPage(reports, "/stats/report.json?interval=week")
	require.Equal(t, http.StatusOK, answer.Code)
	for _, bad := range []string{"<", ">", "&", "\u2028"} { // which would be markup if somebody took it for HTML
		assert.NotContains(t, answer.Body.String(), bad)
	}

	var got struct {
		Report
		Today string `json:"today"`
	}
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &got))
	assert.Equal(t, "2026-11-21", got.Today)
	assert.Contains(t, answer.Body.String(), `"now":"2026-11-21T15:04:05+08:00"`)
	want, err := reports.Report(t.Context(), Query{Interval: Week})
	require.NoError(t, err)
	assert.Equal(t, want.Total, got.Total)
	assert.Equal(t, want.Scenes, got.Scenes)
	for _, hostile := range hostileScenes {
		assert.True(t, slices.ContainsFunc(got.Scenes, func(s SceneReport) bool { return s.Scene == hostile }), hostile)
	}
}

func TestPage_ServesCSV(t *testing.T) {
	reports := newStubReporter().addHostile()
	answer := getPage(reports, "/stats/report.csv?from=2026-10-23&to=2026-11-21&group=Stores")
	require.Equal(t, http.StatusOK, answer.Code)
	assert.Equal(t, `attachment; filename="scans-2026-10-23-2026-11-21.csv"`, answer.Header().Get("Content-Disposition"))
	report, err := reports.Report(t.Context(), reports.asked())
	require.NoError(t, err)
	var want bytes.Buffer
	require.NoError(t, report.WriteCSV(&want))
	assert.Equal(t, want.String(), answer.Body.String())
	assert.Equal(t, 14+1, strings.Count(answer.Body.String(), "\n"))
}

func TestStore_Handler(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			s := newTestStore(t, d, testConfig())
			require.NoError(t, s.Record(t.Context(), followed("o-1", "poster", now)))
			require.NoError(t, s.Label(t.Context(), "poster", Label{Name: "南京路"}))
			page := s.Handler(allowAll)

			answer := httptest.NewRecorder()
			page.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/report.json?from=2026-11-01&to=2026-11-21&interval=week", nil))
			require.Equal(t, http.StatusOK, answer.Code, answer.Body)
			var got Report
			require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &got))
			want, err := s.Report(t.Context(), Query{From: now.AddDate(0, 0, -20), Interval: Week})
			require.NoError(t, err)
			assert.Equal(t, want.Total, got.Total)
			assert.Equal(t, want.Scenes, got.Scenes)
			assert.Len(t, got.Buckets, len(want.Buckets))

			answer = httptest.NewRecorder()
			page.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/report.csv", nil))
			assert.Contains(t, answer.Body.String(), "\nposter,南京路,,1,0,1,1,0,1,")

			answer = httptest.NewRecorder()
			s.Handler(nil).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/report.json", nil))
			assert.Equal(t, http.StatusForbidden, answer.Code)
			assert.NotContains(t, answer.Body.String(), "poster")
		})
	}
}

func TestStore_HandlerUsesTheZoneOfTheDatabase(t *testing.T) {
	losAngeles, err := time.LoadLocation("America/Los_Angeles")
	require.NoError(t, err)
	d := newDatabase(t, SQLite)
	c := testConfig()
	c.Location = losAngeles
	require.NoError(t, newTestStore(t, d, c).Close())

	c.Location = nil
	s, err := newStore(d.open(t), d.dialect, c) // which has not asked the database yet
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	s.now = func() time.Time { return now }
	page := s.Handler(allowAll)
	get := func(ctx context.Context) *httptest.ResponseRecorder {
		answer := httptest.NewRecorder()
		page.ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodGet, "/report.json?from=2026-11-01&to=2026-11-02", nil))
		return answer
	}

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	answer := get(gone)
	assert.Equal(t, http.StatusServiceUnavailable, answer.Code, "it is away")
	assert.Equal(t, "the report is unavailable; see the log of the program", readError(t, answer))

	answer = get(t.Context())
	require.Equal(t, http.StatusOK, answer.Code, answer.Body)
	var got struct {
		Report
		Today string `json:"today"`
	}
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &got))
	assert.Equal(t, "2026-11-01T00:00:00-07:00", got.From.Format(time.RFC3339))
	assert.Equal(t, "2026-11-03T00:00:00-08:00", got.To.Format(time.RFC3339))
	assert.Equal(t, "2026-11-20", got.Today, "at three in the afternoon in Shanghai")
}
