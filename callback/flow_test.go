package callback_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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

// modes are all ways in which an account can push.
func modes() map[string]wxtest.CallbackConfig {
	m := map[string]wxtest.CallbackConfig{}
	for mode, name := range map[wxtest.Mode]string{wxtest.Plain: "plain", wxtest.Compatible: "compatible", wxtest.Secure: "secure"} {
		for _, asJSON := range []bool{false, true} {
			c := wxtest.CallbackConfig{Token: token, Mode: mode, JSON: asJSON}
			if mode != wxtest.Plain {
				c.EncodingAESKey = aesKey
			}
			m[fmt.Sprintf("%s, JSON %t", name, asJSON)] = c
		}
	}
	return m
}

// A flow is a handler behind a real socket, and a WeChat that pushes to it.
type flow struct {
	wechat *wxtest.Server
	ticket wxqrcode.Ticket // of the scene "poster-7"

	// around, if set, is called with each push and its number, and calls next.
	around func(push int, next http.Handler, w http.ResponseWriter, r *http.Request)
}

func newFlow(t *testing.T, push wxtest.CallbackConfig, cfg callback.Config, f onEvent, opts ...wxtest.Option) *flow {
	t.Helper()
	leak.Check(t)
	fl := &flow{wechat: wxtest.NewServer(opts...)}
	t.Cleanup(fl.wechat.Close)
	cfg.Token, cfg.AppID, cfg.EncodingAESKey = push.Token, fl.wechat.AppID(), push.EncodingAESKey
	h := newHandler(t, cfg, f)
	var pushes atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fl.around == nil {
			h.ServeHTTP(w, r)
			return
		}
		fl.around(int(pushes.Add(1)), h, w, r)
	}))
	t.Cleanup(server.Close)
	fl.wechat.SetCallback(server.URL+"/wechat", push)

	client := fl.wechat.Client()
	code, err := client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneStr("poster-7")))
	require.NoError(t, err)
	fl.ticket = code.Ticket
	return fl
}

func TestAScanInEveryMode(t *testing.T) {
	for name, push := range modes() {
		t.Run(name, func(t *testing.T) {
			var heard heard
			f := newFlow(t, push, callback.Config{}, heard.on)
			require.NoError(t, f.wechat.VerifyCallback(t.Context()))
			for range 2 {
				d, err := f.wechat.Scan(t.Context(), f.ticket, "o-ann")
				require.NoError(t, err)
				assert.Equal(t, &wxtest.Delivery{Status: 200, Body: []byte("success"), Tries: 1}, d)
			}
			d, err := f.wechat.SendText(t.Context(), "o-ann", "hello")
			require.NoError(t, err)
			assert.Equal(t, "success", string(d.Body))
			_, err = f.wechat.Unfollow(t.Context(), "o-ann")
			require.NoError(t, err)

			assert.Equal(t, []string{"poster-7", "poster-7", ""}, heard.scenes())
			var types []wxqrcode.EventType
			for _, e := range heard.events {
				types = append(types, e.Type)
				assert.Equal(t, "o-ann", e.OpenID)
			}
			assert.Equal(t, []wxqrcode.EventType{wxqrcode.EventSubscribe, wxqrcode.EventScan, wxqrcode.EventUnsubscribe}, types)
			assert.Equal(t, f.ticket, heard.events[0].Ticket)
		})
	}
}

// WeChat's timing, scaled down: the connection is cut after a while, and the same push
// comes again, three times in all. However late onEvent is, it runs once, and its
// reply is there if a try is left.
func TestASlowRunIsNeitherLostNorDoneTwice(t *testing.T) {
	for name, push := range modes() {
		for until := 2; until <= 4; until++ { // the push at whose arrival onEvent ends; 4: none of them
			for _, fresh := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, until %d, fresh %t", name, until, fresh), func(t *testing.T) {
					opts := []wxtest.Option{wxtest.WithPushTimeout(50 * time.Millisecond)}
					if fresh {
						opts = append(opts, wxtest.WithFreshRetries())
					}
					end := make(chan struct{})
					var runs, ended atomic.Int32
					late := func(e *wxqrcode.Event) string {
						if push.JSON {
							return fmt.Sprintf(`{"ToUserName":%q,"FromUserName":%q,"CreateTime":1,"MsgType":"text","Content":"late"}`, e.OpenID, e.ToUserName)
						}
						return fmt.Sprintf("<xml><ToUserName>%s</ToUserName><FromUserName>%s</FromUserName><CreateTime>1</CreateTime>"+
							"<MsgType>text</MsgType><Content>late</Content></xml>", e.OpenID, e.ToUserName)
					}
					f := newFlow(t, push, callback.Config{}, func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
						runs.Add(1)
						defer ended.Add(1)
						select {
						case <-end:
						case <-ctx.Done():
							return nil, ctx.Err()
						}
						return callback.Raw([]byte(late(e))), nil
					}, opts...)
					f.around = func(push int, next http.Handler, w http.ResponseWriter, r *http.Request) {
						if push == until {
							close(end)
						}
						next.ServeHTTP(w, r)
					}
					d, err := f.wechat.Scan(t.Context(), f.ticket, "o-ann")
					if until == 4 {
						close(end)
						assert.ErrorIs(t, err, context.DeadlineExceeded)
						assert.Equal(t, 3, d.Tries)
						require.Eventually(t, func() bool { return ended.Load() == 1 }, 10*time.Second, time.Millisecond)
					} else {
						require.NoError(t, err)
						assert.Equal(t, until, d.Tries)
						assert.Equal(t, http.StatusOK, d.Status)
						reply, err := f.wechat.Reply(d)
						require.NoError(t, err)
						assert.Contains(t, string(reply), "late")
						assert.Equal(t, push.Mode != wxtest.Plain, strings.Contains(string(d.Body), "MsgSignature"))
					}
					assert.EqualValues(t, 1, runs.Load())
				})
			}
		}
	}
}

func TestAConnectionThatIsCutAtAnyPointLosesNothing(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		for _, cuts := range []int{1, 2} {
			for _, after := range []bool{false, true} { // the run
				t.Run(fmt.Sprintf("fresh %t, %d cuts, after the run %t", fresh, cuts, after), func(t *testing.T) {
					var opts []wxtest.Option
					if fresh {
						opts = append(opts, wxtest.WithFreshRetries())
					}
					var heard heard
					push := wxtest.CallbackConfig{Token: token, EncodingAESKey: aesKey, Mode: wxtest.Secure}
					f := newFlow(t, push, callback.Config{}, heard.on, opts...)
					f.around = func(push int, next http.Handler, w http.ResponseWriter, r *http.Request) {
						if after {
							next.ServeHTTP(w, r)
						}
						if push <= cuts {
							panic(http.ErrAbortHandler) // closes the connection
						}
						if !after {
							next.ServeHTTP(w, r)
						}
					}
					d, err := f.wechat.Scan(t.Context(), f.ticket, "o-ann")
					require.NoError(t, err)
					assert.Equal(t, cuts+1, d.Tries)
					assert.Equal(t, []string{"poster-7"}, heard.scenes())
				})
			}
		}
	}
}

func TestWhereWeChatTriesAgainAfterAnErrorNothingIsLost(t *testing.T) {
	var runs atomic.Int32
	f := newFlow(t, wxtest.CallbackConfig{Token: token}, callback.Config{}, func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
		if runs.Add(1) < 3 {
			return nil, errors.New("no database")
		}
		return nil, nil
	}, wxtest.WithRetryStatus())
	d, err := f.wechat.Scan(t.Context(), f.ticket, "o-ann")
	require.NoError(t, err)
	assert.Equal(t, &wxtest.Delivery{Status: 200, Body: []byte("success"), Tries: 3}, d)
}

func TestShutdownWaitsForARun(t *testing.T) {
	leak.Check(t)
	entered, end := make(chan struct{}), make(chan struct{})
	h := newHandler(t, plainConfig, func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
		close(entered)
		<-end
		return nil, nil
	})
	server := httptest.NewServer(h)
	defer server.Close()
	l := plain(scanOf("7"))
	ctx, cut := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"?"+l.query.Encode(), strings.NewReader(l.body))
		assert.NoError(t, err)
		_, err = server.Client().Do(r)
		assert.ErrorIs(t, err, context.Canceled)
	})
	<-entered
	cut()
	all.Wait()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, server.Config.Shutdown(short), context.DeadlineExceeded, "the run is not over")
	close(end)
	assert.NoError(t, server.Config.Shutdown(t.Context()))
}

// A slow body is given up though the server sets no limit itself, whether or not the
// handler would have read it.
func TestASlowBodyIsGivenUp(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*letter)
		want   string
	}{
		"of a good push": {func(*letter) {}, "408"},
		"of a bad one":   {func(l *letter) { l.query.Set("signature", strings.Repeat("0", 40)) }, "403"},
	} {
		for _, wrapped := range []bool{false, true} {
			t.Run(fmt.Sprint(name, wrapped), func(t *testing.T) {
				leak.Check(t)
				h := newHandler(t, plainConfig, never(t))
				callback.SetBodyTimeout(h, 30*time.Millisecond)
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if wrapped {
						w = wrapper{w}
					}
					h.ServeHTTP(w, r)
				}))
				defer server.Close()
				l := plain(scanOf("7"))
				tt.change(l)
				conn, err := net.Dial("tcp", server.Listener.Addr().String())
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
				_, err = fmt.Fprintf(conn, "POST /?%s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", l.query.Encode(), len(l.body), l.body[:10])
				require.NoError(t, err)
				r := bufio.NewReader(conn)
				res, err := http.ReadResponse(r, nil)
				require.NoError(t, err)
				assert.Equal(t, tt.want, res.Status[:3])
				_, err = io.Copy(io.Discard, res.Body)
				require.NoError(t, err)
				_, err = r.ReadByte()
				assert.Equal(t, io.EOF, err, "the connection is closed")
			})
		}
	}
}

// A wrapper is what middleware makes of a ResponseWriter.
type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// The limit is for the body: a run that takes longer is not cut by it.
func TestALongRunOutlivesTheLimitOfTheBody(t *testing.T) {
	leak.Check(t)
	entered, end := make(chan struct{}, 2), make(chan struct{})
	h := newHandler(t, plainConfig, func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
		entered <- struct{}{}
		<-end
		return callback.Text("welcome"), nil
	})
	callback.SetBodyTimeout(h, 20*time.Millisecond)
	server := httptest.NewServer(h)
	defer server.Close()
	var all sync.WaitGroup
	push := func(nonce string) {
		l := (&letter{message: scanOf("7"), nonce: nonce}).sign()
		res, err := server.Client().Post(server.URL+"?"+l.query.Encode(), "text/xml", strings.NewReader(l.body))
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
