package wxqrcode_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

const (
	testAppID  = "wxba5fad812f8e6fb9"
	testSecret = "5fad812f8e6fb9ba5fad812f8e6fb9aa"
)

// A tokenServer responds to the token requests of a test, in memory.
type tokenServer struct {
	mu     sync.Mutex
	handle func(n int, force bool) (*http.Response, error) // the n-th request, from 1
	calls  []bool                                          // whether each had force_refresh
}

func (s *tokenServer) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	force := strings.Contains(string(body), "force_refresh")
	s.calls = append(s.calls, force)
	n := len(s.calls)
	s.mu.Unlock()
	return s.handle(n, force)
}

func (s *tokenServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

func tokenResponse(token string, expiresIn any) (*http.Response, error) {
	return respond(200, fmt.Sprintf(`{"access_token":%q,"expires_in":%v}`, token, expiresIn))
}

// numbered returns token-1, token-2 and so on, each valid for two hours.
func numbered(n int, _ bool) (*http.Response, error) {
	return tokenResponse(fmt.Sprintf("token-%d", n), 7200)
}

func always(token string, expiresIn any) func(int, bool) (*http.Response, error) {
	return func(int, bool) (*http.Response, error) { return tokenResponse(token, expiresIn) }
}

func newSource(t *testing.T, s *tokenServer, opts ...wxqrcode.Option) *wxqrcode.TokenSource {
	t.Helper()
	opts = append([]wxqrcode.Option{
		wxqrcode.WithHTTPClient(&http.Client{Transport: s}),
		wxqrcode.WithRetry(wxqrcode.RetryPolicy{BaseDelay: 1, MaxDelay: 1}),
		quiet,
	}, opts...)
	source, err := wxqrcode.NewTokenSource(testAppID, testSecret, opts...)
	require.NoError(t, err)
	return source
}

// quiet discards the log.
var quiet = wxqrcode.WithLogger(slog.New(slog.DiscardHandler))

func requireToken(t *testing.T, source *wxqrcode.TokenSource, want string) {
	t.Helper()
	got, err := source.AccessToken(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestNewTokenSource_RejectsInvalidValues(t *testing.T) {
	for values, field := range map[[2]string]string{
		{"", testSecret}: "AppID", {testAppID + "\n", testSecret}: "AppID", {" " + testAppID, testSecret}: "AppID",
		{testAppID, ""}: "AppSecret", {testAppID, testSecret + "\r"}: "AppSecret", {testAppID, "\t"}: "AppSecret",
	} {
		_, err := wxqrcode.NewTokenSource(values[0], values[1])
		require.ErrorIs(t, err, wxqrcode.ErrInvalidConfig)
		invalid, ok := errors.AsType[*wxqrcode.ValidationError](err)
		require.True(t, ok)
		assert.Equal(t, field, invalid.Field)
		_, err = wxqrcode.New(values[0], values[1])
		require.ErrorIs(t, err, wxqrcode.ErrInvalidConfig)
	}
	_, err := wxqrcode.NewTokenSource("x", "y", nil, wxqrcode.WithTokenStore(nil), wxqrcode.WithHTTPClient(nil))
	require.NoError(t, err)
	_, err = wxqrcode.NewTokenSource("x", "y", nil, wxqrcode.WithAPIURL("x"))
	require.ErrorIs(t, err, wxqrcode.ErrInvalidConfig)
}

func TestTokenSource_Requests(t *testing.T) {
	t.Run("stable_token", func(t *testing.T) {
		client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			assert.Equal(t, http.MethodPost, r.Method)
			assert.Equal(t, "https://api.weixin.qq.com/cgi-bin/stable_token", r.URL.String())
			assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
			body, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			assert.Contains(t, string(body), `{"grant_type":"client_credential","appid":"wx<&>","secret":"s+/="}`, "unescaped")
			assert.True(t, r.Close, "net/http logs data after a response on an idle connection")
			return tokenResponse("token", 7200)
		})}
		source, err := wxqrcode.NewTokenSource("wx<&>", "s+/=", wxqrcode.WithHTTPClient(client))
		require.NoError(t, err)
		requireToken(t, source, "token")
	})
	t.Run("token", func(t *testing.T) {
		client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			assert.Equal(t, http.MethodGet, r.Method)
			assert.Equal(t, "api.weixin.qq.com/cgi-bin/token", r.URL.Host+r.URL.Path)
			assert.Equal(t, url.Values{"grant_type": {"client_credential"}, "appid": {"wx<&>"}, "secret": {"s+/="}}, r.URL.Query())
			return tokenResponse("token", 7200)
		})}
		source, err := wxqrcode.NewTokenSource("wx<&>", "s+/=", wxqrcode.WithHTTPClient(client), wxqrcode.WithLegacyToken())
		require.NoError(t, err)
		requireToken(t, source, "token")
	})
}

func TestTokenSource_CallersShareOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &tokenServer{handle: func(n int, force bool) (*http.Response, error) {
			time.Sleep(time.Second)
			return numbered(n, force)
		}}
		source := newSource(t, server)
		var callers sync.WaitGroup
		for range 10_000 {
			callers.Go(func() {
				token, err := source.AccessToken(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, "token-1", token)
			})
		}
		callers.Wait()
		assert.Equal(t, 1, server.count())
	})
}

func TestTokenSource_CachedTokenAllocatesNothing(t *testing.T) {
	source := newSource(t, &tokenServer{handle: numbered})
	requireToken(t, source, "token-1")
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = source.AccessToken(t.Context()) }))
}

func TestTokenSource_RefreshesInBackground(t *testing.T) {
	for _, test := range []struct {
		expiresIn        int
		earliest, latest time.Duration // before the end
	}{
		{7200, 5 * time.Minute, 270 * time.Second},
		{1800, 5 * time.Minute, 270 * time.Second},
		{1500, 5 * time.Minute, 270 * time.Second},
		{300, time.Minute, 54 * time.Second},
		{100, 20 * time.Second, 18 * time.Second},
	} {
		t.Run(fmt.Sprintf("of %d s", test.expiresIn), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lifetime := time.Duration(test.expiresIn) * time.Second
				var first, last time.Duration = 0, lifetime
				for range 200 {
					server := &tokenServer{handle: func(n int, _ bool) (*http.Response, error) {
						time.Sleep(time.Millisecond)
						return tokenResponse(fmt.Sprintf("token-%d", n), test.expiresIn)
					}}
					source := newSource(t, server)
					start := time.Now()
					requireToken(t, source, "token-1")
					time.Sleep(lifetime - test.earliest - time.Second - time.Since(start))
					for server.count() == 1 {
						time.Sleep(100 * time.Millisecond)
						requireToken(t, source, "token-1") // no caller waits
						synctest.Wait()
					}
					left := lifetime - time.Since(start)
					first, last = max(first, left), min(last, left)
					time.Sleep(time.Millisecond)
					synctest.Wait()
					requireToken(t, source, "token-2")
					assert.Equal(t, 2, server.count())
				}
				spread := test.earliest - test.latest
				assert.LessOrEqual(t, first, test.earliest*99/100, "not so early that WeChat returns the same token")
				assert.GreaterOrEqual(t, last, test.latest-100*time.Millisecond)
				assert.Greater(t, first, test.earliest-spread/5-100*time.Millisecond)
				assert.Less(t, last, test.latest+spread/5)
			})
		})
	}
}

func TestTokenSource_RetriesARefreshAfter20Seconds(t *testing.T) {
	for name, second := range map[string]func() (*http.Response, error){
		"the same token": func() (*http.Response, error) { return tokenResponse("token-1", 60) },
		"a failure":      func() (*http.Response, error) { return respond(400, "") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &tokenServer{handle: func(n int, force bool) (*http.Response, error) {
					if n == 2 || n == 3 {
						return second()
					}
					return numbered(n, force)
				}}
				source := newSource(t, server)
				requireToken(t, source, "token-1")
				time.Sleep(2*time.Hour - 4*time.Minute)
				for _, calls := range []int{2, 3} {
					requireToken(t, source, "token-1")
					synctest.Wait()
					assert.Equal(t, calls, server.count())
					time.Sleep(20*time.Second - 1)
					requireToken(t, source, "token-1")
					synctest.Wait()
					assert.Equal(t, calls, server.count(), "not within 20 s")
					time.Sleep(time.Nanosecond)
				}
				requireToken(t, source, "token-1")
				synctest.Wait()
				requireToken(t, source, "token-4")
			})
		})
	}
}

func TestTokenSource_ExpiredTokenIsNeverReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &tokenServer{handle: func(n int, force bool) (*http.Response, error) {
			if n > 1 && n < 5 {
				return respond(400, "")
			}
			return numbered(n, force)
		}}
		source := newSource(t, server)
		requireToken(t, source, "token-1")
		time.Sleep(2*time.Hour - 10*time.Second)
		requireToken(t, source, "token-1") // its refresh fails
		synctest.Wait()
		time.Sleep(10*time.Second - 1)
		requireToken(t, source, "token-1")
		time.Sleep(time.Nanosecond)
		_, err := source.AccessToken(t.Context())
		require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
		time.Sleep(time.Second)
		_, err = source.AccessToken(t.Context())
		require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse, "a transient error is not cached")
		assert.Equal(t, 4, server.count())
		requireToken(t, source, "token-5")
	})
}

func TestTokenSource_SameTokenWithLaterExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &tokenServer{handle: always("token", 100)}
		source := newSource(t, server)
		requireToken(t, source, "token")
		time.Sleep(100 * time.Second)
		requireToken(t, source, "token")
		assert.Equal(t, 2, server.count())
		time.Sleep(70 * time.Second)
		requireToken(t, source, "token")
		synctest.Wait()
		assert.Equal(t, 2, server.count(), "the new lifetime")
	})
}

func TestTokenSource_FetchOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &tokenServer{handle: func(n int, force bool) (*http.Response, error) {
			time.Sleep(5 * time.Second)
			return numbered(n, force)
		}}
		source := newSource(t, server)
		var others sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		others.Go(func() {
			_, err := source.AccessToken(ctx)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorContains(t, err, "wxqrcode: stable_token: ")
		})
		synctest.Wait()
		others.Go(func() {
			token, err := source.AccessToken(t.Context())
			assert.NoError(t, err)
			assert.Equal(t, "token-1", token)
		})
		others.Wait()
		assert.Equal(t, 1, server.count())

		_, err := newSource(t, server).AccessToken(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1, server.count(), "an ended context starts no fetch")
	})
}

func TestTokenSource_FetchTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, err := wxqrcode.NewTokenSource(testAppID, testSecret, wxqrcode.WithHTTPClient(&http.Client{Transport: roundTripper(hang)}))
		require.NoError(t, err)
		start := time.Now()
		_, err = source.AccessToken(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "no response within 15s")
		assert.Equal(t, 15*time.Second, time.Since(start))
	})
}

func TestTokenSource_StoreIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		server := &tokenServer{handle: numbered}
		var calls atomic.Int32
		source := newSource(t, server, wxqrcode.WithTokenStore(&stubStore{
			update: func(_ string, fn func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
				if calls.Add(1) == 1 {
					<-stuck
				}
				return fn()
			},
		}))
		start := time.Now()
		_, err := source.AccessToken(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "wxqrcode: stable_token: no response within 15s")
		assert.Equal(t, 15*time.Second, time.Since(start))
		requireToken(t, source, "token-1")
		close(stuck) // its result is ignored
		synctest.Wait()
		requireToken(t, source, "token-1")
	})
}

func TestTokenSource_ExpiresIn(t *testing.T) {
	for _, test := range []struct {
		expiresIn any
		lifetime  time.Duration // 0: rejected
	}{
		{"0", 0},
		{"-1", 0},
		{"-7200", 0},
		{"0.5", 0},
		{"null", 0},
		{`"7200"`, 0},
		{"1", time.Second},
		{"300", 300 * time.Second},
		{"7199", 7199 * time.Second},
		{"7200", 7200 * time.Second},
		{"7201", 7200 * time.Second},
		{"1e30", 7200 * time.Second},
		{"99999999999999999999", 7200 * time.Second},
	} {
		t.Run(fmt.Sprint(test.expiresIn), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &tokenServer{handle: func(n int, _ bool) (*http.Response, error) {
					if n > 1 {
						return respond(400, "")
					}
					return tokenResponse("token", test.expiresIn)
				}}
				source := newSource(t, server)
				_, err := source.AccessToken(t.Context())
				if test.lifetime == 0 {
					require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
					return
				}
				require.NoError(t, err)
				time.Sleep(test.lifetime - 1)
				requireToken(t, source, "token")
				time.Sleep(time.Nanosecond)
				_, err = source.AccessToken(t.Context())
				require.Error(t, err)
			})
		})
	}
}

func TestTokenSource_LifetimeCountsFromTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &tokenServer{handle: func(n int, _ bool) (*http.Response, error) {
			if n > 1 {
				return respond(400, "")
			}
			time.Sleep(9 * time.Second)
			return tokenResponse("token", 100)
		}}
		source := newSource(t, server)
		requireToken(t, source, "token")
		time.Sleep(91 * time.Second)
		_, err := source.AccessToken(t.Context())
		require.Error(t, err)
	})
}

func TestTokenSource_Errors(t *testing.T) {
	for _, test := range []struct {
		name, body string
		is         error
		cached     bool
	}{
		{"a wrong secret", `{"errcode":40001,"errmsg":"invalid credential rid: 5f69b2e4-1-2"}`, wxqrcode.ErrInvalidCredential, true},
		{"a wrong appid", `{"errcode":40013,"errmsg":"invalid appid"}`, wxqrcode.ErrInvalidCredential, true},
		{"an IP that is not allowed", `{"errcode":40164,"errmsg":"invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist"}`, wxqrcode.ErrIPNotAllowed, true},
		{"a frozen account", `{"errcode":50007,"errmsg":"account frozen"}`, wxqrcode.ErrUnauthorized, true},
		{"quota exceeded", `{"errcode":45009,"errmsg":"reach max"}`, wxqrcode.ErrQuotaExceeded, true},
		{"rate limited", `{"errcode":45011,"errmsg":"api minute-quota"}`, wxqrcode.ErrRateLimited, false},
		{"a busy system", `{"errcode":-1,"errmsg":"system error"}`, wxqrcode.ErrSystemBusy, false},
		{"no token in the response", `{"expires_in":7200}`, wxqrcode.ErrUnexpectedResponse, false},
		{"an empty token", `{"access_token":"","expires_in":7200}`, wxqrcode.ErrUnexpectedResponse, false},
		{"a truncated response", `{"access_token":"tok`, wxqrcode.ErrUnexpectedResponse, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				down := true
				server := &tokenServer{handle: func(n int, force bool) (*http.Response, error) {
					if down {
						return respond(200, test.body)
					}
					return numbered(n, force)
				}}
				source := newSource(t, server)
				token, err := source.AccessToken(t.Context())
				require.ErrorIs(t, err, test.is)
				assert.Empty(t, token)
				assert.ErrorContains(t, err, "wxqrcode: stable_token: ")
				calls := server.count()

				down = false
				time.Sleep(10*time.Second - 1)
				token, err = source.AccessToken(t.Context())
				if !test.cached {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, test.is, "for 10 s")
				assert.Empty(t, token)
				assert.Equal(t, calls, server.count())
				time.Sleep(time.Nanosecond)
				_, err = source.AccessToken(t.Context())
				require.NoError(t, err)
			})
		})
	}
}

// A tokenHandler is a slog.Handler that needs a token.
type tokenHandler struct {
	slog.Handler
	handle func()
}

func (h tokenHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h tokenHandler) Handle(context.Context, slog.Record) error {
	h.handle()
	return nil
}

func TestTokenSource_LoggerMayRequestAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &tokenServer{handle: func(n int, _ bool) (*http.Response, error) {
			if n == 1 {
				return respond(200, `{"errcode":40164,"errmsg":"invalid ip"}`)
			}
			return numbered(n, false)
		}}
		var source *wxqrcode.TokenSource
		var asked []error
		source = newSource(t, server, wxqrcode.WithLogger(slog.New(tokenHandler{slog.DiscardHandler, func() {
			_, err := source.AccessToken(t.Context())
			asked = append(asked, err)
		}})))
		_, err := source.AccessToken(t.Context())
		require.ErrorIs(t, err, wxqrcode.ErrIPNotAllowed)
		synctest.Wait()
		require.Len(t, asked, 1)
		require.ErrorIs(t, asked[0], wxqrcode.ErrIPNotAllowed, "the cached error")
	})
}

func TestTokenSource_ResponseIsNeverQuoted(t *testing.T) {
	for _, handle := range []string{`{"access_token":"tok`, ""} {
		source := newSource(t, &tokenServer{handle: func(int, bool) (*http.Response, error) { return respond(200, handle) }})
		_, err := source.AccessToken(t.Context())
		response, ok := errors.AsType[*wxqrcode.ResponseError](err)
		require.True(t, ok)
		assert.Equal(t, "stable_token", response.Op)
		assert.EqualValues(t, len(handle), response.Length)
		assert.NotContains(t, err.Error(), `"tok`)
	}
}

func TestTokenSource_RejectedToken(t *testing.T) {
	server := &tokenServer{handle: numbered}
	source := newSource(t, server)
	ctx := t.Context()
	source.InvalidateToken(ctx, "") // no effect
	requireToken(t, source, "token-1")
	source.InvalidateToken(ctx, "another")
	source.InvalidateToken(ctx, "")
	requireToken(t, source, "token-1")
	assert.Equal(t, 1, server.count())

	source.InvalidateToken(ctx, "token-1")
	requireToken(t, source, "token-2")
	source.InvalidateToken(ctx, "token-1") // no effect: it is not the cached token
	requireToken(t, source, "token-2")
	assert.Equal(t, []bool{false, false}, server.calls, "no force refresh")
}

func TestTokenSource_InvalidatesOnlyTheCachedToken(t *testing.T) {
	loads := 0
	source := newSource(t, &tokenServer{handle: numbered}, wxqrcode.WithTokenStore(&stubStore{
		load: func(string) (wxqrcode.Token, error) {
			loads++
			return wxqrcode.Token{Value: "stored", ExpiresAt: time.Now().Add(time.Hour)}, nil
		},
	}))
	source.InvalidateToken(t.Context(), "stored") // before the first fetch
	requireToken(t, source, "stored")
	source.InvalidateToken(t.Context(), "another")
	requireToken(t, source, "stored")
	assert.Equal(t, 1, loads)
}

func TestTokenSource_ForceRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		current := 1
		server := &tokenServer{handle: func(_ int, force bool) (*http.Response, error) {
			if force {
				current++
			}
			return tokenResponse(fmt.Sprintf("token-%d", current), 7200)
		}}
		source := newSource(t, server)
		ctx := t.Context()
		requireToken(t, source, "token-1")
		source.InvalidateToken(ctx, "token-1")
		requireToken(t, source, "token-2")
		assert.Equal(t, []bool{false, false, true}, server.calls, "a fetch without force first")

		source.InvalidateToken(ctx, "token-2")
		time.Sleep(15 * time.Second)
		_, err := source.AccessToken(ctx)
		require.ErrorIs(t, err, wxqrcode.ErrInvalidToken, "no force refresh within 30 s")
		assert.Equal(t, []bool{false, false, true, false}, server.calls)
		time.Sleep(10*time.Second - 1)
		_, err = source.AccessToken(ctx)
		require.ErrorIs(t, err, wxqrcode.ErrInvalidToken)
		assert.Equal(t, 4, server.count(), "the error is cached for 10 s")
		time.Sleep(time.Nanosecond)
		_, err = source.AccessToken(ctx)
		require.ErrorIs(t, err, wxqrcode.ErrInvalidToken)
		time.Sleep(10 * time.Second)
		requireToken(t, source, "token-3")
		assert.Equal(t, []bool{false, false, true, false, false, false, true}, server.calls)
	})
}

func TestTokenSource_ForceRefreshInterval(t *testing.T) {
	for wait, forced := range map[time.Duration]bool{30*time.Second - 1: false, 30 * time.Second: true} {
		synctest.Test(t, func(t *testing.T) {
			server := &tokenServer{handle: always("token", 7200)}
			source := newSource(t, server)
			requireToken(t, source, "token")
			source.InvalidateToken(t.Context(), "token")
			_, err := source.AccessToken(t.Context())
			require.ErrorIs(t, err, wxqrcode.ErrInvalidToken, "a force refresh returns the same token")
			time.Sleep(wait)
			_, err = source.AccessToken(t.Context())
			require.ErrorIs(t, err, wxqrcode.ErrInvalidToken)
			assert.Equal(t, forced, server.calls[len(server.calls)-1], "after %v", wait)
		})
	}
}

func TestTokenSource_ForceRefreshIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &tokenServer{handle: func(_ int, force bool) (*http.Response, error) {
			if force {
				return respond(503, "")
			}
			return tokenResponse("token", 7200)
		}}
		source := newSource(t, server)
		requireToken(t, source, "token")
		source.InvalidateToken(t.Context(), "token")
		_, err := source.AccessToken(t.Context())
		require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
		_, err = source.AccessToken(t.Context())
		require.ErrorIs(t, err, wxqrcode.ErrInvalidToken, "the failed one may have worked")
		assert.Equal(t, []bool{false, false, true, false}, server.calls)
	})
}

func TestTokenSource_ForceRefreshDoesNotFailOver(t *testing.T) {
	forced := 0
	client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if strings.Contains(sentBody(r), "force_refresh") {
			forced++
			return nil, &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
		}
		return tokenResponse("token", 7200)
	})}
	source, err := wxqrcode.NewTokenSource(testAppID, testSecret, wxqrcode.WithHTTPClient(client))
	require.NoError(t, err)
	requireToken(t, source, "token")
	source.InvalidateToken(t.Context(), "token")
	_, err = source.AccessToken(t.Context())
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.Equal(t, 1, forced, "it may have worked")
}

func TestTokenSource_LegacyTokenHasNoForceRefresh(t *testing.T) {
	calls := 0
	client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		calls++
		assert.Equal(t, "/cgi-bin/token", r.URL.Path)
		return tokenResponse("token", 7200)
	})}
	source, err := wxqrcode.NewTokenSource(testAppID, testSecret, wxqrcode.WithHTTPClient(client), wxqrcode.WithLegacyToken())
	require.NoError(t, err)
	requireToken(t, source, "token")
	source.InvalidateToken(t.Context(), "token")
	_, err = source.AccessToken(t.Context())
	require.ErrorIs(t, err, wxqrcode.ErrInvalidToken)
	assert.ErrorContains(t, err, "wxqrcode: token: ")
	assert.Equal(t, 2, calls)
}

func TestTokenSource_TokenRejectedDuringRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &tokenServer{handle: func(n int, force bool) (*http.Response, error) {
			if n == 2 { // the refresh, which is slow and returns the same token
				time.Sleep(time.Second)
			}
			if force {
				return tokenResponse("new", 7200)
			}
			return tokenResponse("rejected", 7200)
		}}
		source := newSource(t, server)
		requireToken(t, source, "rejected")
		time.Sleep(2*time.Hour - time.Minute)
		requireToken(t, source, "rejected")
		synctest.Wait()
		source.InvalidateToken(t.Context(), "rejected")
		requireToken(t, source, "new")
		assert.Equal(t, []bool{false, false, false, true}, server.calls)
	})
}

// stubStore is a TokenStore whose functions a test sets.
type stubStore struct {
	load    func(key string) (wxqrcode.Token, error)
	update  func(key string, fn func() (wxqrcode.Token, error)) (wxqrcode.Token, error)
	current wxqrcode.Token // passed to fn
	hangIn  string         // the method that ends with its context only
}

func (s *stubStore) Load(ctx context.Context, key string) (wxqrcode.Token, error) {
	if s.hangIn == "Load" {
		<-ctx.Done()
		return wxqrcode.Token{}, ctx.Err()
	}
	if s.load == nil {
		return wxqrcode.Token{}, wxqrcode.ErrTokenNotFound
	}
	return s.load(key)
}

func (s *stubStore) Update(ctx context.Context, key string, fn func(context.Context, wxqrcode.Token) (wxqrcode.Token, error)) (wxqrcode.Token, error) {
	if s.hangIn == "Update" {
		<-ctx.Done()
		return wxqrcode.Token{}, ctx.Err()
	}
	return s.update(key, func() (wxqrcode.Token, error) { return fn(ctx, s.current) })
}

func TestTokenSource_LoadsFromTheStoreFirst(t *testing.T) {
	for legacy, key := range map[bool]string{false: testAppID + ":stable", true: testAppID + ":legacy"} {
		server := &tokenServer{handle: numbered}
		store := &stubStore{
			load: func(got string) (wxqrcode.Token, error) {
				assert.Equal(t, key, got)
				return wxqrcode.Token{Value: "stored", ExpiresAt: time.Now().Add(time.Hour)}, nil
			},
			update: func(got string, fn func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
				assert.Equal(t, key, got)
				return fn()
			},
		}
		opts := []wxqrcode.Option{wxqrcode.WithTokenStore(store)}
		if legacy {
			opts = append(opts, wxqrcode.WithLegacyToken())
		}
		source := newSource(t, server, opts...)
		requireToken(t, source, "stored")
		assert.Zero(t, server.count())
		source.InvalidateToken(t.Context(), "stored")
		requireToken(t, source, "token-1")
	}
}

func TestTokenSource_LoadsFromTheStoreAfterARejection(t *testing.T) {
	var stored wxqrcode.Token
	server := &tokenServer{handle: numbered}
	source := newSource(t, server, wxqrcode.WithTokenStore(&stubStore{
		load: func(string) (wxqrcode.Token, error) { return stored, nil },
		update: func(_ string, fn func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
			return fn()
		},
	}))
	stored = wxqrcode.Token{Value: "stored", ExpiresAt: time.Now().Add(time.Hour)}
	requireToken(t, source, "stored")
	stored.Value = "another instance's"
	source.InvalidateToken(t.Context(), "stored")
	requireToken(t, source, "another instance's")
	assert.Zero(t, server.count())
	source.InvalidateToken(t.Context(), "another instance's")
	requireToken(t, source, "token-1")
	assert.Equal(t, []bool{false}, server.calls, "a fetch without force")
}

// The expiry of a stored token depends on the clock of the machine that fetched
// it. That of a cached token depends on the monotonic clock.
func TestTokenSource_ClockChange(t *testing.T) {
	for _, test := range []struct {
		name  string
		ahead time.Duration // of this machine's clock
	}{
		{"ahead: the stored token looks expired", 3 * time.Hour},
		{"back: the stored token looks valid for hours", -3 * time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stored := wxqrcode.Token{Value: "stored", ExpiresAt: time.Now().Add(2*time.Hour - test.ahead).Round(0)}
				server := &tokenServer{handle: numbered}
				source := newSource(t, server, wxqrcode.WithTokenStore(&stubStore{
					load: func(string) (wxqrcode.Token, error) { return stored, nil },
					update: func(_ string, fn func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
						var err error
						stored, err = fn()
						return stored, err
					},
				}))
				if test.ahead < 0 {
					requireToken(t, source, "stored")
					time.Sleep(2*time.Hour + time.Second)
					requireToken(t, source, "stored") // WeChat rejects it
					source.InvalidateToken(t.Context(), "stored")
				}
				requireToken(t, source, "token-1")
				time.Sleep(2*time.Hour - 5*time.Minute - time.Second)
				requireToken(t, source, "token-1")
				assert.Equal(t, 1, server.count())
			})
		})
	}
}

func TestTokenSource_ChecksTheStoredToken(t *testing.T) {
	valid := time.Now().Add(time.Hour)
	for _, test := range []struct {
		name   string
		stored wxqrcode.Token
		want   string
	}{
		{"another valid token", wxqrcode.Token{Value: "another", ExpiresAt: valid}, "another"},
		{"an expired token", wxqrcode.Token{Value: "expired", ExpiresAt: time.Now()}, "token-1"},
		{"no value", wxqrcode.Token{ExpiresAt: valid}, "token-1"},
		{"the zero Token", wxqrcode.Token{}, "token-1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := &tokenServer{handle: numbered}
			source := newSource(t, server, wxqrcode.WithTokenStore(&stubStore{
				update: func(string, func() (wxqrcode.Token, error)) (wxqrcode.Token, error) { return test.stored, nil },
			}))
			requireToken(t, source, test.want)
		})
	}
}

func TestTokenSource_StoredTokenIsCachedTwoHoursAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		updates := 0
		source := newSource(t, &tokenServer{handle: numbered}, wxqrcode.WithTokenStore(&stubStore{
			update: func(string, func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
				updates++
				return wxqrcode.Token{Value: fmt.Sprintf("stored-%d", updates), ExpiresAt: time.Now().Add(1000 * time.Hour)}, nil
			},
		}))
		requireToken(t, source, "stored-1")
		time.Sleep(2 * time.Hour)
		requireToken(t, source, "stored-2")
	})
}

func TestTokenSource_StoreFails(t *testing.T) {
	down := errors.New("store down")
	fails := func(string, func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
		return wxqrcode.Token{}, down
	}
	loses := func(_ string, fn func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
		token, err := fn()
		if err != nil {
			return wxqrcode.Token{}, err
		}
		return token, down
	}
	load := func(string) (wxqrcode.Token, error) { return wxqrcode.Token{}, down }
	t.Run("stable_token: fetched without the store", func(t *testing.T) {
		server := &tokenServer{handle: numbered}
		source := newSource(t, server, wxqrcode.WithTokenStore(&stubStore{load: load, update: fails}))
		requireToken(t, source, "token-1")
		requireToken(t, source, "token-1")
		assert.Equal(t, 1, server.count())
	})
	t.Run("and cannot be read is not waited for twice", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var log strings.Builder
			source := newSource(t, &tokenServer{handle: numbered}, wxqrcode.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
				wxqrcode.WithTokenStore(&stubStore{load: load, update: func(string, func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
					t.Error("asked to renew")
					return wxqrcode.Token{}, down
				}}))
			requireToken(t, source, "token-1")
			synctest.Wait()
			assert.Contains(t, log.String(), `error="wxqrcode: stable_token: token store: store down"`)
		})
	})
	t.Run("no force refresh without the store", func(t *testing.T) {
		server := &tokenServer{handle: always("token", 7200)}
		source := newSource(t, server, wxqrcode.WithTokenStore(&stubStore{load: load, update: fails}))
		requireToken(t, source, "token")
		source.InvalidateToken(t.Context(), "token")
		_, err := source.AccessToken(t.Context())
		require.ErrorIs(t, err, wxqrcode.ErrInvalidToken)
		assert.Equal(t, []bool{false, false}, server.calls)
	})
	t.Run("legacy token: an error", func(t *testing.T) {
		server := &tokenServer{handle: numbered}
		source := newSource(t, server, wxqrcode.WithTokenStore(&stubStore{load: load, update: fails}), wxqrcode.WithLegacyToken())
		_, err := source.AccessToken(t.Context())
		require.ErrorIs(t, err, down)
		assert.ErrorContains(t, err, "wxqrcode: token: token store: ")
		assert.Zero(t, server.count())
	})
	t.Run("storing fails: the token is returned", func(t *testing.T) {
		for _, opts := range [][]wxqrcode.Option{nil, {wxqrcode.WithLegacyToken()}} {
			server := &tokenServer{handle: numbered}
			source := newSource(t, server, append(opts, wxqrcode.WithTokenStore(&stubStore{update: loses}))...)
			requireToken(t, source, "token-1")
			assert.Equal(t, 1, server.count())
		}
	})
	t.Run("store and WeChat fail: the error of WeChat", func(t *testing.T) {
		for _, update := range []func(string, func() (wxqrcode.Token, error)) (wxqrcode.Token, error){fails, loses} {
			server := &tokenServer{handle: func(int, bool) (*http.Response, error) {
				return respond(200, `{"errcode":40013,"errmsg":"invalid appid"}`)
			}}
			source := newSource(t, server, wxqrcode.WithTokenStore(&stubStore{update: update}))
			_, err := source.AccessToken(t.Context())
			require.ErrorIs(t, err, wxqrcode.ErrInvalidCredential)
			assert.Equal(t, 1, server.count())
		}
	})
}

func TestTokenSource_ForceRefreshOfOtherInstances(t *testing.T) {
	for _, test := range []struct {
		name   string
		forced time.Duration // ago
		allow  bool
	}{
		{"just now", 0, false},
		{"29 s ago", 29 * time.Second, false},
		{"30 s ago", 30 * time.Second, true},
		{"never", 1000 * time.Hour, true},
		{"29 s ahead: clock skew", -29 * time.Second, false},
		{"an hour ahead: a clock was set back", -time.Hour, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &tokenServer{handle: func(_ int, force bool) (*http.Response, error) {
					if force {
						return tokenResponse("new", 7200)
					}
					return tokenResponse("rejected", 7200)
				}}
				var stored wxqrcode.Token
				store := &stubStore{update: func(_ string, fn func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
					var err error
					stored, err = fn()
					return stored, err
				}}
				source := newSource(t, server, wxqrcode.WithTokenStore(store))
				requireToken(t, source, "rejected")
				store.current.ForcedAt = time.Now().Add(-test.forced)
				source.InvalidateToken(t.Context(), "rejected")
				_, err := source.AccessToken(t.Context())
				if !test.allow {
					require.ErrorIs(t, err, wxqrcode.ErrInvalidToken)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, time.Now(), stored.ForcedAt, "stored")
			})
		})
	}
}

func TestTokenSource_FailedForceRefreshIsSharedByTheStore(t *testing.T) {
	for name, forced := range map[string]func() (*http.Response, error){
		"it returns the same token": func() (*http.Response, error) { return tokenResponse("token", 7200) },
		"it fails":                  func() (*http.Response, error) { return respond(503, "") },
	} {
		t.Run(name, func(t *testing.T) {
			server := &tokenServer{handle: func(_ int, force bool) (*http.Response, error) {
				if force {
					return forced()
				}
				return tokenResponse("token", 7200)
			}}
			store := wxqrcode.NewMemoryStore()
			var sources []*wxqrcode.TokenSource
			for range 20 {
				source := newSource(t, server, wxqrcode.WithTokenStore(store))
				requireToken(t, source, "token")
				sources = append(sources, source)
			}
			var all sync.WaitGroup
			for _, source := range sources {
				source.InvalidateToken(t.Context(), "token")
				all.Go(func() {
					_, err := source.AccessToken(t.Context())
					assert.Error(t, err)
				})
			}
			all.Wait()
			n := 0
			for _, force := range server.calls {
				if force {
					n++
				}
			}
			assert.Equal(t, 1, n)
		})
	}
}

// A panic or Goexit ends the fetch with an error for all waiters, and the next
// call starts another one.
func TestTokenSource_PanicAndGoexit(t *testing.T) {
	for name, abort := range map[string]func(){
		"a panic":        func() { panic("boom " + testSecret) },
		"runtime.Goexit": runtime.Goexit,
	} {
		for where, newOption := range map[string]func(abort func()) wxqrcode.Option{
			"the transport": func(abort func()) wxqrcode.Option {
				return wxqrcode.WithHTTPClient(&http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
					abort()
					return numbered(1, false)
				})})
			},
			"Load": func(abort func()) wxqrcode.Option {
				return wxqrcode.WithTokenStore(&stubStore{load: func(string) (wxqrcode.Token, error) {
					abort()
					return wxqrcode.Token{Value: "token-1", ExpiresAt: time.Now().Add(time.Hour)}, nil
				}})
			},
			"Update": func(abort func()) wxqrcode.Option {
				return wxqrcode.WithTokenStore(&stubStore{update: func(_ string, fn func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
					abort()
					return fn()
				}})
			},
		} {
			t.Run(name+" in "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					calls := 0
					option := newOption(func() {
						if calls++; calls == 1 {
							time.Sleep(time.Second) // other callers join
							abort()
						}
					})
					var log strings.Builder
					source := newSource(t, &tokenServer{handle: numbered}, option, wxqrcode.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
					var callers sync.WaitGroup
					for range 100 {
						callers.Go(func() {
							_, err := source.AccessToken(t.Context())
							assert.ErrorContains(t, err, "wxqrcode: stable_token: ")
							assert.NotContains(t, err.Error(), testSecret)
						})
					}
					callers.Wait()
					synctest.Wait()
					assert.Contains(t, log.String(), "access token not fetched")
					assert.NotContains(t, log.String(), testSecret)
					requireToken(t, source, "token-1")
				})
			})
		}
	}
}

// A store may look at the error of fn.
func TestTokenSource_StoreSeesTheError(t *testing.T) {
	var seen error
	source := newSource(t, &tokenServer{handle: func(int, bool) (*http.Response, error) { return respond(200, `{"errcode":40013}`) }},
		wxqrcode.WithTokenStore(&stubStore{update: func(_ string, fn func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
			var token wxqrcode.Token
			token, seen = fn()
			return token, fmt.Errorf("wrapped: %w", seen)
		}}))
	_, err := source.AccessToken(t.Context())
	require.ErrorIs(t, err, wxqrcode.ErrInvalidCredential)
	require.ErrorIs(t, seen, wxqrcode.ErrInvalidCredential)
	assert.NotContains(t, err.Error(), "wrapped", "the error of WeChat, not wrapped")
}

// The logger of a failed fetch runs after the waiters are released.
func TestTokenSource_ReleasesWaitersBeforeItLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		server := &tokenServer{handle: func(int, bool) (*http.Response, error) { return respond(200, `{"errcode":40013}`) }}
		source := newSource(t, server, wxqrcode.WithLogger(slog.New(tokenHandler{slog.DiscardHandler, func() { <-stuck }})))
		_, err := source.AccessToken(t.Context())
		require.ErrorIs(t, err, wxqrcode.ErrInvalidCredential)

		// A token that could not be stored is released too.
		down := errors.New("store down")
		source = newSource(t, &tokenServer{handle: numbered}, wxqrcode.WithLogger(slog.New(tokenHandler{slog.DiscardHandler, func() { <-stuck }})),
			wxqrcode.WithTokenStore(&stubStore{load: func(string) (wxqrcode.Token, error) { return wxqrcode.Token{}, down }}))
		requireToken(t, source, "token-1")

		// So is one whose request was retried.
		busy := &tokenServer{handle: func(n int, _ bool) (*http.Response, error) {
			if n == 1 {
				return respond(200, `{"errcode":-1}`)
			}
			return numbered(n, false)
		}}
		source = newSource(t, busy, wxqrcode.WithLogger(slog.New(tokenHandler{slog.DiscardHandler, func() { <-stuck }})))
		requireToken(t, source, "token-2")
		close(stuck)
	})
}

// A store that hangs counts as one that is down.
func TestTokenSource_StoreHangs(t *testing.T) {
	for name, hangs := range map[string]*stubStore{
		"in Load":   {hangIn: "Load"},
		"in Update": {hangIn: "Update"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				requireToken(t, newSource(t, &tokenServer{handle: numbered}, wxqrcode.WithTokenStore(hangs)), "token-1")
				assert.Equal(t, 5*time.Second, time.Since(start))
			})
		})
	}
}

func TestTokenSource_CustomCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reason := errors.New("shutting down")
		server := &tokenServer{handle: func(int, bool) (*http.Response, error) {
			time.Sleep(5 * time.Second)
			return respond(400, "")
		}}
		source := newSource(t, server)
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(reason) })
		for range 2 { // while it waits, and before
			_, err := source.AccessToken(ctx)
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, reason)
		}
		time.Sleep(5 * time.Second) // until the fetch ends
	})
}

// A transport that ignores its context responds after the waiters have given up.
func TestTokenSource_LateFetchStoresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &tokenServer{handle: func(n int, force bool) (*http.Response, error) {
			if n == 1 {
				time.Sleep(time.Minute)
			}
			return numbered(n, force)
		}}
		source := newSource(t, server)
		_, err := source.AccessToken(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		requireToken(t, source, "token-2")
		time.Sleep(time.Minute)
		synctest.Wait()
		source.InvalidateToken(t.Context(), "token-2")
		requireToken(t, source, "token-3")
	})
}

func TestTokenSource_FetchKeepsForcedAt(t *testing.T) {
	forced := time.Now().Add(-time.Hour)
	var stored wxqrcode.Token
	store := &stubStore{
		current: wxqrcode.Token{Value: "expired", ForcedAt: forced},
		update: func(_ string, fn func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
			var err error
			stored, err = fn()
			return stored, err
		},
	}
	source := newSource(t, &tokenServer{handle: numbered}, wxqrcode.WithTokenStore(store))
	requireToken(t, source, "token-1")
	assert.True(t, stored.ForcedAt.Equal(forced))
	assert.WithinDuration(t, time.Now().Add(2*time.Hour), stored.ExpiresAt, time.Minute)
}

func TestTokenSource_NoForcedAtWithoutForceRefresh(t *testing.T) {
	var stored wxqrcode.Token
	source := newSource(t, &tokenServer{handle: numbered}, wxqrcode.WithTokenStore(&stubStore{
		update: func(_ string, fn func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
			var err error
			stored, err = fn()
			return stored, err
		},
	}))
	requireToken(t, source, "token-1")
	assert.True(t, stored.ForcedAt.IsZero())
}

func TestToken_JSON(t *testing.T) {
	token := wxqrcode.Token{Value: "v", ExpiresAt: time.Unix(1700000000, 0).UTC(), ForcedAt: time.Unix(1600000000, 0).UTC()}
	b, err := json.Marshal(token)
	require.NoError(t, err)
	assert.JSONEq(t, `{"value":"v","expires_at":"2023-11-14T22:13:20Z","forced_at":"2020-09-13T12:26:40Z"}`, string(b))
	var back wxqrcode.Token
	require.NoError(t, json.Unmarshal(b, &back))
	assert.Equal(t, token, back)
}
