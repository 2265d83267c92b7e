package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A site is a server of the program, with a simulator that pushes to it.
type site struct {
	url     string
	login   *login
	wechat  *wxtest.Server
	streams chan struct{} // receives after each event stream
	client  *http.Client
}

// newSite starts a site. change, if not nil, configures the login before the
// first request. The test fails if a goroutine outlives it.
func newSite(t *testing.T, change func(*login)) *site {
	t.Helper()
	checkLeak(t)
	box := newSandbox()
	t.Cleanup(box.Close)
	app, err := newApp(box.account(), "https://shop.example", box)
	require.NoError(t, err)
	if change != nil {
		change(app.login)
	}
	s := &site{login: app.login, wechat: box.wechat, streams: make(chan struct{}, 100)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		app.mux.ServeHTTP(w, r)
		if r.URL.Path == "/login/events" {
			s.streams <- struct{}{}
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(app.login.Close) // before the server, which waits for the streams
	s.url, s.client = server.URL, server.Client()
	require.NoError(t, box.connect(t.Context(), server.URL+callbackPath))
	return s
}

// scan simulates a phone.
func (s *site) scan(t *testing.T, ticket wxqrcode.Ticket, openID string) {
	t.Helper()
	delivery, err := s.wechat.Scan(t.Context(), ticket, openID)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, delivery.Status)
}

// A browser stores cookies and has no JavaScript.
type browser struct {
	site *site
	jar  http.CookieJar
}

func (s *site) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{s, jar}
}

func (b *browser) do(ctx context.Context, t *testing.T, method, path string, header http.Header) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, b.site.url+path, nil)
	require.NoError(t, err)
	request.Header = header
	response, err := (&http.Client{Transport: b.site.client.Transport, Jar: b.jar}).Do(request)
	require.NoError(t, err)
	return response
}

// call returns the status and the body of a response.
func (b *browser) call(t *testing.T, method, path string) (status int, body string) {
	t.Helper()
	response := b.do(t.Context(), t, method, path, http.Header{})
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

// begin requests a code.
func (b *browser) begin(t *testing.T) wxqrcode.Ticket {
	t.Helper()
	status, body := b.call(t, http.MethodPost, "/login")
	require.Equal(t, http.StatusOK, status, body)
	var code struct {
		Image     string    `json:"image"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &code))
	assert.WithinRange(t, code.ExpiresAt, time.Now(), time.Now().Add(b.site.login.codeTTL))
	return ticketOf(t, code.Image)
}

func ticketOf(t *testing.T, image string) wxqrcode.Ticket {
	t.Helper()
	u, err := url.Parse(image)
	require.NoError(t, err)
	return wxqrcode.Ticket(u.Query().Get("ticket"))
}

// cookie returns the value of a cookie.
func (b *browser) cookie(t *testing.T, name string) string {
	t.Helper()
	for _, c := range b.jar.Cookies(b.siteURL(t)) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

func (b *browser) setCookie(t *testing.T, name, value string) {
	t.Helper()
	b.jar.SetCookies(b.siteURL(t), []*http.Cookie{{Name: name, Value: value, Path: "/"}})
}

func (b *browser) siteURL(t *testing.T) *url.URL {
	t.Helper()
	u, err := url.Parse(b.site.url)
	require.NoError(t, err)
	return u
}

func (b *browser) loggedIn(t *testing.T) bool {
	t.Helper()
	status, body := b.call(t, http.MethodGet, "/")
	require.Equal(t, http.StatusOK, status)
	return strings.Contains(body, "Welcome, follower")
}

// A stream is an open /login/events.
type stream struct {
	lines *bufio.Scanner
	leave context.CancelFunc
}

// listen opens the stream of events and reads its first line.
func (b *browser) listen(t *testing.T) *stream {
	t.Helper()
	ctx, leave := context.WithTimeout(t.Context(), 30*time.Second) // for a test that hangs
	response := b.do(ctx, t, http.MethodGet, "/login/events", http.Header{})
	t.Cleanup(func() {
		leave()
		response.Body.Close()
	})
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	s := &stream{bufio.NewScanner(response.Body), leave}
	require.Equal(t, "retry: 1000", s.next())
	return s
}

// next returns the next line that is not empty; "" at the end.
func (s *stream) next() string {
	for s.lines.Scan() {
		if text := s.lines.Text(); text != "" {
			return text
		}
	}
	return ""
}

// checkLeak fails the test if it ends with more goroutines than it began with.
func checkLeak(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		if assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, // the poll itself is one
			10*time.Second, time.Millisecond) {
			return
		}
		stacks := make([]byte, 1<<20)
		t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
	})
}
