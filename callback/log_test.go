package callback_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
)

func TestOneLineAPush(t *testing.T) {
	long := strings.Repeat("码", 100)
	type attrs = map[string]any
	for name, tt := range map[string]struct {
		push string
		err  error
		want attrs
	}{
		"a scan":             {scanOf("poster-7"), nil, attrs{"level": "INFO", "outcome": "handled", "status": 200., "openid": "…9qEx-Q", "event": "SCAN", "scene": "poster-7"}},
		"a follow":           {eventXML("subscribe", "qrscene_7"), nil, attrs{"level": "INFO", "outcome": "handled", "status": 200., "openid": "…9qEx-Q", "event": "subscribe", "scene": "7"}},
		"a leave":            {eventXML("unsubscribe", ""), nil, attrs{"level": "INFO", "outcome": "handled", "status": 200., "openid": "…9qEx-Q", "event": "unsubscribe"}},
		"a click":            {eventXML("VIEW", "https://example.com/?secret=1"), nil, attrs{"level": "INFO", "outcome": "ignored", "status": 200., "openid": "…9qEx-Q", "event": "VIEW"}},
		"a text":             {textXML("my password"), nil, attrs{"level": "INFO", "outcome": "ignored", "status": 200., "openid": "…9qEx-Q", "message": "text"}},
		"a run that failed":  {scanOf("7"), errors.New("no database"), attrs{"level": "ERROR", "outcome": "failed", "status": 500., "openid": "…9qEx-Q", "event": "SCAN", "scene": "7", "error": "no database"}},
		"a long error":       {scanOf("7"), errors.New(long + long), attrs{"level": "ERROR", "outcome": "failed", "status": 500., "openid": "…9qEx-Q", "event": "SCAN", "scene": "7", "error": strings.Repeat("码", 166) + "…"}},
		"a long scene":       {scanOf(long), nil, attrs{"level": "INFO", "outcome": "handled", "status": 200., "openid": "…9qEx-Q", "event": "SCAN", "scene": strings.Repeat("码", 42) + "…"}},
		"a long event":       {eventXML(long, ""), nil, attrs{"level": "INFO", "outcome": "ignored", "status": 200., "openid": "…9qEx-Q", "event": strings.Repeat("码", 42) + "…"}},
		"a short openid":     {strings.Replace(scanOf("7"), openID, "o-ann", 1), nil, attrs{"level": "INFO", "outcome": "handled", "status": 200., "openid": "…nn", "event": "SCAN", "scene": "7"}},
		"the shortest":       {strings.Replace(scanOf("7"), openID, "o", 1), nil, attrs{"level": "INFO", "outcome": "handled", "status": 200., "openid": "…", "event": "SCAN", "scene": "7"}},
		"half an emoji":      {strings.Replace(scanOf("7"), openID, "o😀bcd", 1), nil, attrs{"level": "INFO", "outcome": "handled", "status": 200., "openid": "…bcd", "event": "SCAN", "scene": "7"}},
		"an openid in emoji": {strings.Replace(scanOf("7"), openID, "😀😀", 1), nil, attrs{"level": "INFO", "outcome": "handled", "status": 200., "openid": "…😀", "event": "SCAN", "scene": "7"}},
	} {
		for _, key := range []string{"", aesKey} {
			t.Run(name+key, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var log logbook
					cfg := callback.Config{Token: token, AppID: appID, EncodingAESKey: key, Logger: log.logger()}
					h := newHandler(t, cfg, func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
						time.Sleep(3 * time.Second)
						return nil, tt.err
					})
					send(h, (&letter{message: tt.push, key: key}).sign())
					lines := log.lines(t)
					require.Len(t, lines, 1)
					line := lines[0]
					assert.Equal(t, "wxqrcode: push", line["msg"])
					took := 3 * time.Second
					if line["outcome"] == "ignored" {
						took = 0
					}
					assert.InDelta(t, took.Nanoseconds(), line["duration"], 0)
					for _, k := range []string{"time", "msg", "duration"} {
						delete(line, k)
					}
					assert.Equal(t, tt.want, line)
				})
			})
		}
	}
}

func TestOtherRequestsAreLoggedToo(t *testing.T) {
	var log logbook
	cfg := plainConfig
	cfg.Logger = log.logger()
	h := newHandler(t, cfg, new(heard).on)
	serve(h, httptest.NewRequest(http.MethodGet, "/?"+verification("secret-echo").Encode(), nil))
	serve(h, httptest.NewRequest(http.MethodGet, "/?signature=secret-echo", nil))
	serve(h, httptest.NewRequest(http.MethodPut, "/?echostr=secret-echo", nil))
	send(h, plain(scanOf("7")))
	send(h, plain(scanOf("7")))
	var got []string
	for _, line := range log.lines(t) {
		got = append(got, fmt.Sprint(line["level"], " ", line["outcome"], " ", line["status"], " ", line["method"]))
	}
	assert.Equal(t, []string{"INFO verified 200 GET", "WARN refused 403 GET", "WARN refused 405 PUT", "INFO handled 200 <nil>", "INFO repeated 200 <nil>"}, got)
	assert.NotContains(t, log.String(), "secret-echo")
}

func TestWithoutALoggerFailuresAreStillHeardOf(t *testing.T) {
	var log logbook
	before := slog.Default()
	slog.SetDefault(log.logger())
	defer slog.SetDefault(before)
	cfg := callback.Config{Token: token}
	h := newHandler(t, cfg, func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		if e.EventKey == "bad" {
			panic("boom")
		}
		return nil, nil
	})
	send(h, plain(scanOf("7")))
	assert.Empty(t, log.String())
	send(h, (&letter{message: scanOf("bad"), nonce: "2"}).sign())
	serve(h, httptest.NewRequest(http.MethodGet, "/", nil))
	lines := log.lines(t)
	require.Len(t, lines, 2)
	assert.Equal(t, "panic: boom", lines[0]["error"])
	assert.Equal(t, "refused", lines[1]["outcome"])
}

// Everything that can be said in a push, in every way in which one can end.
func TestNoSecretIsLogged(t *testing.T) {
	var log logbook
	cfg := callback.Config{Token: token, AppID: appID, EncodingAESKey: aesKey, PreviousAESKey: oldKey, Logger: log.logger()}
	for _, f := range []onEvent{new(heard).on, replyWith(callback.Text("")), func(context.Context, *wxqrcode.Event) (callback.Reply, error) { panic("boom") }} {
		h := newHandler(t, cfg, f)
		for i, message := range []string{scanOf("7"), textXML("body-text"), "body-text", eventXML("CLICK", "body-text"),
			strings.Replace(scanOf("7"), fmt.Sprint(created), "body-text", 1), "<xml><body-text></xml>", `{"body-text":body-text}`} {
			l := (&letter{message: message, key: aesKey, nonce: fmt.Sprint("nonce-", i)}).sign()
			send(h, l)
			for _, p := range []string{"signature", "msg_signature", "timestamp", "nonce"} {
				bad := *l
				bad.query = maps.Clone(l.query)
				bad.query.Set(p, bad.query.Get(p)+"0")
				send(h, &bad)
			}
			bad := *l
			bad.body = bad.body[:len(bad.body)-20]
			send(h, &bad)
			bad.body = "<xml><body-text>&body-text;</body-texts></xml>"
			send(h, &bad)
			bad.body = `{"Encrypt":"body-text",body-text}`
			send(h, &bad)
		}
	}
	text := log.String()
	for _, secret := range []string{token, aesKey, oldKey, openID, openID[:8], "body-text", "nonce-", "Encrypt><"} {
		assert.NotContains(t, text, secret)
	}
	assert.Greater(t, len(log.lines(t)), 60)
}
