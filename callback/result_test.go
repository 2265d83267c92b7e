package callback_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
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

func TestHandler_LogLine(t *testing.T) {
	long := strings.Repeat("码", 100)
	type attrs = map[string]any
	handled := func(scene string) attrs {
		return attrs{"level": "INFO", "outcome": "handled", "status": 200., "method": "POST", "message": "SCAN", "openid": "…9qEx-Q", "scene": scene}
	}
	with := func(a attrs, key string, value any) attrs { a[key] = value; return a }
	failed := func(text string) attrs {
		return attrs{"level": "ERROR", "outcome": "failed", "status": 500., "method": "POST", "message": "SCAN", "openid": "…9qEx-Q", "scene": "7", "error": text}
	}
	ignored := attrs{"level": "INFO", "outcome": "ignored", "status": 200., "method": "POST"}
	for name, tt := range map[string]struct {
		push string
		err  error
		want attrs
	}{
		"a scan":                {scanOf("poster-7"), nil, handled("poster-7")},
		"a click":               {eventXML("VIEW", "https://example.com/?secret=1"), nil, with(ignored, "message", "VIEW")},
		"an error":              {scanOf("7"), errors.New("no database"), failed("no database")},
		"a long error":          {scanOf("7"), errors.New(long + long), failed(strings.Repeat("码", 166) + "…")},
		"a long scene":          {scanOf(long), nil, handled(strings.Repeat("码", 42) + "…")},
		"a short OpenID":        {strings.Replace(scanOf("7"), openID, "o-ann", 1), nil, with(handled("7"), "openid", "…nn")},
		"the shortest OpenID":   {strings.Replace(scanOf("7"), openID, "o", 1), nil, with(handled("7"), "openid", "…")},
		"an OpenID of emoji":    {strings.Replace(scanOf("7"), openID, "o😀bcd", 1), nil, with(handled("7"), "openid", "…bcd")},
		"an unfollow, no scene": {eventXML("unsubscribe", ""), nil, attrs{"level": "INFO", "outcome": "handled", "status": 200., "method": "POST", "message": "unsubscribe", "openid": "…9qEx-Q"}},
	} {
		for _, key := range []string{"", aesKey} {
			t.Run(name+key, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					startIn2026()

					var log logRecorder
					var results []callback.Result
					p := testPush{message: tt.push, key: key}
					cfg := configFor(p, func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
						time.Sleep(3 * time.Second)
						return nil, tt.err
					})
					cfg.Logger = log.logger()
					cfg.OnResult = func(_ context.Context, r callback.Result) { results = append(results, r) }
					send(newHandler(t, cfg), p.sign())
					lines := log.lines(t)
					require.Len(t, lines, 1)
					require.Len(t, results, 1)
					assert.Equal(t, "wxqrcode: callback", lines[0]["msg"])
					assert.InDelta(t, results[0].Duration.Nanoseconds(), lines[0]["duration"], 0)
					assert.Equal(t, tt.want["outcome"], string(results[0].Outcome))
					assert.InDelta(t, results[0].Status, tt.want["status"], 0)
					assert.Equal(t, tt.err, results[0].Err)
					if tt.want["outcome"] == "ignored" {
						assert.Nil(t, results[0].Event)
					} else {
						assert.Equal(t, 3*time.Second, results[0].Duration)
						require.NotNil(t, results[0].Event)
					}
					for _, k := range []string{"time", "msg", "duration"} {
						delete(lines[0], k)
					}
					assert.Equal(t, tt.want, lines[0])
				})
			})
		}
	}
}

func TestHandler_OnResult(t *testing.T) {
	var log logRecorder
	var got []string
	cfg := plainConfig(new(recorder).onEvent)
	cfg.Logger = log.logger()
	cfg.OnResult = func(_ context.Context, r callback.Result) {
		got = append(got, fmt.Sprint(r.Outcome, " ", r.Status, " ", r.Err != nil))
	}
	h := newHandler(t, cfg)
	serve(h, httptest.NewRequest(http.MethodGet, "/?"+verification("1714036504", "1", "secret-echo").Encode(), nil))
	serve(h, httptest.NewRequest(http.MethodGet, "/?signature=secret-echo", nil))
	serve(h, httptest.NewRequest(http.MethodPut, "/?echostr=secret-echo", nil))
	send(h, plain("nonsense"))
	send(h, plain(textXML("hi")))
	send(h, testPush{message: scanOf("7"), nonce: "2"}.sign())
	send(h, testPush{message: scanOf("7"), nonce: "3"}.sign())
	assert.Equal(t, []string{"verified 200 false", "rejected 403 true", "rejected 405 true", "rejected 400 true", "ignored 200 false", "handled 200 false", "duplicate 200 false"}, got)
	var levels []any
	for _, line := range log.lines(t) {
		levels = append(levels, line["level"])
	}
	assert.Equal(t, []any{"INFO", "WARN", "WARN", "WARN", "INFO", "INFO", "INFO"}, levels)
	assert.NotContains(t, log.String(), "secret-echo")
}

func TestHandler_NilLoggerWarns(t *testing.T) {
	var log logRecorder
	before := slog.Default()
	slog.SetDefault(log.logger())
	defer slog.SetDefault(before)
	cfg := plainConfig(func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		if e.EventKey == "bad" {
			panic("boom")
		}
		return nil, nil
	})
	cfg.Logger = nil
	h := newHandler(t, cfg)
	send(h, plain(scanOf("7")))
	assert.Empty(t, log.String(), "success is not logged")
	send(h, testPush{message: scanOf("bad"), nonce: "2"}.sign())
	serve(h, httptest.NewRequest(http.MethodGet, "/", nil))
	lines := log.lines(t)
	require.Len(t, lines, 2)
	assert.Equal(t, "panic: boom", lines[0]["error"])
	assert.Equal(t, "rejected", lines[1]["outcome"])
}

func TestHandler_LogsNoSecret(t *testing.T) {
	var log logRecorder
	for _, f := range []onEvent{new(recorder).onEvent, replyWith(callback.Text("")), func(context.Context, *wxqrcode.Event) (callback.Reply, error) { panic("boom") }} {
		cfg := secureConfig(f)
		cfg.PreviousAESKey, cfg.Logger = previousKey, log.logger()
		h := newHandler(t, cfg)
		for i, m := range []string{
			scanOf("7"), textXML("body-text"), "body-text", eventXML("CLICK", "body-text"), "<body-text>", `{"body-text":body-text}`,
			strings.Replace(scanOf("7"), fmt.Sprint(created), "body-text", 1), strings.Replace(scanOf("7"), "<EventKey>", "<body-text>&body-text;</body-text><EventKey>", 1),
		} {
			s := testPush{message: m, key: aesKey, nonce: fmt.Sprint("nonce-", i)}.sign()
			send(h, s)
			for _, name := range []string{"signature", "msg_signature", "timestamp", "nonce"} {
				send(h, s.with(name, s.query.Get(name)+"0"))
			}
			for _, body := range []string{s.body[:len(s.body)-30], "<xml><body-text>", `{"Encrypt":"body-text"`} {
				send(h, signedPush{s.query, body})
			}
		}
	}
	for _, secret := range []string{token, aesKey, previousKey, openID, openID[:8], "body-text", "nonce-", "Encrypt><"} {
		assert.NotContains(t, log.String(), secret)
	}
	assert.Greater(t, len(log.lines(t)), 100)
}

func TestConfig_PrintsRedacted(t *testing.T) {
	cfg := secureConfig(noEvent(t))
	cfg.PreviousAESKey = previousKey
	cloud := cloudConfig(noEvent(t))
	h, cloudHandler := newHandler(t, cfg), newHandler(t, cloud)
	var log logRecorder
	for _, v := range []any{cfg, &cfg, h, cloud, cloudHandler, struct{ H *callback.Handler }{h}, struct{ h *callback.Handler }{cloudHandler}, []any{cfg, h}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			_, err := fmt.Fprintf(&log, verb+"\n", v)
			require.NoError(t, err)
		}
		log.logger().Info("value", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("value", "v", v)
	}
	_, err := fmt.Fprintln(&log, (*callback.Handler)(nil), new(callback.Handler))
	require.NoError(t, err)
	raw, err := base64.RawStdEncoding.DecodeString(aesKey)
	require.NoError(t, err)
	for _, secret := range []string{
		token, aesKey, previousKey, cloudSecret, string(raw[:12]), fmt.Sprintf("%x", token), fmt.Sprintf("%X", aesKey[:12]), fmt.Sprintf("%x", cloudSecret),
		strings.Trim(fmt.Sprint(raw[:8]), "[]"), strings.Trim(fmt.Sprint([]byte(token)[:8]), "[]"),
	} {
		assert.NotContains(t, log.String(), secret)
	}
	assert.Contains(t, log.String(), appID)
}

func TestHandler_ErrorTexts(t *testing.T) {
	noQuery := signedPush{nil, scanOf("7")}
	wrong := encrypted(scanOf("7")).with("msg_signature", "0")
	otherApp := testPush{message: scanOf("7"), key: aesKey, appID: "wx0"}.sign()
	for _, tt := range []struct {
		cfg  callback.Config
		push signedPush
		want string
	}{
		{plainConfig(noEvent(t)), noQuery, "timestamp is missing or does not have ten digits"},
		{plainConfig(noEvent(t)), plain(scanOf("7")).with("signature", "0"), "the signature is wrong; does Token match the 令牌 on 微信开发者平台 > 消息推送?"},
		{secureConfig(noEvent(t)), wrong, "the msg_signature is wrong; does Token match the 令牌 on 微信开发者平台 > 消息推送?"},
		{secureConfig(noEvent(t)), plain(scanOf("7")), "the push is not encrypted; choose secure mode on 微信开发者平台 > 消息推送, or set AllowPlain until then"},
		{secureConfig(noEvent(t)), otherApp, `the push is for AppID "wx0", but Config.AppID is "` + appID + `"`},
		{plainConfig(noEvent(t)), encrypted(scanOf("7")), "the push is encrypted; set EncodingAESKey and AppID in callback.Config"},
		{plainConfig(noEvent(t)), plain(""), "the body is empty; middleware may have read it before the handler"},
		{plainConfig(replyWith(callback.Text(""))), plain(scanOf("7")), "the reply cannot be sent: Text has 0 bytes; 1 to 2048 are allowed"},
		{plainConfig(func(context.Context, *wxqrcode.Event) (callback.Reply, error) { panic("boom") }), plain(scanOf("7")), "panic: boom"},
	} {
		var got error
		tt.cfg.OnResult = func(_ context.Context, r callback.Result) { got = r.Err }
		send(newHandler(t, tt.cfg), tt.push)
		assert.EqualError(t, got, tt.want)
	}
}
