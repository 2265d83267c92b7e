package wxqrcode_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// A batchServer responds to the create requests of a batch, in memory.
type batchServer struct {
	latency time.Duration
	handle  func(n int, body string) (status int, response string) // to the n-th request, from 1; "" means a code

	mu      sync.Mutex
	calls   []time.Time
	working int
	most    int // in flight at the same time
}

func (s *batchServer) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.calls = append(s.calls, time.Now())
	n := len(s.calls)
	s.working++
	s.most = max(s.most, s.working)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.working--
	}()
	if s.latency > 0 {
		select {
		case <-time.After(s.latency):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if s.handle != nil {
		if status, response := s.handle(n, string(body)); response != "" {
			return respond(status, response)
		}
	}
	return respond(200, goodCode)
}

func (s *batchServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

func (s *batchServer) client(t *testing.T) *wxqrcode.Client {
	t.Helper()
	client, err := wxqrcode.NewClient(wxqrcode.StaticToken("token"), wxqrcode.WithHTTPClient(&http.Client{Transport: s}),
		wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: 1}))
	require.NoError(t, err)
	return client
}

// A batchOutcome is a pair that CreateAll yields.
type batchOutcome struct {
	wxqrcode.BatchResult
	Err error
}

func outcomes(seq iter.Seq2[wxqrcode.BatchResult, error]) iter.Seq[batchOutcome] {
	return func(yield func(batchOutcome) bool) {
		for r, err := range seq {
			if !yield(batchOutcome{r, err}) {
				return
			}
		}
	}
}

// numberedRequests yields n requests for scene IDs from 1, endlessly if n is
// negative.
func numberedRequests(n int) iter.Seq[wxqrcode.Request] {
	return func(yield func(wxqrcode.Request) bool) {
		for i := 0; i != n; i++ {
			if !yield(wxqrcode.Temporary(wxqrcode.SceneID(uint32(i+1)), time.Hour)) {
				return
			}
		}
	}
}

func errcode(code int) func(int, string) (int, string) {
	return func(int, string) (int, string) { return 200, fmt.Sprintf(`{"errcode":%d,"errmsg":"no"}`, code) }
}

func TestCreateAll_YieldsOneResultPerRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &batchServer{latency: time.Second, handle: func(_ int, body string) (int, string) {
			if strings.Contains(body, `"scene_id":7}`) {
				return 200, `{"errcode":40053,"errmsg":"invalid action info"}`
			}
			return 200, ""
		}}
		requests := append(slices.Collect(numberedRequests(99)), wxqrcode.Request{})
		seen := make(map[int]bool)
		for r := range outcomes(server.client(t).CreateAll(t.Context(), slices.Values(requests), wxqrcode.BatchOptions{})) {
			assert.False(t, seen[r.Index], "twice: %d", r.Index)
			seen[r.Index] = true
			assert.Equal(t, requests[r.Index], r.Request)
			if r.Index == 6 || r.Index == 99 {
				require.ErrorIs(t, r.Err, wxqrcode.ErrInvalidRequest)
				assert.Nil(t, r.QRCode)
				continue
			}
			require.NoError(t, r.Err)
			assert.NotEmpty(t, r.QRCode.Ticket)
		}
		assert.Len(t, seen, 100)
		assert.Equal(t, 99, server.count(), "the invalid request was not sent")
		assert.Equal(t, 8, server.most)
	})
}

func TestCreateAll_YieldsInOrderOfCompletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &batchServer{handle: func(_ int, body string) (int, string) {
			for id, wait := range map[int]time.Duration{1: 3 * time.Second, 2: time.Second, 3: 2 * time.Second} {
				if strings.Contains(body, fmt.Sprintf(`"scene_id":%d}`, id)) {
					time.Sleep(wait)
				}
			}
			return 200, ""
		}}
		var order []int
		for r := range outcomes(server.client(t).CreateAll(t.Context(), numberedRequests(3), wxqrcode.BatchOptions{})) {
			order = append(order, r.Index)
		}
		assert.Equal(t, []int{1, 2, 0}, order)
	})
}

func TestCreateAll_Concurrency(t *testing.T) {
	for concurrency, most := range map[int]int{0: 8, 1: 1, 3: 3, 64: 64, math.MaxInt: 200} {
		synctest.Test(t, func(t *testing.T) {
			server := &batchServer{latency: time.Second}
			start := time.Now()
			results := slices.Collect(outcomes(server.client(t).CreateAll(t.Context(), numberedRequests(200), wxqrcode.BatchOptions{Concurrency: concurrency})))
			assert.Len(t, results, 200)
			assert.Equal(t, most, server.most)
			assert.Equal(t, time.Duration((200+most-1)/most)*time.Second, time.Since(start), "%d at a time", most)
		})
	}
}

func TestCreateAll_SlowLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &batchServer{latency: time.Millisecond}
		read, done := 0, 0
		requests := func(yield func(wxqrcode.Request) bool) {
			for r := range numberedRequests(100) {
				read++
				assert.LessOrEqual(t, read-done, 4, "never more than Concurrency ahead")
				if !yield(r) {
					return
				}
			}
		}
		for range outcomes(server.client(t).CreateAll(t.Context(), requests, wxqrcode.BatchOptions{Concurrency: 4})) {
			time.Sleep(time.Minute)
			assert.LessOrEqual(t, server.count()-done, 4)
			done++
		}
		assert.Equal(t, 100, done)
	})
}

func TestCreateAll_SlowRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &batchServer{latency: time.Millisecond}
		start := time.Now()
		requests := func(yield func(wxqrcode.Request) bool) {
			for r := range numberedRequests(3) {
				time.Sleep(time.Hour)
				if !yield(r) {
					return
				}
			}
		}
		for r := range outcomes(server.client(t).CreateAll(t.Context(), requests, wxqrcode.BatchOptions{})) {
			// It came while the next request was waited for, and is yielded with that
			// one at the latest.
			assert.Less(t, time.Since(start), time.Duration(r.Index+2)*time.Hour+time.Second)
		}
	})
}

func TestCreateAll_Rate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &batchServer{latency: 5 * time.Second}
		for range outcomes(server.client(t).CreateAll(t.Context(), numberedRequests(21), wxqrcode.BatchOptions{Concurrency: 64, Rate: 10})) {
		}
		require.Len(t, server.calls, 21)
		for i, at := range server.calls {
			assert.Equal(t, time.Duration(i)*100*time.Millisecond, at.Sub(server.calls[0]), "evenly")
		}
	})
}

func TestCreateAll_RateLimitPausesAllRequests(t *testing.T) {
	for name, limited := range map[string]func(int, string) (int, string){
		"45011":    errcode(45011),
		"HTTP 429": func(int, string) (int, string) { return http.StatusTooManyRequests, "slow down" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(40 * time.Second) // the minute has 20 s left
				server := &batchServer{latency: time.Second, handle: func(n int, body string) (int, string) {
					if n == 3 {
						return limited(n, body)
					}
					return 200, ""
				}}
				start := time.Now()
				results := slices.Collect(outcomes(server.client(t).CreateAll(t.Context(), numberedRequests(6), wxqrcode.BatchOptions{Concurrency: 2, Rate: 10})))
				for _, r := range results {
					require.NoError(t, r.Err)
				}
				require.Len(t, server.calls, 7)
				for i, at := range server.calls {
					if i < 4 {
						assert.Less(t, at.Sub(start), 2*time.Second)
					} else {
						assert.GreaterOrEqual(t, at.Sub(start), 20*time.Second, "request %d", i)
						assert.Less(t, at.Sub(start), 23*time.Second, "request %d", i)
					}
				}
				assert.Equal(t, 100*time.Millisecond, server.calls[5].Sub(server.calls[4]), "and then no faster than allowed")
			})
		})
	}
}

func TestCreateAll_RateLimitPausesWaitingRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &batchServer{latency: time.Second, handle: func(n int, body string) (int, string) {
			if n == 1 {
				return errcode(45011)(n, body)
			}
			return 200, ""
		}}
		start := time.Now().Truncate(time.Minute)
		for r := range outcomes(server.client(t).CreateAll(t.Context(), numberedRequests(4), wxqrcode.BatchOptions{Rate: 0.5})) {
			require.NoError(t, r.Err)
		}
		require.Len(t, server.calls, 5)
		for i, at := range server.calls[1:] {
			assert.GreaterOrEqual(t, at.Sub(start), time.Minute)
			if i > 0 {
				assert.Equal(t, 2*time.Second, at.Sub(server.calls[i]))
			}
		}
	})
}

func TestCreateAll_LowestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &batchServer{}
		ctx, cancel := context.WithTimeout(t.Context(), 364*24*time.Hour)
		defer cancel()
		results := slices.Collect(outcomes(server.client(t).CreateAll(ctx, numberedRequests(2), wxqrcode.BatchOptions{Rate: 1e-300})))
		require.Len(t, results, 2)
		require.NoError(t, results[0].Err)
		require.ErrorIs(t, results[1].Err, context.DeadlineExceeded)
		assert.Equal(t, 1, server.count())
	})
}

func TestCreateAll_AttemptsARateLimitedRequestThreeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &batchServer{handle: errcode(45011)}
		start := time.Now()
		results := slices.Collect(outcomes(server.client(t).CreateAll(t.Context(), numberedRequests(1), wxqrcode.BatchOptions{})))
		require.Len(t, results, 1)
		require.ErrorIs(t, results[0].Err, wxqrcode.ErrRateLimited)
		assert.NotErrorIs(t, results[0].Err, wxqrcode.ErrNotAttempted)
		assert.Equal(t, 3, server.count())
		assert.Equal(t, start.Truncate(time.Minute).Add(2*time.Minute), time.Now())
	})
}

func TestCreateAll_ErrorsThatStopTheBatch(t *testing.T) {
	for _, test := range []struct {
		code int
		is   error
	}{
		{45009, wxqrcode.ErrQuotaExceeded},
		{48001, wxqrcode.ErrUnauthorized},
		{45103, wxqrcode.ErrUnauthorized},
		{40013, wxqrcode.ErrInvalidCredential},
		{40164, wxqrcode.ErrIPNotAllowed},
	} {
		t.Run(fmt.Sprint(test.code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &batchServer{latency: time.Second, handle: func(n int, body string) (int, string) {
					if n == 10 {
						return errcode(test.code)(n, body)
					}
					time.Sleep(time.Second) // the others are in flight
					return 200, ""
				}}
				made, failed, not := 0, 0, 0
				for r := range outcomes(server.client(t).CreateAll(t.Context(), numberedRequests(1000), wxqrcode.BatchOptions{Concurrency: 4})) {
					switch {
					case r.Err == nil:
						made++
					case errors.Is(r.Err, wxqrcode.ErrNotAttempted):
						not++
						require.ErrorIs(t, r.Err, test.is)
						apiErr, ok := errors.AsType[*wxqrcode.APIError](r.Err)
						require.True(t, ok)
						assert.Equal(t, test.code, apiErr.Code)
					default:
						failed++
						require.ErrorIs(t, r.Err, test.is)
					}
				}
				assert.Equal(t, 1, failed)
				assert.Equal(t, 1000, made+failed+not)
				assert.Equal(t, made+failed, server.count())
				assert.LessOrEqual(t, server.count(), 13, "only requests in flight finish")
			})
		})
	}
}

func TestCreateAll_ErrorsThatDoNotStopTheBatch(t *testing.T) {
	for name, handle := range map[string]func(int, string) (int, string){
		"a bad scene":      errcode(40053),
		"a busy system":    errcode(-1),
		"an error page":    func(int, string) (int, string) { return http.StatusBadGateway, "<html>" },
		"a rejected token": errcode(40001),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &batchServer{handle: func(n int, body string) (int, string) {
					if n == 1 {
						return handle(n, body)
					}
					return 200, ""
				}}
				failed := 0
				for r := range outcomes(server.client(t).CreateAll(t.Context(), numberedRequests(10), wxqrcode.BatchOptions{Concurrency: 1})) {
					if r.Err != nil {
						failed++
						assert.NotErrorIs(t, r.Err, wxqrcode.ErrNotAttempted)
					}
				}
				assert.Equal(t, 1, failed)
				assert.Equal(t, 10, server.count())
			})
		})
	}
}

func TestCreateAll_TemporaryCodesContinue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &batchServer{handle: func(n int, body string) (int, string) {
			if strings.Contains(body, "QR_LIMIT") {
				return errcode(45029)(n, body)
			}
			return 200, ""
		}}
		requests := func(yield func(wxqrcode.Request) bool) {
			for i := range uint32(10) {
				if !yield(wxqrcode.Permanent(wxqrcode.SceneID(i+1))) || !yield(wxqrcode.Temporary(wxqrcode.SceneID(i+1), time.Hour)) {
					return
				}
			}
		}
		not := 0
		for r := range outcomes(server.client(t).CreateAll(t.Context(), requests, wxqrcode.BatchOptions{Concurrency: 1})) {
			if r.Request.Lifetime() > 0 {
				require.NoError(t, r.Err)
				continue
			}
			require.ErrorIs(t, r.Err, wxqrcode.ErrQuotaExceeded)
			if errors.Is(r.Err, wxqrcode.ErrNotAttempted) {
				not++
			}
		}
		assert.Equal(t, 9, not)
		assert.Equal(t, 11, server.count())
	})
}

// A request that waits for the next minute or for the rate is not in flight.
func TestCreateAll_WaitingRequestsAreNotAttempted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &batchServer{latency: time.Second, handle: errcode(45009)}
		results := slices.Collect(outcomes(server.client(t).CreateAll(t.Context(), numberedRequests(8), wxqrcode.BatchOptions{Rate: 0.5})))
		require.Len(t, results, 8)
		assert.Equal(t, 1, server.count())
		for _, r := range results[1:] {
			require.ErrorIs(t, r.Err, wxqrcode.ErrNotAttempted)
			require.ErrorIs(t, r.Err, wxqrcode.ErrQuotaExceeded)
		}
	})
}

func TestCreateAll_WaitingRequestsStopAtOnce(t *testing.T) {
	for _, code := range []int{45009, 45029} {
		synctest.Test(t, func(t *testing.T) {
			server := &batchServer{latency: time.Second, handle: errcode(code)}
			requests := func(yield func(wxqrcode.Request) bool) {
				for i := range uint32(20) {
					if !yield(wxqrcode.Permanent(wxqrcode.SceneID(i + 1))) {
						return
					}
				}
			}
			start := time.Now()
			results := slices.Collect(outcomes(server.client(t).CreateAll(t.Context(), requests, wxqrcode.BatchOptions{Rate: 0.1})))
			assert.Len(t, results, 20)
			assert.Equal(t, time.Second, time.Since(start))
			assert.Equal(t, 1, server.count())
		})
	}
}

func TestCreateAll_StopsAfterTwentyFailuresAlike(t *testing.T) {
	rejected := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, test := range []struct {
		name string
		fail func(n int, body string) (int, string, error)
		is   error // nil: the batch does not stop
	}{
		{"an errcode", func(int, string) (int, string, error) { return 200, `{"errcode":40001}`, nil }, wxqrcode.ErrInvalidToken},
		{"an unknown errcode", func(int, string) (int, string, error) { return 200, `{"errcode":99999}`, nil }, wxqrcode.ErrUnexpectedResponse},
		{"a page", func(int, string) (int, string, error) { return 403, "<html>", nil }, wxqrcode.ErrUnexpectedResponse},
		{"a refused connection", func(int, string) (int, string, error) { return 0, "", rejected }, syscall.ECONNREFUSED},
		{"used up permanent codes, though all of them exist", func(int, string) (int, string, error) { return 200, `{"errcode":45029}`, nil }, wxqrcode.ErrQuotaExceeded},
		{"a success now and then", func(n int, _ string) (int, string, error) {
			if n%20 == 0 {
				return 200, "", nil
			}
			return 200, `{"errcode":40001}`, nil
		}, nil},
		{"errors that differ", func(n int, _ string) (int, string, error) { return 200, fmt.Sprintf(`{"errcode":%d}`, 90000+n/19), nil }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				client := newStubClient(t, func(r *http.Request) (*http.Response, error) {
					body, err := io.ReadAll(r.Body)
					require.NoError(t, err)
					n++
					status, text, err := test.fail(n, string(body))
					if text == "" {
						text = goodCode
					}
					if err != nil {
						return nil, err
					}
					return respond(status, text)
				}, wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: 1}), wxqrcode.WithAPIURL("https://api.example"))
				notAttempted := 0
				for r := range outcomes(client.CreateAll(t.Context(), numberedRequests(100), wxqrcode.BatchOptions{
					Concurrency: 1, Existing: func(wxqrcode.Request) bool { return true },
				})) {
					if errors.Is(r.Err, wxqrcode.ErrNotAttempted) {
						require.ErrorIs(t, r.Err, test.is)
						notAttempted++
					}
				}
				want := 0
				if test.is != nil {
					want = 80
				}
				assert.Equal(t, want, notAttempted)
			})
		})
	}
}

func TestCreateAll_InvalidRequestsDoNotStopTheBatch(t *testing.T) {
	server := new(batchServer)
	requests := func(yield func(wxqrcode.Request) bool) {
		for range 100 {
			if !yield(wxqrcode.Permanent(wxqrcode.SceneStr(""))) {
				return
			}
		}
		yield(aCode)
	}
	good := 0
	for r := range outcomes(server.client(t).CreateAll(t.Context(), requests, wxqrcode.BatchOptions{Concurrency: 1})) {
		if r.Err == nil {
			good++
		} else {
			require.ErrorIs(t, r.Err, wxqrcode.ErrInvalidRequest)
		}
	}
	assert.Equal(t, 1, good)
}

func TestCreateAll_ExistingPermanentCodesContinue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &batchServer{latency: time.Second, handle: func(n int, body string) (int, string) {
			if strings.Contains(body, `"scene_id":1}`) {
				return errcode(45029)(n, body)
			}
			return 200, ""
		}}
		requests := func(yield func(wxqrcode.Request) bool) {
			for i := range uint32(20) {
				if !yield(wxqrcode.Permanent(wxqrcode.SceneID(i + 1))) {
					return
				}
			}
		}
		existing := func(r wxqrcode.Request) bool {
			id, _ := r.Scene().ID()
			return id%2 == 0
		}
		var created, notAttempted []string
		for r := range outcomes(server.client(t).CreateAll(t.Context(), requests, wxqrcode.BatchOptions{Concurrency: 1, Existing: existing})) {
			switch {
			case r.Err == nil:
				created = append(created, r.Request.Scene().Key())
			case errors.Is(r.Err, wxqrcode.ErrNotAttempted):
				require.ErrorIs(t, r.Err, wxqrcode.ErrQuotaExceeded)
				notAttempted = append(notAttempted, r.Request.Scene().Key())
			}
		}
		assert.Equal(t, strings.Fields("2 4 6 8 10 12 14 16 18 20"), created)
		assert.Equal(t, strings.Fields("3 5 7 9 11 13 15 17 19"), notAttempted)
		assert.Equal(t, 11, server.count())
	})
}

func TestCreateAll_PanicAndGoexit(t *testing.T) {
	goexit, err := wxqrcode.NewClient(wxqrcode.TokenProviderFunc(func(context.Context) (string, error) {
		runtime.Goexit()
		return "", nil
	}))
	require.NoError(t, err)
	results := slices.Collect(outcomes(goexit.CreateAll(t.Context(), numberedRequests(3), wxqrcode.BatchOptions{})))
	require.Len(t, results, 3)
	for _, r := range results {
		require.ErrorContains(t, r.Err, "runtime.Goexit")
	}
	panics, err := wxqrcode.NewClient(wxqrcode.TokenProviderFunc(func(context.Context) (string, error) { panic("provider") }))
	require.NoError(t, err)
	assert.PanicsWithValue(t, "provider", func() {
		for range outcomes(panics.CreateAll(t.Context(), numberedRequests(3), wxqrcode.BatchOptions{})) {
		}
	}, "on the goroutine of the range")
}

func TestCreateAll_ContextEnds(t *testing.T) {
	for name, o := range map[string]wxqrcode.BatchOptions{
		"requests in flight":         {Concurrency: 4},
		"requests wait for the rate": {Concurrency: 4, Rate: 0.001},
		"requests wait endlessly":    {Concurrency: 4, Rate: 1e-300},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &batchServer{latency: time.Hour}
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				start := time.Now()
				results := slices.Collect(outcomes(server.client(t).CreateAll(ctx, numberedRequests(100), o)))
				assert.Equal(t, time.Second, time.Since(start))
				require.Len(t, results, 100)
				not := 0
				for _, r := range results {
					require.ErrorIs(t, r.Err, context.Canceled)
					if errors.Is(r.Err, wxqrcode.ErrNotAttempted) {
						not++
					}
				}
				assert.Equal(t, 100-server.count(), not)
			})
		})
	}
}

func TestCreateAll_BreakCancelsAndWaits(t *testing.T) {
	endless := numberedRequests(-1)
	panics := func(yield func(wxqrcode.Request) bool) {
		for r := range numberedRequests(20) {
			if !yield(r) {
				return
			}
		}
		panic("requests")
	}
	for _, test := range []struct {
		name     string
		requests iter.Seq[wxqrcode.Request]
		body     func()
		panics   string
	}{
		{"by break", endless, nil, ""},
		{"by a panic in the loop", endless, func() { panic("body") }, "body"},
		{"by a panic in the requests", panics, func() {}, "requests"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // fails if a goroutine remains
				server := &batchServer{handle: func(n int, _ string) (int, string) {
					if n > 1 {
						time.Sleep(time.Second) // ignores its context
					}
					return 200, ""
				}}
				loop := func() {
					for range outcomes(server.client(t).CreateAll(t.Context(), test.requests, wxqrcode.BatchOptions{Concurrency: 16})) {
						if test.body == nil {
							break
						}
						test.body()
					}
				}
				if test.panics == "" {
					loop()
				} else {
					assert.PanicsWithValue(t, test.panics, loop)
				}
				server.mu.Lock()
				defer server.mu.Unlock()
				assert.Zero(t, server.working)
			})
		})
	}
}

func TestCreateAll_BreakDoesNotWaitForResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &batchServer{handle: func(n int, _ string) (int, string) { return 200, "" }, latency: time.Hour}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		requests := func(yield func(wxqrcode.Request) bool) {
			_ = yield(wxqrcode.Permanent(wxqrcode.SceneID(1))) && yield(wxqrcode.Request{})
		}
		for r := range outcomes(server.client(t).CreateAll(ctx, requests, wxqrcode.BatchOptions{})) {
			assert.Equal(t, 1, r.Index, "the invalid one is done first")
			break
		}
		assert.Zero(t, time.Since(start))
	})
}

func TestCreateAll_InvalidOptions(t *testing.T) {
	for _, test := range []struct {
		o            wxqrcode.BatchOptions
		field, value string
	}{
		{wxqrcode.BatchOptions{Concurrency: -1}, "Concurrency", "-1"},
		{wxqrcode.BatchOptions{Rate: -0.25}, "Rate", "-0.25"},
		{wxqrcode.BatchOptions{Rate: math.NaN()}, "Rate", "NaN"},
		{wxqrcode.BatchOptions{Rate: math.Inf(1)}, "Rate", "+Inf"},
	} {
		t.Run(test.field+" "+test.value, func(t *testing.T) {
			server := new(batchServer)
			results := slices.Collect(outcomes(server.client(t).CreateAll(t.Context(), numberedRequests(3), test.o)))
			require.Len(t, results, 1)
			assert.Equal(t, wxqrcode.BatchResult{Index: -1}, results[0].BatchResult)
			require.ErrorIs(t, results[0].Err, wxqrcode.ErrInvalidConfig)
			invalid, ok := errors.AsType[*wxqrcode.ValidationError](results[0].Err)
			require.True(t, ok)
			assert.Equal(t, test.field, invalid.Field)
			assert.Equal(t, test.value, invalid.Value)
			assert.Zero(t, server.count())
		})
	}
}

func TestCreateAll_NoRequests(t *testing.T) {
	client := new(batchServer).client(t)
	assert.Empty(t, slices.Collect(outcomes(client.CreateAll(t.Context(), nil, wxqrcode.BatchOptions{}))))
	assert.Empty(t, slices.Collect(outcomes(client.CreateAll(t.Context(), numberedRequests(0), wxqrcode.BatchOptions{}))))
	results := slices.Collect(outcomes(new(wxqrcode.Client).CreateAll(t.Context(), numberedRequests(1), wxqrcode.BatchOptions{})))
	require.Len(t, results, 1)
	require.ErrorIs(t, results[0].Err, wxqrcode.ErrInvalidConfig)
}

func TestCreateAll_RangeTwice(t *testing.T) {
	server := new(batchServer)
	results := server.client(t).CreateAll(t.Context(), numberedRequests(3), wxqrcode.BatchOptions{})
	for range 2 {
		assert.Len(t, slices.Collect(outcomes(results)), 3)
	}
	assert.Equal(t, 6, server.count())
}
