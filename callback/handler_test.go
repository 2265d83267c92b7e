package callback_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
	"github.com/seed-0142d113/wxqrcode/callback"
)

// everyMode returns a push of a message in every mode.
func everyMode(message string) map[string]testPush {
	modes := map[string]testPush{
		"plain":            {message: message},
		"plain compatible": {message: strings.Replace(message, "</xml>", "<Encrypt><![CDATA[AAAA]]></Encrypt></xml>", 1)},
		"compatible":       {message: message, key: aesKey, others: children(message)},
		"secure":           {message: message, key: aesKey},
	}
	if message[0] == '{' || !strings.HasSuffix(message, "</xml>") || strings.Count(message, "</xml>") > 1 {
		delete(modes, "plain compatible")
	}
	return modes
}

// The text of a follower neither causes a rejection nor changes other fields.
func TestHandler_Messages(t *testing.T) {
	event := func(name string) callback.Message {
		return callback.Message{ToUserName: account, OpenID: openID, CreatedAt: time.Unix(created, 0).UTC(), MsgType: "event", Event: name}
	}
	text := event("")
	text.MsgType = "text"
	header, _, _ := strings.Cut(textXML(""), "<MsgType>")
	verifyTicket := "<xml><AppId><![CDATA[wx1]]></AppId>\n<CreateTime>1413192605</CreateTime>\n<InfoType><![CDATA[component_verify_ticket]]></InfoType>\n<ComponentVerifyTicket><![CDATA[ticket@@@a]]></ComponentVerifyTicket>\n</xml>"
	for _, tt := range []struct {
		name, message string
		want          callback.Message
		path, field   string
	}{
		{"a text", textXML("hi"), text, "Content", "hi"},
		{"]]> unsplit", textXML("a]]>b"), text, "Content", "a]]>b"},
		{"XML with CDATA", textXML("<xml><a><![CDATA[b]]></a></xml>"), text, "Content", "<xml><a><![CDATA[b]]></a></xml>"},
		{"the end of the message", textXML("]]></Content></xml>"), text, "FromUserName", openID},
		{"a comment", textXML("<!--"), text, "Content", "<!--"},
		{"control characters", textXML("\x02\x10\x14\x1d\x00"), text, "Content", "\x02\x10\x14\x1d\x00"},
		{"a part of a character", textXML("\xe6\xb5"), text, "Content", "\xe6\xb5"},
		{"an Event", textXML("]]></Content><Event>SCAN</Event><Content><![CDATA["), text, "FromUserName", openID},
		{"another MsgType and user", textXML("]]></Content><MsgType>event</MsgType><Event>SCAN</Event><FromUserName>oOther</FromUserName><Content><![CDATA["), text, "FromUserName", openID},
		{"a second root", textXML("]]></Content></xml>" + scanOf("7")), text, "MsgType", "text"},
		{"an Encrypt", textXML("]]></Content><Encrypt><![CDATA[AAAA]]></Encrypt><Content><![CDATA["), text, "MsgType", "text"},
		{"a click", eventXML("CLICK", "k"), event("CLICK"), "EventKey", "k"},
		{"a scan by a menu", header + "<MsgType>event</MsgType><Event>scancode_waitmsg</Event><ScanCodeInfo><ScanResult><![CDATA[1\x1d2]]></ScanResult></ScanCodeInfo></xml>", event("scancode_waitmsg"), "ScanCodeInfo/ScanResult", "1\x1d2"},
		{"a location", header + "<MsgType>event</MsgType><Event>location_select</Event><SendLocationInfo><Label><![CDATA[\x14]]></Label></SendLocationInfo></xml>", event("location_select"), "SendLocationInfo/Label", "\x14"},
		{"an event of the account", "<xml><CreateTime>1389684286</CreateTime><MsgType>event</MsgType><Event>annual_renew</Event><FromUserName></FromUserName></xml>", callback.Message{CreatedAt: time.Unix(created, 0).UTC(), MsgType: "event", Event: "annual_renew"}, "Event", "annual_renew"},
		{"a list in XML", header + "<MsgType>event</MsgType><Event>pic_weixin</Event><SendPicsInfo><PicList><item><PicMd5Sum>a</PicMd5Sum></item><item><PicMd5Sum>b</PicMd5Sum></item></PicList></SendPicsInfo></xml>", event("pic_weixin"), "SendPicsInfo/PicList/item/PicMd5Sum", "a"},
		{"a list in JSON", strings.Replace(scanJSON("7"), `"SCAN"`, `"pic_weixin","SendPicsInfo":{"PicList":[{"PicMd5Sum":"a"},{"PicMd5Sum":"b"}]}`, 1), event("pic_weixin"), "SendPicsInfo/PicList/PicMd5Sum", "a"},
		{"fields behind MsgType", "<xml><MsgType>text</MsgType><FromUserName>o1</FromUserName><CreateTime>1389684286</CreateTime></xml>", callback.Message{MsgType: "text"}, "FromUserName", "o1"},
		{"fields behind Event", "<xml><MsgType>event</MsgType><FromUserName>o1</FromUserName><Event>VIEW</Event><ToUserName>gh_1</ToUserName></xml>", callback.Message{OpenID: "o1", MsgType: "event", Event: "VIEW"}, "ToUserName", "gh_1"},
		{"no date", "<xml><MsgType>text</MsgType></xml>", callback.Message{MsgType: "text"}, "Content", ""},
		{"a push of a platform", verifyTicket, callback.Message{CreatedAt: time.Unix(1413192605, 0).UTC(), InfoType: "component_verify_ticket"}, "ComponentVerifyTicket", "ticket@@@a"},
		{"JSON", strings.Replace(scanJSON("7"), `"event"`, `"text"`, 1), text, "EventKey", "7"},
	} {
		for mode, p := range everyMode(tt.message) {
			t.Run(tt.name+", "+mode, func(t *testing.T) {
				s := p.sign()
				w := send(newHandler(t, configFor(p, noEvent(t))), s)
				assert.Equal(t, http.StatusOK, w.Code)
				assert.Equal(t, "success", w.Body.String(), "without OnMessage")

				var got []callback.Message
				cfg := configFor(p, noEvent(t))
				cfg.OnMessage = func(_ context.Context, m callback.Message) (callback.Reply, error) {
					got = append(got, m)
					return callback.Raw([]byte("<xml>of another SDK</xml>")), nil
				}
				w = send(newHandler(t, cfg), s)
				require.Len(t, got, 1)
				assert.Equal(t, tt.field, got[0].Field(tt.path))
				want := tt.want
				want.Raw = []byte(p.message)
				assert.Equal(t, want, got[0])
				if p.key == "" {
					assert.Equal(t, "<xml>of another SDK</xml>", w.Body.String())
				} else {
					assert.Equal(t, "<xml>of another SDK</xml>", decryptReply(t, w.Body.String(), p.key))
				}
			})
		}
	}
}

func TestHandler_Events(t *testing.T) {
	for _, tt := range []struct{ name, message, scene string }{
		{"a scan", scanOf("poster-7"), "poster-7"},
		{"another case", eventXML("scan", "7"), "7"},
		{"a follow", eventXML("subscribe", "qrscene_7"), "7"},
		{"an unfollow", eventXML("unsubscribe", ""), ""},
		{"JSON", scanJSON("7"), "7"},
		{"a scene with ]]> unsplit", scanOf("a]]>b"), "a]]>b"},
		{"a scene with ]]> split", scanOf("a]]]]><![CDATA[>b"), "a]]>b"},
		{"pretty-printed, with a declaration, a BOM and CRLF", "\uFEFF<?xml version=\"1.0\"?>\r\n" + strings.NewReplacer("\n", "\r\n  ", "<![CDATA[event]]>", " <![CDATA[event]]> ").Replace(scanOf("7")), "7"},
	} {
		for mode, p := range everyMode(tt.message) {
			t.Run(tt.name+", "+mode, func(t *testing.T) {
				var events recorder
				cfg := configFor(p, events.onEvent)
				cfg.OnMessage = noMessage(t)
				h := newHandler(t, cfg)
				for range 2 {
					assert.Equal(t, http.StatusOK, send(h, p.sign()).Code)
				}
				assert.Equal(t, []string{tt.scene}, events.scenes())
				assert.Equal(t, openID, events.events[0].OpenID)
			})
		}
	}
}

func TestHandler_MalformedEvents(t *testing.T) {
	for name, m := range map[string]string{
		"a control character": scanOf("a\x1dc"),
		"a repeated field":    strings.Replace(scanOf("7"), "<EventKey>", "<EventKey>8</EventKey><EventKey>", 1),
		"a DTD":               "<!DOCTYPE xml>" + scanOf("7"),
		"a comment":           strings.Replace(scanOf("7"), "<EventKey>", "<!-- --><EventKey>", 1),
		"an attribute":        strings.Replace(scanOf("7"), "<EventKey>", "<EventKey a='1'>", 1),
		"a second root":       scanOf("7") + scanOf("7"),
		"65 levels":           strings.Replace(scanOf("7"), "<EventKey>", strings.Repeat("<a>", 64)+strings.Repeat("</a>", 64)+"<EventKey>", 1),
		"milliseconds":        strings.Replace(scanOf("7"), fmt.Sprint(created), fmt.Sprint(created, "000"), 1),
		"no ToUserName":       strings.Replace(scanOf("7"), account, "", 1),
		"not a message":       "nonsense",
		"white space":         " ",
		"an empty object":     "{}",
		"malformed JSON":      scanJSON("7")[1:],
	} {
		for mode, p := range everyMode(m) {
			t.Run(name+", "+mode, func(t *testing.T) {
				cfg := configFor(p, noEvent(t))
				cfg.OnMessage = noMessage(t)
				w := send(newHandler(t, cfg), p.sign())
				assert.Equal(t, http.StatusBadRequest, w.Code)
				assert.Equal(t, "Bad Request\n", w.Body.String())
			})
		}
	}
}

func TestHandler_DedupKeys(t *testing.T) {
	for name, tt := range map[string]struct {
		first, second string
		calls         int
	}{
		"the same scan":               {scanOf("7"), scanOf("7"), 1},
		"the same scan in JSON":       {scanOf("7"), scanJSON("7"), 1},
		"another scene":               {scanOf("7"), scanOf("8"), 2},
		"another event":               {scanOf("7"), eventXML("subscribe", "7"), 2},
		"another second":              {scanOf("7"), strings.Replace(scanOf("7"), fmt.Sprint(created), fmt.Sprint(created+1), 1), 2},
		"another user":                {scanOf("7"), strings.Replace(scanOf("7"), openID, "o-ann", 1), 2},
		"the same text":               {textXML("hi"), textXML("hi"), 1},
		"another text":                {textXML("hi"), textXML("ho"), 2},
		"another MsgId":               {textXML("hi"), strings.Replace(textXML("hi"), "<MsgId>1", "<MsgId>2", 1), 2},
		"an image of the same second": {textXML("hi"), strings.Replace(textXML("hi"), "[text]", "[image]", 1), 2},
		"an event in the same second": {scanOf("7"), eventXML("LOCATION", ""), 2},
	} {
		for _, key := range []string{"", aesKey} {
			t.Run(name+key, func(t *testing.T) {
				calls := 0
				cfg := configFor(testPush{key: key}, func(context.Context, *wxqrcode.Event) (callback.Reply, error) { calls++; return nil, nil })
				cfg.OnMessage = func(context.Context, callback.Message) (callback.Reply, error) { calls++; return nil, nil }
				h := newHandler(t, cfg)
				for i, m := range []string{tt.first, tt.second, tt.first} {
					assert.Equal(t, http.StatusOK, send(h, testPush{message: m, key: key, nonce: fmt.Sprint(i)}.sign()).Code)
				}
				assert.Equal(t, tt.calls, calls)
			})
		}
	}
}

// WeChat closes the connection after 5 s. The redelivery joins the running
// call.
func TestHandler_RedeliveryJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		startIn2026()

		var calls atomic.Int32
		h := newHandler(t, secureConfig(func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
			calls.Add(1)
			time.Sleep(7 * time.Second)
			return callback.Text("welcome"), nil
		}))
		first, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() { serve(h, encrypted(scanOf("7")).request().WithContext(first)) })
		time.Sleep(5 * time.Second)
		start := time.Now()
		bodies := make([]string, 10_000)
		for i := range bodies {
			all.Go(func() {
				bodies[i] = send(h, testPush{message: scanOf("7"), key: aesKey, nonce: fmt.Sprint("n", i)}.sign()).Body.String()
			})
		}
		all.Wait()
		assert.Equal(t, 2*time.Second, time.Since(start))
		assert.EqualValues(t, 1, calls.Load())
		for _, i := range []int{0, 1, len(bodies) - 1} {
			assert.Equal(t, "welcome", readReply(t, decryptReply(t, bodies[i], aesKey)).Content)
		}
	})
}

func TestHandler_DedupWindow(t *testing.T) {
	for maxAge, window := range map[time.Duration]time.Duration{2 * time.Minute: 4 * time.Minute, 0: 10 * time.Minute, -1: 10 * time.Minute, 1<<63 - 1: 1000 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			startIn2026()

			calls := 0
			cfg := plainConfig(func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
				calls++
				return callback.Text("welcome"), nil
			})
			cfg.MaxAge = maxAge
			h := newHandler(t, cfg)
			push := func() string { return send(h, plain(scanOf("7"))).Body.String() }
			first := push()
			assert.Equal(t, "welcome", readReply(t, first).Content)
			time.Sleep(time.Minute)
			assert.Equal(t, first, push(), "the reply is stored for a minute")
			time.Sleep(window - time.Minute)
			assert.Equal(t, "success", push(), "the key is stored until the end of the window")
			assert.Equal(t, 1, calls)
			if maxAge != 1<<63-1 {
				time.Sleep(time.Nanosecond)
				push()
				assert.Equal(t, 2, calls)
			}
		})
	}
}

func TestHandler_RetryAfterFailure(t *testing.T) {
	for name, fail := range map[string]func() (callback.Reply, error){
		"an error":               func() (callback.Reply, error) { return callback.Text("not sent"), errors.New("no database") },
		"a panic":                func() (callback.Reply, error) { panic("no database") },
		"a panic of net/http":    func() (callback.Reply, error) { panic(http.ErrAbortHandler) },
		"a panic with an error":  func() (callback.Reply, error) { panic(errors.New("no database")) },
		"a nil pointer":          func() (callback.Reply, error) { var p *callback.Message; return callback.Text(p.MsgType), nil },
		"runtime.Goexit":         func() (callback.Reply, error) { runtime.Goexit(); return nil, nil },
		"an error of a deadline": func() (callback.Reply, error) { return nil, context.DeadlineExceeded },
	} {
		t.Run(name, func(t *testing.T) {
			var log logRecorder
			var results []callback.Result
			calls := 0
			cfg := plainConfig(func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
				if calls++; calls < 3 {
					return fail()
				}
				return callback.Text("welcome"), nil
			})
			cfg.Logger = log.logger()
			cfg.OnResult = func(_ context.Context, r callback.Result) { results = append(results, r) }
			h := newHandler(t, cfg)
			push := func() (w *httptest.ResponseRecorder) {
				var all sync.WaitGroup
				all.Go(func() { // for Goexit
					w = httptest.NewRecorder()
					h.ServeHTTP(w, plain(scanOf("7")).request())
				})
				all.Wait()
				return w
			}
			for range 2 {
				w := push()
				if name == "runtime.Goexit" {
					assert.Empty(t, w.Body.String(), "net/http closes the connection")
					continue
				}
				assert.Equal(t, http.StatusInternalServerError, w.Code)
				assert.Equal(t, "Internal Server Error\n", w.Body.String())
			}
			for range 2 {
				assert.Equal(t, "welcome", readReply(t, push().Body.String()).Content)
			}
			assert.Equal(t, 3, calls)
			require.Len(t, results, 4)
			for i, want := range []callback.Outcome{callback.Failed, callback.Failed, callback.Handled, callback.Duplicate} {
				assert.Equal(t, want, results[i].Outcome)
				assert.Equal(t, want == callback.Failed, results[i].Err != nil)
			}
			lines := log.lines(t)
			require.Len(t, lines, 4)
			assert.Equal(t, "ERROR", lines[0]["level"])
			assert.NotEmpty(t, lines[0]["error"])
			if strings.Contains(name, "panic") {
				assert.Contains(t, lines[0]["stack"], "handler_test.go")
			}
		})
	}
}

// If the call that redeliveries wait for fails, one of them makes the next
// call: it may be the last redelivery.
func TestHandler_WaiterCallsAfterFailure(t *testing.T) {
	for name, fail := range map[string]func() error{"an error": func() error { return errors.New("no database") }, "Goexit": func() error { runtime.Goexit(); return nil }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				startIn2026()

				var calls atomic.Int32
				h := newHandler(t, plainConfig(func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
					run := calls.Add(1)
					time.Sleep(time.Second)
					if run == 1 {
						return nil, fail()
					}
					return callback.Text("welcome"), nil
				}))
				var welcomed atomic.Int32
				var all sync.WaitGroup
				for i := range 10 {
					all.Go(func() {
						if strings.Contains(send(h, testPush{message: scanOf("7"), nonce: fmt.Sprint("n", i)}.sign()).Body.String(), "welcome") {
							welcomed.Add(1)
						}
					})
				}
				all.Wait()
				assert.EqualValues(t, 2, calls.Load())
				assert.EqualValues(t, 9, welcomed.Load())
			})
		})
	}
}

func TestHandler_DeadlineOfWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		startIn2026()

		start := time.Now()
		h := newHandler(t, plainConfig(func(ctx context.Context, _ *wxqrcode.Event) (callback.Reply, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		var all sync.WaitGroup
		all.Go(func() { send(h, plain(scanOf("7"))) })
		time.Sleep(10 * time.Second)
		send(h, plain(scanOf("7")))
		all.Wait()
		assert.Equal(t, 28*time.Second, time.Since(start), "two Timeouts")
	})
}

// The reply is sent: with a short Timeout WeChat may still wait for it.
func TestHandler_SucceedsAfterTimeout(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout, takes time.Duration
		reply          callback.Reply
		level, error   string
	}{
		"in time":         {0, 14 * time.Second, callback.Text("late"), "INFO", ""},
		"late":            {0, 20 * time.Second, callback.Text("late"), "WARN", "20s"},
		"another Timeout": {time.Second, 1500 * time.Millisecond, callback.Text("late"), "WARN", "1.5s"},
		"without a reply": {0, 20 * time.Second, nil, "WARN", "20s"},
		"invalid reply":   {0, 20 * time.Second, callback.Text(""), "ERROR", "reply"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				startIn2026()

				var log logRecorder
				var results []callback.Result
				takes := func(context.Context) (callback.Reply, error) { time.Sleep(tt.takes); return tt.reply, nil }
				cfg := plainConfig(func(ctx context.Context, _ *wxqrcode.Event) (callback.Reply, error) { return takes(ctx) })
				cfg.OnMessage = func(ctx context.Context, _ callback.Message) (callback.Reply, error) { return takes(ctx) }
				cfg.Timeout, cfg.Logger = tt.timeout, log.logger()
				cfg.OnResult = func(_ context.Context, r callback.Result) { results = append(results, r) }
				h := newHandler(t, cfg)
				for i, m := range []string{scanOf("7"), textXML("hi")} {
					w := send(h, testPush{message: m, nonce: fmt.Sprint("n", i)}.sign())
					assert.Equal(t, http.StatusOK, w.Code)
					assert.Equal(t, tt.reply == callback.Text("late"), strings.Contains(w.Body.String(), "late"))
					assert.Equal(t, callback.Handled, results[i].Outcome)
					assert.Equal(t, tt.level, log.lines(t)[i]["level"])
					if tt.error == "" {
						assert.NoError(t, results[i].Err)
						continue
					}
					assert.ErrorContains(t, results[i].Err, tt.error)
					assert.Contains(t, log.lines(t)[i]["error"], tt.error)
				}
			})
		})
	}
}

func TestHandler_ClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		startIn2026()

		outcomes := make(chan callback.Outcome, 2)
		cfg := plainConfig(func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
			time.Sleep(time.Minute)
			return nil, errors.New("no database")
		})
		cfg.OnResult = func(_ context.Context, r callback.Result) { outcomes <- r.Outcome }
		h := newHandler(t, cfg)
		gone, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() { serve(h, plain(scanOf("7")).request().WithContext(gone)) })
		time.Sleep(time.Second)
		serve(h, plain(scanOf("7")).request().WithContext(gone))
		all.Wait()
		assert.Equal(t, callback.ClientGone, <-outcomes)
		assert.Equal(t, callback.Failed, <-outcomes, "the client of the call disconnected too")
	})
}

type contextKey struct{}

func TestHandler_ContextOfOnEvent(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{0: 14 * time.Second, time.Second: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			startIn2026()

			request, disconnect := context.WithCancel(context.WithValue(t.Context(), contextKey{}, "value"))
			var ended context.Context
			cfg := plainConfig(func(ctx context.Context, _ *wxqrcode.Event) (callback.Reply, error) {
				ended = ctx
				start := time.Now()
				disconnect()
				assert.NoError(t, ctx.Err())
				assert.Equal(t, "value", ctx.Value(contextKey{}))
				<-ctx.Done()
				assert.Equal(t, want, time.Since(start), "only the deadline ends it")
				assert.Equal(t, context.DeadlineExceeded, ctx.Err())
				return nil, nil
			})
			cfg.Timeout = timeout
			cfg.OnMessage = func(ctx context.Context, _ callback.Message) (callback.Reply, error) {
				ended = ctx
				return nil, nil
			}
			h := newHandler(t, cfg)
			serve(h, plain(scanOf("7")).request().WithContext(request))
			serve(h, testPush{message: textXML("hi"), nonce: "2"}.sign().request().WithContext(request))
			assert.Equal(t, context.Canceled, ended.Err(), "it ends with the call")
			assert.Equal(t, "value", ended.Value(contextKey{}))
		})
	}
}

// A fakeDedup is a Deduplicator with a fixed result.
type fakeDedup struct {
	key       string
	ttl       time.Duration
	reply     []byte
	duplicate bool
	err       error
}

func (d *fakeDedup) Do(ctx context.Context, key string, ttl time.Duration, fn func(context.Context) ([]byte, error)) ([]byte, bool, error) {
	d.key, d.ttl = key, ttl
	if d.duplicate || d.err != nil {
		return d.reply, d.duplicate, d.err
	}
	reply, err := fn(ctx)
	return reply, false, err
}

func TestHandler_CustomDedup(t *testing.T) {
	var outcomes []callback.Outcome
	var events recorder
	dedup := &fakeDedup{}
	cfg := plainConfig(events.onEvent)
	cfg.MaxAge, cfg.Dedup = time.Minute, dedup
	cfg.OnResult = func(_ context.Context, r callback.Result) { outcomes = append(outcomes, r.Outcome) }
	h := newHandler(t, cfg)
	push := func(nonce string) *httptest.ResponseRecorder {
		return send(h, testPush{message: scanOf("7"), nonce: nonce}.sign())
	}
	assert.Equal(t, "success", push("1").Body.String())
	event, err := wxqrcode.ParseEvent([]byte(scanOf("7")))
	require.NoError(t, err)
	assert.Equal(t, event.DedupKey(), dedup.key)
	assert.Equal(t, 2*time.Minute, dedup.ttl)
	dedup.duplicate, dedup.reply = true, []byte("<xml>of another instance</xml>")
	assert.Equal(t, "<xml>of another instance</xml>", push("2").Body.String())
	dedup.duplicate, dedup.err = false, errors.New("store unavailable")
	assert.Equal(t, http.StatusInternalServerError, push("3").Code)
	assert.Len(t, events.scenes(), 1)
	assert.Equal(t, []callback.Outcome{callback.Handled, callback.Duplicate, callback.Failed}, outcomes)
}

func TestHandler_ZeroValue(t *testing.T) {
	assert.Equal(t, http.StatusInternalServerError, send(new(callback.Handler), plain(scanOf("7"))).Code)
	assert.Equal(t, http.StatusInternalServerError, send((*callback.Handler)(nil), plain(scanOf("7"))).Code)
}

// Every request gets a status of the documentation. A request without the token
// and the key is not handled. A correctly signed message is handled, or is a
// bad request.
func FuzzServeHTTP(f *testing.F) {
	for _, s := range []signedPush{plain(scanOf("7")), encrypted(scanOf("7")), testPush{message: scanJSON("7"), key: aesKey, json: true}.sign(), plain(textXML("hi"))} {
		f.Add("POST", s.query.Encode(), []byte(s.body))
	}
	f.Add("GET", verification("1714036504", "1514711492", "echo").Encode(), []byte{})
	f.Add("POST", "timestamp=1&nonce=2&signature=%zz;&&=&a", []byte("<xml><Encrypt></Encrypt>"))
	f.Add("POST", "timestamp=1714036504&nonce=2&msg_signature=a", []byte(`{"Encrypt":["a"]}`))
	f.Fuzz(func(t *testing.T, method, query string, body []byte) {
		for _, cfg := range []callback.Config{plainConfig(noEvent(t)), secureConfig(noEvent(t)), cloudConfig(noEvent(t))} {
			cfg.MaxAge, cfg.OnMessage = -1, noMessage(t)
			if cfg.Token != "" {
				cfg.Token = "a token that the corpus does not contain"
			}
			r := httptest.NewRequest(http.MethodPost, "/wechat", strings.NewReader(string(body)))
			r.Method, r.URL.RawQuery = method, query
			w := serve(newHandler(t, cfg), r)
			assert.Contains(t, []int{http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge}, w.Code)
			assert.Equal(t, http.StatusText(w.Code)+"\n", w.Body.String())
		}
		if len(body) > 32<<10 {
			return // the envelope could exceed MaxBody
		}
		for _, key := range []string{"", aesKey} {
			p := testPush{message: string(body), key: key}
			var events recorder
			messages := 0
			cfg := configFor(p, events.onEvent)
			cfg.OnMessage = func(_ context.Context, m callback.Message) (callback.Reply, error) {
				messages++
				assert.Equal(t, string(body), string(m.Raw))
				return callback.Text(m.Field("Content")), nil
			}
			w := send(newHandler(t, cfg), p.sign())
			assert.Equal(t, w.Code == http.StatusOK, len(events.events)+messages == 1)
			assert.Contains(t, []int{http.StatusOK, http.StatusBadRequest, http.StatusForbidden}, w.Code)
		}
	})
}
