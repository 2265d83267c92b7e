package wxtest_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
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
	"github.com/seed-0142d113/wxqrcode/internal/message"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A clock that only advance changes.
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

// newTimedServer returns a server and its clock.
func newTimedServer(t *testing.T, opts ...wxtest.Option) (*wxtest.Server, *clock) {
	t.Helper()
	c := newClock()
	return newServer(t, append(opts, wxtest.WithNow(c.now))...), c
}

// A reply is any response of the API.
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

// send sends a request and reads the response.
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
	// The goroutines of an idle connection outlive a test.
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
	return srv.URL() + wxtest.EndpointToken + "?grant_type=client_credential&appid=" + srv.AppID() + "&secret=" + srv.AppSecret()
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
	r := send(t, http.MethodPost, srv.URL()+wxtest.EndpointStableToken, body+"}")
	require.Zero(t, r.Errcode, r.body)
	return r
}

func createURL(srv *wxtest.Server, token string) string {
	return srv.URL() + wxtest.EndpointCreate + "?access_token=" + url.QueryEscape(token)
}

// create creates a code.
func create(t *testing.T, srv *wxtest.Server, body string) reply {
	t.Helper()
	return send(t, http.MethodPost, createURL(srv, stableToken(t, srv, false).AccessToken), body)
}

const someCode = `{"action_name":"QR_STR_SCENE","expire_seconds":600,"action_info":{"scene":{"scene_str":"door"}}}`

// checkToken returns the errcode of a request with a token.
func checkToken(t *testing.T, srv *wxtest.Server, token string) int {
	t.Helper()
	return send(t, http.MethodPost, createURL(srv, token), someCode).Errcode
}

func imageStatus(t *testing.T, srv *wxtest.Server, ticket wxqrcode.Ticket) int {
	t.Helper()
	return send(t, http.MethodGet, srv.URL()+wxtest.EndpointImage+"?ticket="+url.QueryEscape(string(ticket)), "").status
}

// A pushed is a push as the callback received it.
type pushed struct {
	method string
	query  url.Values
	header http.Header
	body   string
}

// A recorder is a callback that records its pushes and responds with handle, or
// with "success".
type recorder struct {
	*httptest.Server
	handle http.HandlerFunc

	mu  sync.Mutex // guards got
	got []pushed
}

func newRecorder(t *testing.T, handle http.HandlerFunc) *recorder {
	t.Helper()
	c := &recorder{handle: handle}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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

func (c *recorder) pushes() []pushed {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got
}

const (
	openID = "o7Lp5t6n59DeX3U0C7Kric9qEx-Q"
	aesKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
)

var plain = wxtest.CallbackConfig{Token: "token"}

// newScene returns a server with a callback and a code.
func newScene(t *testing.T, handle http.HandlerFunc, opts ...wxtest.Option) (*wxtest.Server, *recorder, wxqrcode.Ticket) {
	t.Helper()
	srv := newServer(t, opts...)
	c := newRecorder(t, handle)
	srv.SetCallback(c.URL, plain)
	return srv, c, create(t, srv, someCode).Ticket
}

// scan scans and returns the event that was pushed.
func scan(t *testing.T, srv *wxtest.Server, c *recorder, ticket wxqrcode.Ticket, openID string) *wxqrcode.Event {
	t.Helper()
	before := len(c.pushes())
	d, err := srv.Scan(t.Context(), ticket, openID)
	require.NoError(t, err)
	assertDelivery(t, http.StatusOK, "success", 1, d)
	require.Len(t, c.pushes(), before+1)
	return parse(t, c.pushes()[before].body)
}

func assertDelivery(t *testing.T, status int, body string, tries int, d *wxtest.Delivery) {
	t.Helper()
	require.NotNil(t, d)
	assert.Equal(t, status, d.Status)
	assert.Equal(t, body, string(d.Body))
	assert.Equal(t, tries, d.Tries)
}

func parse(t *testing.T, body string) *wxqrcode.Event {
	t.Helper()
	e, err := wxqrcode.ParseEvent([]byte(body))
	require.NoError(t, err, body)
	return e
}

// sceneOf returns the scene that the event of a code carries.
func sceneOf(t *testing.T, srv *wxtest.Server, ticket wxqrcode.Ticket) string {
	t.Helper()
	c := newRecorder(t, nil)
	srv.SetCallback(c.URL, plain)
	key, ok := scan(t, srv, c, ticket, "o-scanner").SceneKey()
	assert.True(t, ok)
	return key
}

// crypt encrypts or decrypts as WeChat documents it, without package wxcrypt.
func crypt(t *testing.T, mode func(cipher.Block, []byte) cipher.BlockMode, text []byte) []byte {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(aesKey + "=")
	require.NoError(t, err)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	out := make([]byte, len(text))
	mode(block, key[:16]).CryptBlocks(out, text)
	return out
}

// encrypt pads a message to a multiple of block bytes and encrypts it.
func encrypt(t *testing.T, message, appID string, block int) string {
	t.Helper()
	b := binary.BigEndian.AppendUint32(make([]byte, 16), uint32(len(message)))
	b = append(b, message+appID...)
	padding := block - len(b)%block
	b = append(b, bytes.Repeat([]byte{byte(padding)}, padding)...)
	return base64.StdEncoding.EncodeToString(crypt(t, cipher.NewCBCEncrypter, b))
}

func decrypt(t *testing.T, encrypted string) (message, appID string) {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(encrypted)
	require.NoError(t, err)
	require.Zero(t, len(b)%32)
	b = crypt(t, cipher.NewCBCDecrypter, b)
	b = b[16 : len(b)-int(b[len(b)-1])]
	n := binary.BigEndian.Uint32(b)
	return string(b[4 : 4+n]), string(b[4+n:])
}

// readPush checks the query of a push and returns its message in plaintext and
// the fields of its body.
func readPush(t *testing.T, srv *wxtest.Server, p pushed, cfg wxtest.CallbackConfig) (text string, fields map[string]string) {
	t.Helper()
	assert.Equal(t, http.MethodPost, p.method)
	fields = map[string]string{}
	r := message.NewReader(p.body)
	for r.Next() {
		fields[r.Field().Name], _ = r.Field().Text()
	}
	require.NoError(t, r.Err(), p.body)
	q := p.query
	encrypted, isEncrypted := fields["Encrypt"]
	assert.Equal(t, isEncrypted, q.Has("encrypt_type"))
	assert.Equal(t, isEncrypted, q.Has("msg_signature"))
	if cfg.Mode == wxtest.CloudHosting {
		assert.Empty(t, q)
		assert.NotEmpty(t, p.header.Get("X-WX-SOURCE"))
		return p.body, fields
	}
	assert.Equal(t, wxcrypt.Sign(cfg.Token, q.Get("timestamp"), q.Get("nonce"), nil), q.Get("signature"))
	assert.Empty(t, p.header.Get("X-WX-SOURCE"))
	if !isEncrypted {
		return p.body, fields
	}
	assert.Equal(t, "aes", q.Get("encrypt_type"))
	assert.Equal(t, wxcrypt.Sign(cfg.Token, q.Get("timestamp"), q.Get("nonce"), []byte(encrypted)), q.Get("msg_signature"))
	text, appID := decrypt(t, encrypted)
	assert.Equal(t, srv.AppID(), appID)
	return text, fields
}

// cutConnection closes the connection without a response.
func cutConnection(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.Close()
	}
}

// block waits until the client disconnects.
func block(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
