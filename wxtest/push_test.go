package wxtest_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

const openID = "o7Lp5t6n59DeX3U0C7Kric9qEx-Q"

// newScene returns a server with a callback and a code.
func newScene(t *testing.T, handle http.HandlerFunc, opts ...wxtest.Option) (*wxtest.Server, *callback, wxqrcode.Ticket) {
	t.Helper()
	srv := newServer(t, opts...)
	c := newCallback(t, handle)
	srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token"})
	return srv, c, create(t, srv, someCode).Ticket
}

func TestAStrangerSubscribesAFollowerScansAndLeaves(t *testing.T) {
	clock := newClock()
	srv, c, ticket := newScene(t, nil, wxtest.WithNow(clock.now))

	e := scan(t, srv, c, ticket, openID)
	assert.Regexp(t, `^gh_[0-9a-f]{12}$`, e.ToUserName)
	assert.Equal(t, wxqrcode.Event{
		ToUserName: e.ToUserName, OpenID: openID, CreateTime: e.CreateTime,
		MsgType: "event", Type: wxqrcode.EventSubscribe, EventKey: "qrscene_door", Ticket: ticket,
	}, *e)
	assert.True(t, clock.now().Equal(e.CreateTime))

	clock.advance(time.Minute)
	e = scan(t, srv, c, ticket, openID)
	assert.Equal(t, wxqrcode.EventScan, e.Type)
	assert.Equal(t, "door", e.EventKey)
	assert.Equal(t, ticket, e.Ticket)
	assert.True(t, clock.now().Equal(e.CreateTime))

	assert.Equal(t, wxqrcode.EventSubscribe, scan(t, srv, c, ticket, "o-another").Type, "each person for themself")

	d, err := srv.Unfollow(t.Context(), openID)
	require.NoError(t, err)
	assert.Equal(t, &wxtest.Delivery{Status: 200, Body: []byte("success"), Tries: 1}, d)
	left := c.pushes()[3].body
	e = parse(t, left)
	assert.Equal(t, wxqrcode.EventUnsubscribe, e.Type)
	assert.Empty(t, e.EventKey)
	assert.Empty(t, e.Ticket)
	assert.Contains(t, left, "<EventKey><![CDATA[]]></EventKey></xml>")
	_, ok := e.Scene()
	assert.False(t, ok)

	_, err = srv.Unfollow(t.Context(), openID)
	require.ErrorContains(t, err, "does not follow")
	assert.Len(t, c.pushes(), 4)
	assert.Equal(t, wxqrcode.EventSubscribe, scan(t, srv, c, ticket, openID).Type, "a stranger again")
}

func TestPlainPushesAreXMLInWeChatsShape(t *testing.T) {
	clock := newClock()
	srv, c, ticket := newScene(t, nil, wxtest.WithNow(clock.now))
	e := scan(t, srv, c, ticket, openID)
	p := c.pushes()[0]
	assert.Equal(t, "<xml><ToUserName><![CDATA["+e.ToUserName+"]]></ToUserName>\n"+
		"<FromUserName><![CDATA["+openID+"]]></FromUserName>\n"+
		"<CreateTime>"+strconv.FormatInt(clock.now().Unix(), 10)+"</CreateTime>\n"+
		"<MsgType><![CDATA[event]]></MsgType>\n"+
		"<Event><![CDATA[subscribe]]></Event>\n"+
		"<EventKey><![CDATA[qrscene_door]]></EventKey>\n"+
		"<Ticket><![CDATA["+string(ticket)+"]]></Ticket></xml>", p.body)
	assert.Equal(t, "text/xml", p.header.Get("Content-Type"))
}

func TestPushesMayBeJSON(t *testing.T) {
	clock := newClock()
	srv, c, _ := newScene(t, nil, wxtest.WithNow(clock.now))
	srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token", JSON: true})
	ticket := create(t, srv, temporaryStr("<7> & 世")).Ticket
	e := scan(t, srv, c, ticket, openID)
	assert.Equal(t, "qrscene_<7> & 世", e.EventKey)
	p := c.pushes()[0]
	assert.Equal(t, `{"ToUserName":"`+e.ToUserName+`","FromUserName":"`+openID+`","CreateTime":`+
		strconv.FormatInt(clock.now().Unix(), 10)+`,"MsgType":"event","Event":"subscribe",`+
		`"EventKey":"qrscene_<7> & 世","Ticket":"`+string(ticket)+`"}`, p.body)
	assert.Equal(t, "application/json", p.header.Get("Content-Type"))

	_, err := srv.Unfollow(t.Context(), openID)
	require.NoError(t, err)
	left := c.pushes()[1].body
	assert.Contains(t, left, `"Event":"unsubscribe","EventKey":""}`)
	assert.Equal(t, wxqrcode.EventUnsubscribe, parse(t, left).Type)
}

func TestPushesAreSigned(t *testing.T) {
	clock := newClock()
	srv, c, ticket := newScene(t, nil, wxtest.WithNow(clock.now))
	srv.SetCallback(c.URL+"/hook?channel=a&channel=b%20c", wxtest.CallbackConfig{Token: "some token"})
	scan(t, srv, c, ticket, openID)
	scan(t, srv, c, ticket, openID)
	nonces := map[string]bool{}
	for _, p := range c.pushes() {
		q := p.query
		assert.Equal(t, []string{"a", "b c"}, q["channel"], "the URL's own query stays")
		assert.Equal(t, strconv.FormatInt(clock.now().Unix(), 10), q.Get("timestamp"))
		assert.Equal(t, wxcrypt.Signature("some token", q.Get("timestamp"), q.Get("nonce")), q.Get("signature"))
		assert.Equal(t, openID, q.Get("openid"))
		assert.False(t, q.Has("encrypt_type"))
		assert.False(t, q.Has("msg_signature"))
		nonces[q.Get("nonce")] = true
	}
	assert.Len(t, nonces, 2, "each push has a nonce of its own")
}

func TestSealedPushesOpenWithTheKey(t *testing.T) {
	whole := []string{"ToUserName", "FromUserName", "CreateTime", "MsgType", "Event", "EventKey", "Ticket"}
	for name, test := range map[string]struct {
		mode wxtest.Mode
		json bool
		want []string
	}{
		"compatible, XML":  {wxtest.Compatible, false, append(whole, "Encrypt")},
		"compatible, JSON": {wxtest.Compatible, true, append(whole, "Encrypt")},
		"secure, XML":      {wxtest.Secure, false, []string{"ToUserName", "Encrypt"}},
		"secure, JSON":     {wxtest.Secure, true, []string{"ToUserName", "Encrypt"}},
	} {
		t.Run(name, func(t *testing.T) {
			srv, c, ticket := newScene(t, nil)
			srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token", EncodingAESKey: aesKey, Mode: test.mode, JSON: test.json})
			d, err := srv.Scan(t.Context(), ticket, openID)
			require.NoError(t, err)
			assert.Equal(t, 200, d.Status)
			p := c.pushes()[0]

			var envelope struct{ ToUserName, Encrypt string }
			if test.json {
				var members map[string]any
				require.NoError(t, json.Unmarshal([]byte(p.body), &members))
				assert.Len(t, members, len(test.want))
				require.NoError(t, json.Unmarshal([]byte(p.body), &envelope))
			} else {
				assert.Equal(t, test.want, fieldNames(t, p.body))
				require.NoError(t, xml.Unmarshal([]byte(p.body), &envelope))
			}
			message, appID := openEnvelope(t, envelope.Encrypt)
			assert.Equal(t, srv.AppID(), appID)
			e := parse(t, message)
			assert.Equal(t, "qrscene_door", e.EventKey)
			assert.Equal(t, envelope.ToUserName, e.ToUserName)
			assert.Equal(t, test.json, message[0] == '{')
			if test.mode == wxtest.Compatible {
				assert.Equal(t, e, parse(t, p.body), "the plain fields say the same")
			}

			q := p.query
			assert.Equal(t, "aes", q.Get("encrypt_type"))
			assert.Equal(t, wxcrypt.Signature("token", q.Get("timestamp"), q.Get("nonce")), q.Get("signature"))
			assert.Equal(t, wxcrypt.Signature("token", q.Get("timestamp"), q.Get("nonce"), envelope.Encrypt), q.Get("msg_signature"))
		})
	}
}

func TestScanRefusesWhatCannotHappen(t *testing.T) {
	good := wxtest.CallbackConfig{Token: "token"}
	const place = "http://127.0.0.1:1/"
	for name, test := range map[string]struct {
		url    string
		cfg    wxtest.CallbackConfig
		openID string
		want   string
	}{
		"no callback":               {"", good, openID, "no callback is set"},
		"no openid":                 {place, good, "", "openid"},
		"an openid XML cannot hold": {place, good, "o\x00", "openid"},
		"an openid not in UTF-8":    {place, good, "o\xff", "openid"},
		"a URL that is none":        {"http://%zz", good, openID, "callback url"},
		"a URL without a scheme":    {"example.com/hook", good, openID, "must begin with http"},
		"a URL without a host":      {"http:///hook", good, openID, "must begin with http"},
		"a URL with a port alone":   {"http://:80/hook", good, openID, "must begin with http"},
		"a URL of another scheme":   {"ftp://example.com/hook", good, openID, "must begin with http"},
		"a key too short":           {place, wxtest.CallbackConfig{EncodingAESKey: aesKey[1:], Mode: wxtest.Secure}, openID, "EncodingAESKey"},
		"no key in secure mode":     {place, wxtest.CallbackConfig{Mode: wxtest.Secure}, openID, "EncodingAESKey"},
		"no key in compatible mode": {place, wxtest.CallbackConfig{Mode: wxtest.Compatible}, openID, "EncodingAESKey"},
		"a bad key in plain mode":   {place, wxtest.CallbackConfig{EncodingAESKey: "key"}, openID, "EncodingAESKey"},
		"a mode above the highest":  {place, wxtest.CallbackConfig{EncodingAESKey: aesKey, Mode: 3}, openID, "unknown mode 3"},
		"a mode below the lowest":   {place, wxtest.CallbackConfig{EncodingAESKey: aesKey, Mode: -1}, openID, "unknown mode -1"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, c, ticket := newScene(t, nil)
			srv.SetCallback(test.url, test.cfg)
			d, err := srv.Scan(t.Context(), ticket, test.openID)
			require.ErrorContains(t, err, test.want)
			assert.True(t, strings.HasPrefix(err.Error(), "wxtest: scan: "), err)
			assert.Nil(t, d)

			d, err = srv.Unfollow(t.Context(), test.openID)
			require.ErrorContains(t, err, test.want)
			assert.True(t, strings.HasPrefix(err.Error(), "wxtest: unfollow: "), err)
			assert.Nil(t, d)

			d, err = srv.SendText(t.Context(), test.openID, "hello")
			require.ErrorContains(t, err, test.want)
			assert.True(t, strings.HasPrefix(err.Error(), "wxtest: send text: "), err)
			assert.Nil(t, d)

			srv.SetCallback(c.URL, good)
			assert.Equal(t, wxqrcode.EventSubscribe, scan(t, srv, c, ticket, openID).Type, "nobody has followed")
		})
	}
}

func TestScanOfAnUnknownTicketFindsNothing(t *testing.T) {
	srv, c, _ := newScene(t, nil)
	for _, ticket := range []wxqrcode.Ticket{"", "gQH47joAAAAAAAAAASxodHRw", create(t, newServer(t), someCode).Ticket} {
		d, err := srv.Scan(t.Context(), ticket, openID)
		assert.ErrorIs(t, err, wxqrcode.ErrTicketNotFound)
		assert.Nil(t, d)
	}
	assert.Empty(t, c.pushes())
}

// cutConnection ends the connection without an answer.
func cutConnection(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.Close()
	}
}

func TestAPushWithoutAnAnswerIsRepeatedWithTheSameBytes(t *testing.T) {
	for name, noAnswer := range map[string]http.HandlerFunc{
		"the connection is cut": func(w http.ResponseWriter, _ *http.Request) { cutConnection(w) },
		"half an answer": func(w http.ResponseWriter, _ *http.Request) {
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
					noAnswer(w, r)
				}
			}, wxtest.WithNow(clock.now))
			srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token", EncodingAESKey: aesKey, Mode: wxtest.Secure})
			d, err := srv.Scan(t.Context(), ticket, openID)
			require.NoError(t, err)
			assert.Equal(t, &wxtest.Delivery{Status: 200, Body: []byte{}, Tries: 3}, d)
			got := c.pushes()
			require.Len(t, got, 3)
			assert.Equal(t, got[0].query, got[1].query)
			assert.Equal(t, got[0].query, got[2].query)
			assert.Equal(t, got[0].body, got[1].body)
			assert.Equal(t, got[0].body, got[2].body)
		})
	}
}

func TestWithFreshRetriesARepeatIsSignedAnewAndTheMessageStays(t *testing.T) {
	for _, mode := range []wxtest.Mode{wxtest.Plain, wxtest.Compatible, wxtest.Secure} {
		for _, asJSON := range []bool{false, true} {
			t.Run(fmt.Sprintf("mode %d, JSON %t", mode, asJSON), func(t *testing.T) {
				clock := newClock()
				start := clock.now()
				srv, c, ticket := newScene(t, func(w http.ResponseWriter, _ *http.Request) {
					clock.advance(5 * time.Second)
					cutConnection(w)
				}, wxtest.WithNow(clock.now), wxtest.WithFreshRetries())
				cfg := wxtest.CallbackConfig{Token: "token", EncodingAESKey: aesKey, Mode: mode, JSON: asJSON}
				srv.SetCallback(c.URL, cfg)
				d, err := srv.Scan(t.Context(), ticket, openID)
				require.ErrorContains(t, err, "in 3 tries")
				assert.Equal(t, &wxtest.Delivery{Tries: 3}, d)

				got := c.pushes()
				require.Len(t, got, 3)
				nonces, sealed := map[string]bool{}, map[string]bool{}
				for i, p := range got {
					q := p.query
					stamp := start.Add(time.Duration(i) * 5 * time.Second)
					assert.Equal(t, strconv.FormatInt(stamp.Unix(), 10), q.Get("timestamp"))
					assert.Equal(t, wxcrypt.Signature("token", q.Get("timestamp"), q.Get("nonce")), q.Get("signature"))
					assert.Equal(t, openID, q.Get("openid"))
					nonces[q.Get("nonce")] = true

					message, encrypt := openPush(t, p, cfg)
					first, _ := openPush(t, got[0], cfg)
					assert.Equal(t, first, message)
					e := parse(t, message)
					assert.Equal(t, "qrscene_door", e.EventKey)
					assert.True(t, start.Equal(e.CreateTime), "of the scan, not of the try")
					if mode == wxtest.Plain {
						assert.Equal(t, got[0].body, p.body)
						continue
					}
					assert.Equal(t, wxcrypt.Signature("token", q.Get("timestamp"), q.Get("nonce"), encrypt), q.Get("msg_signature"))
					sealed[encrypt] = true
					assert.Equal(t, strings.Replace(got[0].body, encryptOf(t, got[0], asJSON), encrypt, 1), p.body,
						"what is not encrypted stays")
				}
				assert.Len(t, nonces, 3, "each try has a nonce of its own")
				if mode != wxtest.Plain {
					assert.Len(t, sealed, 3, "each try is encrypted anew")
				}
			})
		}
	}
}

func TestWithFreshRetriesAnotherStatusIsStillFinal(t *testing.T) {
	srv, c, ticket := newScene(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "oh", http.StatusInternalServerError) },
		wxtest.WithFreshRetries())
	d, err := srv.Scan(t.Context(), ticket, openID)
	require.NoError(t, err)
	assert.Equal(t, &wxtest.Delivery{Status: 500, Body: []byte("oh\n"), Tries: 1}, d)
	assert.Len(t, c.pushes(), 1)
}

func TestAfterThreeTriesWithoutAnAnswerThePushHasFailedAndTheFollowHolds(t *testing.T) {
	srv, c, ticket := newScene(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close()) // nobody listens there now
	srv.SetCallback("http://"+l.Addr().String(), wxtest.CallbackConfig{Token: "token"})

	d, err := srv.Scan(t.Context(), ticket, openID)
	require.ErrorContains(t, err, "no answer to the push in 3 tries")
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	assert.NotContains(t, err.Error(), "signature", "no long URL")
	assert.Equal(t, &wxtest.Delivery{Tries: 3}, d)

	srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token"})
	assert.Equal(t, wxqrcode.EventScan, scan(t, srv, c, ticket, openID).Type)
}

func TestACallbackThatIsTooSlowHasNotAnswered(t *testing.T) {
	var tries atomic.Int32
	srv, _, ticket := newScene(t, func(_ http.ResponseWriter, r *http.Request) {
		if tries.Add(1) < 3 {
			<-r.Context().Done()
		}
	}, wxtest.WithPushTimeout(20*time.Millisecond))
	d, err := srv.Scan(t.Context(), ticket, openID)
	if err != nil { // a slow machine misses the third answer too
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	assert.Equal(t, 3, d.Tries)

	never, _, ticket := newScene(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done() // the header alone is no answer
	}, wxtest.WithPushTimeout(20*time.Millisecond))
	d, err = never.Scan(t.Context(), ticket, openID)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "20ms")
	assert.Equal(t, &wxtest.Delivery{Tries: 3}, d)
}

func TestAnAnswerOfAnotherStatusIsFinal(t *testing.T) {
	srv, c, ticket := newScene(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "oh", http.StatusInternalServerError) })
	d, err := srv.Scan(t.Context(), ticket, openID)
	require.NoError(t, err)
	assert.Equal(t, &wxtest.Delivery{Status: 500, Body: []byte("oh\n"), Tries: 1}, d)
	assert.Len(t, c.pushes(), 1)
}

func TestWithRetryStatusAnAnswerOfAnotherStatusIsTriedAgain(t *testing.T) {
	var tries atomic.Int32
	srv, c, ticket := newScene(t, func(w http.ResponseWriter, _ *http.Request) {
		if tries.Add(1) != 2 {
			http.Error(w, "oh", http.StatusInternalServerError)
		}
	}, wxtest.WithRetryStatus())
	d, err := srv.Scan(t.Context(), ticket, openID)
	require.NoError(t, err)
	assert.Equal(t, &wxtest.Delivery{Status: 200, Body: []byte{}, Tries: 2}, d)
	d, err = srv.Scan(t.Context(), ticket, openID)
	require.NoError(t, err, "there was an answer")
	assert.Equal(t, &wxtest.Delivery{Status: 500, Body: []byte("oh\n"), Tries: 3}, d)
	assert.Len(t, c.pushes(), 5)
}

func TestRedirectsOfTheCallbackAreNotFollowed(t *testing.T) {
	srv, c, ticket := newScene(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	d, err := srv.Scan(t.Context(), ticket, openID)
	require.NoError(t, err)
	assert.Equal(t, 307, d.Status)
	assert.Len(t, c.pushes(), 1)
}

func TestAnswersAreReadUpTo1MiB(t *testing.T) {
	srv, _, ticket := newScene(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.Repeat("x", 1<<20+1))
	})
	d, err := srv.Scan(t.Context(), ticket, openID)
	require.NoError(t, err)
	assert.Len(t, d.Body, 1<<20)
}

func TestContextEndsAPushAtOnce(t *testing.T) {
	entered := make(chan struct{}, 3)
	srv, c, ticket := newScene(t, func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	}, wxtest.WithPushTimeout(time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	d, err := srv.Scan(ctx, ticket, openID)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, &wxtest.Delivery{Tries: 1}, d)
	assert.Len(t, c.pushes(), 1)

	d, err = srv.Scan(ctx, ticket, openID)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, d.Tries)
	assert.Len(t, c.pushes(), 1, "nothing is sent any more")
}

func TestContextEndsARepeatToo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv, c, ticket := newScene(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel() // whether the answer is still read or not
		http.Error(w, "oh", http.StatusInternalServerError)
	}, wxtest.WithRetryStatus())
	d, err := srv.Scan(ctx, ticket, openID)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, d.Tries)
	assert.Len(t, c.pushes(), 1)
}

func TestManyScanAtOnce(t *testing.T) {
	srv, c, ticket := newScene(t, nil)
	const people, scansEach = 8, 6
	var wg sync.WaitGroup
	errs := make(chan error, people*scansEach)
	for i := range people * scansEach {
		wg.Go(func() {
			d, err := srv.Scan(t.Context(), ticket, "o-"+strconv.Itoa(i%people))
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
	assert.Len(t, c.pushes(), people*scansEach)
	assert.Len(t, subscribed, people)
	for who, n := range subscribed {
		assert.Equal(t, 1, n, who)
	}
}

func TestACallbackMayUseTheServerWhileItIsPushedTo(t *testing.T) {
	var srv *wxtest.Server
	var ticket wxqrcode.Ticket
	handle := func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("openid") == "o-first" {
			_, err := srv.Scan(r.Context(), ticket, "o-second")
			assert.NoError(t, err)
			srv.RevokeTokens()
		}
	}
	srv, _, ticket = newScene(t, handle)
	d, err := srv.Scan(t.Context(), ticket, "o-first")
	require.NoError(t, err)
	assert.Equal(t, 200, d.Status)
}
