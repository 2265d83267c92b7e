package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A transcript is the output of a running program.
type transcript struct {
	mu      sync.Mutex // guards the fields below
	written bytes.Buffer
	more    chan struct{} // closed by the next write
}

func (r *transcript) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
	return r.written.Write(b)
}

func (r *transcript) read() (now string, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.more == nil {
		r.more = make(chan struct{})
	}
	return r.written.String(), r.more
}

func (r *transcript) String() string {
	now, _ := r.read()
	return now
}

// await waits for a match of pattern, and returns it or its last group.
func (r *transcript) await(t *testing.T, pattern string) string {
	t.Helper()
	re, limit := regexp.MustCompile(pattern), time.After(time.Minute)
	for {
		now, more := r.read()
		if match := re.FindStringSubmatch(now); match != nil {
			return match[len(match)-1]
		}
		select {
		case <-more:
		case <-limit:
			require.FailNow(t, "not written within a minute", "%s\nin\n%s", pattern, now)
		}
	}
}

// A program is a command that runs until it is interrupted.
type program struct {
	stdout, stderr transcript
	interrupt      context.CancelFunc
	code           int
	ended          chan struct{}
}

// startCommand runs a command until the test ends, or until it is stopped.
func startCommand(t *testing.T, args ...string) *program {
	t.Helper()
	p := &program{ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	p.interrupt = cancel
	go func() {
		defer close(p.ended)
		p.code = run(ctx, args, noInput, &p.stdout, &p.stderr)
	}()
	t.Cleanup(func() { p.stop() })
	return p
}

// stop interrupts the program and returns its exit code.
func (p *program) stop() int {
	p.interrupt()
	<-p.ended
	return p.code
}

func clearCallbackEnv(t *testing.T) {
	t.Helper()
	for _, name := range []string{envToken, envAESKey, envPreviousAESKey, envAppID, envSecret, envCredentials, envAPIURL} {
		t.Setenv(name, "")
	}
}

// leaveNoGoroutine fails the test if it leaks a goroutine.
func leaveNoGoroutine(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; runtime.Gosched() {
			if time.Now().After(end) {
				stacks := make([]byte, 1<<20)
				require.FailNow(t, "goroutines are left", "%s", stacks[:runtime.Stack(stacks, true)])
			}
		}
	})
}

// A listener is a listen command and the simulator that pushes to it.
type listener struct {
	*program
	wechat *wxtest.Server
}

// startListener starts the command with the environment for a simulator.
func startListener(t *testing.T, config wxtest.CallbackConfig, args ...string) *listener {
	t.Helper()
	clearCallbackEnv(t)
	l := &listener{wechat: wxtest.NewServer()}
	t.Cleanup(l.wechat.Close)
	t.Setenv(envToken, config.Token)
	t.Setenv(envAESKey, config.EncodingAESKey)
	t.Setenv(envAppID, l.wechat.AppID())
	l.program = startCommand(t, append([]string{"listen", "--addr", "127.0.0.1:0"}, args...)...)
	l.wechat.SetCallback(l.stderr.await(t, `Listening on (\S+)\.`), config)
	return l
}

func (l *listener) scan(t *testing.T, scene, openID string) {
	t.Helper()
	code, err := l.wechat.Client().Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneStr(scene)))
	require.NoError(t, err)
	d, err := l.wechat.Scan(t.Context(), code.Ticket, openID)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, d.Status)
}

const (
	anOpenID      = "o6_bmjrPTlm6_2sgVt7hMZOPfL2M"
	anotherOpenID = "o6_bmjrPTlm6_2sgVt7hMZOPwxyz"
)

func TestListen_PrintsTable(t *testing.T) {
	leaveNoGoroutine(t)
	for _, mode := range []wxtest.Mode{wxtest.Plain, wxtest.Compatible, wxtest.Secure} {
		config := wxtest.RandomCallbackConfig(mode)
		l := startListener(t, config)
		require.NoError(t, l.wechat.VerifyCallback(t.Context()))
		l.scan(t, "poster-1", anOpenID)
		l.scan(t, "海报-地铁站", anOpenID)
		l.scan(t, "海报-地铁站", anotherOpenID)
		_, err := l.wechat.SendText(t.Context(), anOpenID, "hello")
		require.NoError(t, err)
		_, err = l.wechat.Unfollow(t.Context(), anOpenID)
		require.NoError(t, err)
		assert.Zero(t, l.stop())

		lines := strings.Split(strings.TrimSuffix(l.stdout.String(), "\n"), "\n")
		require.Len(t, lines, 5, "a header and four events: %s", l.stdout.String())
		for i, want := range [][]string{
			{"TIME", "EVENT", "SCENE", "OPENID", "ACCOUNT"},
			{"subscribe", "poster-1", "…OPfL2M", "gh_"},
			{"SCAN", "海报-地铁站", "…OPfL2M", "gh_"},
			{"subscribe", "海报-地铁站", "…OPwxyz", "gh_"},
			{"unsubscribe", "…OPfL2M", "gh_"},
		} {
			for _, cell := range want {
				assert.Contains(t, lines[i], cell)
			}
			account := strings.LastIndex(lines[i], "  ") + 2
			assert.Equal(t, 19+2+11+2+32+2+7+2, text.StringWidth(lines[i][:account]), "the columns are aligned: %s", lines[i])
		}
		assert.NotContains(t, l.stdout.String(), anOpenID)
		assert.NotContains(t, l.stdout.String()+l.stderr.String(), config.Token)
		if config.EncodingAESKey != "" {
			assert.NotContains(t, l.stdout.String()+l.stderr.String(), config.EncodingAESKey)
			assert.Contains(t, l.stderr.String(), "安全模式 (secure)")
		} else {
			assert.Contains(t, l.stderr.String(), "明文模式 (plain")
		}
	}
}

func TestListen_PrintsJSONLines(t *testing.T) {
	for _, test := range []struct {
		name, openID string
		args         []string
	}{
		{"in short", "…OPfL2M", nil},
		{"in full", anOpenID, []string{"--full"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := startListener(t, wxtest.RandomCallbackConfig(wxtest.Secure), append(test.args, "--json")...)
			l.scan(t, "qrscene_<a>&", anOpenID)
			l.scan(t, "desk-7", anOpenID)
			_, err := l.wechat.Unfollow(t.Context(), anOpenID)
			require.NoError(t, err)
			assert.Zero(t, l.stop())

			var got []eventLine
			for line := range strings.Lines(l.stdout.String()) {
				var e eventLine
				require.NoError(t, json.Unmarshal([]byte(line), &e), line)
				assert.WithinDuration(t, time.Now(), e.Time, time.Minute)
				assert.Regexp(t, "^gh_", e.ToUserName)
				assert.Equal(t, e.Event == wxqrcode.EventUnsubscribe, e.Ticket == "")
				e.Time, e.ToUserName, e.Ticket = time.Time{}, "", ""
				got = append(got, e)
			}
			assert.Equal(t, []eventLine{
				{Event: "subscribe", Scene: "qrscene_<a>&", FromCode: true, EventKey: "qrscene_qrscene_<a>&", OpenID: test.openID},
				{Event: "SCAN", Scene: "desk-7", FromCode: true, EventKey: "desk-7", OpenID: test.openID},
				{Event: "unsubscribe", OpenID: test.openID},
			}, got)
			for _, name := range []string{"time", "event", "scene", "from_code", "event_key", "openid", "to_user_name", "ticket"} {
				assert.Contains(t, l.stdout.String(), `"`+name+`":`)
			}
		})
	}
}

func TestListen_PlainPushesWithKey(t *testing.T) {
	for name, test := range map[string]struct {
		args   []string
		status int
	}{
		"as it is":           {nil, http.StatusForbidden},
		"with --allow-plain": {[]string{"--allow-plain"}, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			config := wxtest.RandomCallbackConfig(wxtest.Secure)
			config.Mode = wxtest.Plain
			l := startListener(t, config, test.args...)
			code, err := l.wechat.Client().Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneStr("a")))
			require.NoError(t, err)
			d, err := l.wechat.Scan(t.Context(), code.Ticket, anOpenID)
			require.NoError(t, err)
			assert.Equal(t, test.status, d.Status)
			assert.Zero(t, l.stop())
			if test.status != http.StatusOK {
				assert.Contains(t, l.stderr.String(), "level=WARN")
				assert.Contains(t, l.stderr.String(), "outcome=rejected")
			}
		})
	}
}

func TestListen_AcceptsPreviousKey(t *testing.T) {
	previous := wxtest.RandomCallbackConfig(wxtest.Secure)
	present := wxtest.RandomCallbackConfig(wxtest.Secure)
	present.Token = previous.Token
	clearCallbackEnv(t)
	t.Setenv(envPreviousAESKey, previous.EncodingAESKey)
	t.Setenv(envToken, previous.Token)
	t.Setenv(envAESKey, present.EncodingAESKey)
	wechat := wxtest.NewServer()
	defer wechat.Close()
	t.Setenv(envAppID, wechat.AppID())
	l := &listener{startCommand(t, "listen", "--addr", "127.0.0.1:0", "--path", "/微信"), wechat}
	address := l.stderr.await(t, `Listening on (\S+)\.`)
	assert.True(t, strings.HasSuffix(address, "/%E5%BE%AE%E4%BF%A1"), address)
	wechat.SetCallback(address, previous)
	l.scan(t, "old", anOpenID)
	wechat.SetCallback(address, present)
	l.scan(t, "new", anotherOpenID)
	assert.Contains(t, l.stdout.String(), "old")
	assert.Contains(t, l.stdout.String(), "new")

	for range 3 {
		status, _ := call(t, http.MethodGet, strings.TrimSuffix(address, "/%E5%BE%AE%E4%BF%A1")+"/other?signature=secret", nil)
		assert.Equal(t, http.StatusNotFound, status)
	}
	l.stderr.await(t, "level=WARN msg=\"request to a path other than that of the callback\" path=/other callback=/微信\n")
	assert.Zero(t, l.stop())
	assert.Equal(t, 1, strings.Count(l.stderr.String(), "path=/other"), "logged once")
}

func TestListen_InvalidInput(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	const key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	for _, test := range []struct {
		name, args string
		env        map[string]string
		code       int
		says       string
	}{
		{"no token", "", nil, exitAccount, "set " + envToken},
		{"a key and no AppID", "", map[string]string{envToken: "sesame", envAESKey: key}, exitAccount, "set " + envAppID},
		{"a bad key", "", map[string]string{envToken: "sesame", envAESKey: "sesame", envAppID: "wx1"}, exitUsage, envAESKey + " has 6 characters; it must have 43"},
		{"a bad previous key", "", map[string]string{envToken: "sesame", envAESKey: key, envPreviousAESKey: "sesame", envAppID: "wx1"}, exitUsage, envPreviousAESKey + " has 6 characters"},
		{"a previous key without a key", "", map[string]string{envToken: "sesame", envPreviousAESKey: key, envAppID: "wx1"}, exitUsage, envAESKey + " is empty although " + envPreviousAESKey + " is set"},
		{"a token with a line break", "", map[string]string{envToken: "sesame\n"}, exitUsage, envToken + " begins or ends with white space"},
		{"a path without a slash", "--path wechat", nil, exitUsage, `--path must begin with /, such as /wechat, got "wechat"`},
		{"an address without a port", "--addr localhost", map[string]string{envToken: "sesame"}, exitUsage, `--addr "localhost" must be a host and a port`},
		{"an address that is taken", "--addr " + taken.Addr().String(), map[string]string{envToken: "sesame"}, exitFailure, "set another address with --addr"},
		{"a sandbox at an address that is taken", "--addr 127.0.0.1:0 --sandbox --sandbox-addr " + taken.Addr().String(), nil, exitFailure, "set another address with --sandbox-addr"},
		{"a listener beside a sandbox at an address that is taken", "--sandbox --addr " + taken.Addr().String(), nil, exitFailure, "set another address with --addr"},
		{"the address of a sandbox without one", "--sandbox-addr 127.0.0.1:0", map[string]string{envToken: "sesame"}, exitUsage, "--sandbox-addr requires --sandbox"},
		{"an argument", "now", nil, exitUsage, "unknown command"},
	} {
		t.Run(test.name, func(t *testing.T) {
			leaveNoGoroutine(t)
			clearCallbackEnv(t)
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			code, out, errs := wxqr(t, append([]string{"listen"}, strings.Fields(test.args)...)...)
			assert.Equal(t, test.code, code, errs)
			assert.Contains(t, errs, test.says)
			assert.NotContains(t, errs, "sesame")
			assert.NotRegexp(t, goIdentifier, errs)
			assert.Empty(t, out)
			assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
		})
	}
}

func TestListen_ReadsAppIDFromCredentialsFile(t *testing.T) {
	clearCallbackEnv(t)
	t.Setenv(envToken, "token")
	t.Setenv(envAESKey, "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")
	file := filepath.Join(t.TempDir(), "account.json")
	code, _, errs := wxqr(t, "listen", "--addr", "127.0.0.1:0", "--credentials", file)
	assert.Equal(t, exitAccount, code)
	assert.Contains(t, errs, "read the credentials")

	require.NoError(t, os.WriteFile(file, []byte(`{"appid":"wx1","secret":"sesame"}`), 0o600))
	p := startCommand(t, "listen", "--addr", "127.0.0.1:0", "--credentials", file)
	p.stderr.await(t, "安全模式")
	assert.Zero(t, p.stop())
	assert.NotContains(t, p.stderr.String(), "sesame")
}

func TestListen_EndsOnBrokenPipe(t *testing.T) {
	clearCallbackEnv(t)
	t.Setenv(envToken, "token")
	var errs bytes.Buffer
	assert.Equal(t, exitFailure, run(t.Context(), []string{"listen", "--addr", "127.0.0.1:0"}, noInput, brokenPipe{}, &errs))
	assert.Contains(t, errs.String(), "print: ")

	// Now the pipe breaks with the first event.
	leaveNoGoroutine(t)
	var stderr transcript
	done := make(chan int)
	go func() {
		done <- run(context.Background(), []string{"listen", "--addr", "127.0.0.1:0", "--json"}, noInput, brokenPipe{}, &stderr)
	}()
	wechat := wxtest.NewServer()
	defer wechat.Close()
	wechat.SetCallback(stderr.await(t, `Listening on (\S+)\.`), wxtest.CallbackConfig{Token: "token"})
	code, err := wechat.Client().Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneID(1)))
	require.NoError(t, err)
	_, _ = wechat.Scan(t.Context(), code.Ticket, anOpenID)
	assert.Equal(t, exitFailure, <-done)
}

func TestPrintable_QuotesControlCharacters(t *testing.T) {
	for given, want := range map[string]string{
		"":                        "",
		"poster-7":                "poster-7",
		"海报 地铁站&展位=7":             "海报 地铁站&展位=7",
		"<script>":                "<script>",
		"\x1b[31mred":             `"\x1b[31mred"`,
		"\u009b31mred":            `"\u009b31mred"`,
		"a\nSCAN  b":              `"a\nSCAN  b"`,
		"\u202egnp.exe":           `"\u202egnp.exe"`,
		"zero\u200bwidth":         `"zero\u200bwidth"`,
		`"already"`:               `"\"already\""`,
		" spaced":                 `" spaced"`,
		"bad \xff bytes":          `"bad \xff bytes"`,
		"\U000E0041 tags":         `"\U000e0041 tags"`,
		"\u3000ideographic space": `"\u3000ideographic space"`,
	} {
		assert.Equal(t, want, printable(given))
		line, err := jsonLine(map[string]string{"scene": given})
		require.NoError(t, err)
		assert.Equal(t, line, printable(line), "no control characters")
		var back map[string]string
		require.NoError(t, json.Unmarshal([]byte(line), &back), line)
		assert.Equal(t, strings.ToValidUTF8(given, "\uFFFD"), back["scene"], "same text")
	}
}

func TestShortOpenID_ReturnsEnd(t *testing.T) {
	for given, want := range map[string]string{
		anOpenID: "…OPfL2M", "o-visitor": "…itor", "abcd": "…cd", "a": "…", "": "…", "用户一二三四五六": "…三四五六",
	} {
		assert.Equal(t, want, shortOpenID(given))
	}
}

func TestEventPrinter_QuotesControlCharacters(t *testing.T) {
	var out bytes.Buffer
	p := eventPrinter{console: &console{stdout: &out}}
	_, err := p.print(t.Context(), &wxqrcode.Event{
		Type: wxqrcode.EventScan, EventKey: "\x1b[2J\r\n</a>", OpenID: "o\x1b[31m", ToUserName: "gh_\u202e1", CreatedAt: time.Unix(0, 0),
	})
	require.NoError(t, err)
	assert.Contains(t, out.String(), `SCAN         "\x1b[2J\r\n</a>"`)
	assert.Contains(t, out.String(), `"gh_\u202e1"`)
	assert.NotContains(t, out.String(), "\x1b")
	assert.Equal(t, 1, strings.Count(out.String(), "\n"))
}

func TestListen_SandboxButtons(t *testing.T) {
	leaveNoGoroutine(t)
	clearCallbackEnv(t)
	t.Setenv(envToken, "of a real account") // ignored
	p := startCommand(t, "listen", "--sandbox", "--addr", "127.0.0.1:0", "--json", "--full")
	page := p.stderr.await(t, `buttons at (http://\S+)/`)
	p.stderr.await(t, `export WXQRCODE_SECRET='[0-9a-f]{32}'\n`)
	assert.NotContains(t, p.stderr.String(), envToken, "only this program needs it")

	press(t, page, ticketsOn(t, page)[0], "new")
	press(t, page, ticketsOn(t, page)[0], "follower")
	assert.Zero(t, p.stop())
	var got []string
	for line := range strings.Lines(p.stdout.String()) {
		var e eventLine
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		assert.Len(t, e.OpenID, 28)
		got = append(got, fmt.Sprint(e.Event, " ", e.Scene))
	}
	assert.Equal(t, []string{"subscribe poster", "SCAN poster"}, got)
	assert.NotContains(t, p.stderr.String(), "WARN")
}

func TestConsole_EndsWhenServerFails(t *testing.T) {
	leaveNoGoroutine(t)
	s, err := listenHTTP("--addr", "127.0.0.1:0", http.NotFoundHandler())
	require.NoError(t, err)
	other, err := listenHTTP("--addr", "127.0.0.1:0", http.NotFoundHandler())
	require.NoError(t, err)
	cmd := newListenCommand(new(globalFlags))
	cmd.SetContext(t.Context())
	out := newConsole(cmd)
	require.NoError(t, s.listener.Close())
	err = out.run(s, other)
	require.ErrorIs(t, err, net.ErrClosed)
	assert.NotErrorIs(t, err, context.Canceled)
}

// call sends a request on a new connection.
func call(t *testing.T, method, address string, change func(*http.Request)) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	require.NoError(t, err)
	if change != nil {
		change(r)
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(b)
}
