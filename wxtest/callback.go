package wxtest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// A Mode is how pushes are signed and encrypted. An account chooses it together
// with its callback URL. See
// https://developers.weixin.qq.com/doc/service/guide/dev/push/encryption.html.
type Mode int

// The modes.
const (
	Plain        Mode = iota // nothing is encrypted
	Compatible               // the fields in plaintext and again in Encrypt
	Secure                   // ToUserName and Encrypt
	CloudHosting             // WeChat cloud hosting: neither signed nor encrypted
)

var modes = []string{Plain: "plain", Compatible: "compatible", Secure: "secure", CloudHosting: "cloud hosting"}

// String returns plain, compatible, secure or cloud hosting.
func (m Mode) String() string {
	if m < Plain || m > CloudHosting {
		return fmt.Sprintf("Mode(%d)", int(m))
	}
	return modes[m]
}

// A CallbackConfig is how the account signs and encrypts its pushes. fmt prints
// it redacted.
type CallbackConfig struct {
	Token          string // part of every signature; not used in cloud hosting
	EncodingAESKey string // 43 characters of base64; may be empty in plain mode and cloud hosting
	Mode           Mode
	JSON           bool // push JSON instead of XML, as test accounts do
}

// Format prints the settings redacted, for every verb of fmt.
func (c CallbackConfig) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "wxtest.CallbackConfig(mode %v, json %t)", c.Mode, c.JSON)
}

// RandomCallbackConfig returns settings with a new token and, in compatible and
// secure mode, a new key, for [Server.SetCallback]. The handler under test
// needs the same ones.
func RandomCallbackConfig(mode Mode) CallbackConfig {
	cfg := CallbackConfig{Mode: mode}
	if mode != CloudHosting {
		cfg.Token = rand.Text()
	}
	if mode == Compatible || mode == Secure {
		cfg.EncodingAESKey = base64.RawStdEncoding.EncodeToString(randomBytes(32))
	}
	return cfg
}

// CallbackConfig returns the settings of a handler for a mode, with new
// secrets: Token, AppID and, unless the mode is plain, EncodingAESKey, or, in
// cloud hosting, CloudHostingSecret. Set OnEvent, make the handler with
// [callback.New] and pass it to [Server.Connect].
func (s *Server) CallbackConfig(mode Mode) callback.Config {
	cfg := RandomCallbackConfig(mode)
	cfg.JSON = s.json
	if mode == CloudHosting {
		secret := rand.Text()
		s.setPending(cfg, "/"+secret)
		return callback.Config{CloudHostingSecret: secret}
	}
	s.setPending(cfg, "/wechat")
	return callback.Config{Token: cfg.Token, AppID: s.appID, EncodingAESKey: cfg.EncodingAESKey}
}

// A pendingCallback is what CallbackConfig has chosen for Connect.
type pendingCallback struct {
	CallbackConfig
	path string
}

func (s *Server) setPending(cfg CallbackConfig, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = &pendingCallback{cfg, path}
}

// Connect serves h on loopback, in the mode of the last
// [Server.CallbackConfig], until the server is closed, and verifies the URL as
// [Server.VerifyCallback] does. For a handler that is served elsewhere, call
// [Server.SetCallback].
//
// [Server.Close] waits for the requests to h, so h must not call it.
func (s *Server) Connect(h http.Handler) error {
	if h == nil {
		return errors.New("wxtest: connect: the handler is nil")
	}
	if err := s.serve(h); err != nil {
		return fmt.Errorf("wxtest: connect: %w", err)
	}
	return s.VerifyCallback(context.Background())
}

// serve serves h at the URL of the callback.
func (s *Server) serve(h http.Handler) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errClosed
	case s.pending == nil:
		return errors.New("call CallbackConfig first; it chooses the mode")
	}
	served := httptest.NewServer(h)
	s.served = append(s.served, served)
	s.callback = newCallback(served.URL+s.pending.path, s.pending.CallbackConfig)
	return nil
}

// SetCallback sets the URL of the pushes that begin after the call. The
// query of the URL is preserved. An empty URL removes the callback.
//
// The URL is not verified; [Server.VerifyCallback] does that. If it is not an
// absolute http or https URL, the EncodingAESKey is invalid or the Mode
// unknown, the next push returns the error.
func (s *Server) SetCallback(url string, cfg CallbackConfig) {
	c := newCallback(url, cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callback = c
}

// An accountCallback is what SetCallback set, validated. Its zero value is
// none.
type accountCallback struct {
	CallbackConfig
	url *url.URL
	key wxcrypt.Key
	err error // why it cannot be used
}

func newCallback(rawURL string, cfg CallbackConfig) accountCallback {
	if rawURL == "" {
		return accountCallback{}
	}
	c := accountCallback{CallbackConfig: cfg}
	c.url, c.err = parseCallbackURL(rawURL)
	if c.err != nil {
		return c
	}
	if cfg.Mode < Plain || cfg.Mode > CloudHosting {
		c.err = fmt.Errorf("mode is %d; it must be Plain, Compatible, Secure or CloudHosting", cfg.Mode)
		return c
	}
	if c.encrypts() || cfg.EncodingAESKey != "" {
		if c.key, c.err = wxcrypt.ParseKey(cfg.EncodingAESKey); c.err != nil {
			c.err = fmt.Errorf("EncodingAESKey %w", c.err)
		}
	}
	return c
}

func (c accountCallback) encrypts() bool { return c.Mode == Compatible || c.Mode == Secure }

func parseCallbackURL(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("callback url: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("callback url %q must begin with http:// or https:// and a host", rawURL)
	}
	return u, nil
}

// address returns the URL with query added to its own.
func (c accountCallback) address(query url.Values) string {
	u := *c.url
	if u.RawQuery != "" && len(query) > 0 {
		u.RawQuery += "&"
	}
	u.RawQuery += query.Encode()
	return u.String()
}

var errNoCallback = errors.New("no callback is set; call Connect or SetCallback first")

// currentCallback returns the callback, or why there is none.
func (s *Server) currentCallback() (accountCallback, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.callback.url == nil && s.callback.err == nil {
		return accountCallback{}, errNoCallback
	}
	return s.callback, s.callback.err
}
