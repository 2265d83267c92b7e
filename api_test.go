package wxqrcode_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// newStubClient returns a client whose requests f handles.
func newStubClient(t *testing.T, f roundTripper, opts ...wxqrcode.Option) *wxqrcode.Client {
	t.Helper()
	opts = append([]wxqrcode.Option{wxqrcode.WithHTTPClient(&http.Client{Transport: f}), quiet}, opts...)
	client, err := wxqrcode.NewClient(wxqrcode.StaticToken("token"), opts...)
	require.NoError(t, err)
	return client
}

func respond(status int, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func TestAPIClient_Retries(t *testing.T) {
	reset := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	for _, test := range []struct {
		name     string
		fail     func() (*http.Response, error)
		attempts int
		is       error
	}{
		{"a connection reset", func() (*http.Response, error) { return nil, reset }, 3, syscall.ECONNRESET},
		{"errcode -1", func() (*http.Response, error) { return respond(200, `{"errcode":-1,"errmsg":"system error"}`) }, 3, wxqrcode.ErrSystemBusy},
		{"status 500", func() (*http.Response, error) { return respond(500, "") }, 3, wxqrcode.ErrUnexpectedResponse},
		{"status 503", func() (*http.Response, error) { return respond(503, "busy") }, 3, wxqrcode.ErrUnexpectedResponse},
		{"status 429", func() (*http.Response, error) { return respond(429, "") }, 3, wxqrcode.ErrRateLimited},
		{"status 500 with an errcode", func() (*http.Response, error) { return respond(500, `{"errcode":40013,"errmsg":"x"}`) }, 3, wxqrcode.ErrInvalidCredential},
		{"a truncated body", func() (*http.Response, error) {
			res, err := respond(200, "")
			res.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"ticket":"gQ`), errReader{io.ErrUnexpectedEOF}))
			return res, err
		}, 3, wxqrcode.ErrUnexpectedResponse},
		{"status 499", func() (*http.Response, error) { return respond(499, "") }, 1, wxqrcode.ErrUnexpectedResponse},
		{"status 404", func() (*http.Response, error) { return respond(404, "") }, 1, wxqrcode.ErrUnexpectedResponse},
		{"status 302", func() (*http.Response, error) { return respond(302, "") }, 1, wxqrcode.ErrUnexpectedResponse},
		{"status 201", func() (*http.Response, error) { return respond(201, goodCode) }, 1, wxqrcode.ErrUnexpectedResponse},
		{"errcode 45011", func() (*http.Response, error) { return respond(200, `{"errcode":45011,"errmsg":"x"}`) }, 1, wxqrcode.ErrRateLimited},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				attempts := 0
				client := newStubClient(t, func(*http.Request) (*http.Response, error) {
					attempts++
					return test.fail()
				})
				_, err := client.Create(t.Context(), aCode)
				require.ErrorIs(t, err, test.is)
				assert.Equal(t, test.attempts, attempts)

				// The last attempt succeeds.
				attempts = 0
				client = newStubClient(t, func(*http.Request) (*http.Response, error) {
					if attempts++; attempts < test.attempts {
						return test.fail()
					}
					return respond(200, goodCode)
				})
				_, err = client.Create(t.Context(), aCode)
				require.NoError(t, err)
			})
		})
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestAPIClient_TruncatedBody(t *testing.T) {
	client := newStubClient(t, func(*http.Request) (*http.Response, error) {
		res, err := respond(200, "")
		res.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"ticket":"gQ`), errReader{io.ErrUnexpectedEOF}))
		return res, err
	}, wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: 1}))
	_, err := client.Create(t.Context(), aCode)
	require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.NotContains(t, err.Error(), "ticket", "a body is never quoted")
}

func TestAPIClient_TransportError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	for _, test := range []struct {
		name, want string
		fail       roundTripper
	}{
		{"a reset", "connection reset", func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
		}},
		{"canceled", "context canceled", func(r *http.Request) (*http.Response, error) {
			cancel()
			return hang(r)
		}},
		{"canceled, with another error", "EOF", func(r *http.Request) (*http.Response, error) {
			cancel()
			return nil, io.EOF
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := newStubClient(t, test.fail, wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: 1})).Create(ctx, aCode)
			require.ErrorContains(t, err, "https://api.weixin.qq.com/cgi-bin/qrcode/create")
			assert.ErrorContains(t, err, test.want)
			ctx, cancel = context.WithCancel(t.Context())
		})
	}
	cancel()
}

func TestAPIClient_BackoffWithJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const runs = 200
		limits := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second}
		longest := make([]time.Duration, len(limits))
		shortest := []time.Duration{time.Hour, time.Hour, time.Hour, time.Hour, time.Hour}
		for range runs {
			var at []time.Time
			client := newStubClient(t, func(*http.Request) (*http.Response, error) {
				at = append(at, time.Now())
				return respond(503, "")
			}, wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: 6, BaseDelay: time.Second, MaxDelay: 5 * time.Second}))
			_, err := client.Create(t.Context(), aCode)
			require.Error(t, err)
			require.Len(t, at, 6)
			for i := range limits {
				wait := at[i+1].Sub(at[i])
				longest[i], shortest[i] = max(longest[i], wait), min(shortest[i], wait)
			}
		}
		for i, limit := range limits {
			assert.LessOrEqual(t, longest[i], limit, "wait %d", i+1)
			assert.Greater(t, longest[i], limit*9/10, "wait %d", i+1)
			assert.Less(t, shortest[i], limit/10, "wait %d", i+1)
		}
	})
}

func TestAPIClient_DefaultRetryPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var longest time.Duration
		for range 300 {
			attempts, start := 0, time.Now()
			client := newStubClient(t, func(*http.Request) (*http.Response, error) {
				attempts++
				return respond(503, "")
			}, wxqrcode.WithRetry(wxqrcode.RetryPolicy{}))
			_, err := client.Create(t.Context(), aCode)
			require.Error(t, err)
			require.Equal(t, 3, attempts)
			longest = max(longest, time.Since(start))
		}
		assert.LessOrEqual(t, longest, 600*time.Millisecond)
		assert.Greater(t, longest, 400*time.Millisecond)
	})
}

func TestAPIClient_DefaultMaxDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		client := newStubClient(t, func(*http.Request) (*http.Response, error) {
			at = append(at, time.Now())
			return respond(503, "")
		}, wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: 300}))
		_, err := client.Create(t.Context(), aCode)
		require.Error(t, err)
		var longest time.Duration
		for i := 1; i < len(at); i++ {
			longest = max(longest, at[i].Sub(at[i-1]))
		}
		assert.LessOrEqual(t, longest, 2*time.Second)
		assert.Greater(t, longest, 1800*time.Millisecond)
	})
}

func TestAPIClient_LongestDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, retry := range []wxqrcode.RetryPolicy{
			{BaseDelay: math.MaxInt64, MaxDelay: math.MaxInt64},
			{BaseDelay: 1, MaxDelay: math.MaxInt64, MaxAttempts: 62},
			{BaseDelay: math.MaxInt64, MaxDelay: 1, MaxAttempts: 10},
		} {
			client := newStubClient(t, func(*http.Request) (*http.Response, error) { return respond(503, "") }, wxqrcode.WithRetry(retry))
			ctx, cancel := context.WithTimeout(t.Context(), 200*365*24*time.Hour)
			_, err := client.Create(ctx, aCode)
			require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
			cancel()
		}
	})
}

func TestAPIClient_NoDelayBeyondTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start := time.Now()
		client := newStubClient(t, func(*http.Request) (*http.Response, error) { return respond(503, "") },
			wxqrcode.WithRetry(wxqrcode.RetryPolicy{BaseDelay: 1000 * time.Hour, MaxDelay: 1000 * time.Hour}))
		_, err := client.Create(ctx, aCode)
		require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse, "the reason, not the deadline")
		assert.Zero(t, time.Since(start), "returns at once")
	})
}

func TestAPIClient_CancelEndsTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		client := newStubClient(t, func(*http.Request) (*http.Response, error) {
			time.AfterFunc(time.Millisecond, cancel)
			return respond(503, "")
		}, wxqrcode.WithRetry(wxqrcode.RetryPolicy{BaseDelay: 1000 * time.Hour, MaxDelay: 1000 * time.Hour}))
		start := time.Now()
		_, err := client.Create(ctx, aCode)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
		assert.Equal(t, time.Millisecond, time.Since(start))
	})
}

func TestAPIClient_NoRetryAfterCancel(t *testing.T) {
	cause := errors.New("user disconnected")
	for _, test := range []struct {
		name   string
		handle func(*http.Request) (*http.Response, error)
	}{
		{"before the response", func(r *http.Request) (*http.Response, error) { return nil, context.Cause(r.Context()) }},
		{"within the body", func(r *http.Request) (*http.Response, error) {
			res, err := respond(200, "")
			res.Body, res.Request = io.NopCloser(errReader{context.Cause(r.Context())}), r
			return res, err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			attempts := 0
			client := newStubClient(t, func(r *http.Request) (*http.Response, error) {
				attempts++
				cancel(cause)
				return test.handle(r)
			})
			_, err := client.Create(ctx, aCode)
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, cause, "the cause")
			assert.NotErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
			assert.Equal(t, 1, attempts)
		})
	}
}

// hang does not respond until the request is canceled.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// hangForCause returns the cause of the cancellation, as net/http does.
func hangForCause(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

// hangInBody sends a header and then nothing.
func hangInBody(r *http.Request) (*http.Response, error) {
	res, err := respond(200, "")
	res.Body = io.NopCloser(hangReader{r.Context()})
	res.Request = r
	return res, err
}

type hangReader struct{ ctx context.Context }

func (r hangReader) Read([]byte) (int, error) {
	<-r.ctx.Done()
	return 0, r.ctx.Err()
}

func TestAPIClient_Timeouts(t *testing.T) {
	for _, test := range []struct {
		name  string
		call  func(context.Context, *wxqrcode.Client) error
		limit time.Duration
	}{
		{"API request, 10 s", func(ctx context.Context, c *wxqrcode.Client) error {
			_, err := c.Create(ctx, aCode)
			return err
		}, 10 * time.Second},
		{"image, 30 s", func(ctx context.Context, c *wxqrcode.Client) error {
			_, err := c.Image(ctx, "ticket")
			return err
		}, 30 * time.Second},
	} {
		for where, stub := range map[string]roundTripper{"header": hang, "header, by its cause": hangForCause, "body": hangInBody} {
			t.Run(test.name+" to the "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					client := newStubClient(t, stub, wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: 1}))
					err := test.call(t.Context(), client)
					require.ErrorIs(t, err, context.DeadlineExceeded)
					assert.ErrorContains(t, err, "no response within "+test.limit.String())
					assert.Equal(t, test.limit, time.Since(start))
					timeout, ok := errors.AsType[net.Error](err)
					require.True(t, ok)
					assert.True(t, timeout.Timeout())
					assert.True(t, timeout.Temporary()) //nolint:staticcheck // part of the interface

					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					start = time.Now()
					client = newStubClient(t, stub)
					err = test.call(ctx, client)
					require.ErrorIs(t, err, context.DeadlineExceeded)
					assert.NotContains(t, err.Error(), "no response within", "the deadline of the caller")
					assert.Equal(t, time.Second, time.Since(start))
				})
			})
		}
	}
}

// Some timeouts of package net match context.DeadlineExceeded, and some do not.
func TestAPIClient_EveryTimeoutIsADeadlineExceeded(t *testing.T) {
	client := newStubClient(t, func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}, fastRetry)
	_, err := client.Create(t.Context(), aCode)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.NotErrorIs(t, err, context.Canceled)
}

func dialError(r *http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: r.URL.Host, IsNotFound: true}}
}

func TestAPIClient_FailsOverAfterTheClientsTimeout(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections and does not respond
	require.NoError(t, err)
	defer silent.Close()
	wechat := wxtest.NewServer()
	defer wechat.Close()
	for name, down := range map[string]string{"closed": closedServer(), "silent": "http://" + silent.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			own := &http.Client{Timeout: 500 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
			tokens, err := wxqrcode.NewTokenSource(wechat.AppID(), wechat.AppSecret(), wxqrcode.WithHTTPClient(own), wxqrcode.WithAPIURL(down, wechat.URL()), fastRetry)
			require.NoError(t, err)
			client, err := wxqrcode.NewClient(tokens, wxqrcode.WithHTTPClient(own), wxqrcode.WithAPIURL(down, wechat.URL()), fastRetry)
			require.NoError(t, err)
			_, err = client.Create(t.Context(), aCode)
			require.NoError(t, err)
		})
	}
}

func TestAPIClient_FailsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hosts []string
		down := map[string]bool{"a": true}
		client := newStubClient(t, func(r *http.Request) (*http.Response, error) {
			hosts = append(hosts, r.URL.Host)
			if down[r.URL.Host] {
				return dialError(r)
			}
			return respond(200, goodCode)
		}, wxqrcode.WithAPIURL("https://a", "https://b", "https://c"), wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: 1}))
		create := func() error {
			hosts = nil
			_, err := client.Create(t.Context(), aCode)
			return err
		}

		require.NoError(t, create(), "within one try")
		assert.Equal(t, []string{"a", "b"}, hosts)
		require.NoError(t, create())
		assert.Equal(t, []string{"b"}, hosts, "the fallback host is active")
		time.Sleep(time.Minute - 1)
		require.NoError(t, create())
		assert.Equal(t, []string{"b"}, hosts, "for a minute")
		time.Sleep(time.Nanosecond)
		require.NoError(t, create())
		assert.Equal(t, []string{"a", "b"}, hosts, "then the primary host")

		down["b"] = true
		require.NoError(t, create())
		assert.Equal(t, []string{"b", "c"}, hosts, "the next fallback host")
		down["c"], down["a"] = true, false
		require.NoError(t, create())
		assert.Equal(t, []string{"c", "a"}, hosts, "the primary host after the last")
		require.NoError(t, create())
		assert.Equal(t, []string{"a"}, hosts)

		down["a"] = true
		err := create()
		assert.Equal(t, []string{"a", "b", "c"}, hosts, "each host once")
		_, ok := errors.AsType[*net.DNSError](err)
		require.True(t, ok, "%v", err)
		for _, host := range []string{"https://a/", "https://b/", "https://c/"} {
			assert.ErrorContains(t, err, host)
		}
	})
}

func TestAPIClient_FailsOverOnlyFromUnreachableHosts(t *testing.T) {
	for _, test := range []struct {
		name     string
		fail     roundTripper
		hosts    []string
		attempts int
	}{
		{"a connection reset", func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "read", Err: syscall.ECONNRESET}
		}, []string{"a", "a"}, 2},
		{"not after status 503", func(*http.Request) (*http.Response, error) { return respond(503, "") }, []string{"a", "a"}, 2},
		{"but after a try that ran out of time", hang, []string{"a", "b"}, 2},
		{"or that the client's own Timeout ended", func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
		}, []string{"a", "b"}, 1},
		{"a timeout with another error", func(r *http.Request) (*http.Response, error) {
			_, _ = hang(r)
			return nil, errors.New("canceled")
		}, []string{"a", "b"}, 2},
		{"a dial error", func(r *http.Request) (*http.Response, error) {
			_, err := dialError(r)
			return nil, fmt.Errorf("%s: %w", r.URL, err)
		}, []string{"a", "b"}, 1},
		{"not after a body that ran out of time", hangInBody, []string{"a", "a"}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var hosts []string
				client := newStubClient(t, func(r *http.Request) (*http.Response, error) {
					if hosts = append(hosts, r.URL.Host); len(hosts) == 1 {
						return test.fail(r)
					}
					if err := r.Context().Err(); err != nil {
						return nil, err
					}
					return respond(200, goodCode)
				}, wxqrcode.WithAPIURL("https://a", "https://b"), wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: test.attempts}))
				_, err := client.Create(t.Context(), aCode)
				require.NoError(t, err)
				assert.Equal(t, test.hosts, hosts)
			})
		})
	}
}

func TestAPIClient_ErrorOfTheFallbackHostIsFinal(t *testing.T) {
	var hosts []string
	client := newStubClient(t, func(r *http.Request) (*http.Response, error) {
		if hosts = append(hosts, r.URL.Host); r.URL.Host == "a" {
			return dialError(r)
		}
		return respond(200, `{"errcode":45009,"errmsg":"reach max"}`)
	}, wxqrcode.WithAPIURL("https://a", "https://b"), fastRetry)
	_, err := client.Create(t.Context(), aCode)
	require.ErrorIs(t, err, wxqrcode.ErrQuotaExceeded)
	assert.Equal(t, []string{"a", "b"}, hosts)
	_, network := errors.AsType[net.Error](err)
	assert.False(t, network, "%v", err)
}

func TestAPIClient_CancelDoesNotFailOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hosts []string
		client := newStubClient(t, func(r *http.Request) (*http.Response, error) {
			hosts = append(hosts, r.URL.Host)
			if len(hosts) == 1 {
				return hang(r)
			}
			return respond(200, goodCode)
		}, wxqrcode.WithAPIURL("https://a", "https://b"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.Create(ctx, aCode)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = client.Create(t.Context(), aCode)
		require.NoError(t, err)
		assert.Equal(t, []string{"a", "a"}, hosts)
	})
}

func TestAPIClient_DefaultFallbackHost(t *testing.T) {
	client, mock := newMockClient(t, wxqrcode.StaticToken("token"))
	mock.RegisterResponder(http.MethodPost, createURL, dialError)
	mock.RegisterResponder(http.MethodPost, "https://api2.weixin.qq.com/cgi-bin/qrcode/create", responses(goodCode))
	_, err := client.Create(t.Context(), aCode)
	require.NoError(t, err)
}

// A countingReader returns n spaces and then body, and counts the bytes.
type countingReader struct {
	blanks int
	tail   io.Reader
	taken  atomic.Int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	if r.blanks == 0 {
		return r.tail.Read(p)
	}
	n := min(len(p), r.blanks)
	copy(p, bytes.Repeat([]byte(" "), n))
	r.blanks -= n
	r.taken.Add(int64(n))
	return n, nil
}

func TestAPIClient_ReadsAreBounded(t *testing.T) {
	const megabyte = 1 << 20
	create := func(c *wxqrcode.Client) error { _, err := c.Create(t.Context(), aCode); return err }
	image := func(c *wxqrcode.Client) error { _, err := c.Image(t.Context(), "t"); return err }
	for _, test := range []struct {
		name   string
		call   func(*wxqrcode.Client) error
		header string
		status int
		size   int
		tail   string
		ok     bool
		limit  int64
	}{
		{"JSON of 1 MiB", create, "", 200, megabyte, goodCode, true, megabyte},
		{"JSON of a byte more", create, "", 200, megabyte + 1, goodCode, false, megabyte + 1},
		{"JSON without end", create, "", 200, 1 << 30, goodCode, false, megabyte + 1},
		{"an error page without end", create, "", 503, 1 << 30, "", false, megabyte + 1},
		{"an image of 4 MiB", image, "\xff\xd8\xff", 200, 4 * megabyte, "", true, 4 * megabyte},
		{"an image of one byte more", image, "\xff\xd8\xff", 200, 4*megabyte + 1, "", false, 4*megabyte + 1},
		{"an endless image", image, "\xff\xd8\xff", 200, 1 << 30, "", false, 4*megabyte + 1},
		{"endless, not an image", image, "", 200, 1 << 30, "", false, 2 * megabyte},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := &countingReader{blanks: test.size - len(test.header) - len(test.tail), tail: strings.NewReader(test.tail)}
			client := newStubClient(t, func(*http.Request) (*http.Response, error) {
				res, err := respond(test.status, "")
				res.Body = io.NopCloser(io.MultiReader(strings.NewReader(test.header), body))
				return res, err
			}, wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: 1}))
			err := test.call(client)
			if test.ok {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
			}
			assert.LessOrEqual(t, body.taken.Load(), test.limit)
		})
	}
}

func TestAPIClient_DescribesAnUnexpectedResponse(t *testing.T) {
	client := newStubClient(t, func(*http.Request) (*http.Response, error) {
		return respondTyped(404, "text/html; charset=utf-8", "<p>一</p>")
	})
	_, err := client.Create(t.Context(), aCode)
	response, ok := errors.AsType[*wxqrcode.ResponseError](err)
	require.True(t, ok)
	assert.Equal(t, "create", response.Op)
	assert.Equal(t, 404, response.HTTPStatus)
	assert.Equal(t, "text/html", response.ContentType)
	assert.EqualValues(t, len("<p>一</p>"), response.Length)
	assert.NotContains(t, err.Error(), "<p>")
	_, ok = errors.AsType[*wxqrcode.APIError](err)
	assert.False(t, ok)
}

func TestAPIClient_TruncatesErrmsg(t *testing.T) {
	for _, test := range []struct{ message, want string }{
		{strings.Repeat("y", 190), strings.Repeat("y", 190)},
		{strings.Repeat("y", 1000), strings.Repeat("y", 197) + "…"},
		{strings.Repeat("四", 1000), strings.Repeat("四", 66) + "…"},
		{"a\tb\x00c", "a b c"},
	} {
		text, err := json.Marshal(map[string]any{"errcode": 40013, "errmsg": test.message})
		require.NoError(t, err)
		client := newStubClient(t, func(*http.Request) (*http.Response, error) { return respond(200, string(text)) })
		_, err = client.Create(t.Context(), aCode)
		apiErr, ok := errors.AsType[*wxqrcode.APIError](err)
		require.True(t, ok)
		assert.Equal(t, test.want, apiErr.Message)
	}
}

func TestAPIClient_UserAgent(t *testing.T) {
	for product, want := range map[string]string{"": "wxqrcode/devel", "shop/1.2": "shop/1.2 wxqrcode/devel"} {
		client := newStubClient(t, func(r *http.Request) (*http.Response, error) {
			assert.Equal(t, want, r.Header.Get("User-Agent"))
			return respond(200, goodCode)
		}, wxqrcode.WithUserAgent(product))
		_, err := client.Create(t.Context(), aCode)
		require.NoError(t, err)
	}
}

func TestAPIClient_CertificateThatDoesNotVerifyIsNotRetried(t *testing.T) {
	attempts := 0
	client := newStubClient(t, func(*http.Request) (*http.Response, error) {
		attempts++
		return nil, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
	}, fastRetry)
	_, err := client.Create(t.Context(), aCode)
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	assert.True(t, ok)
	assert.Equal(t, 1, attempts, "no retry, no fallback host")

	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	own, err := wxqrcode.NewClient(wxqrcode.StaticToken("the-token"), wxqrcode.WithAPIURL(server.URL), wxqrcode.WithHTTPClient(&http.Client{Transport: transport}),
		wxqrcode.WithLogger(slog.New(tokenHandler{slog.DiscardHandler, func() { t.Error("retried") }})))
	require.NoError(t, err)
	_, err = own.Create(t.Context(), aCode)
	_, ok = errors.AsType[*tls.CertificateVerificationError](err)
	assert.True(t, ok)
}

func TestAPIClient_ClosesBodies(t *testing.T) {
	for name, handle := range map[string]func() (*http.Response, error){
		"a code":            func() (*http.Response, error) { return respond(200, goodCode) },
		"an error response": func() (*http.Response, error) { return respond(200, `{"errcode":40013,"errmsg":""}`) },
		"a page":            func() (*http.Response, error) { return respond(404, "<html>") },
		"an image":          func() (*http.Response, error) { return respond(200, jpegHead) },
	} {
		t.Run(name, func(t *testing.T) {
			opened, closed := 0, 0
			client := newStubClient(t, func(*http.Request) (*http.Response, error) {
				res, err := handle()
				opened++
				res.Body = closeFunc{res.Body, func() { closed++ }}
				return res, err
			})
			_, _ = client.Create(t.Context(), aCode)
			_, _ = client.Image(t.Context(), "ticket")
			_, _ = client.WriteImage(t.Context(), &shortWriter{err: io.ErrClosedPipe}, "ticket")
			assert.Equal(t, 3, opened)
			assert.Equal(t, opened, closed)
		})
	}
}

type closeFunc struct {
	io.Reader
	f func()
}

func (c closeFunc) Close() error {
	c.f()
	return nil
}

func TestAPIClient_RedirectsAreNotFollowed(t *testing.T) {
	mock := httpmock.NewMockTransport()
	mock.RegisterNoResponder(func(r *http.Request) (*http.Response, error) {
		res := httpmock.NewStringResponse(http.StatusFound, "")
		res.Header.Set("Location", "https://elsewhere.example"+r.URL.RequestURI())
		res.Request = r
		return res, nil
	})
	called := errors.New("CheckRedirect of the client was called")
	own := &http.Client{Transport: mock, CheckRedirect: func(*http.Request, []*http.Request) error { return called }}
	client, err := wxqrcode.NewClient(wxqrcode.StaticToken("token"), wxqrcode.WithHTTPClient(own))
	require.NoError(t, err)
	_, err = client.Create(t.Context(), aCode)
	require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
	assert.ErrorContains(t, err, "redirect")
	assert.NotContains(t, err.Error(), "elsewhere.example")
	_, err = client.Image(t.Context(), "t")
	require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
	assert.ErrorContains(t, err, "redirect")
	assert.NotContains(t, err.Error(), "elsewhere.example")
	assert.Equal(t, 2, mock.GetTotalCallCount())
	assert.ErrorIs(t, own.CheckRedirect(nil, nil), called, "the client of the user is unchanged")
}

func TestAPIClient_LogsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		client := newStubClient(t, func(*http.Request) (*http.Response, error) { return respond(503, "") },
			wxqrcode.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		_, err := client.Create(t.Context(), aCode)
		require.Error(t, err)
		assert.Equal(t, 2, strings.Count(log.String(), "level=WARN"), "once per retry")
		assert.Contains(t, log.String(), "op=create attempt=1 delay=")
		assert.Contains(t, log.String(), "503")
	})
}
