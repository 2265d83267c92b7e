package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/internal/leak"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

var small = plan{pushes: 200, connections: 8, rate: 20_000}

func TestTheHandlerGivesNoWrongAnswer(t *testing.T) {
	leak.Check(t)
	var out, progress bytes.Buffer
	require.NoError(t, run(t.Context(), small, true, &out, &progress))
	var reports []report
	require.NoError(t, json.Unmarshal(out.Bytes(), &reports))
	require.Len(t, reports, 6)
	for _, r := range reports {
		assert.Equal(t, 200, r.Pushes)
		assert.Zero(t, r.Wrong)
		assert.Positive(t, r.PerSecond)
		assert.LessOrEqual(t, r.P50, r.P99)
		assert.LessOrEqual(t, r.P99, r.Slowest)
		assert.Contains(t, progress.String(), r.Handler+", "+pace(r.Rate))
	}
}

// between lets spoil see the requests of the callback, and its answers.
func between(s subject, spoil func(next http.Handler, w http.ResponseWriter, r *http.Request)) subject {
	right := s.open
	s.open = func(s *subject, runs []atomic.Int32) (http.Handler, error) {
		h, err := right(s, runs)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { spoil(h, w, r) }), err
	}
	return s
}

func TestWhateverIsWrongIsCounted(t *testing.T) {
	answerWith := func(next http.Handler, w http.ResponseWriter, r *http.Request, change func(*httptest.ResponseRecorder)) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		change(rec)
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	}
	for name, test := range map[string]struct {
		spoil func(next http.Handler, w http.ResponseWriter, r *http.Request)
		first string
	}{
		"the connection is cut": {func(http.Handler, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"another status": {func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			answerWith(next, w, r, func(rec *httptest.ResponseRecorder) { rec.Code = http.StatusAccepted })
		}, "status 202"},
		"nothing is said": {func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			answerWith(next, w, r, func(rec *httptest.ResponseRecorder) { rec.Body.Reset() })
		}, "EOF"},
		"a push runs twice": {func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			// Of another second, and so another event.
			again := r.Clone(r.Context())
			again.Body = io.NopCloser(strings.NewReader(strings.Replace(string(body), "<CreateTime>", "<CreateTime>1", 1)))
			r.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(w, r)
			q := again.URL.Query()
			q.Set("nonce", q.Get("nonce")+"-again")
			q.Set("signature", wxcrypt.Sign(token, q.Get("timestamp"), q.Get("nonce"), nil))
			again.URL.RawQuery = q.Encode()
			next.ServeHTTP(httptest.NewRecorder(), again)
		}, "push 0 ran 2 times, not 1"},
		"a forged push is let in": {func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			q.Set("signature", wxcrypt.Sign(token, q.Get("timestamp"), q.Get("nonce"), nil))
			r.URL.RawQuery = q.Encode()
			next.ServeHTTP(w, r)
		}, "push 13: a forged push got status 200"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := measure(t.Context(), between(plain, test.spoil), small, 0)
			require.NoError(t, err)
			assert.Positive(t, r.Wrong)
			assert.Contains(t, r.FirstWrong, test.first)
			var out bytes.Buffer
			require.NoError(t, printTable(&out, small, []report{r}))
			assert.Contains(t, out.String(), r.FirstWrong)
		})
	}
}

func TestAnAnswerToSomebodyElseIsWrong(t *testing.T) {
	key, err := wxcrypt.ParseKey(aesKey)
	require.NoError(t, err)
	reply := "<xml><ToUserName>" + openID(1) + "</ToUserName><FromUserName>" + account + "</FromUserName><MsgType>text</MsgType>" +
		"<Content><![CDATA[you scanned " + scene(1) + "]]></Content></xml>"
	require.NoError(t, checkPlain(push{number: 1}, answer{status: 200, body: []byte(reply)}, key))
	require.ErrorContains(t, checkPlain(push{number: 2}, answer{status: 200, body: []byte(reply)}, key), openID(2))
	require.ErrorContains(t, checkPlain(push{number: 1, kind: message}, answer{status: 200, body: []byte(reply)}, key), "you wrote")
	require.ErrorContains(t, checkSecure(push{number: 1}, answer{status: 200, body: []byte(reply)}, key), "signature")
	require.ErrorContains(t, checkSecure(push{kind: forged}, answer{status: 200}, key), "forged")
	require.ErrorContains(t, checkSecure(push{}, answer{status: 500}, key), "500")
}

func TestThePushesAreAsWeChatMightSendThem(t *testing.T) {
	key, err := wxcrypt.ParseKey(aesKey)
	require.NoError(t, err)
	all, err := pushes(200, key, true)
	require.NoError(t, err)
	kinds, repeats := map[kind]int{}, 0
	for i, p := range all {
		kinds[p.kind]++
		if p.number != i {
			repeats++
			assert.Equal(t, all[p.number].raw, p.raw)
		}
	}
	assert.Equal(t, map[kind]int{event: 180, message: 10, forged: 10}, kinds)
	assert.Equal(t, 10, repeats)
}

func TestTimesAreThoseOfTheAnswers(t *testing.T) {
	answers := make([]answer, 1000)
	for i := range answers {
		answers[(i*7)%1000].took = time.Duration(i+1) * time.Millisecond
	}
	var r report
	r.times(answers)
	assert.Equal(t, 501*time.Millisecond, r.P50)
	assert.Equal(t, 991*time.Millisecond, r.P99)
	assert.Equal(t, time.Second, r.P999)
	assert.Equal(t, time.Second, r.Slowest)
}

func TestALoadThatCannotBeIsRefused(t *testing.T) {
	for _, p := range []plan{{0, 1, 1}, {1, 0, 1}, {1, 1, 0}, {-1, -1, -1}} {
		require.ErrorContains(t, run(t.Context(), p, false, io.Discard, io.Discard), "must be 1 or more")
	}
}

func TestALoadThatOutlastsItsSignaturesIsRefused(t *testing.T) {
	err := run(t.Context(), plan{pushes: 241, connections: 1, rate: 1}, false, io.Discard, io.Discard)
	require.ErrorContains(t, err, "241 pushes at -rate 1 take 4m1s; at most 4m0s are possible")
}

func TestAnInterruptEndsTheLoad(t *testing.T) {
	leak.Check(t)
	ctx, cancel := context.WithCancel(t.Context())
	spoiled := between(plain, func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		cancel()
		next.ServeHTTP(w, r)
	})
	_, err := measure(ctx, spoiled, plan{pushes: 100_000, connections: 2}, 1)
	require.ErrorIs(t, err, context.Canceled)
}

func TestAWrongAnswerFailsTheRun(t *testing.T) {
	err := verdict([]report{{}, {Wrong: 1}})
	require.ErrorIs(t, err, errWrong)
	require.NoError(t, verdict([]report{{}, {}}))
}
