package wxtest_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A clock stands still until it is moved.
type clock struct {
	mu sync.Mutex // guards t
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newServer(t *testing.T, opts ...wxtest.Option) *wxtest.Server {
	t.Helper()
	srv := wxtest.NewServer(opts...)
	t.Cleanup(srv.Close)
	return srv
}

// newTimedServer returns a server and the clock it goes by.
func newTimedServer(t *testing.T, opts ...wxtest.Option) (*wxtest.Server, *clock) {
	t.Helper()
	c := newClock()
	return newServer(t, append(opts, wxtest.WithNow(c.now))...), c
}

// reply is an answer of the API, whatever it is.
type reply struct {
	status int
	header http.Header
	body   string

	Errcode       int    `json:"errcode"`
	Errmsg        string `json:"errmsg"`
	AccessToken   string `json:"access_token"`
	ExpiresIn     int    `json:"expires_in"`
	Ticket        wxqrcode.Ticket
	URL           string
	ExpireSeconds *int `json:"expire_seconds"`
}

// send makes one call and reads the answer, which may be JSON.
func send(t *testing.T, method, address, body string) reply {
	t.Helper()
	r, err := trySend(t.Context(), method, address, body)
	require.NoError(t, err)
	return r
}

func trySend(ctx context.Context, method, address, body string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	// No kept connection, whose goroutines would outlive a test.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	r := reply{status: res.StatusCode, header: res.Header, body: string(b)}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") && err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

func legacyURL(srv *wxtest.Server) string {
	return srv.URL() + "/cgi-bin/token?grant_type=client_credential&appid=" + srv.AppID() + "&secret=" + srv.AppSecret()
}

func legacyToken(t *testing.T, srv *wxtest.Server) reply {
	t.Helper()
	r := send(t, http.MethodGet, legacyURL(srv), "")
	require.Zero(t, r.Errcode, r.body)
	return r
}

func stableToken(t *testing.T, srv *wxtest.Server, force bool) reply {
	t.Helper()
	body := `{"grant_type":"client_credential","appid":"` + srv.AppID() + `","secret":"` + srv.AppSecret() + `"`
	if force {
		body += `,"force_refresh":true`
	}
	r := send(t, http.MethodPost, srv.URL()+"/cgi-bin/stable_token", body+"}")
	require.Zero(t, r.Errcode, r.body)
	return r
}

func createURL(srv *wxtest.Server, token string) string {
	return srv.URL() + "/cgi-bin/qrcode/create?access_token=" + url.QueryEscape(token)
}

// create makes a code with a token of its own.
func create(t *testing.T, srv *wxtest.Server, body string) reply {
	t.Helper()
	return send(t, http.MethodPost, createURL(srv, stableToken(t, srv, false).AccessToken), body)
}

const someCode = `{"action_name":"QR_STR_SCENE","expire_seconds":600,"action_info":{"scene":{"scene_str":"door"}}}`

// checkToken returns the code that a call with the token is refused with.
func checkToken(t *testing.T, srv *wxtest.Server, token string) int {
	t.Helper()
	return send(t, http.MethodPost, createURL(srv, token), someCode).Errcode
}

func imageStatus(t *testing.T, srv *wxtest.Server, ticket wxqrcode.Ticket) int {
	t.Helper()
	return send(t, http.MethodGet, srv.URL()+"/cgi-bin/showqrcode?ticket="+url.QueryEscape(string(ticket)), "").status
}

// A pushed is a push as the callback got it.
type pushed struct {
	method string
	query  url.Values
	header http.Header
	body   string
}

// A callback keeps what is pushed to it and answers with handle, or "success".
type callback struct {
	*httptest.Server
	handle http.HandlerFunc

	mu  sync.Mutex // guards got
	got []pushed
}

func newCallback(t *testing.T, handle http.HandlerFunc) *callback {
	t.Helper()
	c := &callback{handle: handle}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	c.got = append(c.got, pushed{r.Method, r.URL.Query(), r.Header, string(body)})
	c.mu.Unlock()
	if c.handle != nil {
		c.handle(w, r)
		return
	}
	io.WriteString(w, "success")
}

func (c *callback) pushes() []pushed {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got
}

// scan scans and returns the event as it was pushed.
func scan(t *testing.T, srv *wxtest.Server, c *callback, ticket wxqrcode.Ticket, openID string) *wxqrcode.Event {
	t.Helper()
	before := len(c.pushes())
	d, err := srv.Scan(t.Context(), ticket, openID)
	require.NoError(t, err)
	require.Equal(t, &wxtest.Delivery{Status: 200, Body: []byte("success"), Tries: 1}, d)
	require.Len(t, c.pushes(), before+1)
	return parse(t, c.pushes()[before].body)
}

func parse(t *testing.T, body string) *wxqrcode.Event {
	t.Helper()
	e, err := wxqrcode.ParseEvent([]byte(body))
	require.NoError(t, err, body)
	return e
}

// sceneOf returns the scene that a code's event carries.
func sceneOf(t *testing.T, srv *wxtest.Server, ticket wxqrcode.Ticket) string {
	t.Helper()
	c := newCallback(t, nil)
	srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token"})
	key, ok := scan(t, srv, c, ticket, "o-scanner").Scene()
	assert.True(t, ok)
	return key
}

const aesKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"

// openEnvelope decrypts as the documents say, with nothing of the library's.
func openEnvelope(t *testing.T, encrypt string) (message, appID string) {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(aesKey + "=")
	require.NoError(t, err)
	b, err := base64.StdEncoding.DecodeString(encrypt)
	require.NoError(t, err)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	require.Zero(t, len(b)%32)
	cipher.NewCBCDecrypter(block, key[:16]).CryptBlocks(b, b)
	b = b[16 : len(b)-int(b[len(b)-1])]
	n := binary.BigEndian.Uint32(b)
	return string(b[4 : 4+n]), string(b[4+n:])
}

// encryptOf returns the Encrypt field of a push.
func encryptOf(t *testing.T, p pushed, asJSON bool) string {
	t.Helper()
	var envelope struct{ Encrypt string }
	unmarshal := xml.Unmarshal
	if asJSON {
		unmarshal = json.Unmarshal
	}
	require.NoError(t, unmarshal([]byte(p.body), &envelope), p.body)
	return envelope.Encrypt
}

// openPush returns the message of a push, and its Encrypt field if the mode has
// one.
func openPush(t *testing.T, p pushed, cfg wxtest.CallbackConfig) (message, encrypt string) {
	t.Helper()
	if cfg.Mode == wxtest.Plain {
		return p.body, ""
	}
	encrypt = encryptOf(t, p, cfg.JSON)
	message, _ = openEnvelope(t, encrypt)
	return message, encrypt
}

// fieldNames returns the names of a message's fields, in their order.
func fieldNames(t *testing.T, body string) (names []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(body))
	for depth := 0; ; {
		switch tok, err := d.Token(); tok := tok.(type) {
		case xml.StartElement:
			if depth++; depth == 2 {
				names = append(names, tok.Name.Local)
			}
		case xml.EndElement:
			depth--
		case nil:
			require.ErrorIs(t, err, io.EOF)
			return names
		}
	}
}
