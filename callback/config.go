// Package callback receives the pushes of WeChat to an account: who scanned a
// code, who follows and who unfollows. [New] returns an [http.Handler] for the
// callback URL of the account. It answers URL verification, authenticates and
// decrypts each push, deduplicates redeliveries and replies.
//
//	handler, err := callback.New(callback.Config{
//		Token:          token, // this and the next two: 微信开发者平台 > 消息推送
//		AppID:          appID,
//		EncodingAESKey: key,
//		OnEvent: func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
//			if scene, ok := e.SceneKey(); ok && e.Type == wxqrcode.EventSubscribe {
//				return callback.Text("Welcome! You scanned " + scene), nil
//			}
//			return nil, nil // no reply
//		},
//	})
//
// Mount the handler as any other:
//
//	http.Handle("/wechat", handler)               // net/http
//	router.Handle("/wechat", handler)             // chi
//	router.Any("/wechat", gin.WrapH(handler))     // gin
//	e.Any("/wechat", echo.WrapHandler(handler))   // echo
//
// It needs GET (URL verification) and POST, with the query and the body as
// WeChat sent them: do not use middleware that reads or changes them.
//
// # Use secure mode
//
// In secure mode each push is encrypted, and its signature covers the whole
// push. In plain mode the signature covers only a timestamp and a random
// number, the nonce: it proves that the sender once saw a push. The handler
// accepts one such signature for one body only, on each instance and until it
// restarts, while the timestamp is within [Config] MaxAge. This does not stop
// an attacker who can read requests in transit:
//
//   - Another body can arrive before the captured push.
//   - Another body can be sent to another instance, or after a restart.
//   - WeChat signs timestamp and nonce without a separator, and a captured pair
//     can be split elsewhere. If its nonce begins with a later time (about one
//     captured push in 50,000 is usable on a given later day), the pair
//     authenticates any body at that time.
//
// Secure mode prevents all three; SECURITY.md has the details. URL verification
// checks only the Token; a wrong EncodingAESKey shows up with the first push.
//
// # Timeouts of the server
//
// The handler waits 5 s for the body of a push, because WeChat closes the
// connection then. It sets the read deadline of the connection through
// [http.ResponseController], which replaces the ReadTimeout of the server. If
// middleware wraps the ResponseWriter, the wrapper needs an Unwrap method, or
// the limit has no effect. A WriteTimeout of the server must be longer than
// [Config] Timeout, or late replies are lost.
//
// # Waiting for a scan
//
// A [Waiter] passes the event of a code to the request that showed the code:
// scan to log in, scan to bind an account.
//
// See https://developers.weixin.qq.com/doc/service/guide/dev/push/.
package callback

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// A Config configures a [Handler]. Token and OnEvent are required, or
// CloudHostingSecret and OnEvent. fmt and slog print it redacted.
type Config struct {
	// Token is part of every signature (令牌).
	Token string

	// AppID is the account whose encrypted pushes are accepted. It is required
	// with an EncodingAESKey and not used without one. For accounts of a
	// third-party platform (第三方平台) it is the AppID of the platform.
	AppID string

	// EncodingAESKey is the key of compatible and secure mode, 43 characters.
	// With a key, a push in plaintext is rejected unless AllowPlain is set.
	// Without a key the handler is in plain mode, so make sure that the key is
	// not empty by mistake.
	EncodingAESKey string

	// PreviousAESKey is the key before the current one. WeChat may use it for a
	// while after a change. A push is answered under the key that decrypted it.
	PreviousAESKey string

	// OnEvent handles subscribe, unsubscribe and SCAN. It is required, and called
	// once for each event: WeChat sends a push up to three times.
	//
	// It runs on the goroutine of the request. Its context has the values of the
	// request's context, expires after Timeout and is not canceled if the client
	// disconnects: WeChat closes the connection after 5 s and sends the push
	// again, and the redelivery waits for the running call and carries its reply.
	// [http.Server.Shutdown] waits for it too.
	//
	// After an error or a panic the response is 500, after which WeChat may push
	// again (that is not documented), and a redelivery calls OnEvent again. If
	// OnEvent succeeds after Timeout, WeChat may not wait for the reply any more:
	// a warning in the log and Err of [Result] say so.
	//
	// WeChat dates events in whole seconds, so a second scan of a code by the same
	// user in the same second is a duplicate.
	OnEvent func(ctx context.Context, e *wxqrcode.Event) (Reply, error)

	// OnMessage handles every other push, such as texts, menu clicks, other
	// events and the pushes of a third-party platform. It is called like OnEvent,
	// and two messages are duplicates if all their bytes are the same (without a
	// key, those of Encrypt in compatible mode included). If it is nil, these
	// pushes are answered "success".
	OnMessage func(ctx context.Context, m Message) (Reply, error)

	// OnResult is called once for each request, before ServeHTTP returns: for
	// metrics. It receives the fields of [Result] and no more. It must not block
	// or panic.
	OnResult func(ctx context.Context, r Result)

	// AllowPlain accepts pushes in plaintext although there is a key, for the
	// time in which the mode of the account changes. While it is set, the
	// signature of any captured encrypted push authenticates a body in plaintext
	// for MaxAge.
	AllowPlain bool

	// CloudHostingSecret accepts the pushes of WeChat cloud hosting (微信云托管),
	// which are neither signed nor encrypted. It is 16 or more of [0-9A-Za-z_-],
	// and excludes Token, the keys and AllowPlain. Enter a path that ends in the
	// secret in the console, 云托管 > 设置 > 全局设置 > 消息推送, such as
	// /wechat/SECRET, and mount the handler there. A push is accepted if the last
	// segment of its path is the secret and it has an X-WX-SOURCE header. The
	// header alone proves nothing: mini programs and pages with a logged-in user
	// can send any body to any path with it. So keep the path out of logs.
	CloudHostingSecret string

	// MaxBody is the limit of a push in bytes. 0 means 64 KiB. A longer one is
	// answered 413.
	MaxBody int64

	// MaxAge is the largest difference between the timestamp of a push and this
	// machine's clock, in both directions. 0 means 5 minutes. Pushes are
	// deduplicated for twice as long, so a captured push does not run again while
	// its timestamp is valid, as long as Dedup remembers it. If MaxAge is
	// negative, any timestamp of ten digits is accepted and pushes are
	// deduplicated for 10 minutes: a captured push can run again after that, and
	// in plain mode its signature authenticates another body.
	MaxAge time.Duration

	// Timeout is the deadline of one call of OnEvent or OnMessage. 0 means 14 s, a
	// little less than WeChat's three tries take. If a call fails, a redelivery
	// that waits for it makes another one with a deadline of its own, so the calls
	// for one push can take up to two Timeouts, 28 s, which is how long
	// [http.Server.Shutdown] can take.
	Timeout time.Duration

	// Dedup deduplicates pushes. Nil means a [MemoryDedup], which forgets
	// everything when the process ends. Instances that serve one URL must share a
	// Deduplicator.
	Dedup Deduplicator

	// Logger receives one line for each request: outcome, status, duration, method
	// and, where there is one, the type of the message or event, the end of the
	// OpenID, the scene, the error and the stack of a panic. It has no secret, no
	// body and no whole OpenID. Logger also receives warnings of the handler: its
	// own Dedup is full, or the key is missing. Nil means [slog.Default] at Warn
	// and above.
	Logger *slog.Logger
}

const (
	defaultMaxBody = 64 << 10
	defaultMaxAge  = 5 * time.Minute
	defaultTimeout = 14 * time.Second

	// readTimeout bounds the reading of a body: WeChat closes the connection
	// after 5 s.
	readTimeout = 5 * time.Second
)

// A Handler serves the callback URL of an account. Make one with [New]. It is
// safe for concurrent use. fmt and slog print it redacted.
type Handler struct {
	token       func() string // a function, because fmt prints unexported fields
	cloudSecret func() string
	appID       string
	keys        []wxcrypt.Key // the current one first; none in plain mode
	allowPlain  bool
	maxBody     int64
	maxAge      time.Duration // negative: not checked
	timeout     time.Duration
	readTimeout time.Duration
	dedupWindow time.Duration
	onEvent     func(context.Context, *wxqrcode.Event) (Reply, error)
	onMessage   func(context.Context, Message) (Reply, error)
	onResult    func(context.Context, Result)
	dedup       Deduplicator
	signatures  *signatureCache
	log         *slog.Logger
	missingKey  sync.Once // logs missingKeyWarning
}

// New returns a handler. The error is a [*wxqrcode.ValidationError] that names
// the field of cfg.
func New(cfg Config) (*Handler, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	keys, err := cfg.parseKeys()
	if err != nil {
		return nil, err
	}
	h := &Handler{
		token:       func() string { return cfg.Token },
		cloudSecret: func() string { return cfg.CloudHostingSecret },
		appID:       cfg.AppID,
		keys:        keys,
		allowPlain:  cfg.AllowPlain,
		maxBody:     cmp.Or(cfg.MaxBody, defaultMaxBody),
		maxAge:      cmp.Or(cfg.MaxAge, defaultMaxAge),
		timeout:     cmp.Or(cfg.Timeout, defaultTimeout),
		readTimeout: readTimeout,
		dedupWindow: 2 * defaultMaxAge,
		onEvent:     cfg.OnEvent,
		onMessage:   cfg.OnMessage,
		onResult:    cfg.OnResult,
		dedup:       cfg.Dedup,
		log:         loggerOrDefault(cfg.Logger),
	}
	if h.maxAge > 0 {
		h.dedupWindow = 2 * min(h.maxAge, math.MaxInt64/4)
	}
	if h.dedup == nil {
		h.dedup = NewMemoryDedup(h.log)
	}
	h.signatures = newSignatureCache(h.log)
	return h, nil
}

var cloudSecretPattern = regexp.MustCompile(`^[0-9A-Za-z_-]{16,}$`)

func (c *Config) validate() error {
	if name := c.spacedField(); name != "" {
		return invalid(name, "", "begins or ends with white space; trim what was read from a file")
	}
	encrypted := c.EncodingAESKey != "" || c.PreviousAESKey != ""
	switch {
	case c.OnEvent == nil:
		return invalid("OnEvent", "", "is nil; set a function that handles the events")
	case c.CloudHostingSecret != "" && (c.Token != "" || encrypted || c.AllowPlain):
		return invalid("CloudHostingSecret", "", "excludes Token, EncodingAESKey, PreviousAESKey and AllowPlain")
	case c.CloudHostingSecret != "" && !cloudSecretPattern.MatchString(c.CloudHostingSecret):
		return invalid("CloudHostingSecret", "", "must be at least 16 of the characters 0-9, A-Z, a-z, _ and -")
	case c.CloudHostingSecret == "" && c.Token == "":
		return invalid("Token", "", "is empty; copy it from 微信开发者平台 > 消息推送")
	case c.EncodingAESKey == "" && encrypted:
		return invalid("EncodingAESKey", "", "is empty although PreviousAESKey is set; set the current key")
	case encrypted && c.AppID == "":
		return invalid("AppID", "", "is empty; it is required with an EncodingAESKey")
	case c.MaxBody < 0:
		return invalid("MaxBody", fmt.Sprint(c.MaxBody), "must not be negative; 0 means 64 KiB")
	case c.Timeout < 0:
		return invalid("Timeout", c.Timeout.String(), "must not be negative; 0 means 14s")
	}
	return nil
}

// spacedField returns the name of a field with white space around its value.
func (c *Config) spacedField() string {
	for _, f := range []struct{ name, value string }{
		{"Token", c.Token}, {"AppID", c.AppID}, {"EncodingAESKey", c.EncodingAESKey}, {"PreviousAESKey", c.PreviousAESKey},
		{"CloudHostingSecret", c.CloudHostingSecret},
	} {
		if strings.TrimSpace(f.value) != f.value {
			return f.name
		}
	}
	return ""
}

func (c *Config) parseKeys() (keys []wxcrypt.Key, err error) {
	for _, f := range []struct{ name, value string }{{"EncodingAESKey", c.EncodingAESKey}, {"PreviousAESKey", c.PreviousAESKey}} {
		if f.value == "" {
			continue
		}
		key, err := wxcrypt.ParseKey(f.value)
		if err != nil {
			return nil, invalid(f.name, "", err.Error())
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func invalid(field, value, reason string) error {
	return &wxqrcode.ValidationError{Field: field, Value: value, Reason: reason, Err: wxqrcode.ErrInvalidConfig}
}

// Format prints the Config redacted, for every verb of fmt.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.LogValue().String()) }

// LogValue returns the Config redacted.
func (c Config) LogValue() slog.Value {
	return slog.StringValue(fmt.Sprintf("callback.Config(appid %s)", c.AppID))
}

// Format prints the Handler redacted, for every verb of fmt.
func (h *Handler) Format(f fmt.State, _ rune) { io.WriteString(f, h.LogValue().String()) }

// LogValue returns the Handler redacted.
func (h *Handler) LogValue() slog.Value {
	if h == nil {
		return slog.StringValue("callback.Handler(nil)")
	}
	return slog.StringValue(fmt.Sprintf("callback.Handler(appid %s)", h.appID))
}
