package scanstats

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image/png"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where the tests in a real browser find it, whether they must not be skipped, and where to
// put a picture of the page, such as ../docs/scanstats.png.
const (
	envBrowser        = "WXQRCODE_BROWSER"
	envRequireBrowser = "WXQRCODE_REQUIRE_BROWSER"
	envScreenshot     = "WXQRCODE_SCREENSHOT"
)

// browserTimeout bounds all that a test does in a browser, from its start to its end.
const browserTimeout = 120 * time.Second

// browserPath returns the program of a Chromium or Chrome, or skips the test.
func browserPath(t *testing.T) string {
	t.Helper()
	// Chrome first: on Ubuntu 24.04 AppArmor lets a Chromium that came by no package make
	// no sandbox, and GitHub's runners have one of those beside Chrome
	// (https://github.com/actions/runner-images/issues/12096).
	names := []string{"google-chrome", "chromium", "chromium-browser"}
	if name := os.Getenv(envBrowser); name != "" {
		names = []string{name}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv(envRequireBrowser) == "1" {
		require.FailNow(t, "no browser found", "looked for %q; install Chromium, or name a browser in %s", names, envBrowser)
	}
	t.Skipf("no browser found: looked for %q; install Chromium, or name a browser in %s", names, envBrowser)
	return ""
}

// startBrowser starts a headless browser with a profile of its own. Each window is a
// context made from it with openWindow.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	path := browserPath(t)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), browserTimeout) // t's ends before the browser is closed
	t.Cleanup(cancel)
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless,
		chromedp.DisableGPU,
		chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true), // containers have little of it
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("hide-scrollbars", true), // in pictures
		chromedp.Flag("no-proxy-server", true),
	}
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which refuses to run as root
	}
	ctx, _ = chromedp.NewExecAllocator(ctx, options...)
	ctx, _ = chromedp.NewContext(ctx)
	require.NoError(t, chromedp.Do(ctx), "start %s", path)
	t.Cleanup(func() {
		assert.NoError(t, chromedp.Cancel(ctx), "close the browser")
		chromedp.FromContext(ctx).Allocator.Wait()
	})
	return ctx
}

// A window is a browser's window with the page.
type window struct {
	ctx     context.Context
	reports *stubReporter
	url     string
	fails   atomic.Bool // the browser may log that something could not be loaded
	signIn  atomic.Bool // the middleware sends to a login
}

// openWindow opens a page of its own, in English unless languages are given. The test fails
// if the page logs an error, of its script's or of its Content-Security-Policy's, or opens a
// dialog.
func openWindow(browserContext context.Context, t *testing.T, reports *stubReporter, languages ...string) *window {
	t.Helper()
	w := &window{reports: reports}
	w.serve(t)
	ctx, cancel := chromedp.NewContext(browserContext, chromedp.WithNewBrowserContext())
	w.ctx = ctx
	var mu sync.Mutex // guards faults
	var faults []string
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError && (e.Entry.Source != log.EntrySourceNetwork || !w.fails.Load()) {
				faults = append(faults, e.Entry.Text)
			}
		case *runtime.EventExceptionThrown:
			faults = append(faults, e.ExceptionDetails.Text)
		case *page.EventJavascriptDialogOpening:
			faults = append(faults, "a dialog: "+e.Message)
		}
	}))
	t.Cleanup(func() {
		cancel()
		mu.Lock()
		defer mu.Unlock()
		assert.Empty(t, faults, "errors in the page")
	})
	language := "en-US,en"
	if len(languages) > 0 {
		language = strings.Join(languages, ",")
	}
	// An empty user agent would leave the languages as they are.
	_, err := chromedp.Call(ctx, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: "Mozilla/5.0", AcceptLanguage: language})
	require.NoError(t, err)
	require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900)))
	return w
}

// serve serves the page as a program would, under a prefix and behind a login.
func (w *window) serve(t *testing.T) {
	t.Helper()
	requireLogin := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if w.signIn.Load() {
				http.Redirect(rw, r, "/login", http.StatusFound)
				return
			}
			next.ServeHTTP(rw, r)
		})
	}
	stats := newPage(w.reports, func() time.Time { return pageNow }, slog.New(slog.DiscardHandler), requireLogin)
	mux := http.NewServeMux()
	mux.Handle("/stats/", http.StripPrefix("/stats", stats))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	w.url = server.URL + "/stats/"
}

// open opens the page with a query, and waits for its report.
func (w *window) open(t *testing.T, query string) {
	t.Helper()
	require.NoError(t, chromedp.Do(w.ctx, chromedp.Navigate(w.url+query)))
	w.settle(t)
}

func (w *window) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	require.NoError(t, chromedp.Do(w.ctx, steps...))
}

// until waits until an expression is true.
func (w *window) until(t *testing.T, expression string) {
	t.Helper()
	ok, err := chromedp.Run(w.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(20*time.Second)))
	if err != nil || !ok {
		body, _ := chromedp.Run(w.ctx, chromedp.Evaluate[string](`document.body.innerText`))
		address, _ := chromedp.Run(w.ctx, chromedp.Location())
		require.FailNow(t, "this did not become true", "%s\n%v\n%s\n%s", expression, err, address, body)
	}
}

// settle waits until the page has loaded what it loads.
func (w *window) settle(t *testing.T) {
	t.Helper()
	w.until(t, `document.querySelector('#main')?.getAttribute('aria-busy') === 'false'`)
}

func evaluate[T any](t *testing.T, w *window, expression string) T {
	t.Helper()
	value, err := chromedp.Run(w.ctx, chromedp.Evaluate[T](expression))
	require.NoError(t, err, expression)
	return value
}

func (w *window) text(t *testing.T, selector string) string {
	t.Helper()
	return evaluate[string](t, w, fmt.Sprintf(`document.querySelector(%q).innerText`, selector))
}

// parameter returns a parameter of the page's address.
func (w *window) parameter(t *testing.T, name string) string {
	t.Helper()
	return evaluate[string](t, w, fmt.Sprintf(`new URLSearchParams(location.search).get(%q) ?? ''`, name))
}

// press presses a key on an element.
func (w *window) press(t *testing.T, selector, key string) {
	t.Helper()
	w.do(t, chromedp.Focus(selector), chromedp.KeyEvent(key))
}

// choose sets a control as a user's choice does.
func (w *window) choose(t *testing.T, selector, value string) {
	t.Helper()
	evaluate[bool](t, w, fmt.Sprintf(`(e => {e.value = %q; return e.dispatchEvent(new Event('change'))})(document.querySelector(%q))`, value, selector))
}

// search types a text in place of what is searched for.
func (w *window) search(t *testing.T, text string) {
	t.Helper()
	evaluate[any](t, w, `document.querySelector('#search').select()`)
	w.do(t, chromedp.SendKeys("#search", text))
}

// cards returns the numbers of the total.
func (w *window) cards(t *testing.T) []string {
	t.Helper()
	return evaluate[[]string](t, w, `[...document.querySelectorAll('#totals dt + dd')].map(e => e.textContent)`)
}

// segments returns the colors of the chart's line to some buckets, undefined for that of
// the line.
func (w *window) segments(t *testing.T, buckets ...int) (colors []string) {
	t.Helper()
	for _, i := range buckets {
		colors = append(colors, evaluate[string](t, w, fmt.Sprintf(`String(Chart.getChart('time').data.datasets[0].segment.borderColor({p1DataIndex: %d}))`, i)))
	}
	return colors
}

// column returns a column of the table of scenes as it is shown.
func (w *window) column(t *testing.T, i int) []string {
	t.Helper()
	return evaluate[[]string](t, w, fmt.Sprintf(`[...document.querySelectorAll('#table tbody tr')].map(r => (r.cells[%d].querySelector('a') ?? r.cells[%[1]d]).textContent)`, i))
}

// report asks for what the page must show.
func (w *window) report(t *testing.T, q Query) *Report {
	t.Helper()
	report, err := w.reports.Report(t.Context(), q)
	require.NoError(t, err)
	return report
}

func november(day int) time.Time { return time.Date(2026, time.November, day, 12, 0, 0, 0, shanghai) }

// wantCards writes counts as the page does in English.
func wantCards(c Counts) []string {
	cards := []string{grouped(c.Scans), grouped(c.NewFollowers), grouped(c.UniqueUsers), grouped(c.Unfollows)}
	for _, s := range c.Retention {
		cards = append(cards, wantShare(s))
	}
	return cards
}

func wantShare(s Retention) string {
	if s.Cohort == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(s.Retained)/float64(s.Cohort))
}

// grouped writes a number below a million.
func grouped(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

func TestPage_BrowserShowsTheReport(t *testing.T) {
	w := openWindow(startBrowser(t), t, newStubReporter())
	w.open(t, "")
	report := w.report(t, Query{})

	assert.Equal(t, wantCards(report.Total), w.cards(t))
	assert.Equal(t, "Scan statistics", evaluate[string](t, w, `document.title`))
	assert.Equal(t, "en-US", evaluate[string](t, w, `document.documentElement.lang`))
	assert.Contains(t, w.text(t, "#range"), "Oct 23")
	assert.Contains(t, w.text(t, "#range"), "Nov 21, 2026")
	assert.Equal(t, "2026-10-23", evaluate[string](t, w, `document.querySelector('#from').value`))
	assert.Equal(t, "2026-11-21", evaluate[string](t, w, `document.querySelector('#to').value`))
	assert.Equal(t, "true", evaluate[string](t, w, `document.querySelector('[data-range="30"]').getAttribute('aria-pressed')`))
	assert.Contains(t, w.text(t, "#zone"), "Asia/Shanghai")
	assert.Equal(t, "40 scenes", w.text(t, "#count"))
	assert.Contains(t, w.text(t, "#table tfoot"), "Unattributed")
	assert.Contains(t, w.text(t, "#table tfoot"), "731")

	names, scans, retained := w.column(t, 0), w.column(t, 2), w.column(t, 6)
	require.Len(t, names, len(report.Scenes))
	for i, s := range report.Scenes {
		assert.Equal(t, grouped(s.Scans), scans[i])
		assert.Equal(t, wantShare(s.Retention[0]), retained[i])
		if s.Name == "" {
			assert.Contains(t, names, s.Scene)
		} else {
			assert.Contains(t, names, s.Name)
		}
	}
	t.Run("the charts are drawn, described, and there as tables", func(t *testing.T) {
		for _, id := range []string{"time", "retention"} {
			assert.True(t, evaluate[bool](t, w, fmt.Sprintf(`(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(x => x))(document.querySelector('#%s'))`, id)), id)
			assert.Equal(t, "img", evaluate[string](t, w, fmt.Sprintf(`document.querySelector('#%s').getAttribute('role')`, id)))
		}
		label := evaluate[string](t, w, `document.querySelector('#time').getAttribute('aria-label')`)
		assert.Contains(t, label, "Line chart from Oct 23, 2026 to Nov 21, 2026. Scans: "+grouped(report.Total.Scans)+", most ")
		assert.Contains(t, evaluate[string](t, w, `document.querySelector('#retention').getAttribute('aria-label')`), "D7 retention "+wantShare(report.Total.Retention[1]))

		w.press(t, "#time-numbers summary", kb.Enter)
		w.until(t, `document.querySelectorAll('#time-numbers tbody tr').length === 30`)
		last := report.Buckets[len(report.Buckets)-1]
		assert.Equal(t, []string{"Sat, Nov 21, 2026 (incomplete)", grouped(last.Scans), grouped(last.NewFollowers), grouped(last.UniqueUsers), grouped(last.Unfollows)},
			evaluate[[]string](t, w, `[...document.querySelector('#time-numbers tbody tr:last-child').cells].map(c => c.textContent)`))
		w.press(t, "#retention-numbers summary", kb.Enter)
		w.until(t, `document.querySelectorAll('#retention-numbers tbody tr').length === 11`)
	})
	t.Run("today is incomplete, and no line is drawn to it", func(t *testing.T) {
		assert.Equal(t, "Sat, Nov 21, 2026 is not over yet: its numbers are incomplete.", w.text(t, "#incomplete"))
		assert.Equal(t, []string{"undefined", "transparent"}, w.segments(t, 28, 29))
		assert.True(t, evaluate[bool](t, w, `document.querySelector('#incomplete').checkVisibility()`))
	})
	t.Run("a line can be hidden", func(t *testing.T) {
		w.press(t, `#lines [data-line="unique_users"]`, " ")
		assert.Equal(t, "false", evaluate[string](t, w, `document.querySelector('#lines [data-line="unique_users"]').getAttribute('aria-pressed')`))
		assert.False(t, evaluate[bool](t, w, `Chart.getChart('time').isDatasetVisible(2)`))
	})
	t.Run("everything has a name", func(t *testing.T) {
		assert.Empty(t, evaluate[[]string](t, w, `[...document.querySelectorAll('button, a, summary')].filter(e => !e.textContent.trim()).map(e => e.outerHTML)`))
		assert.Empty(t, evaluate[[]string](t, w, `[...document.querySelectorAll('input, select')].filter(e => !e.labels[0]?.textContent.trim()).map(e => e.outerHTML)`))
		assert.Empty(t, evaluate[[]string](t, w, `[...document.querySelectorAll('[aria-labelledby]')].filter(e => !document.getElementById(e.getAttribute('aria-labelledby'))?.textContent.trim()).map(e => e.outerHTML)`))
	})
	t.Run("nothing was loaded from elsewhere", func(t *testing.T) {
		assert.Empty(t, evaluate[[]string](t, w, `performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin + '/stats/'))`))
	})
}

func TestPage_BrowserSortsTheTable(t *testing.T) {
	w := openWindow(startBrowser(t), t, newStubReporter())
	w.open(t, "?from=2026-11-18&to=2026-11-21") // some scenes have nobody who came long enough ago
	sorted := `(i, down) => {
		const texts = [...document.querySelectorAll('#table tbody tr')].map(r => (r.cells[i].querySelector('a') ?? r.cells[i]).textContent);
		const collator = new Intl.Collator('en-US', {numeric: true});
		const last = t => t === '–' || t === '';
		const value = t => i < 2 ? t : parseFloat(t.replaceAll(',', ''));
		return texts.length > 30 && texts.every((t, k) => {
			if (k === 0 || last(t)) return true;
			if (last(texts[k - 1])) return false;
			const [a, b] = down ? [t, texts[k - 1]] : [texts[k - 1], t];
			return i < 2 ? collator.compare(a, b) <= 0 : value(a) <= value(b);
		});
	}`
	columns := []string{"scene", "group", "scans", "new_followers", "unique_users", "unfollows", "retention_1", "retention_7", "retention_30"}
	for i, column := range columns {
		isText := i < 2
		down := !isText
		if column == "scans" {
			down = false // it is the first order, the largest first
			w.open(t, "?from=2026-11-18&to=2026-11-21")
			assert.True(t, evaluate[bool](t, w, fmt.Sprintf(`(%s)(2, true)`, sorted)))
		}
		for range 2 {
			direction, sort := "ascending", column
			if down {
				direction, sort = "descending", "-"+column
			}
			t.Run(column+" "+direction, func(t *testing.T) {
				w.press(t, fmt.Sprintf(`#table th[data-column=%q] button`, column), kb.Enter)
				w.until(t, fmt.Sprintf(`document.querySelector('#table th[data-column=%q]').ariaSort === %q`, column, direction))
				assert.Equal(t, 1, evaluate[int](t, w, `document.querySelectorAll('#table th[aria-sort]').length`))
				assert.True(t, evaluate[bool](t, w, fmt.Sprintf(`(%s)(%d, %t)`, sorted, i, down)), w.column(t, i))
				assert.Equal(t, sort, w.parameter(t, "sort"))
				assert.Equal(t, column, evaluate[string](t, w, `document.activeElement.parentElement.dataset.column`), "the focus stays")
			})
			down = !down
		}
	}
	t.Run("a link keeps the order", func(t *testing.T) {
		w.open(t, "?sort=unfollows")
		assert.True(t, evaluate[bool](t, w, fmt.Sprintf(`(%s)(5, false)`, sorted)), w.column(t, 5))
	})
	t.Run("an unknown order is the first one", func(t *testing.T) {
		w.open(t, "?sort=constructor")
		assert.True(t, evaluate[bool](t, w, fmt.Sprintf(`(%s)(2, true)`, sorted)))
	})
}

func TestPage_BrowserSearchesTheTable(t *testing.T) {
	w := openWindow(startBrowser(t), t, newStubReporter())
	w.open(t, "")
	all := w.cards(t)
	requests := len(w.reports.queries)

	w.search(t, "METRO")
	w.until(t, `new URLSearchParams(location.search).get('search') === 'METRO'`)
	w.until(t, `document.querySelectorAll('#table tbody tr').length === 2`)
	assert.Equal(t, "2 of 40 scenes", w.text(t, "#count"))
	assert.ElementsMatch(t, []string{"Metro line 2, People's Square", "Metro line 10, Yuyuan"}, w.column(t, 0))
	assert.Equal(t, "METRO", w.parameter(t, "search"))
	assert.Equal(t, all, w.cards(t), "the totals are those of all scenes")
	assert.Len(t, w.reports.queries, requests, "nothing is asked of the server")
	assert.Contains(t, evaluate[string](t, w, `document.querySelector('#csv').href`), "search=METRO")

	t.Run("by key, and by group", func(t *testing.T) {
		w.search(t, "online-03")
		w.until(t, `document.querySelectorAll('#table tbody tr').length === 1`)
		w.search(t, "events 2026")
		w.until(t, `document.querySelectorAll('#table tbody tr').length === 8`)
	})
	t.Run("nothing matches", func(t *testing.T) {
		w.search(t, "nowhere")
		w.until(t, `document.querySelector('#count').textContent === 'No scene matches the search.'`)
		assert.Empty(t, w.column(t, 0))
	})
	t.Run("a link keeps the search", func(t *testing.T) {
		w.open(t, "?search=静安")
		assert.Equal(t, []string{"静安寺店"}, w.column(t, 0))
	})
	t.Run("a sort keeps it too", func(t *testing.T) {
		w.open(t, "?search=metro")
		w.press(t, `#table th[data-column="unfollows"] button`, kb.Enter)
		assert.Len(t, w.column(t, 0), 2)
	})
}

func TestPage_BrowserSearchesOmittedScenesOnTheServer(t *testing.T) {
	reports := newStubReporter()
	for i := range 1200 {
		reports.scenes = append(reports.scenes, SceneReport{Scene: fmt.Sprintf("table-%04d", i), Group: "Tables"})
	}
	w := openWindow(startBrowser(t), t, reports)
	w.open(t, "?from=2026-11-20&to=2026-11-21")
	report := w.report(t, Query{From: november(20), To: november(21)})
	require.Positive(t, report.OmittedScenes)
	assert.Contains(t, w.text(t, "#more"), "1,000 scenes")
	assert.Contains(t, w.text(t, "#more"), grouped(int64(report.OmittedScenes))+" more")
	cards := w.cards(t)

	w.search(t, "table-119")
	found := w.report(t, Query{From: november(20), To: november(21), Search: "table-119"})
	w.until(t, fmt.Sprintf(`document.querySelectorAll('#table tbody tr').length === %d`, len(found.Scenes)))
	assert.Equal(t, cards, w.cards(t))
	require.NotEmpty(t, found.Scenes)
	assert.Contains(t, w.column(t, 0), found.Scenes[0].Scene)
}

func TestPage_BrowserChangesTheRange(t *testing.T) {
	w := openWindow(startBrowser(t), t, newStubReporter())
	w.open(t, "")
	for name, test := range map[string]struct{ button, from, to string }{
		"7 days":     {"7", "2026-11-15", "2026-11-21"},
		"30 days":    {"30", "2026-10-23", "2026-11-21"},
		"90 days":    {"90", "2026-08-24", "2026-11-21"},
		"this month": {"month", "2026-11-01", "2026-11-21"},
		"last month": {"before", "2026-10-01", "2026-10-31"},
	} {
		t.Run(name, func(t *testing.T) {
			w.press(t, fmt.Sprintf(`[data-range=%q]`, test.button), kb.Enter)
			w.settle(t)
			q := w.reports.asked()
			assert.Equal(t, test.from, q.From.Format(time.DateOnly))
			assert.Equal(t, test.to, q.To.Format(time.DateOnly))
			assert.Equal(t, wantCards(w.report(t, q).Total), w.cards(t))
			assert.Equal(t, test.from, w.parameter(t, "from"))
			assert.Equal(t, []string{test.button}, evaluate[[]string](t, w, `[...document.querySelectorAll('[data-range][aria-pressed=true]')].map(b => b.dataset.range)`))
		})
	}
	t.Run("days of one's own", func(t *testing.T) {
		w.open(t, "")
		w.choose(t, "#from", "2026-11-10")
		w.settle(t)
		w.choose(t, "#to", "2026-11-12")
		w.settle(t)
		q := Query{From: november(10), To: november(12)}
		assert.Equal(t, wantCards(w.report(t, q).Total), w.cards(t))
		assert.Equal(t, "2026-11-10", w.parameter(t, "from"))
		assert.Equal(t, "2026-11-12", w.parameter(t, "to"))
		assert.Contains(t, w.text(t, "#range"), "12, 2026")
	})
	t.Run("a first day after the last moves this", func(t *testing.T) {
		w.open(t, "?from=2026-11-01&to=2026-11-05")
		w.choose(t, "#from", "2026-11-08")
		w.settle(t)
		assert.Equal(t, "2026-11-08", w.parameter(t, "to"))
	})
	t.Run("Back and Forward", func(t *testing.T) {
		w.open(t, "")
		month := w.cards(t)
		w.do(t, chromedp.Click(`[data-range="7"]`))
		w.settle(t)
		week := w.cards(t)
		require.NotEqual(t, month, week)
		evaluate[any](t, w, `history.back()`)
		w.until(t, fmt.Sprintf(`document.querySelector('#totals dd').textContent === %q`, month[0]))
		assert.Equal(t, "2026-10-23", evaluate[string](t, w, `document.querySelector('#from').value`))
		evaluate[any](t, w, `history.forward()`)
		w.until(t, fmt.Sprintf(`document.querySelector('#totals dd').textContent === %q`, week[0]))
		assert.Equal(t, "2026-11-15", evaluate[string](t, w, `document.querySelector('#from').value`))
	})
	for by, points := range map[string]int{"hour": 30 * 24, "week": 5, "month": 2} {
		t.Run("by "+by, func(t *testing.T) {
			w.open(t, "")
			w.choose(t, "#interval", by)
			w.settle(t)
			assert.Equal(t, Interval(by), w.reports.asked().Interval)
			assert.Equal(t, points, evaluate[int](t, w, `Chart.getChart('time').data.labels.length`))
			assert.Equal(t, by, w.parameter(t, "interval"))
			assert.Contains(t, w.text(t, "#incomplete"), "is not over yet")
		})
	}
	t.Run("hours of today that have not begun are not drawn", func(t *testing.T) {
		w.open(t, "?from=2026-11-21&to=2026-11-21&interval=hour")
		assert.Equal(t, "Sat, Nov 21, 2026 at 15:00 is not over yet: its numbers are incomplete.", strings.ReplaceAll(w.text(t, "#incomplete"), ", 15:00", " at 15:00"))
		assert.Equal(t, 16, evaluate[int](t, w, `Chart.getChart('time').data.datasets[0].data.filter(v => v !== null).length`))
		assert.Equal(t, []string{"undefined", "transparent"}, w.segments(t, 14, 15))
	})
	t.Run("days before today are complete", func(t *testing.T) {
		w.open(t, "?from=2026-11-01&to=2026-11-20")
		assert.Equal(t, []string{"undefined", "undefined"}, w.segments(t, 18, 19))
		assert.True(t, evaluate[bool](t, w, `document.querySelector('#incomplete').hidden`))
	})
	t.Run("too many hours become days", func(t *testing.T) {
		w.open(t, "?interval=hour")
		w.do(t, chromedp.Click(`[data-range="90"]`))
		w.settle(t)
		assert.Equal(t, 90, evaluate[int](t, w, `Chart.getChart('time').data.labels.length`))
		assert.Equal(t, "day", evaluate[string](t, w, `document.querySelector('#interval').value`))
	})
	t.Run("a group", func(t *testing.T) {
		w.open(t, "")
		assert.Equal(t, []string{"", "Events 2026", "Online", "Posters", "Stores"}, evaluate[[]string](t, w, `[...document.querySelectorAll('#group option')].map(o => o.value)`))
		w.choose(t, "#group", "Posters")
		w.settle(t)
		assert.Equal(t, wantCards(w.report(t, Query{Group: "Posters"}).Total), w.cards(t))
		assert.Len(t, w.column(t, 0), 10)
		assert.Empty(t, w.text(t, "#table tfoot"))
	})
}

func TestPage_BrowserShowsOneScene(t *testing.T) {
	w := openWindow(startBrowser(t), t, newStubReporter())
	w.open(t, "?from=2026-11-01&to=2026-11-21")
	all := w.cards(t)
	w.press(t, `#table tbody a[href*="stores-03"]`, kb.Enter)
	w.until(t, `!document.querySelector('#alone').hidden`)
	w.settle(t)
	assert.Equal(t, []string{"stores-03"}, w.reports.asked().Scenes)
	assert.Equal(t, wantCards(w.report(t, Query{From: november(1), To: november(21), Scenes: []string{"stores-03"}}).Total), w.cards(t))
	assert.Equal(t, "Only Lujiazui store", w.text(t, "#alone-title"))
	assert.Equal(t, "stores-03", w.text(t, "#alone-key"))
	assert.Equal(t, "alone-title", evaluate[string](t, w, `document.activeElement.id`), "the focus is where the page changed")
	assert.Equal(t, 1, evaluate[int](t, w, `Chart.getChart('retention').data.labels.length`))
	assert.Equal(t, "2026-11-01", w.parameter(t, "from"))

	w.press(t, "#everything", kb.Enter)
	w.until(t, `document.querySelector('#alone').hidden`)
	w.settle(t)
	assert.Equal(t, all, w.cards(t))
	assert.Equal(t, "Lujiazui store", evaluate[string](t, w, `document.activeElement.textContent`))

	evaluate[any](t, w, `history.back()`)
	w.until(t, `!document.querySelector('#alone').hidden`)
}

func TestPage_BrowserDownloadsCSV(t *testing.T) {
	w := openWindow(startBrowser(t), t, newStubReporter().addHostile())
	w.open(t, "?from=2026-11-01&to=2026-11-21&group=Stores")
	folder, yes := t.TempDir(), true
	_, err := chromedp.CallBrowser(w.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: folder, EventsEnabled: &yes,
		BrowserContextID: chromedp.FromContext(w.ctx).BrowserContextID,
	})
	require.NoError(t, err)
	progress := chromedp.BrowserEvents(w.ctx, browser.DownloadProgress)
	w.do(t, chromedp.Click("#csv"))
	for event, err := range progress {
		require.NoError(t, err)
		require.NotEqual(t, browser.DownloadProgressStateCanceled, event.State)
		if event.State == browser.DownloadProgressStateCompleted {
			break
		}
	}
	got, err := os.ReadFile(filepath.Join(folder, "scans-2026-11-01-2026-11-21.csv"))
	require.NoError(t, err)
	var want bytes.Buffer
	require.NoError(t, w.report(t, Query{From: november(1), To: november(21), Group: "Stores", Limit: -1}).WriteCSV(&want))
	assert.Equal(t, want.String(), string(got))
}

func TestPage_BrowserShowsHostileScenesAsText(t *testing.T) {
	w := openWindow(startBrowser(t), t, newStubReporter().addHostile())
	w.open(t, "")
	names := w.column(t, 0)
	for _, scene := range hostileScenes {
		assert.Contains(t, names, scene)
	}
	clean := func(t *testing.T) {
		t.Helper()
		assert.True(t, evaluate[bool](t, w, `window.pwned === undefined && !document.querySelector('#report script, #report img, #report svg')`))
	}
	clean(t)
	assert.LessOrEqual(t, evaluate[int](t, w, `document.documentElement.scrollWidth - innerWidth`), 0, "long words do not widen the page")
	for _, id := range []string{"time-numbers", "retention-numbers"} {
		w.press(t, "#"+id+" summary", kb.Enter)
	}
	w.until(t, `document.querySelector('#retention-numbers table')`+` !== null`)
	for _, scene := range append(hostileScenes, "named") {
		t.Run(fmt.Sprintf("%.20q", scene), func(t *testing.T) {
			w.open(t, "?"+url.Values{"scene": {scene}, "search": {scene}, "sort": {scene}}.Encode())
			assert.Equal(t, []string{scene}, w.reports.asked().Scenes)
			want := scene
			if scene == "named" {
				want = hostileScenes[0]
			}
			assert.Equal(t, want, evaluate[string](t, w, `document.querySelector('#alone-name').textContent`))
			clean(t)
		})
	}
	t.Run("a hostile group", func(t *testing.T) {
		w.open(t, "?"+url.Values{"group": {hostileScenes[1]}}.Encode())
		assert.Equal(t, []string{hostileScenes[0]}, w.column(t, 0))
		clean(t)
	})
	t.Run("a hostile address", func(t *testing.T) {
		w.fails.Store(true)
		w.open(t, "?"+url.Values{"from": {hostileScenes[0]}}.Encode())
		assert.Contains(t, w.text(t, "#alert"), "window.pwned=1")
		clean(t)
	})
}

func TestPage_BrowserLanguage(t *testing.T) {
	chromium := startBrowser(t)
	for name, test := range map[string]struct {
		languages   []string
		lang, title string
	}{
		"Chinese":              {[]string{"zh-CN", "zh"}, "zh-CN", "扫码统计"},
		"Chinese after French": {[]string{"fr", "zh-TW", "en"}, "zh-CN", "扫码统计"},
		"English":              {[]string{"en-GB", "zh"}, "en-GB", "Scan statistics"},
		"neither":              {[]string{"fr"}, "en", "Scan statistics"},
	} {
		t.Run(name, func(t *testing.T) {
			w := openWindow(chromium, t, newStubReporter(), test.languages...)
			w.open(t, "")
			assert.Equal(t, test.lang, evaluate[string](t, w, `document.documentElement.lang`))
			assert.Equal(t, test.title, w.text(t, "h1"))
			assert.Equal(t, wantCards(w.report(t, Query{}).Total), w.cards(t))
			labels := evaluate[[]string](t, w, `[...document.querySelectorAll('#totals dt')].map(e => e.textContent)`)
			if test.lang == "zh-CN" {
				assert.Equal(t, []string{"扫码次数", "新增关注", "扫码人数", "取消关注", "1 日留存", "7 日留存", "30 日留存"}, labels)
				assert.Contains(t, w.text(t, "#range"), "2026年10月23日")
				assert.Contains(t, w.text(t, "#incomplete"), "尚未结束，数据不完整。")
				assert.NotRegexp(t, `undefined|\b(Scans|retention|Show|scenes)\b`, w.text(t, "body"))
			} else {
				assert.Equal(t, "New followers", labels[1])
				assert.NotContains(t, w.text(t, "body"), "undefined")
			}
		})
	}
}

func TestPage_BrowserDarkMode(t *testing.T) {
	w := openWindow(startBrowser(t), t, newStubReporter())
	w.open(t, "")
	colours := func() []string {
		return evaluate[[]string](t, w, `[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color, Chart.getChart('time').data.datasets[0].borderColor]`)
	}
	light := colours()
	setTheme(t, w, "dark")
	w.until(t, fmt.Sprintf(`Chart.getChart('time').data.datasets[0].borderColor !== %q`, light[2]))
	dark := colours()
	assert.NotEqual(t, light[0], dark[0])
	assert.NotEqual(t, light[1], dark[1])
	setTheme(t, w, "light")
	w.until(t, fmt.Sprintf(`Chart.getChart('time').data.datasets[0].borderColor === %q`, light[2]))
	assert.Equal(t, light, colours())
}

func setTheme(t *testing.T, w *window, theme string) {
	t.Helper()
	_, err := chromedp.Call(w.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
	})
	require.NoError(t, err)
}

// contrasts finds texts whose colour is too near to their background's, by WCAG 2.2, 1.4.3.
const contrasts = `(() => {
	const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
	const rgba = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
	const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const ground = e => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255]; };
	const faults = new Set();
	for (const e of document.querySelectorAll('body *')) {
		if (!e.checkVisibility() || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
		const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground(e))];
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) faults.add(e.tagName + '.' + e.className + ' in ' + e.parentElement.tagName + '#' + e.parentElement.id + ': ' + ratio.toFixed(2));
	}
	return [...faults];
})()`

func TestPage_BrowserContrast(t *testing.T) {
	w := openWindow(startBrowser(t), t, newStubReporter())
	for _, theme := range []string{"light", "dark"} {
		t.Run(theme, func(t *testing.T) {
			setTheme(t, w, theme)
			for _, query := range []string{"", "?scene=stores-01", "?from=2020-01-01&to=2020-01-02"} {
				w.open(t, query)
				assert.Empty(t, evaluate[[]string](t, w, contrasts), query)
			}
		})
	}
}

func TestPage_BrowserPhone(t *testing.T) {
	chromium := startBrowser(t)
	for _, language := range []string{"en", "zh"} {
		for _, width := range []int64{320, 360, 768} {
			t.Run(fmt.Sprintf("%s, %d pixels", language, width), func(t *testing.T) {
				w := openWindow(chromium, t, newStubReporter().addHostile(), language)
				w.do(t, chromedp.EmulateViewport(width, 740, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulatePortrait))
				for _, query := range []string{"", "?scene=stores-01", "?" + url.Values{"scene": {hostileScenes[len(hostileScenes)-1]}}.Encode(), "?interval=hour&search=none", "?from=2020-01-01&to=2020-01-02"} {
					w.open(t, query)
					assert.LessOrEqual(t, evaluate[int](t, w, `document.documentElement.scrollWidth`), int(width), query)
				}
				assert.Empty(t, evaluate[[]string](t, w, `[...document.querySelectorAll('button, select, input, .button')].filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 24).map(e => e.outerHTML)`), "too small for a finger")
			})
		}
	}
}

func TestPage_BrowserReducedMotion(t *testing.T) {
	w := openWindow(startBrowser(t), t, newStubReporter())
	_, err := chromedp.Call(w.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	require.NoError(t, err)
	w.open(t, "")
	assert.False(t, evaluate[bool](t, w, `Chart.defaults.animation`))
}

func TestPage_BrowserErrors(t *testing.T) {
	w := openWindow(startBrowser(t), t, newStubReporter())
	t.Run("no scans", func(t *testing.T) {
		w.open(t, "?from=2020-01-01&to=2020-01-31")
		assert.Equal(t, "No scans in this period.", w.text(t, "#empty"))
		assert.True(t, evaluate[bool](t, w, `document.querySelector('#charts').hidden && document.querySelector('#scenes').hidden`))
		assert.Equal(t, []string{"0", "0", "0", "0", "–", "–", "–"}, w.cards(t))
		w.do(t, chromedp.Click(`[data-range="30"]`))
		w.settle(t)
		assert.True(t, evaluate[bool](t, w, `document.querySelector('#empty').hidden`))
		assert.Len(t, w.column(t, 0), 40)
	})
	w.fails.Store(true)
	t.Run("no database, and a second try", func(t *testing.T) {
		w.reports.fail(errors.New("no database"))
		w.open(t, "")
		assert.Contains(t, w.text(t, "#alert"), "The report could not be loaded.")
		assert.NotContains(t, w.text(t, "#alert"), "database")
		assert.True(t, evaluate[bool](t, w, `document.querySelector('#report').hidden`))
		w.reports.fail(nil)
		w.press(t, "#alert button", kb.Enter)
		w.until(t, `!document.querySelector('#report').hidden`)
		w.settle(t)
		assert.Empty(t, w.text(t, "#alert"))
		assert.Len(t, w.column(t, 0), 40)
	})
	t.Run("a query that is refused", func(t *testing.T) {
		w.open(t, "?interval=fortnight")
		assert.Contains(t, w.text(t, "#alert"), `interval is "fortnight"; it must be hour, day, week or month`)
	})
	t.Run("a session that has ended", func(t *testing.T) {
		w.open(t, "")
		w.signIn.Store(true)
		w.do(t, chromedp.Click(`[data-range="7"]`))
		w.settle(t)
		assert.Contains(t, w.text(t, "#alert"), "Please sign in again.")
		w.signIn.Store(false)
		_, err := chromedp.Run(w.ctx, chromedp.WaitEvent(page.LoadEventFired, nil, chromedp.Click("#alert button")))
		require.NoError(t, err)
		w.settle(t)
		assert.Equal(t, wantCards(w.report(t, Query{From: november(15), To: november(21)}).Total), w.cards(t))
	})
}

// The picture of the documentation is taken so, with a font that has Chinese:
//
//	WXQRCODE_SCREENSHOT=$PWD/../docs/scanstats.png go test -run Picture .
func TestPage_BrowserScreenshot(t *testing.T) {
	path := cmp.Or(os.Getenv(envScreenshot), filepath.Join(t.TempDir(), "page.png"))
	takePicture(t, openWindow(startBrowser(t), t, newStubReporter()), path)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	config, err := png.DecodeConfig(f)
	require.NoError(t, err)
	assert.Equal(t, 1280, config.Width)
}

// takePicture writes a picture of the upper part of the page.
func takePicture(t *testing.T, w *window, path string) {
	t.Helper()
	w.do(t, chromedp.EmulateViewport(1280, 1240))
	_, err := chromedp.Call(w.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: "light"}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	require.NoError(t, err)
	w.open(t, "?from=2026-08-24&to=2026-11-21")
	picture, err := chromedp.Run(w.ctx, chromedp.CaptureScreenshot())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, picture, 0o644))
}

func TestPage_BrowserShowsScenesOfAStoreAsText(t *testing.T) {
	browser := startBrowser(t)
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	for _, scene := range anyTexts {
		require.NoError(t, s.Record(t.Context(), followed("o-1", scene, now)))
	}
	server := httptest.NewServer(s.Handler(allowAll))
	defer server.Close()
	ctx, cancel := chromedp.NewContext(browser)
	defer cancel()
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(server.URL)))
	require.NoError(t, chromedp.Do(ctx, chromedp.WaitVisible("#table tbody tr")))
	names, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](`[...document.querySelectorAll('#table tbody a')].map(a => a.textContent)`))
	require.NoError(t, err)
	require.Len(t, names, len(anyTexts))
	shown := strings.Join(names, "|")
	for _, scene := range []string{`'; DROP TABLE scanstats_scene; --`, `<script>window.pwned = 1</script>`, "中文", "😀"} {
		assert.Contains(t, shown, scene)
	}
	clean, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`window.pwned === undefined`))
	require.NoError(t, err)
	assert.True(t, clean)
}
