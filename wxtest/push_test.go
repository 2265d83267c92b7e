package wxtest_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/message"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

func TestScan_SubscribeThenScan(t *testing.T) {
	clock := newClock()
	srv, c, ticket := newScene(t, nil, wxtest.WithNow(clock.now))

	e := scan(t, srv, c, ticket, openID)
	assert.Regexp(t, `^gh_[0-9a-f]{12}$`, e.ToUserName)
	want := wxqrcode.Event{
		ToUserName: e.ToUserName, OpenID: openID, CreatedAt: clock.now(),
		MsgType: "event", Type: wxqrcode.EventSubscribe, EventKey: "qrscene_door", Ticket: ticket,
	}
	assert.Equal(t, want, *e)

	clock.advance(time.Minute)
	want.CreatedAt, want.Type, want.EventKey = clock.now(), wxqrcode.EventScan, "door"
	assert.Equal(t, want, *scan(t, srv, c, ticket, openID))
	assert.Equal(t, wxqrcode.EventSubscribe, scan(t, srv, c, ticket, "o-another").Type)

	d, err := srv.Unfollow(t.Context(), openID)
	require.NoError(t, err)
	assertDelivery(t, 200, "success", 1, d)
	want.Type, want.EventKey, want.Ticket = wxqrcode.EventUnsubscribe, "", ""
	assert.Equal(t, want, *parse(t, c.pushes()[3].body))

	_, err = srv.Unfollow(t.Context(), openID)
	require.ErrorContains(t, err, openID)
	assert.Len(t, c.pushes(), 4)
	assert.Equal(t, wxqrcode.EventSubscribe, scan(t, srv, c, ticket, openID).Type, "after Unfollow")
}

func TestServer_Follow(t *testing.T) {
	srv, c, ticket := newScene(t, nil)
	srv.Follow(openID)
	srv.Follow(openID)
	assert.Empty(t, c.pushes())
	assert.Equal(t, wxqrcode.EventScan, scan(t, srv, c, ticket, openID).Type)
	_, err := srv.Unfollow(t.Context(), openID)
	require.NoError(t, err)
	assert.Equal(t, wxqrcode.EventSubscribe, scan(t, srv, c, ticket, openID).Type)
}

// pushAll pushes an event, a text and a message of a third-party platform.
func pushAll(t *testing.T, srv *wxtest.Server, ticket wxqrcode.Ticket, content string) {
	t.Helper()
	srv.Follow(openID)
	_, err := srv.Scan(t.Context(), ticket, openID)
	require.NoError(t, err)
	_, err = srv.SendText(t.Context(), openID, content)
	require.NoError(t, err)
	_, err = srv.PushInfo(t.Context(), "component_verify_ticket", map[string]string{"ComponentVerifyTicket": "ticket@@@1", "A": "]]>"})
	require.NoError(t, err)
}

func TestPush_Body(t *testing.T) {
	clock := newClock()
	srv, c, _ := newScene(t, nil, wxtest.WithNow(clock.now))
	ticket := create(t, srv, temporaryStr("<7> & ]]>世")).Ticket
	pushAll(t, srv, ticket, "<a>]]>世\n")
	srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token", JSON: true})
	pushAll(t, srv, ticket, "<a>]]>世\n")

	got := c.pushes()
	require.Len(t, got, 6)
	account := message.Find(got[0].body, "ToUserName")
	created := strconv.FormatInt(clock.now().Unix(), 10)
	header := "<xml><ToUserName><![CDATA[" + account + "]]></ToUserName>\n" +
		"<FromUserName><![CDATA[" + openID + "]]></FromUserName>\n" +
		"<CreateTime>" + created + "</CreateTime>\n"
	headerJSON := `{"ToUserName":"` + account + `","FromUserName":"` + openID + `","CreateTime":` + created
	for i, want := range []string{
		header + "<MsgType><![CDATA[event]]></MsgType>\n" +
			"<Event><![CDATA[SCAN]]></Event>\n" +
			"<EventKey><![CDATA[<7> & ]]]]><![CDATA[>世]]></EventKey>\n" + // split
			"<Ticket><![CDATA[" + string(ticket) + "]]></Ticket>\n</xml>",
		header + "<MsgType><![CDATA[text]]></MsgType>\n" +
			"<Content><![CDATA[<a>]]>世\n]]></Content>\n" + // not split
			"<MsgId>" + message.Find(got[1].body, "MsgId") + "</MsgId>\n</xml>",
		"<xml><AppId><![CDATA[" + srv.AppID() + "]]></AppId>\n" +
			"<CreateTime>" + created + "</CreateTime>\n" +
			"<InfoType><![CDATA[component_verify_ticket]]></InfoType>\n" +
			"<A><![CDATA[]]]]><![CDATA[>]]></A>\n" +
			"<ComponentVerifyTicket><![CDATA[ticket@@@1]]></ComponentVerifyTicket>\n</xml>",
		headerJSON + `,"MsgType":"event","Event":"SCAN","EventKey":"<7> & ]]>世","Ticket":"` + string(ticket) + `"}`,
		headerJSON + `,"MsgType":"text","Content":"<a>]]>世\n","MsgId":` + message.Find(got[4].body, "MsgId") + `}`,
		`{"AppId":"` + srv.AppID() + `","CreateTime":` + created + `,"InfoType":"component_verify_ticket","A":"]]>","ComponentVerifyTicket":"ticket@@@1"}`,
	} {
		assert.Equal(t, want, got[i].body)
	}
}

func TestPush_Modes(t *testing.T) {
	// The names of the fields of the body. In secure mode they are those of the
	// envelope.
	names := [][]string{
		{"ToUserName", "FromUserName", "CreateTime", "MsgType", "Event", "EventKey", "Ticket"},
		{"ToUserName", "FromUserName", "CreateTime", "MsgType", "Content", "MsgId"},
		{"AppId", "CreateTime", "InfoType", "A", "ComponentVerifyTicket"},
	}
	openIDs := []string{openID, openID, ""}
	for _, mode := range []wxtest.Mode{wxtest.Plain, wxtest.Compatible, wxtest.Secure, wxtest.CloudHosting} {
		for _, asJSON := range []bool{false, true} {
			contentType := map[bool]string{false: "text/xml", true: "application/json"}[asJSON]
			t.Run(mode.String()+", "+contentType, func(t *testing.T) {
				srv, c, ticket := newScene(t, nil)
				cfg := wxtest.CallbackConfig{Token: "token", EncodingAESKey: aesKey, Mode: mode, JSON: asJSON}
				srv.SetCallback(c.URL, cfg)
				pushAll(t, srv, ticket, "hello")
				for i, p := range c.pushes() {
					text, fields := readPush(t, srv, p, cfg)
					want := slices.Clone(names[i])
					switch mode {
					case wxtest.Compatible:
						want = append(want, "Encrypt")
					case wxtest.Secure:
						want = []string{want[0], "Encrypt"}
					}
					assert.ElementsMatch(t, want, slices.Collect(maps.Keys(fields)))
					assert.Equal(t, asJSON, message.IsJSON(text))
					for name, value := range fields {
						if name != "Encrypt" {
							assert.Equal(t, message.Find(text, name), value, "in plaintext")
						}
					}
					for _, name := range names[i] {
						assert.NotEmpty(t, message.Find(text, name), name)
					}
					if mode != wxtest.CloudHosting {
						assert.Equal(t, openIDs[i], p.query.Get("openid"))
					}
					// Cache-Control is added by the http.Server, for Pragma.
					for _, name := range []string{"X-Wx-Source", "Content-Length", "Connection", "Cache-Control"} {
						p.header.Del(name)
					}
					assert.Equal(t, http.Header{
						"Accept": {"*/*"}, "Content-Type": {contentType}, "Pragma": {"no-cache"}, "User-Agent": {"Mozilla/4.0"},
					}, p.header)
				}
			})
		}
	}
}

func TestPush_Query(t *testing.T) {
	clock := newClock()
	srv, c, ticket := newScene(t, nil, wxtest.WithNow(clock.now))
	srv.SetCallback(c.URL+"/hook?channel=a&channel=b%20c", plain)
	scan(t, srv, c, ticket, openID)
	scan(t, srv, c, ticket, openID)
	nonces := map[string]bool{}
	for _, p := range c.pushes() {
		assert.Equal(t, []string{"a", "b c"}, p.query["channel"])
		assert.Equal(t, strconv.FormatInt(clock.now().Unix(), 10), p.query.Get("timestamp"))
		nonces[p.query.Get("nonce")] = true
	}
	assert.Len(t, nonces, 2)
}

func TestPush_InvalidCallback(t *testing.T) {
	const address = "http://127.0.0.1:1/"
	for name, test := range map[string]struct {
		url    string
		cfg    wxtest.CallbackConfig
		openID string
		want   string
	}{
		"no callback":               {"", plain, openID, "callback"},
		"no openid":                 {address, plain, "", "openid"},
		"a control in the openid":   {address, plain, "o\x00", "openid"},
		"an openid not in UTF-8":    {address, plain, "o\xff", "openid"},
		"a malformed URL":           {"http://%zz", plain, openID, "callback url"},
		"a URL without a scheme":    {"example.com/hook", plain, openID, "callback url"},
		"a URL without a host":      {"http:///hook", plain, openID, "callback url"},
		"a URL with a port alone":   {"http://:80/hook", plain, openID, "callback url"},
		"a URL of another scheme":   {"ftp://example.com/hook", plain, openID, "callback url"},
		"a key too short":           {address, wxtest.CallbackConfig{EncodingAESKey: aesKey[1:], Mode: wxtest.Secure}, openID, "EncodingAESKey"},
		"no key in compatible mode": {address, wxtest.CallbackConfig{Mode: wxtest.Compatible}, openID, "EncodingAESKey"},
		"a bad key in plain mode":   {address, wxtest.CallbackConfig{EncodingAESKey: "key"}, openID, "EncodingAESKey"},
		"a mode above the highest":  {address, wxtest.CallbackConfig{EncodingAESKey: aesKey, Mode: 4}, openID, "mode is 4"},
		"a mode below the lowest":   {address, wxtest.CallbackConfig{EncodingAESKey: aesKey, Mode: -1}, openID, "mode is -1"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, c, ticket := newScene(t, nil)
			srv.SetCallback(test.url, test.cfg)
			expect := func(prefix string, d *wxtest.Delivery, err error) {
				t.Helper()
				require.ErrorContains(t, err, test.want)
				assert.True(t, strings.HasPrefix(err.Error(), "wxtest: "+prefix+": "), err)
				assert.Nil(t, d)
			}
			d, err := srv.Scan(t.Context(), ticket, test.openID)
			expect("scan", d, err)
			d, err = srv.Unfollow(t.Context(), test.openID)
			expect("unfollow", d, err)
			d, err = srv.SendText(t.Context(), test.openID, "hello")
			expect("send text", d, err)
			if test.want != "openid" {
				d, err = srv.PushInfo(t.Context(), "authorized", nil)
				expect("push info", d, err)
				expect("verify callback", nil, srv.VerifyCallback(t.Context()))
			}

			srv.SetCallback(c.URL, plain)
			assert.Equal(t, wxqrcode.EventSubscribe, scan(t, srv, c, ticket, openID).Type, "the scan had no effect")
		})
	}
}

func TestScan_TicketNotFound(t *testing.T) {
	srv, c, _ := newScene(t, nil)
	for _, ticket := range []wxqrcode.Ticket{"", "gQH47joAAAAAAAAAASxodHRw", create(t, newServer(t), someCode).Ticket} {
		d, err := srv.Scan(t.Context(), ticket, openID)
		assert.ErrorIs(t, err, wxqrcode.ErrTicketNotFound)
		assert.Nil(t, d)
	}
	assert.Empty(t, c.pushes())
}

func TestPush_RedeliversSameBytes(t *testing.T) {
	for name, noResponse := range map[string]http.HandlerFunc{
		"closed connection": cutConnection,
		"incomplete response": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var tries atomic.Int32
			clock := newClock()
			srv, c, ticket := newScene(t, func(w http.ResponseWriter, r *http.Request) {
				clock.advance(5 * time.Second)
				if tries.Add(1) < 3 {
					noResponse(w, r)
				}
			}, wxtest.WithNow(clock.now))
			srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token", EncodingAESKey: aesKey, Mode: wxtest.Secure})
			d, err := srv.Scan(t.Context(), ticket, openID)
			require.NoError(t, err)
			assertDelivery(t, 200, "", 3, d)
			got := c.pushes()
			require.Len(t, got, 3)
			assert.Equal(t, got[0], got[1])
			assert.Equal(t, got[0], got[2])
		})
	}
}

func TestPush_FreshRetries(t *testing.T) {
	for _, mode := range []wxtest.Mode{wxtest.Plain, wxtest.Compatible, wxtest.Secure} {
		t.Run(mode.String(), func(t *testing.T) {
			clock := newClock()
			start := clock.now()
			srv, c, ticket := newScene(t, func(w http.ResponseWriter, r *http.Request) {
				clock.advance(5 * time.Second)
				cutConnection(w, r)
			}, wxtest.WithNow(clock.now), wxtest.WithFreshRetries())
			cfg := wxtest.CallbackConfig{Token: "token", EncodingAESKey: aesKey, Mode: mode}
			srv.SetCallback(c.URL, cfg)
			d, err := srv.Scan(t.Context(), ticket, openID)
			require.ErrorContains(t, err, "no response")
			assertDelivery(t, 0, "", 3, d)

			got := c.pushes()
			require.Len(t, got, 3)
			first, firstFields := readPush(t, srv, got[0], cfg)
			nonces, encrypts := map[string]bool{}, map[string]bool{}
			for i, p := range got {
				sent := start.Add(time.Duration(i) * 5 * time.Second)
				assert.Equal(t, strconv.FormatInt(sent.Unix(), 10), p.query.Get("timestamp"))
				assert.Equal(t, openID, p.query.Get("openid"))
				text, fields := readPush(t, srv, p, cfg)
				assert.Equal(t, first, text)
				assert.True(t, start.Equal(parse(t, text).CreatedAt), "of the scan, not of the try")
				assert.Equal(t, strings.Replace(got[0].body, firstFields["Encrypt"], fields["Encrypt"], 1), p.body)
				nonces[p.query.Get("nonce")], encrypts[fields["Encrypt"]] = true, true
			}
			assert.Len(t, nonces, 3)
			assert.Len(t, encrypts, map[bool]int{true: 1, false: 3}[mode == wxtest.Plain])
		})
	}
}

func TestPush_NoServer(t *testing.T) {
	srv, c, ticket := newScene(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	srv.SetCallback("http://"+l.Addr().String(), plain)

	d, err := srv.Scan(t.Context(), ticket, openID)
	require.ErrorContains(t, err, "no response")
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	assert.NotContains(t, err.Error(), "signature", "the URL is too long")
	assertDelivery(t, 0, "", 3, d)

	srv.SetCallback(c.URL, plain)
	assert.Equal(t, wxqrcode.EventScan, scan(t, srv, c, ticket, openID).Type, "the user follows")
}

func TestPush_Timeout(t *testing.T) {
	var tries atomic.Int32
	srv, _, ticket := newScene(t, func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) < 3 {
			block(w, r)
		}
	}, wxtest.WithPushTimeout(20*time.Millisecond))
	d, err := srv.Scan(t.Context(), ticket, openID)
	if err != nil { // the third try times out too on a slow machine
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	assert.Equal(t, 3, d.Tries)

	srv, _, ticket = newScene(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		block(w, r) // the body is missing
	}, wxtest.WithPushTimeout(20*time.Millisecond))
	d, err = srv.Scan(t.Context(), ticket, openID)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assertDelivery(t, 0, "", 3, d)
}

func TestPush_OtherStatus(t *testing.T) {
	fail := func(w http.ResponseWriter) { http.Error(w, "oh", http.StatusInternalServerError) }
	for name, test := range map[string]struct {
		handle func(http.ResponseWriter, *http.Request, int32) // gets the number of the request
		opts   []wxtest.Option
		status int
		body   string
		tries  int
	}{
		"is final": {func(w http.ResponseWriter, _ *http.Request, _ int32) { fail(w) },
			[]wxtest.Option{wxtest.WithFreshRetries()}, 500, "oh\n", 1},
		"WithRetryStatus": {func(w http.ResponseWriter, _ *http.Request, n int32) {
			if n < 2 {
				fail(w)
			}
		}, []wxtest.Option{wxtest.WithRetryStatus()}, 200, "", 2},
		"WithRetryStatus, three times": {func(w http.ResponseWriter, _ *http.Request, _ int32) { fail(w) },
			[]wxtest.Option{wxtest.WithRetryStatus()}, 500, "oh\n", 3},
		"a redirect is not followed": {func(w http.ResponseWriter, r *http.Request, _ int32) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, nil, 307, "", 1},
		"a body of more than 1 MiB": {func(w http.ResponseWriter, _ *http.Request, _ int32) {
			io.WriteString(w, strings.Repeat("x", 1<<20+1))
		}, nil, 200, strings.Repeat("x", 1<<20), 1},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			srv, c, ticket := newScene(t, func(w http.ResponseWriter, r *http.Request) { test.handle(w, r, n.Add(1)) }, test.opts...)
			d, err := srv.Scan(t.Context(), ticket, openID)
			require.NoError(t, err)
			assertDelivery(t, test.status, test.body, test.tries, d)
			assert.Len(t, c.pushes(), test.tries)
		})
	}
}

func TestPush_ContextEnds(t *testing.T) {
	entered := make(chan struct{}, 3)
	srv, c, ticket := newScene(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		block(w, r)
	}, wxtest.WithPushTimeout(time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	d, err := srv.Scan(ctx, ticket, openID)
	require.ErrorIs(t, err, context.Canceled)
	assertDelivery(t, 0, "", 1, d)

	d, err = srv.SendText(ctx, openID, "hello")
	require.ErrorIs(t, err, context.Canceled)
	assertDelivery(t, 0, "", 1, d)
	assert.Len(t, c.pushes(), 1, "no push after the context")
}

func TestPush_ContextEndsRetries(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv, c, ticket := newScene(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel() // before or after the response is read
		http.Error(w, "oh", http.StatusInternalServerError)
	}, wxtest.WithRetryStatus())
	d, err := srv.Scan(ctx, ticket, openID)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, d.Tries)
	assert.Len(t, c.pushes(), 1)
}

func TestScan_Concurrent(t *testing.T) {
	srv, c, ticket := newScene(t, nil)
	const users, scansEach = 8, 6
	var wg sync.WaitGroup
	errs := make(chan error, users*scansEach)
	for i := range users * scansEach {
		wg.Go(func() {
			d, err := srv.Scan(t.Context(), ticket, "o-"+strconv.Itoa(i%users))
			if err == nil && d.Status != 200 {
				err = errors.New("status " + strconv.Itoa(d.Status))
			}
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	subscribed := map[string]int{}
	for _, p := range c.pushes() {
		if e := parse(t, p.body); e.Type == wxqrcode.EventSubscribe {
			subscribed[e.OpenID]++
		}
	}
	assert.Len(t, c.pushes(), users*scansEach)
	assert.Len(t, subscribed, users)
	for user, n := range subscribed {
		assert.Equal(t, 1, n, user)
	}
}

func TestSendText_ContentIsNotSplit(t *testing.T) {
	for name, content := range map[string]string{
		"one byte":                 "x",
		"2,048 bytes":              strings.Repeat("世", 682) + "xx",
		"a line break":             "a\tb\r\n",
		"the end of CDATA":         "a]]>b",
		"XML":                      "]]></Content></xml><xml><![CDATA[",
		"control characters":       "\x00\x02\x10\x14\x1d\x7f\uFFFE",
		"a part of a character":    "a世"[:3],
		"bytes that are not UTF-8": "\xff\xc0",
	} {
		t.Run(name, func(t *testing.T) {
			srv, c, _ := newScene(t, nil)
			srv.Follow(openID)
			for _, mode := range []wxtest.Mode{wxtest.Plain, wxtest.Compatible} {
				srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token", EncodingAESKey: aesKey, Mode: mode})
				_, err := srv.SendText(t.Context(), openID, content)
				require.NoError(t, err)
				assert.Contains(t, c.pushes()[mode].body, "\n<Content><![CDATA["+content+"]]></Content>\n")
			}
			text, _ := decrypt(t, string(message.Encrypted([]byte(c.pushes()[1].body))))
			assert.Contains(t, text, "\n<Content><![CDATA["+content+"]]></Content>\n")
		})
	}
}

func TestSendText_Errors(t *testing.T) {
	srv, c, _ := newScene(t, nil)
	for _, test := range []struct{ name, content, want string }{
		{"not a follower", "hello", openID},
		{"empty", "", "0 bytes"},
		{"2,049 bytes", strings.Repeat("世", 683), "2049 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := srv.SendText(t.Context(), openID, test.content)
			require.ErrorContains(t, err, test.want)
			assert.Nil(t, d)
		})
	}
	assert.Empty(t, c.pushes())
}

func TestSendText_MsgID(t *testing.T) {
	srv, c, _ := newScene(t, cutConnection, wxtest.WithFreshRetries())
	srv.Follow(openID)
	const texts = 4
	for range texts {
		d, err := srv.SendText(t.Context(), openID, "hello")
		require.ErrorContains(t, err, "no response")
		assertDelivery(t, 0, "", 3, d)
	}
	tries := map[int64]int{}
	for _, p := range c.pushes() {
		id, err := strconv.ParseInt(message.Find(p.body, "MsgId"), 10, 64)
		require.NoError(t, err)
		assert.Greater(t, id, int64(1<<53), "too large for a float64")
		tries[id]++
	}
	assert.Len(t, tries, texts)
	for _, n := range tries {
		assert.Equal(t, 3, n)
	}
}
