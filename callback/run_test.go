package callback_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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

// A worker is an onEvent that counts its runs and does what it is told.
type worker struct {
	runs atomic.Int32
	work func(ctx context.Context, run int) (callback.Reply, error)
}

func (w *worker) on(ctx context.Context, _ *wxqrcode.Event) (callback.Reply, error) {
	return w.work(ctx, int(w.runs.Add(1)))
}

// together sends n pushes of the same event at once, each signed anew, and returns
// the answers.
func together(h http.Handler, n int) []*httptest.ResponseRecorder {
	answers := make([]*httptest.ResponseRecorder, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			answers[i] = send(h, (&letter{message: scanOf("7"), nonce: fmt.Sprint(i + 1)}).sign())
		})
	}
	all.Wait()
	return answers
}

func TestTenThousandAtOnceRunOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := worker{work: func(context.Context, int) (callback.Reply, error) {
			time.Sleep(7 * time.Second)
			return callback.Text("welcome"), nil
		}}
		h := newHandler(t, plainConfig, w.on)
		start := time.Now()
		for _, a := range together(h, 10_000) {
			require.Equal(t, http.StatusOK, a.Code)
			require.Equal(t, "welcome", *readReply(t, a.Body.String()).Content)
		}
		assert.Equal(t, 7*time.Second, time.Since(start))
		assert.EqualValues(t, 1, w.runs.Load())
	})
}

// A reply that takes longer than WeChat waits reaches the follower by a repeat.
func TestARepeatJoinsTheRunAndCarriesItsReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := worker{work: func(context.Context, int) (callback.Reply, error) {
			time.Sleep(7 * time.Second)
			return callback.Text("welcome"), nil
		}}
		h := newHandler(t, secureConfig, w.on)
		first, cut := context.WithTimeout(t.Context(), 5*time.Second)
		defer cut()
		var all sync.WaitGroup
		all.Go(func() { serve(h, sealed(scanOf("7")).request().WithContext(first)) })
		time.Sleep(5 * time.Second)
		start := time.Now()
		answer := send(h, sealed(scanOf("7")))
		assert.Equal(t, 2*time.Second, time.Since(start))
		assert.Equal(t, "welcome", *readReply(t, openReply(t, answer.Body.String(), aesKey)).Content)
		all.Wait()
		assert.EqualValues(t, 1, w.runs.Load())
	})
}

func TestALimitWithoutEndRemembersToo(t *testing.T) {
	cfg := plainConfig
	cfg.MaxAge = 1<<63 - 1
	var heard heard
	h := newHandler(t, cfg, heard.on)
	for range 2 {
		assert.Equal(t, http.StatusOK, send(h, plain(scanOf("7"))).Code)
	}
	assert.Len(t, heard.scenes(), 1)
}

func TestAReplyIsRepeatedForAMinuteAndThePushKnownForLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := plainConfig
		cfg.MaxAge = 2 * time.Minute
		w := worker{work: func(context.Context, int) (callback.Reply, error) { return callback.Text("welcome"), nil }}
		h := newHandler(t, cfg, w.on)
		push := func() string { return send(h, plain(scanOf("7"))).Body.String() }
		first := push()
		assert.Equal(t, "welcome", *readReply(t, first).Content)
		time.Sleep(time.Minute)
		assert.Equal(t, first, push(), "as it was, CreateTime too")
		time.Sleep(time.Nanosecond)
		assert.Equal(t, "success", push())
		time.Sleep(3*time.Minute - 1)
		assert.Equal(t, "success", push())
		assert.EqualValues(t, 1, w.runs.Load())
		time.Sleep(time.Nanosecond)
		assert.Equal(t, "welcome", *readReply(t, push()).Content, "after 2 × MaxAge no captured push is young enough: this one is new")
		assert.EqualValues(t, 2, w.runs.Load())
	})
}

func TestWithoutMaxAgePushesAreKnownForTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := plainConfig
		cfg.MaxAge = -1
		var heard heard
		h := newHandler(t, cfg, heard.on)
		l := plain(scanOf("7"))
		for range 2 {
			assert.Equal(t, http.StatusOK, send(h, l).Code)
			time.Sleep(10 * time.Minute)
		}
		assert.Len(t, heard.scenes(), 1)
		time.Sleep(time.Nanosecond)
		assert.Equal(t, http.StatusOK, send(h, l).Code)
		assert.Len(t, heard.scenes(), 2)
	})
}

func TestWhatFailedRunsAgain(t *testing.T) {
	for name, fail := range map[string]func() (callback.Reply, error){
		"an error":                    func() (callback.Reply, error) { return callback.Text("lost"), errors.New("no database") },
		"a panic":                     func() (callback.Reply, error) { panic("no database") },
		"a panic that stops a server": func() (callback.Reply, error) { panic(http.ErrAbortHandler) },
		"a panic with nil":            func() (callback.Reply, error) { panic(nil) },
		"a panic with an error":       func() (callback.Reply, error) { panic(errors.New("no database")) },
		"a typed nil for an error":    func() (callback.Reply, error) { var err *wxqrcode.APIError; return nil, err },
		"a nil pointer":               func() (callback.Reply, error) { var p *callback.Message; return callback.Text(p.MsgType), nil },
	} {
		t.Run(name, func(t *testing.T) {
			var log logbook
			cfg := plainConfig
			cfg.Logger = log.logger()
			w := worker{work: func(_ context.Context, run int) (callback.Reply, error) {
				if run < 3 {
					return fail()
				}
				return callback.Text("welcome"), nil
			}}
			h := newHandler(t, cfg, w.on)
			for range 2 {
				answer := send(h, plain(scanOf("7")))
				assert.Equal(t, http.StatusInternalServerError, answer.Code)
				assert.Equal(t, "Internal Server Error\n", answer.Body.String())
			}
			for range 2 {
				assert.Equal(t, "welcome", *readReply(t, send(h, plain(scanOf("7"))).Body.String()).Content)
			}
			assert.EqualValues(t, 3, w.runs.Load())
			lines := log.lines(t)
			require.Len(t, lines, 4)
			assert.Equal(t, "failed", lines[0]["outcome"])
			assert.Equal(t, "ERROR", lines[0]["level"])
			assert.NotEmpty(t, lines[0]["error"])
			if strings.Contains(name, "panic") {
				assert.Contains(t, lines[0]["error"], "panic: ")
				assert.Contains(t, lines[0]["stack"], "run_test.go")
			}
			assert.Equal(t, "handled", lines[2]["outcome"])
			assert.Equal(t, "repeated", lines[3]["outcome"])
		})
	}
}

// If the run that a repeat joined fails, the repeat may be WeChat's last try.
func TestARepeatRunsWhatFailedBeforeItsEyes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := worker{work: func(_ context.Context, run int) (callback.Reply, error) {
			time.Sleep(time.Second)
			if run == 1 {
				return nil, errors.New("no database")
			}
			return callback.Text("welcome"), nil
		}}
		statuses := map[int]int{}
		for _, a := range together(newHandler(t, plainConfig, w.on), 10) {
			statuses[a.Code]++
		}
		assert.Equal(t, map[int]int{http.StatusInternalServerError: 1, http.StatusOK: 9}, statuses)
		assert.EqualValues(t, 2, w.runs.Load())
	})
}

func TestARunThatFailsThoughNobodyWaitsIsAFailure(t *testing.T) {
	var log logbook
	cfg := plainConfig
	cfg.Logger = log.logger()
	ctx, cut := context.WithCancel(t.Context())
	h := newHandler(t, cfg, func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
		cut()
		return nil, errors.New("no database")
	})
	serve(h, plain(scanOf("7")).request().WithContext(ctx))
	assert.Equal(t, "failed", log.lines(t)[0]["outcome"])
}

func TestARunThatOverrunsItsDeadlineIsJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := plainConfig
		cfg.Timeout = 3 * time.Second
		var atWork atomic.Int32
		w := worker{work: func(ctx context.Context, _ int) (callback.Reply, error) {
			assert.EqualValues(t, 1, atWork.Add(1), "never beside itself")
			defer atWork.Add(-1)
			<-ctx.Done()
			time.Sleep(time.Hour) // whatever the deadline says
			return callback.Text("late"), nil
		}}
		h := newHandler(t, cfg, w.on)
		var all sync.WaitGroup
		for i := range 4 { // the fourth comes after the deadline
			all.Go(func() {
				time.Sleep(time.Duration(i) * 5 * time.Second)
				assert.Equal(t, "late", *readReply(t, send(h, (&letter{message: scanOf("7"), nonce: "1"}).sign()).Body.String()).Content)
			})
		}
		all.Wait()
		assert.EqualValues(t, 1, w.runs.Load())
	})
}

func TestARepeatThatIsCutStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logbook
		cfg := plainConfig
		cfg.Logger = log.logger()
		w := worker{work: func(context.Context, int) (callback.Reply, error) {
			time.Sleep(time.Minute)
			return nil, errors.New("no database")
		}}
		h := newHandler(t, cfg, w.on)
		var all sync.WaitGroup
		all.Go(func() { send(h, plain(scanOf("7"))) })
		time.Sleep(time.Second)
		ctx, cut := context.WithTimeout(t.Context(), 5*time.Second)
		defer cut()
		start := time.Now()
		answer := serve(h, plain(scanOf("7")).request().WithContext(ctx))
		assert.Equal(t, 5*time.Second, time.Since(start))
		assert.Equal(t, http.StatusInternalServerError, answer.Code)
		all.Wait()
		assert.EqualValues(t, 1, w.runs.Load(), "whoever has gone does not run it")
		require.Len(t, log.lines(t), 2)
		assert.Equal(t, "abandoned", log.lines(t)[0]["outcome"])
		assert.Equal(t, "INFO", log.lines(t)[0]["level"])
	})
}

type key struct{}

func TestTheContextOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, timeout := range []time.Duration{0, time.Second} {
			cfg := plainConfig
			cfg.Timeout = timeout
			cfg.OnMessage = func(ctx context.Context, _ callback.Message) (callback.Reply, error) {
				assert.Equal(t, "value", ctx.Value(key{}))
				return nil, nil
			}
			want := timeout
			if want == 0 {
				want = 14 * time.Second
			}
			var kept, unseen, child context.Context
			request, cut := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
			h := newHandler(t, cfg, func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
				if e.EventKey == "unseen" {
					unseen = ctx
					return nil, nil
				}
				kept = ctx
				start := time.Now()
				cut() // the connection
				deadline, ok := ctx.Deadline()
				assert.True(t, ok)
				assert.Equal(t, want, time.Until(deadline))
				assert.Equal(t, "value", ctx.Value(key{}))
				assert.NoError(t, ctx.Err())
				var stop context.CancelFunc
				child, stop = context.WithCancel(ctx)
				defer stop()
				<-child.Done()
				assert.Equal(t, want, time.Since(start), "its own deadline ends it")
				assert.Equal(t, context.DeadlineExceeded, ctx.Err())
				assert.Equal(t, context.DeadlineExceeded, child.Err())
				<-ctx.Done()
				return nil, nil
			})
			serve(h, plain(scanOf("7")).request().WithContext(request))
			require.NotNil(t, kept)
			serve(h, (&letter{message: scanOf("unseen"), nonce: "2"}).sign().request().WithContext(request))
			<-unseen.Done() // at the end of the run, at the latest
			assert.Equal(t, context.Canceled, unseen.Err())
			assert.Equal(t, "value", unseen.Value(key{}))
			serve(h, (&letter{message: textXML("hi"), nonce: "3"}).sign().request().WithContext(request))
		}
	})
}

func TestAContextThatIsKeptEndsWithTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept context.Context
		h := newHandler(t, plainConfig, func(ctx context.Context, _ *wxqrcode.Event) (callback.Reply, error) {
			kept = ctx
			assert.NoError(t, ctx.Err())
			return nil, nil
		})
		send(h, plain(scanOf("7")))
		<-kept.Done()
		assert.Equal(t, context.Canceled, kept.Err())
	})
}

func TestEventsAreTheSameByTheirKeyAndMessagesByTheirBytes(t *testing.T) {
	for name, tt := range map[string]struct {
		first, second string
		runs          int
	}{
		"the same scan":                        {scanOf("7"), scanOf("7"), 1},
		"the same scan, written otherwise":     {scanOf("7"), scanJSON("7"), 1},
		"another scene":                        {scanOf("7"), scanOf("8"), 2},
		"another event":                        {scanOf("7"), eventXML("subscribe", "7"), 2},
		"another second":                       {scanOf("7"), strings.Replace(scanOf("7"), fmt.Sprint(created), fmt.Sprint(created+1), 1), 2},
		"somebody else":                        {scanOf("7"), strings.Replace(scanOf("7"), openID, "o-ann", 1), 2},
		"the same text":                        {textXML("hi"), textXML("hi"), 1},
		"another text in the same second":      {textXML("hi"), textXML("ho"), 2},
		"the same text once more":              {textXML("hi"), strings.Replace(textXML("hi"), "<MsgId>1", "<MsgId>2", 1), 2},
		"a click":                              {eventXML("CLICK", "a"), eventXML("CLICK", "a"), 1},
		"a place in the same second as a scan": {scanOf("7"), eventXML("LOCATION", ""), 2},
		"unsubscribe":                          {eventXML("unsubscribe", ""), eventXML("unsubscribe", ""), 1},
	} {
		for _, key := range []string{"", aesKey} {
			t.Run(name+key, func(t *testing.T) {
				runs := 0
				cfg := callback.Config{Token: token, AppID: appID, EncodingAESKey: key}
				cfg.OnMessage = func(context.Context, callback.Message) (callback.Reply, error) { runs++; return nil, nil }
				h := newHandler(t, cfg, func(context.Context, *wxqrcode.Event) (callback.Reply, error) { runs++; return nil, nil })
				for i, message := range []string{tt.first, tt.second, tt.first} {
					l := (&letter{message: message, key: key, nonce: fmt.Sprint(i)}).sign()
					assert.Equal(t, http.StatusOK, send(h, l).Code)
				}
				assert.Equal(t, tt.runs, runs)
			})
		}
	}
}

func TestWhatIsNoScanGoesToOnMessage(t *testing.T) {
	for name, tt := range map[string]struct {
		push string
		want *callback.Message // nil for onEvent
	}{
		"subscribe":            {eventXML("subscribe", "qrscene_7"), nil},
		"unsubscribe":          {eventXML("unsubscribe", ""), nil},
		"SCAN":                 {scanOf("7"), nil},
		"a follow by search":   {eventXML("subscribe", ""), nil},
		"a click":              {eventXML("CLICK", "k"), &callback.Message{MsgType: "event", Event: "CLICK"}},
		"an event alike":       {eventXML("scan", "k"), &callback.Message{MsgType: "event", Event: "scan"}},
		"a text":               {textXML("hi"), &callback.Message{MsgType: "text"}},
		"a text named SCAN":    {strings.Replace(textXML("hi"), "<MsgId>", "<Event>SCAN</Event><MsgId>", 1), &callback.Message{MsgType: "text"}},
		"a text, JSON":         {strings.Replace(scanJSON("7"), `"event"`, `"text"`, 1), &callback.Message{MsgType: "text"}},
		"a scan by the camera": {eventXML("scancode_push", "k"), &callback.Message{MsgType: "event", Event: "scancode_push"}},
	} {
		for _, key := range []string{"", aesKey} {
			t.Run(name+key, func(t *testing.T) {
				cfg := callback.Config{Token: token, AppID: appID, EncodingAESKey: key}
				l := (&letter{message: tt.push, key: key}).sign()
				var heard heard
				w := send(newHandler(t, cfg, heard.on), l)
				assert.Equal(t, "success", w.Body.String(), "without OnMessage")
				assert.Equal(t, http.StatusOK, w.Code)
				assert.Equal(t, tt.want == nil, len(heard.events) == 1)

				var got *callback.Message
				cfg.OnMessage = func(_ context.Context, m callback.Message) (callback.Reply, error) {
					got = &m
					return callback.Raw([]byte("<xml>from another SDK</xml>")), nil
				}
				w = send(newHandler(t, cfg, new(heardNothing).on), l)
				if tt.want == nil {
					assert.Nil(t, got)
					return
				}
				tt.want.Raw = []byte(tt.push)
				assert.Equal(t, tt.want, got)
				body := w.Body.String()
				if key != "" {
					body = openReply(t, body, key)
				}
				assert.Equal(t, "<xml>from another SDK</xml>", body)
			})
		}
	}
}

type heardNothing struct{}

func (*heardNothing) on(context.Context, *wxqrcode.Event) (callback.Reply, error) { return nil, nil }

// Followers type control characters, and WeChat pushes them as they are.
func TestAMessageWithControlCharactersIsNotLost(t *testing.T) {
	for name, tt := range map[string]struct {
		message string
		ok      bool
	}{
		"a text":                  {textXML("a\x1dc\x00\x0b"), true},
		"a text of half an emoji": {textXML("\xf0\x9f"), true},
		"a text of U+FFFF":        {textXML("\uffff"), true},
		"a scan":                  {scanOf("a\x1dc"), false},
		"a click":                 {eventXML("CLICK", "a\x1dc"), false},
	} {
		for _, l := range []*letter{{}, {key: aesKey}, {key: aesKey, beside: strings.TrimSuffix(strings.TrimPrefix(tt.message, "<xml>"), "</xml>")}} {
			t.Run(fmt.Sprint(name, l.key, l.beside != ""), func(t *testing.T) {
				l.message = tt.message
				var got []string
				cfg := callback.Config{Token: token, AppID: appID, EncodingAESKey: l.key}
				w := send(newHandler(t, cfg, never(t)), l.sign())
				cfg.OnMessage = func(_ context.Context, m callback.Message) (callback.Reply, error) {
					got = append(got, string(m.Raw))
					return nil, nil
				}
				again := send(newHandler(t, cfg, never(t)), l)
				if tt.ok {
					assert.Equal(t, "success", w.Body.String(), "without OnMessage")
					assert.Equal(t, "success", again.Body.String())
					assert.Equal(t, []string{tt.message}, got, "as it came, to the byte")
				} else {
					assert.Equal(t, http.StatusBadRequest, again.Code)
					assert.Empty(t, got)
				}
			})
		}
	}
}

func TestWhatIsNoMessageIsABadRequest(t *testing.T) {
	var log logbook
	cfg := secureConfig
	cfg.AllowPlain = true
	cfg.Logger = log.logger()
	cfg.OnMessage = func(context.Context, callback.Message) (callback.Reply, error) {
		t.Error("OnMessage was called")
		return nil, nil
	}
	h := newHandler(t, cfg, never(t))
	inTheClear := callback.Config{Token: token, Logger: cfg.Logger}
	assert.Equal(t, http.StatusBadRequest, send(newHandler(t, inTheClear, never(t)), plain("nonsense")).Code)
	for i, message := range []string{
		"", "nonsense", "{}", "<xml></xml>", scanOf("7") + scanOf("7"), strings.Replace(scanOf("7"), "<EventKey>", "<EventKey>8</EventKey><EventKey>", 1),
		strings.Replace(scanOf("7"), "MsgType", "MsgKind", 2), strings.Replace(scanOf("7"), account, "", 1), strings.TrimSuffix(scanOf("7"), ">"),
	} {
		for _, key := range []string{"", aesKey} {
			if key == "" && (message == "" || message == "nonsense" || strings.HasSuffix(message, "</xml") || i == 4) {
				continue // no envelope can be read of it
			}
			w := send(h, (&letter{message: message, key: key, nonce: fmt.Sprint(i)}).sign())
			assert.Equal(t, http.StatusBadRequest, w.Code, message)
			assert.Equal(t, "Bad Request\n", w.Body.String())
		}
	}
	for _, line := range log.lines(t) {
		assert.Regexp(t, `^the message, \d+ bytes, is none of WeChat's$`, line["error"])
	}
}

// A ledger is a Dedup of a user's own.
type ledger struct {
	keys []string
	ttl  time.Duration
	err  error
	kept []byte
}

func (l *ledger) Do(_ context.Context, key string, ttl time.Duration, run func() ([]byte, error)) ([]byte, error) {
	l.keys, l.ttl = append(l.keys, key), ttl
	if l.err != nil || l.kept != nil {
		return l.kept, l.err
	}
	return run()
}

func TestTheDefaultDedupMayStandBeforeAnother(t *testing.T) {
	d := callback.NewMemoryDedup(nil)
	runs := 0
	for range 2 {
		reply, err := d.Do(t.Context(), "key", time.Hour, func() ([]byte, error) { runs++; return []byte("reply"), nil })
		require.NoError(t, err)
		assert.Equal(t, "reply", string(reply))
	}
	assert.Equal(t, 1, runs)
}

func TestADedupOfTheUsersOwn(t *testing.T) {
	cfg := plainConfig
	cfg.MaxAge = time.Minute
	var log logbook
	cfg.Logger = log.logger()
	book := &ledger{}
	cfg.Dedup = book
	var heard heard
	h := newHandler(t, cfg, heard.on)
	push := func(nonce string) *httptest.ResponseRecorder {
		return send(h, (&letter{message: scanOf("7"), nonce: nonce}).sign())
	}
	assert.Equal(t, "success", push("1").Body.String())
	event, err := wxqrcode.ParseEvent([]byte(scanOf("7")))
	require.NoError(t, err)
	assert.Equal(t, []string{event.DedupKey()}, book.keys)
	assert.Equal(t, 2*time.Minute, book.ttl)
	assert.Len(t, heard.scenes(), 1)

	book.kept = []byte("<xml>of another instance</xml>")
	assert.Equal(t, string(book.kept), push("2").Body.String())
	book.err = errors.New("the store is away")
	assert.Equal(t, http.StatusInternalServerError, push("3").Code)
	assert.Len(t, heard.scenes(), 1)
	lines := log.lines(t)
	assert.Equal(t, []any{"handled", "repeated", "failed"}, []any{lines[0]["outcome"], lines[1]["outcome"], lines[2]["outcome"]})
}
