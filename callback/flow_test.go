package callback_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/leak"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A flow is a handler behind a real socket, and a simulator that pushes to it.
type flow struct {
	*wxtest.Server
	ticket wxqrcode.Ticket // of the scene "poster-7"
}

// newFlow connects a handler. around, if not nil, is called for each push, with
// its number, and calls next.
func newFlow(t *testing.T, mode wxtest.Mode, f onEvent, around func(push int, next func()), opts ...wxtest.Option) flow {
	t.Helper()
	leak.Check(t)
	wechat := wxtest.NewServer(opts...)
	t.Cleanup(wechat.Close)
	cfg := wechat.CallbackConfig(mode)
	cfg.OnEvent = f
	h := newHandler(t, cfg)
	var pushes atomic.Int32
	require.NoError(t, wechat.Connect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if around == nil || r.Method == http.MethodGet {
			h.ServeHTTP(w, r)
			return
		}
		around(int(pushes.Add(1)), func() { h.ServeHTTP(w, r) })
	})))
	code, err := wechat.Client().Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneStr("poster-7")))
	require.NoError(t, err)
	return flow{wechat, code.Ticket}
}

func TestFlow_EveryMode(t *testing.T) {
	for _, mode := range []wxtest.Mode{wxtest.Plain, wxtest.Compatible, wxtest.Secure, wxtest.CloudHosting} {
		for format, opts := range map[string][]wxtest.Option{"XML": nil, "JSON": {wxtest.WithJSON()}} {
			t.Run(fmt.Sprint(mode, ", ", format), func(t *testing.T) {
				var events recorder
				f := newFlow(t, mode, func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
					_, err := events.onEvent(ctx, e)
					return callback.Text("hello"), err
				}, nil, opts...)
				for range 2 {
					d, err := f.Scan(t.Context(), f.ticket, "o-ann")
					require.NoError(t, err)
					reply, err := d.Reply()
					require.NoError(t, err)
					assert.Contains(t, string(reply), "hello")
					assert.Empty(t, d.Warnings())
				}
				d, err := f.SendText(t.Context(), "o-ann", "a]]>b\x02")
				require.NoError(t, err)
				assert.Equal(t, "success", string(d.Body))
				_, err = f.Unfollow(t.Context(), "o-ann")
				require.NoError(t, err)
				assert.Equal(t, []string{"poster-7", "poster-7", ""}, events.scenes())
				for i, want := range []wxqrcode.EventType{wxqrcode.EventSubscribe, wxqrcode.EventScan, wxqrcode.EventUnsubscribe} {
					assert.Equal(t, want, events.events[i].Type)
					assert.Equal(t, "o-ann", events.events[i].OpenID)
				}
				assert.Equal(t, f.ticket, events.events[0].Ticket)
			})
		}
	}
}

// The timing of WeChat, scaled down: three tries, each ends with a timeout.
// OnEvent is called once, and its reply is sent with the next redelivery.
func TestFlow_SlowCall(t *testing.T) {
	for until := 2; until <= 4; until++ { // the number of the push during which OnEvent returns; 4: none
		for name, opts := range map[string][]wxtest.Option{"the same request": nil, "fresh signatures": {wxtest.WithFreshRetries()}} {
			t.Run(fmt.Sprint(name, until), func(t *testing.T) {
				end := make(chan struct{})
				var calls, ended atomic.Int32
				f := newFlow(t, wxtest.Secure, func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
					calls.Add(1)
					defer ended.Add(1)
					<-end
					return callback.Text("late"), ctx.Err()
				}, func(push int, next func()) {
					if push == until {
						close(end)
					}
					next()
				}, append(opts, wxtest.WithPushTimeout(100*time.Millisecond))...)
				d, err := f.Scan(t.Context(), f.ticket, "o-ann")
				if until == 4 {
					close(end)
					assert.ErrorIs(t, err, context.DeadlineExceeded)
					require.Eventually(t, func() bool { return ended.Load() == 1 }, time.Minute, time.Millisecond)
				} else {
					require.NoError(t, err)
					assert.Equal(t, until, d.Tries)
					reply, err := d.Reply()
					require.NoError(t, err)
					assert.Contains(t, string(reply), "late")
				}
				assert.EqualValues(t, 1, calls.Load())
			})
		}
	}
}

func TestFlow_ClosedConnection(t *testing.T) {
	for _, after := range []bool{false, true} { // close the connection after OnEvent
		for failures := 1; failures <= 2; failures++ {
			t.Run(fmt.Sprint(failures, after), func(t *testing.T) {
				var events recorder
				f := newFlow(t, wxtest.Secure, events.onEvent, func(push int, next func()) {
					if after {
						next()
					}
					if push <= failures {
						panic(http.ErrAbortHandler) // closes the connection
					}
					if !after {
						next()
					}
				}, wxtest.WithFreshRetries())
				d, err := f.Scan(t.Context(), f.ticket, "o-ann")
				require.NoError(t, err)
				assert.Equal(t, failures+1, d.Tries)
				assert.Equal(t, []string{"poster-7"}, events.scenes())
			})
		}
	}
}

func TestFlow_RetryAfterError(t *testing.T) {
	var calls atomic.Int32
	f := newFlow(t, wxtest.Plain, func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
		if calls.Add(1) < 3 {
			return nil, errors.New("no database")
		}
		return nil, nil
	}, nil, wxtest.WithRetryStatus())
	d, err := f.Scan(t.Context(), f.ticket, "o-ann")
	require.NoError(t, err)
	assert.Equal(t, 3, d.Tries)
	assert.Equal(t, "success", string(d.Body))
}

func TestFlow_PlatformPush(t *testing.T) {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	var got callback.Message
	cfg := wechat.CallbackConfig(wxtest.Secure)
	cfg.OnEvent = noEvent(t)
	cfg.OnMessage = func(_ context.Context, m callback.Message) (callback.Reply, error) { got = m; return nil, nil }
	require.NoError(t, wechat.Connect(newHandler(t, cfg)))
	_, err := wechat.PushInfo(t.Context(), "component_verify_ticket", map[string]string{"ComponentVerifyTicket": "ticket@@@a"})
	require.NoError(t, err)
	assert.Equal(t, "component_verify_ticket", got.InfoType)
	assert.Equal(t, "ticket@@@a", got.Field("ComponentVerifyTicket"))
}

// The read timeout applies to the body, not to the call: a deadline that
// remains on the connection would end it.
func TestFlow_CallLongerThanReadTimeout(t *testing.T) {
	leak.Check(t)
	entered, end := make(chan struct{}, 2), make(chan struct{})
	h := newHandler(t, plainConfig(func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
		entered <- struct{}{}
		<-end
		return callback.Text("welcome"), nil
	}))
	callback.SetReadTimeout(h, 20*time.Millisecond)
	server := httptest.NewServer(h)
	defer server.Close()
	var all sync.WaitGroup
	push := func(nonce string) {
		s := testPush{message: scanOf("7"), nonce: nonce}.sign()
		res, err := server.Client().Post(server.URL+"?"+s.query.Encode(), "text/xml", strings.NewReader(s.body))
		if assert.NoError(t, err) {
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			assert.NoError(t, err)
			assert.Contains(t, string(b), "welcome")
		}
	}
	all.Go(func() { push("1") })
	<-entered
	all.Go(func() { push("2") }) // joins
	<-time.After(100 * time.Millisecond)
	close(end)
	all.Wait()
	assert.Empty(t, entered)
}

func TestFlow_ShutdownWaits(t *testing.T) {
	leak.Check(t)
	entered, end := make(chan struct{}), make(chan struct{})
	h := newHandler(t, plainConfig(func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
		close(entered)
		<-end
		return nil, nil
	}))
	server := httptest.NewServer(h)
	defer server.Close()
	s := plain(scanOf("7"))
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"?"+s.query.Encode(), strings.NewReader(s.body))
		assert.NoError(t, err)
		_, err = server.Client().Do(r)
		assert.ErrorIs(t, err, context.Canceled)
	})
	<-entered
	cancel()
	all.Wait()
	short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	assert.ErrorIs(t, server.Config.Shutdown(short), context.DeadlineExceeded, "the call has not returned")
	close(end)
	assert.NoError(t, server.Config.Shutdown(t.Context()))
}
