package wxtest

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"

	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// A Mode says how much of a push is encrypted. It is what an account chooses
// together with its callback URL. See
// https://developers.weixin.qq.com/doc/service/guide/dev/push/encryption.html.
type Mode int

// The modes.
const (
	Plain      Mode = iota // nothing is encrypted
	Compatible             // the plain fields, and all of them once more in Encrypt
	Secure                 // ToUserName and Encrypt alone
)

var modes = []string{Plain: "plain", Compatible: "compatible", Secure: "secure"}

// String returns plain, compatible or secure.
func (m Mode) String() string {
	if m < Plain || m > Secure {
		return fmt.Sprintf("Mode(%d)", int(m))
	}
	return modes[m]
}

// A CallbackConfig is how the account signs and encrypts its pushes.
type CallbackConfig struct {
	Token          string // goes into every signature
	EncodingAESKey string // 43 characters of base64; may be empty in Plain mode
	Mode           Mode
	JSON           bool // push JSON, as test accounts do, in place of XML
}

// RandomCallbackConfig returns settings with a token and a key that nobody else knows;
// a program under test must be given the same. Pushes are XML.
func RandomCallbackConfig(mode Mode) CallbackConfig {
	return CallbackConfig{Token: rand.Text(), EncodingAESKey: base64.RawStdEncoding.EncodeToString(randomBytes(32)), Mode: mode}
}

// Format prints the settings without token and key.
func (c CallbackConfig) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "wxtest.CallbackConfig(mode %v, json %t)", c.Mode, c.JSON)
}

// SetCallback sets the URL that events are pushed to, for pushes that have not
// begun. Its query, if any, is kept. An empty URL takes the callback away.
//
// Nothing is sent to check the URL; [Server.VerifyCallback] does that. One that is
// not an absolute http or https URL, a bad EncodingAESKey or an unknown Mode is the
// error of whatever would go there next, such as a [Server.Scan].
func (s *Server) SetCallback(url string, cfg CallbackConfig) {
	c := newCallback(url, cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callback = c
}

// A callback is what SetCallback set, checked. Its zero value is none.
type callback struct {
	CallbackConfig
	url *url.URL
	key wxcrypt.Key
	err error // why it cannot be used
}

func newCallback(rawURL string, cfg CallbackConfig) callback {
	if rawURL == "" {
		return callback{}
	}
	c := callback{CallbackConfig: cfg}
	c.url, c.err = parseCallbackURL(rawURL)
	if c.err != nil {
		return c
	}
	if cfg.Mode < Plain || cfg.Mode > Secure {
		c.err = fmt.Errorf("unknown mode %d; there are Plain, Compatible and Secure", cfg.Mode)
		return c
	}
	if cfg.Mode != Plain || cfg.EncodingAESKey != "" {
		if c.key, c.err = wxcrypt.ParseKey(cfg.EncodingAESKey); c.err != nil {
			c.err = fmt.Errorf("EncodingAESKey %w", c.err)
		}
	}
	return c
}

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
func (c callback) address(query url.Values) string {
	u := *c.url
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += query.Encode()
	return u.String()
}

var errNoCallback = errors.New("no callback is set; call SetCallback first")

// currentCallback returns the callback, or why there is none.
func (s *Server) currentCallback() (callback, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.callback.url == nil && s.callback.err == nil {
		return callback{}, errNoCallback
	}
	return s.callback, s.callback.err
}
