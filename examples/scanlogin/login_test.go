package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

func TestLogin_Scan(t *testing.T) {
	s := newSite(t, nil)
	ann := s.browser(t)
	require.False(t, ann.loggedIn(t))
	ticket := ann.begin(t)
	events := ann.listen(t)
	s.scan(t, ticket, "o-ann")
	assert.Equal(t, "event: scanned", events.next())
	assert.Equal(t, "data: {}", events.next())
	assert.Empty(t, events.next(), "the stream ended")

	assert.False(t, ann.loggedIn(t), "not logged in before finish")
	status, body := ann.call(t, http.MethodPost, "/login/finish")
	assert.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"greeting": "Welcome, follower …-ann"}`, body)
	assert.True(t, ann.loggedIn(t))

	status, _ = ann.call(t, http.MethodPost, "/logout")
	assert.Equal(t, http.StatusNoContent, status)
	assert.False(t, ann.loggedIn(t))
	assert.Zero(t, s.login.sessions.len())
	assert.Zero(t, s.login.pending.len())
}

func TestLogin_OtherBrowser(t *testing.T) {
	s := newSite(t, nil)
	ann, eve := s.browser(t), s.browser(t)
	ticket := ann.begin(t)
	eve.setCookie(t, sessionCookie, "guessed")
	eve.setCookie(t, pendingCookie, "guessed")
	s.scan(t, ticket, "o-ann")

	status, _ := eve.call(t, http.MethodGet, "/login/events")
	assert.Equal(t, http.StatusUnauthorized, status)
	status, _ = eve.call(t, http.MethodPost, "/login/finish")
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.False(t, eve.loggedIn(t))

	eve.begin(t) // has no effect on the other code
	status, _ = eve.call(t, http.MethodPost, "/login/finish")
	assert.Equal(t, http.StatusConflict, status)

	status, _ = ann.call(t, http.MethodPost, "/login/finish")
	assert.Equal(t, http.StatusOK, status)
	assert.False(t, eve.loggedIn(t))
}

func TestLogin_FinishBeforeScan(t *testing.T) {
	s := newSite(t, nil)
	ann := s.browser(t)
	ticket := ann.begin(t)
	status, _ := ann.call(t, http.MethodPost, "/login/finish")
	assert.Equal(t, http.StatusConflict, status)
	assert.False(t, ann.loggedIn(t))
	s.scan(t, ticket, "o-ann")
	status, _ = ann.call(t, http.MethodPost, "/login/finish")
	assert.Equal(t, http.StatusOK, status)
}

func TestLogin_ScanBeforeStream(t *testing.T) {
	s := newSite(t, nil)
	ann := s.browser(t)
	s.scan(t, ann.begin(t), "o-ann")
	assert.Equal(t, "event: scanned", ann.listen(t).next())
	assert.Equal(t, "event: scanned", ann.listen(t).next(), "again after a reconnect")
}

func TestLogin_FirstScanCounts(t *testing.T) {
	s := newSite(t, nil)
	ann := s.browser(t)
	ticket := ann.begin(t)
	s.scan(t, ticket, "o-ann")
	s.scan(t, ticket, "o-bob")
	_, body := ann.call(t, http.MethodPost, "/login/finish")
	assert.JSONEq(t, `{"greeting": "Welcome, follower …-ann"}`, body)
}

func TestLogin_NewSessionID(t *testing.T) {
	s := newSite(t, nil)
	ann, eve := s.browser(t), s.browser(t)
	ann.setCookie(t, sessionCookie, "fixated") // set by eve
	eve.setCookie(t, sessionCookie, "fixated")
	ticket := ann.begin(t)
	pending := ann.cookie(t, pendingCookie)
	eve.setCookie(t, pendingCookie, pending)
	s.scan(t, ticket, "o-ann")
	status, _ := ann.call(t, http.MethodPost, "/login/finish")
	require.Equal(t, http.StatusOK, status)

	session := ann.cookie(t, sessionCookie)
	assert.NotEmpty(t, session)
	assert.NotEqual(t, "fixated", session)
	assert.NotEqual(t, pending, session)
	assert.Empty(t, ann.cookie(t, pendingCookie))
	assert.False(t, eve.loggedIn(t))
	status, _ = eve.call(t, http.MethodPost, "/login/finish")
	assert.Equal(t, http.StatusUnauthorized, status, "a code is valid for one login")

	// A second login replaces the first.
	s.scan(t, ann.begin(t), "o-ann")
	status, _ = ann.call(t, http.MethodPost, "/login/finish")
	require.Equal(t, http.StatusOK, status)
	assert.NotEqual(t, session, ann.cookie(t, sessionCookie))
	assert.Equal(t, 1, s.login.sessions.len())
}

func TestLogin_ConcurrentFinish(t *testing.T) {
	s := newSite(t, nil)
	ann := s.browser(t)
	s.scan(t, ann.begin(t), "o-ann")
	cookie := http.Header{"Cookie": {pendingCookie + "=" + ann.cookie(t, pendingCookie)}}
	var finished atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login/finish", nil)
			r.Header = cookie
			w := httptest.NewRecorder()
			s.login.ServeHTTP(w, r)
			if w.Code == http.StatusOK {
				finished.Add(1)
			} else {
				assert.Equal(t, http.StatusUnauthorized, w.Code)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, finished.Load())
	assert.Equal(t, 1, s.login.sessions.len())
}

func TestLogin_CodeExpires(t *testing.T) {
	s := newSite(t, func(l *login) { l.codeTTL, l.grace = time.Second, time.Hour }) // the shortest lifetime of a code
	ann := s.browser(t)
	ticket := ann.begin(t)
	assert.Equal(t, "event: expired", ann.listen(t).next())
	status, _ := ann.call(t, http.MethodPost, "/login/finish")
	assert.Equal(t, http.StatusGone, status)
	require.Eventually(t, func() bool { // the lifetime begins when WeChat creates the code
		_, err := s.wechat.Scan(t.Context(), ticket, "o-eve")
		return errors.Is(err, wxqrcode.ErrTicketNotFound)
	}, 10*time.Second, 10*time.Millisecond)

	s.scan(t, ann.begin(t), "o-ann")
	status, _ = ann.call(t, http.MethodPost, "/login/finish")
	assert.Equal(t, http.StatusOK, status, "the next code works")
}

func TestLogin_NewCodeReplacesPreviousOne(t *testing.T) {
	s := newSite(t, nil)
	ann := s.browser(t)
	first := ann.begin(t)
	events := ann.listen(t)
	second := ann.begin(t)
	assert.Equal(t, "event: expired", events.next())
	s.scan(t, first, "o-eve")
	status, _ := ann.call(t, http.MethodPost, "/login/finish")
	assert.Equal(t, http.StatusConflict, status)
	s.scan(t, second, "o-ann")
	_, body := ann.call(t, http.MethodPost, "/login/finish")
	assert.JSONEq(t, `{"greeting": "Welcome, follower …-ann"}`, body)
}

func TestStream_Ends(t *testing.T) {
	const never = time.Hour
	for name, test := range map[string]struct {
		change func(*login)
		end    func(*site, *stream)
	}{
		"the browser disconnects": {
			func(l *login) { l.heartbeat, l.streamTTL = never, never },
			func(_ *site, s *stream) { s.leave() },
		},
		"the server closes": {
			func(l *login) { l.heartbeat, l.streamTTL = never, never },
			func(s *site, _ *stream) { s.login.Close() },
		},
		"streamTTL": {
			func(l *login) { l.heartbeat, l.streamTTL = never, 10*time.Millisecond },
			func(*site, *stream) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, test.change)
			ann := s.browser(t)
			ticket := ann.begin(t)
			events := ann.listen(t)
			test.end(s, events)
			assert.Empty(t, events.next())
			select {
			case <-s.streams:
			case <-time.After(10 * time.Second):
				require.Fail(t, "the handler has not returned")
			}
			s.scan(t, ticket, "o-ann")
			status, _ := ann.call(t, http.MethodPost, "/login/finish")
			assert.Equal(t, http.StatusOK, status, "the code is still valid")
		})
	}
}

func TestStream_Heartbeat(t *testing.T) {
	s := newSite(t, func(l *login) { l.heartbeat = time.Millisecond })
	ann := s.browser(t)
	ticket := ann.begin(t)
	events := ann.listen(t)
	for range 3 {
		assert.Equal(t, ": heartbeat", events.next())
	}
	s.scan(t, ticket, "o-ann")
	line := events.next()
	for line == ": heartbeat" {
		line = events.next()
	}
	assert.Equal(t, "event: scanned", line)
}

func TestStream_LongerThanReadTimeout(t *testing.T) {
	const readTimeout = 300 * time.Millisecond
	s := newSite(t, func(l *login) { l.heartbeat = readTimeout / 5 })
	server := httptest.NewUnstartedServer(s.login)
	server.Config.ReadTimeout = readTimeout
	server.Start()
	t.Cleanup(server.Close)
	s.url = server.URL
	ann := s.browser(t)
	ann.begin(t)
	events := ann.listen(t)
	for range 8 {
		assert.Equal(t, ": heartbeat", events.next())
	}
}

func TestLogin_PendingLimit(t *testing.T) {
	s := newSite(t, func(l *login) { l.pending = newStore[*callback.PendingScan](2) })
	ann, bob, eve := s.browser(t), s.browser(t), s.browser(t)
	ann.begin(t)
	bob.begin(t)
	before := s.wechat.Calls("qrcode/create")
	status, _ := eve.call(t, http.MethodPost, "/login")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, before, s.wechat.Calls("qrcode/create"), "no request to WeChat")

	s.scan(t, ann.begin(t), "o-ann") // replaces the first
	status, _ = ann.call(t, http.MethodPost, "/login/finish")
	require.Equal(t, http.StatusOK, status)
	eve.begin(t)
}

func TestLogin_SessionLimit(t *testing.T) {
	s := newSite(t, func(l *login) { l.sessions = newStore[session](1) })
	ann, bob := s.browser(t), s.browser(t)
	s.scan(t, ann.begin(t), "o-ann")
	status, _ := ann.call(t, http.MethodPost, "/login/finish")
	require.Equal(t, http.StatusOK, status)
	s.scan(t, bob.begin(t), "o-bob")
	status, _ = bob.call(t, http.MethodPost, "/login/finish")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.False(t, bob.loggedIn(t))
	assert.True(t, ann.loggedIn(t))
}

func TestLogin_CreateFails(t *testing.T) {
	s := newSite(t, nil)
	s.wechat.Fail("qrcode/create", 1, wxtest.Failure{Code: 45009})
	ann := s.browser(t)
	status, body := ann.call(t, http.MethodPost, "/login")
	assert.Equal(t, http.StatusBadGateway, status)
	assert.NotContains(t, body, "45009", "the reason is only in the log")
	assert.Empty(t, ann.cookie(t, pendingCookie))
	assert.Zero(t, s.login.pending.len())
}

func TestLogin_Unfollow(t *testing.T) {
	s := newSite(t, nil)
	ann, annAtHome, bob := s.browser(t), s.browser(t), s.browser(t)
	s.scan(t, ann.begin(t), "o-ann")
	s.scan(t, annAtHome.begin(t), "o-ann")
	s.scan(t, bob.begin(t), "o-bob")
	for _, b := range []*browser{ann, bob} {
		status, _ := b.call(t, http.MethodPost, "/login/finish")
		require.Equal(t, http.StatusOK, status)
	}
	_, err := s.wechat.Unfollow(t.Context(), "o-ann")
	require.NoError(t, err)
	assert.False(t, ann.loggedIn(t))
	status, _ := annAtHome.call(t, http.MethodPost, "/login/finish")
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.True(t, bob.loggedIn(t))
}

func TestOnEvent_Reply(t *testing.T) {
	s := newSite(t, nil)
	onEvent := newOnEvent(s.login, new(callback.Waiter), "https://shop.example")
	warning := callback.Text("You are logging in to https://shop.example in the browser that shows this code. " +
		"If that was not you, or not your browser, unfollow this account: that ends the login.")
	for name, test := range map[string]struct {
		event wxqrcode.Event
		reply callback.Reply
	}{
		"a follower scans":              {wxqrcode.Event{Type: wxqrcode.EventScan, EventKey: "login-1", Ticket: "t"}, warning},
		"a new follower scans":          {wxqrcode.Event{Type: wxqrcode.EventSubscribe, EventKey: "qrscene_login-1", Ticket: "t"}, warning},
		"a follower scans a poster":     {wxqrcode.Event{Type: wxqrcode.EventScan, EventKey: "poster", Ticket: "t"}, nil},
		"a new follower without a scan": {wxqrcode.Event{Type: wxqrcode.EventSubscribe}, nil},
		"a follower unfollows":          {wxqrcode.Event{Type: wxqrcode.EventUnsubscribe}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			reply, err := onEvent(t.Context(), &test.event)
			require.NoError(t, err)
			assert.Equal(t, test.reply, reply)
		})
	}
}

func TestLogin_CrossSiteRequests(t *testing.T) {
	s := newSite(t, nil)
	ann := s.browser(t)
	s.scan(t, ann.begin(t), "o-ann")
	for _, path := range []string{"/login", "/login/finish", "/logout", "/sandbox/scan"} {
		response := ann.do(t.Context(), t, http.MethodPost, path, http.Header{"Sec-Fetch-Site": {"cross-site"}})
		response.Body.Close()
		assert.Equal(t, http.StatusForbidden, response.StatusCode, path)
	}
	status, _ := ann.call(t, http.MethodPost, "/login/finish")
	assert.Equal(t, http.StatusOK, status)
}

func TestLogin_CookiesAndHeaders(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*login)
		cookie http.Cookie
	}{
		"over http":  {nil, http.Cookie{Name: "login"}},
		"over https": {func(l *login) { l.secure = true }, http.Cookie{Name: "__Host-login", Secure: true}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, test.change)
			ann := s.browser(t)
			response := ann.do(t.Context(), t, http.MethodPost, "/login", http.Header{})
			response.Body.Close()
			require.Len(t, response.Cookies(), 1)
			c := response.Cookies()[0]
			assert.Equal(t, test.cookie.Name, c.Name)
			assert.Equal(t, test.cookie.Secure, c.Secure)
			assert.True(t, c.HttpOnly)
			assert.Equal(t, http.SameSiteStrictMode, c.SameSite)
			assert.Equal(t, 6*60, c.MaxAge)
			assert.Equal(t, "/", c.Path)
			assert.Len(t, c.Value, 26)

			response = ann.do(t.Context(), t, http.MethodGet, "/", http.Header{})
			response.Body.Close()
			assert.Regexp(t, `^default-src 'none'; img-src `+s.wechat.URL()+`; connect-src 'self'; `+
				`script-src 'nonce-(\w+)'; style-src 'nonce-\w+'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$`,
				response.Header.Get("Content-Security-Policy"))
			assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
		})
	}
}

func TestLogin_SessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := wxqrcode.NewClient(wxqrcode.StaticToken("unused"))
		require.NoError(t, err)
		l, err := newLogin(client, new(callback.Waiter))
		require.NoError(t, err)
		defer l.Close()
		scene := wxqrcode.RandomScene(scenePrefix)
		pending, ok := l.pending.put(l.waiter.Expect(scene, codeTTL), codeTTL+grace)
		require.True(t, ok)
		l.waiter.Notify(&wxqrcode.Event{Type: wxqrcode.EventScan, EventKey: scene.Key(), OpenID: "o-ann", Ticket: "t"})

		response := serve(t.Context(), l, http.MethodPost, "/login/finish", pendingCookie+"="+pending)
		require.Equal(t, http.StatusOK, response.Code)
		cookie := response.Header().Values("Set-Cookie")[1]
		require.Contains(t, cookie, "; Max-Age=43200; ")
		time.Sleep(12*time.Hour - time.Nanosecond)
		assert.Contains(t, serve(t.Context(), l, http.MethodGet, "/", cookie).Body.String(), "Welcome, follower …-ann")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.NotContains(t, serve(t.Context(), l, http.MethodGet, "/", cookie).Body.String(), "Welcome, follower …-ann")
		assert.Zero(t, l.sessions.len())
	})
}

func TestStore_Expiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore[int](1)
		_, ok := s.put(1, codeTTL)
		require.True(t, ok)
		time.Sleep(codeTTL - time.Nanosecond)
		_, ok = s.put(2, codeTTL)
		assert.False(t, ok, "full")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.Zero(t, s.len())
		_, ok = s.put(2, codeTTL)
		assert.True(t, ok)
	})
}

// serve calls the handler without a connection.
func serve(ctx context.Context, h http.Handler, method, path, cookie string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, path, nil)
	r.Header.Set("Cookie", cookie)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
