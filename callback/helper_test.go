package callback_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
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
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

const (
	token   = "callback-token"
	appID   = "wx5823bf96d3bd56c7"
	aesKey  = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	oldKey  = "GFEDCBA9876543210zyxwvutsrqponmlkjihgfedcba"
	account = "gh_45072270791c"
	openID  = "o7Lp5t6n59DeX3U0C7Kric9qEx-Q"
)

var (
	plainConfig  = callback.Config{Token: token, Logger: slog.New(slog.DiscardHandler)}
	secureConfig = callback.Config{Token: token, AppID: appID, EncodingAESKey: aesKey, Logger: slog.New(slog.DiscardHandler)}
)

type onEvent = func(context.Context, *wxqrcode.Event) (callback.Reply, error)

func newHandler(t testing.TB, cfg callback.Config, f onEvent) *callback.Handler {
	t.Helper()
	h, err := callback.New(cfg, f)
	require.NoError(t, err)
	return h
}

// A heard is an onEvent that notes what it hears and has nothing to say.
type heard struct {
	mu     sync.Mutex // guards events
	events []*wxqrcode.Event
}

func (h *heard) on(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	return nil, nil
}

// scenes returns the scenes of the events, in the order in which they came.
func (h *heard) scenes() (scenes []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		scene, _ := e.Scene()
		scenes = append(scenes, scene)
	}
	return scenes
}

// never is an onEvent that must not be called.
func never(t testing.TB) onEvent {
	t.Helper()
	return func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		t.Errorf("onEvent was called with %+v", e)
		return nil, nil
	}
}

// A letter is a push that is to be signed, and sealed if there is a key.
type letter struct {
	token   string // ours if empty
	message string
	key     string
	appID   string    // ours if empty
	at      time.Time // now if zero
	nonce   string
	json    bool   // of the envelope
	beside  string // plain fields beside Encrypt, as in compatible mode
	query   url.Values
	body    string
}

// sign fills in query and body.
func (l *letter) sign() *letter {
	if l.at.IsZero() {
		l.at = time.Now()
	}
	if l.nonce == "" {
		l.nonce = "415670741"
	}
	if l.token == "" {
		l.token = token
	}
	timestamp := fmt.Sprint(l.at.Unix())
	l.query = url.Values{
		"timestamp": {timestamp},
		"nonce":     {l.nonce},
		"signature": {wxcrypt.Signature(l.token, timestamp, l.nonce)},
		"openid":    {openID},
	}
	l.body = l.message
	if l.key == "" {
		return l
	}
	key, err := wxcrypt.ParseKey(l.key)
	must(err)
	id := l.appID
	if id == "" {
		id = appID
	}
	encrypt, err := key.Seal([]byte(l.message), id)
	must(err)
	l.seal(encrypt)
	return l
}

// seal makes encrypt the body and signs it.
func (l *letter) seal(encrypt string) {
	l.query.Set("encrypt_type", "aes")
	l.query.Set("msg_signature", wxcrypt.Signature(l.token, l.query.Get("timestamp"), l.query.Get("nonce"), encrypt))
	l.body = "<xml><ToUserName><![CDATA[" + account + "]]></ToUserName>\n" + l.beside + "<Encrypt><![CDATA[" + encrypt + "]]></Encrypt></xml>"
	if l.json {
		b, err := json.Marshal(map[string]string{"ToUserName": account, "Encrypt": encrypt})
		must(err)
		l.body = string(b)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (l *letter) request() *http.Request {
	return httptest.NewRequest(http.MethodPost, "/wechat?"+l.query.Encode(), strings.NewReader(l.body))
}

// plain and sealed make the usual letters.
func plain(message string) *letter  { return (&letter{message: message}).sign() }
func sealed(message string) *letter { return (&letter{message: message, key: aesKey}).sign() }

// serve lets h answer.
func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func send(h http.Handler, l *letter) *httptest.ResponseRecorder { return serve(h, l.request()) }

const created = 1389684286 // of the events

// scanOf is the event of a follower's scan.
func scanOf(scene string) string { return eventXML("SCAN", scene) }

func eventXML(kind, key string) string {
	return fmt.Sprintf("<xml><ToUserName><![CDATA[%s]]></ToUserName>\n<FromUserName><![CDATA[%s]]></FromUserName>\n"+
		"<CreateTime>%d</CreateTime><MsgType><![CDATA[event]]></MsgType>\n<Event><![CDATA[%s]]></Event><EventKey><![CDATA[%s]]></EventKey></xml>",
		account, openID, created, kind, key)
}

func scanJSON(scene string) string {
	return fmt.Sprintf(`{"ToUserName":%q,"FromUserName":%q,"CreateTime":%d,"MsgType":"event","Event":"SCAN","EventKey":%q}`,
		account, openID, created, scene)
}

func textXML(content string) string {
	return fmt.Sprintf("<xml><ToUserName><![CDATA[%s]]></ToUserName><FromUserName><![CDATA[%s]]></FromUserName>"+
		"<CreateTime>%d</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[%s]]></Content><MsgId>1</MsgId></xml>",
		account, openID, created, content)
}

// A logbook is what a handler logs, a line a push.
type logbook struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

func (l *logbook) lines(t testing.TB) (lines []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		lines = append(lines, m)
	}
	return lines
}

func (l *logbook) String() string {
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
