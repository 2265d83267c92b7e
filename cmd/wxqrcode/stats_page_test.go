package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/scanstats"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A browser keeps cookies and follows redirects.
type browser struct{ *http.Client }

func newBrowser(t *testing.T) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return browser{&http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}}
}

func (b browser) open(t *testing.T, address string) (status int, body string, at *url.URL) {
	t.Helper()
	res, err := b.Get(address)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(text), res.Request.URL
}

const statsAddress = `The statistics are at (http://\S+/\?token=\w+)\n`

// startRecorder starts listen --stats, without a key in the environment.
func startRecorder(t *testing.T, path string, args ...string) *listener {
	t.Helper()
	t.Setenv(envStatsKey, "")
	return startListener(t, wxtest.RandomCallbackConfig(wxtest.Secure),
		append([]string{"--stats", path, "--stats-addr", "127.0.0.1:0"}, args...)...)
}

func TestListenRecordsAndServesThePage(t *testing.T) {
	leaveNoGoroutine(t)
	path := filepath.Join(t.TempDir(), "scans.db")
	l := startRecorder(t, path)
	address := l.stderr.await(t, statsAddress)
	l.scan(t, "poster-1", anOpenID)
	l.scan(t, "poster-1", anotherOpenID)
	l.scan(t, "海报-地铁站", anOpenID)

	user := newBrowser(t)
	status, body, at := user.open(t, address)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "<html")
	assert.Equal(t, "/", at.RequestURI(), "the token leaves the address")
	page := "http://" + at.Host
	for _, what := range []string{"/report.json", "/report.csv", "/app.js"} {
		status, body, _ = user.open(t, page+what)
		assert.Equal(t, http.StatusOK, status, what)
		assert.NotContains(t, body, anOpenID)
	}
	_, body, _ = user.open(t, page+"/report.json")
	assert.Contains(t, body, `"scans":3`)
	assert.Equal(t, 3, reportedScans(t, path), "also while it is recorded")
	assert.Equal(t, 3, strings.Count(l.stdout.String(), "poster-1")+strings.Count(l.stdout.String(), "海报"), "they are printed too")
	assert.Zero(t, l.stop())
	assert.NotContains(t, l.stderr.String(), "WARN")

	key := readKey(t, path)
	assert.Regexp(t, `^[0-9a-f]{64}\n$`, key)
	assert.NotContains(t, l.stdout.String()+l.stderr.String(), strings.TrimSpace(key))

	l = startRecorder(t, path)
	l.scan(t, "poster-1", anOpenID)
	assert.Zero(t, l.stop())
	assert.Equal(t, key, readKey(t, path), "the key stays")
	r := reportOf(t, path)
	assert.EqualValues(t, 4, r.Total.Scans, "the counts go on")
	assert.EqualValues(t, 2, r.Total.UniqueUsers, "and know who was there before")
}

func reportedScans(t *testing.T, path string) int {
	t.Helper()
	return int(reportOf(t, path).Total.Scans)
}

// readKey also checks that nobody else may.
func readKey(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(statsKeyFile(path))
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	key, err := os.ReadFile(statsKeyFile(path))
	require.NoError(t, err)
	return string(key)
}

func TestThePageOfTheStatisticsLetsInWhoHasItsToken(t *testing.T) {
	leaveNoGoroutine(t)
	path := newStatsFile(t, map[string]int{"poster-1": 1})
	p := startCommand(t, "stats", path, "--page", "--addr", "127.0.0.1:0")
	address := p.stdout.await(t, `^The page is (http://127\.0\.0\.1:\d+/\?token=\w{26})\n`)
	page, token, _ := strings.Cut(address, "/?token=")
	port := page[strings.LastIndex(page, ":"):]
	cookie := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: name, Value: value}) }
	}
	name := "wxqrcode_stats_" + port[1:]
	for _, test := range []struct {
		name, path string
		change     func(*http.Request)
		status     int
		says       string
	}{
		{"nothing", "/", nil, http.StatusForbidden, "open the address that wxqrcode printed"},
		{"data without a token", "/report.json", nil, http.StatusForbidden, "with its token"},
		{"a file without a token", "/app.js", nil, http.StatusForbidden, "请打开"},
		{"an empty token", "/?token=", nil, http.StatusForbidden, "with its token"},
		{"a wrong token", "/?token=" + token + "A", nil, http.StatusForbidden, "with its token"},
		{"a wrong token beside the cookie", "/?token=A", cookie(name, token), http.StatusForbidden, "with its token"},
		{"a wrong cookie", "/", cookie(name, "A"), http.StatusForbidden, "with its token"},
		{"the cookie of another page", "/", cookie(name+"0", token), http.StatusForbidden, "with its token"},
		{"the cookie", "/", cookie(name, token), http.StatusOK, "<html"},
		{"the token and another name (DNS rebinding)", "/?token=" + token, named("evil.example" + port), http.StatusForbidden, `does not answer to the name "evil.example`},
		{"the cookie and another name", "/report.json", func(r *http.Request) {
			cookie(name, token)(r)
			r.Host = "127.0.0.1.evil.example"
		}, http.StatusForbidden, "does not answer to the name"},
		{"the token and a name of loopback", "/?token=" + token, named("localhost" + port), http.StatusSeeOther, ""},
		{"a POST with the cookie", "/", func(r *http.Request) {
			cookie(name, token)(r)
			r.Method = http.MethodPost
		}, http.StatusMethodNotAllowed, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, body := call(t, http.MethodGet, page+test.path, test.change)
			assert.Equal(t, test.status, status)
			assert.Contains(t, body, test.says)
			assert.NotContains(t, body, token)
		})
	}
	assert.Zero(t, p.stop())
	assert.NotContains(t, p.stderr.String(), token)
}

func named(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }

func TestTheTokenBecomesACookie(t *testing.T) {
	stats, err := openStatsToRead(t.Context(), newStatsFile(t, map[string]int{"poster-1": 1}), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer stats.Close()
	page, err := openStatsPage("--addr", "127.0.0.1:0", stats)
	require.NoError(t, err)
	defer page.close()
	for given, want := range map[string]string{
		"/?token=TOKEN":                          "/",
		"/?from=2026-11-01&token=TOKEN&search=a": "/?from=2026-11-01&search=a",
		"/report.csv?token=TOKEN":                "/report.csv",
		"//evil.example/?token=TOKEN":            "/evil.example/",
		`/\evil.example/?token=TOKEN`:            "/evil.example/",
		"///evil.example?token=TOKEN&token=more": "/evil.example",
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, strings.Replace(given, "TOKEN", page.token, 1), nil)
		r.Host = "127.0.0.1"
		page.handler.ServeHTTP(w, r)
		assert.Equal(t, http.StatusSeeOther, w.Code, given)
		assert.Equal(t, want, w.Header().Get("Location"))
		assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		assert.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
		assert.Regexp(t, `^wxqrcode_stats_\d+=`+page.token+`; Path=/; HttpOnly; SameSite=Strict$`, w.Header().Get("Set-Cookie"))
	}
}

func TestThePageOfTheStatisticsInJSON(t *testing.T) {
	p := startCommand(t, "stats", newStatsFile(t, map[string]int{"poster-1": 1}), "--page", "--json", "--addr", "127.0.0.1:0")
	address := p.stdout.await(t, `^{"page":"(http://127\.0\.0\.1:\d+/\?token=\w+)"}\n`)
	status, _, _ := newBrowser(t).open(t, address)
	assert.Equal(t, http.StatusOK, status)
	assert.Zero(t, p.stop())
}

func TestAPageForOthersWarns(t *testing.T) {
	p := startCommand(t, "stats", newStatsFile(t, map[string]int{"poster-1": 1}), "--page", "--addr", "0.0.0.0:0")
	address := p.stdout.await(t, `^The page is (http://localhost:\d+/\?token=\w+)\n`)
	p.stderr.await(t, "level=WARN.* is not on loopback")
	status, _ := call(t, http.MethodGet, address, named("stats.example"))
	assert.Equal(t, http.StatusSeeOther, status)
	status, _ = call(t, http.MethodGet, strings.Replace(address, "token=", "token=A", 1), named("stats.example"))
	assert.Equal(t, http.StatusForbidden, status)
	assert.Zero(t, p.stop())
}

func TestListenInASandboxRecordsTheButtons(t *testing.T) {
	leaveNoGoroutine(t)
	clearCallbackEnv(t)
	t.Setenv(envStatsKey, "a key of my own, kept elsewhere")
	path := filepath.Join(t.TempDir(), "scans.db")
	p := startCommand(t, "listen", "--sandbox", "--addr", "127.0.0.1:0", "--json", "--stats", path, "--stats-addr", "127.0.0.1:0")
	address := p.stderr.await(t, statsAddress)
	page := p.stderr.await(t, `buttons at (http://\S+)/`)
	press(t, page, ticketsOn(t, page)[0], "new")
	press(t, page, ticketsOn(t, page)[0], "follower")
	user := newBrowser(t)
	_, _, at := user.open(t, address)
	_, body, _ := user.open(t, "http://"+at.Host+"/report.json")
	assert.Contains(t, body, `"scans":2,"scans_by_followers":1,"unique_users":2,"new_followers":1`)
	assert.Zero(t, p.stop())
	assert.Equal(t, 2, strings.Count(p.stdout.String(), "\n"), "stdout has the events alone: %s", p.stdout.String())
	assert.NoFileExists(t, statsKeyFile(path))
	assert.NotContains(t, p.stdout.String()+p.stderr.String(), "kept elsewhere")
}

func TestTheKeyOfTheStatistics(t *testing.T) {
	const secret = "sesame0123456789"
	for _, test := range []struct {
		name     string
		env      string
		database bool // with another key
		file     string
		mode     os.FileMode
		says     string
		code     int
	}{
		{"a short one in the environment", "sesame", false, "", 0, "holds 6 bytes; the key must have at least 16", exitUsage},
		{"none for a database that is there", "", true, "", 0, "but there is no key for it: if it holds statistics, set " + envStatsKey, exitUsage},
		{"another one in the environment", secret, true, "", 0, "the key comes from " + envStatsKey, exitUsage},
		{"another one in the file", "", true, secret, 0o600, "the configuration does not match the database", exitUsage},
		{"a file that others may read", "", false, secret, 0o644, "chmod 600", exitFailure},
		{"a file with too little in it", "", false, "sesame\n", 0o600, "must hold a text of 16 to 4096 bytes", exitFailure},
		{"a file with too much in it", "", false, strings.Repeat("sesame", 1000), 0o600, "must hold a text of 16 to 4096 bytes", exitFailure},
	} {
		t.Run(test.name, func(t *testing.T) {
			leaveNoGoroutine(t)
			clearCallbackEnv(t)
			path := filepath.Join(t.TempDir(), "scans.db")
			if test.database {
				path = newStatsFile(t, map[string]int{"poster-1": 1})
			}
			t.Setenv(envStatsKey, test.env)
			if test.file != "" {
				require.NoError(t, os.WriteFile(statsKeyFile(path), []byte(test.file), 0o600))
				require.NoError(t, os.Chmod(statsKeyFile(path), test.mode))
			}
			code, out, errs := wxqr(t, "listen", "--sandbox", "--addr", "127.0.0.1:0", "--stats", path, "--stats-addr", "127.0.0.1:0")
			assert.Equal(t, test.code, code, errs)
			assert.Empty(t, out)
			assert.Contains(t, errs, test.says)
			assert.NotContains(t, errs, "sesame")
			assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
			if !test.database {
				assert.NoFileExists(t, path)
			}
		})
	}
}

func TestTheEnvironmentAndTheFileHoldTheSameKey(t *testing.T) {
	path := newStatsFile(t, map[string]int{"poster-1": 1})
	require.NoError(t, os.WriteFile(statsKeyFile(path), []byte(os.Getenv(envStatsKey)+"\n"), 0o600))
	l := startRecorder(t, path)
	l.scan(t, "poster-1", anOpenID)
	assert.Zero(t, l.stop())
	assert.Equal(t, 2, reportedScans(t, path))
}

func TestWhatListenCannotRecordInIsRefusedAtTheStart(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		args, says string
		code       int
	}{
		{"--stats=", "--stats is empty", exitUsage},
		{"--stats-addr 127.0.0.1:0", "--stats-addr counts with --stats only", exitUsage},
		{"--stats DIR", "is no file that could hold statistics", exitUsage},
		{"--stats DIR/none/scans.db", "make a key for the statistics", exitFailure},
		{"--stats DIR/scans.db --stats-addr 8091", `--stats-addr "8091" must be a host and a port`, exitUsage},
		{"--stats DIR/scans.db --stats-addr 127.0.0.1:0 --addr 8080", `--addr "8080" must be a host and a port`, exitUsage},
	} {
		t.Run(test.args, func(t *testing.T) {
			leaveNoGoroutine(t)
			clearCallbackEnv(t)
			t.Setenv(envStatsKey, "")
			args := strings.Fields("listen --sandbox --addr 127.0.0.1:0 " + strings.ReplaceAll(test.args, "DIR", dir))
			code, out, errs := wxqr(t, args...)
			assert.Equal(t, test.code, code, errs)
			assert.Empty(t, out)
			assert.Contains(t, errs, test.says)
			assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
		})
	}
}

// newRecording returns a listen command with statistics, and the WeChat that pushes to it.
func newRecording(t *testing.T) (l *listenCommand, wechat *wxtest.Server, stderr *transcript) {
	t.Helper()
	stderr = new(transcript)
	show := newShowOf(t.Context(), io.Discard, stderr)
	t.Cleanup(func() { show.end(nil) })
	l = &listenCommand{addr: "127.0.0.1:0", path: "/wechat"}
	var err error
	l.stats, err = scanstats.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "scans.db"), scanstats.Config{Key: []byte("0123456789abcdef"), Logger: show.log})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.stats.Close()) })
	wechat = wxtest.NewServer()
	t.Cleanup(wechat.Close)
	config := wxtest.RandomCallbackConfig(wxtest.Secure)
	server, err := l.open(show, callback.Config{Token: config.Token, AppID: wechat.AppID(), EncodingAESKey: config.EncodingAESKey}, true)
	require.NoError(t, err)
	go func() { _ = server.server.Serve(server.listener) }()
	t.Cleanup(server.close)
	wechat.SetCallback(server.url()+"/wechat", config)
	return l, wechat, stderr
}

func TestWhatCannotBeRecordedIsPushedAgain(t *testing.T) {
	l, wechat, stderr := newRecording(t)
	require.NoError(t, l.stats.Close()) // a failure that the spool does not help with
	code, err := wechat.Client().Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneStr("poster-1")))
	require.NoError(t, err)
	d, err := wechat.Scan(t.Context(), code.Ticket, anOpenID)
	require.NoError(t, err)
	assert.Equal(t, http.StatusInternalServerError, d.Status)
	stderr.await(t, "level=(WARN|ERROR) .*the store is closed")
}

func TestARepeatedPushCountsOnce(t *testing.T) {
	l, _, stderr := newRecording(t)
	printed := 0
	handle := l.recorded(newShowOf(t.Context(), io.Discard, stderr), func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
		printed++
		return nil, nil
	})
	event := anEvent(anOpenID, "poster-1")
	for range 3 { // as after a restart, when the callback has forgotten the first
		_, err := handle(t.Context(), event)
		require.NoError(t, err)
	}
	r, err := l.stats.Report(t.Context(), scanstats.Query{})
	require.NoError(t, err)
	assert.EqualValues(t, 1, r.Total.Scans)
	assert.Equal(t, 3, printed)

	old := anEvent(anOpenID, "poster-1")
	old.CreatedAt = time.Now().AddDate(-1, 0, 0)
	_, err = handle(t.Context(), old)
	require.NoError(t, err, "it would be as old when it is pushed again")
	assert.Equal(t, 4, printed)
	stderr.await(t, "level=WARN msg=\"an event is not counted\"")
}

func TestListen_SpoolsEventsWhileTheDatabaseIsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scans.db")
	l := startRecorder(t, path)
	l.scan(t, "poster-1", anOpenID)
	for _, end := range []string{"", "-wal", "-shm"} {
		require.NoError(t, os.RemoveAll(path+end))
	}
	l.scan(t, "poster-2", anOpenID)
	assert.Regexp(t, `level=WARN .*events go to the spool.* was moved or removed`, l.stderr.String())
	assert.Zero(t, l.stop())
	assert.NoFileExists(t, path)

	l = startRecorder(t, path) // with the key that is still there
	l.scan(t, "poster-3", anOpenID)
	address := l.stderr.await(t, statsAddress)
	user := newBrowser(t)
	_, _, at := user.open(t, address)
	for limit := time.Now().Add(time.Minute); ; runtime.Gosched() { // until the spool is drained
		if _, body, _ := user.open(t, "http://"+at.Host+"/report.json"); strings.Contains(body, `"scans":2,`) {
			break
		}
		require.True(t, time.Now().Before(limit), l.stderr.String())
	}
	assert.Zero(t, l.stop())
}
