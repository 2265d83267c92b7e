package callback_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/message"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

const (
	token       = "callback-token"
	appID       = "wx5823bf96d3bd56c7"
	aesKey      = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	previousKey = "GFEDCBA9876543210zyxwvutsrqponmlkjihgfedcba"
	account     = "gh_45072270791c"
	openID      = "o7Lp5t6n59DeX3U0C7Kric9qEx-Q"
)

type (
	onEvent   = func(context.Context, *wxqrcode.Event) (callback.Reply, error)
	onMessage = func(context.Context, callback.Message) (callback.Reply, error)
)

func plainConfig(f onEvent) callback.Config {
	return callback.Config{Token: token, OnEvent: f, Logger: slog.New(slog.DiscardHandler)}
}

func secureConfig(f onEvent) callback.Config {
	cfg := plainConfig(f)
	cfg.AppID, cfg.EncodingAESKey = appID, aesKey
	return cfg
}

// configFor returns a config for the mode of a testPush.
func configFor(p testPush, f onEvent) callback.Config {
	if p.key == "" {
		return plainConfig(f)
	}
	return secureConfig(f)
}

func newHandler(t testing.TB, cfg callback.Config) *callback.Handler {
	t.Helper()
	h, err := callback.New(cfg)
	require.NoError(t, err)
	return h
}

// A recorder records the events that it handles, and replies nothing.
type recorder struct {
	mu     sync.Mutex // guards events
	events []*wxqrcode.Event
}

func (r *recorder) onEvent(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	return nil, nil
}

// scenes returns the scenes of the events in order.
func (r *recorder) scenes() (scenes []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		scene, _ := e.SceneKey()
		scenes = append(scenes, scene)
	}
	return scenes
}

// noEvent is an onEvent that must not be called.
func noEvent(t testing.TB) onEvent {
	t.Helper()
	return func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		t.Errorf("OnEvent was called with %+v", e)
		return nil, nil
	}
}

func noMessage(t testing.TB) onMessage {
	t.Helper()
	return func(_ context.Context, m callback.Message) (callback.Reply, error) {
		t.Errorf("OnMessage was called with %+v", m)
		return nil, nil
	}
}

// replyWith is an onEvent that replies r.
func replyWith(r callback.Reply) onEvent {
	return func(context.Context, *wxqrcode.Event) (callback.Reply, error) { return r, nil }
}

// A testPush is a push to be signed, and encrypted if it has a key.
type testPush struct {
	message string
	token   string // the constant if empty
	key     string
	appID   string    // the constant if empty
	at      time.Time // now if zero
	nonce   string
	json    bool   // of the envelope
	others  string // further elements of the envelope, as in compatible mode
}

// A signedPush is the request of a push.
type signedPush struct {
	query url.Values
	body  string
}

func (p testPush) sign() signedPush {
	if p.at.IsZero() {
		p.at = time.Now()
	}
	if p.nonce == "" {
		p.nonce = "a-nonce" // not digits, which could look like a time
	}
	if p.token == "" {
		p.token = token
	}
	if p.appID == "" {
		p.appID = appID
	}
	timestamp := fmt.Sprint(p.at.Unix())
	s := signedPush{
		query: url.Values{
			"timestamp": {timestamp}, "nonce": {p.nonce}, "openid": {openID},
			"signature": {wxcrypt.Sign(p.token, timestamp, p.nonce, nil)},
		},
		body: p.message,
	}
	if p.key == "" {
		return s
	}
	key, err := wxcrypt.ParseKey(p.key)
	must(err)
	encrypt, err := key.Encrypt([]byte(p.message), p.appID)
	must(err)
	return s.encrypted(p, encrypt)
}

// encrypted makes encrypt the body, in the envelope of p, and signs it.
func (s signedPush) encrypted(p testPush, encrypt []byte) signedPush {
	s.query.Set("encrypt_type", "aes")
	s.query.Set("msg_signature", wxcrypt.Sign(p.token, s.query.Get("timestamp"), s.query.Get("nonce"), encrypt))
	s.body = "<xml><ToUserName><![CDATA[" + account + "]]></ToUserName>\n" + p.others + "<Encrypt><![CDATA[" + string(encrypt) + "]]></Encrypt>\n</xml>"
	if p.json {
		s.body = string(message.Write(true, message.Text("ToUserName", account), message.Text("Encrypt", string(encrypt))))
	}
	return s
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (s signedPush) request() *http.Request {
	return httptest.NewRequest(http.MethodPost, "/wechat?"+s.query.Encode(), strings.NewReader(s.body))
}

// with returns s with another value of a query parameter.
func (s signedPush) with(name, value string) signedPush {
	query := maps.Clone(s.query)
	query.Set(name, value)
	return signedPush{query, s.body}
}

func plain(message string) signedPush     { return testPush{message: message}.sign() }
func encrypted(message string) signedPush { return testPush{message: message, key: aesKey}.sign() }

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func send(h http.Handler, s signedPush) *httptest.ResponseRecorder { return serve(h, s.request()) }

const created = 1389684286 // of the events below

func scanOf(scene string) string { return eventXML("SCAN", scene) }

func eventXML(name, key string) string {
	return fmt.Sprintf("<xml><ToUserName><![CDATA[%s]]></ToUserName>\n<FromUserName><![CDATA[%s]]></FromUserName>\n"+
		"<CreateTime>%d</CreateTime>\n<MsgType><![CDATA[event]]></MsgType>\n<Event><![CDATA[%s]]></Event>\n<EventKey><![CDATA[%s]]></EventKey>\n</xml>",
		account, openID, created, name, key)
}

func scanJSON(scene string) string {
	return fmt.Sprintf(`{"ToUserName":%q,"FromUserName":%q,"CreateTime":%d,"MsgType":"event","Event":"SCAN","EventKey":%q}`,
		account, openID, created, scene)
}

func textXML(content string) string {
	return fmt.Sprintf("<xml><ToUserName><![CDATA[%s]]></ToUserName>\n<FromUserName><![CDATA[%s]]></FromUserName>\n"+
		"<CreateTime>%d</CreateTime>\n<MsgType><![CDATA[text]]></MsgType>\n<Content><![CDATA[%s]]></Content>\n<MsgId>1</MsgId>\n</xml>",
		account, openID, created, content)
}

// children returns the elements of a message, for the envelope of compatible
// mode.
func children(xml string) string {
	return strings.TrimSuffix(strings.TrimPrefix(xml, "<xml>"), "</xml>")
}

// startIn2026 sets the clock of a synctest bubble, which starts in 2000: before
// 2001 a timestamp does not have ten digits.
func startIn2026() { sleepUntil(1_795_000_000) }

func sleepUntil(seconds int64) { time.Sleep(time.Until(time.Unix(seconds, 0))) }

// A logRecorder records the log of a handler.
type logRecorder struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logRecorder) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logRecorder) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

func (l *logRecorder) lines(t testing.TB) (lines []map[string]any) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		lines = append(lines, m)
	}
	return lines
}

func (l *logRecorder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// The worked examples of the official page.
type officialPush struct {
	Token          string
	EncodingAESKey string          `json:"encoding_aes_key"`
	AppID          string          `json:"app_id"`
	VerifyURL      officialExample `json:"verify_url"`
	Plain          officialExample
	Secure         officialExample
}

type officialExample struct {
	Timestamp, Nonce, Signature, Echostr, Body, Encrypt, Message string
	MsgSignature                                                 string `json:"msg_signature"`
}

func loadOfficial(t testing.TB) (o officialPush) {
	t.Helper()
	b, err := os.ReadFile("../testdata/push.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &o))
	return o
}
