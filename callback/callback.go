// Package callback receives what WeChat pushes to an account: who scanned a code,
// who follows and who leaves. [New] gives an [http.Handler] for the account's
// callback URL; it proves itself to WeChat, checks where each push comes from,
// decrypts it, lets no push run twice and answers.
//
//	handler, err := callback.New(callback.Config{
//		Token:          token, // all three are on the account's settings page
//		AppID:          appID,
//		EncodingAESKey: key,
//		Logger:         slog.Default(),
//	}, func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
//		if scene, ok := e.Scene(); ok && e.Type == wxqrcode.EventSubscribe {
//			return callback.Text("Welcome! You came by " + scene), nil
//		}
//		return nil, nil // nothing to say
//	})
//
// The handler goes where any other does:
//
//	http.Handle("/wechat", handler)               // net/http
//	router.Handle("/wechat", handler)             // chi
//	router.Any("/wechat", gin.WrapH(handler))     // gin
//	e.Any("/wechat", echo.WrapHandler(handler))   // echo
//
// It needs GET (WeChat tries the URL out) and POST, with the query and the body as they
// came: keep middleware that reads or changes them away from it.
//
// # Use the secure mode
//
// In secure mode each push is encrypted and its signature covers all of it. In plain
// mode the signature covers a timestamp and a random number alone: it proves only
// that the sender once saw a push. The handler takes one such signature for one body
// only (each instance for itself, while the timestamp is young), but whoever can read
// a push on its way can send another in its place.
//
// That WeChat takes the URL proves the Token only; whether the EncodingAESKey is right
// shows with the first push.
//
// # The server around it
//
// A push must have come in within 5 s, after which WeChat has given up on it. For this the
// handler sets a read deadline by [http.ResponseController], if the ResponseWriter lets it,
// which takes the place of the server's ReadTimeout. The server's WriteTimeout, if it has
// one, should be more than 5 s: replies that come later than it are lost.
//
// # Programs that wait for a scan
//
// A [Waiter] brings the event of a code to the request that showed it: scan to log
// in, scan to bind an account.
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
	"strings"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// A Config says how WeChat signs and encrypts the account's pushes, which is set on
// the account's settings page, and what the handler takes. Token must be set; the zero
// values of the others are useful. It shows no token and no key in print, unless it
// stands in an unexported field of what is printed: fmt does not ask it there.
type Config struct {
	// Token goes into every signature (令牌).
	Token string

	// EncodingAESKey is the key of the compatible and the secure mode: 43 characters.
	// With it, a push in the clear is refused unless AllowPlain is set. Without it the
	// handler is in plain mode; so make sure that it is not empty by mistake.
	EncodingAESKey string

	// PreviousAESKey is the key before the present one. After a change WeChat may go
	// on for a while with the old one; what it opens is also answered under it.
	PreviousAESKey string

	// AppID is whose pushes are taken. It must be set if there is a key, and is not
	// read without one. For messages and events of accounts that a third-party platform
	// (第三方平台) serves, it is the platform's.
	AppID string

	// OnMessage takes every push that is not subscribe, unsubscribe or SCAN: texts,
	// pictures, menu clicks, other events. If it is nil they are answered "success".
	// It is called as onEvent is (see [New]). Messages are told apart by all their
	// bytes.
	OnMessage func(ctx context.Context, m Message) (Reply, error)

	// AllowPlain takes pushes without Encrypt though there is a key, for as long as
	// the account's mode is being changed: it gives up what the key protects from.
	AllowPlain bool

	// MaxBody is how many bytes a push may have; 0 means 64 KiB. A longer one gets 413.
	MaxBody int64

	// MaxAge is how far a push's timestamp may be from this machine's clock, before
	// or after; 0 means 5 minutes. Pushes are remembered for twice as long, so that
	// none can be captured and run a second time. If it is negative, timestamps are
	// not checked and pushes are remembered for 10 minutes: whoever captured one can
	// run it again after that.
	MaxAge time.Duration

	// Timeout is the deadline of a call of onEvent or OnMessage; 0 means 14 s,
	// which is a little less than WeChat's three tries take.
	Timeout time.Duration

	// Dedup remembers the pushes that were here before. Nil means a memory in this
	// process, for a million of them, which then takes about 100 MB, and for 64 MiB of
	// replies. It ends with the process: within MaxAge of a restart, a push that comes
	// again runs again. If several instances answer at one URL, they must share one
	// Dedup.
	Dedup Dedup

	// Logger gets one line a push: outcome, status, duration, event, scene, the end of
	// the OpenID, error. The outcomes are
	//
	//	verified   WeChat tried the URL out
	//	handled    onEvent or OnMessage ran and ended well
	//	repeated   it had run for the same push, whose reply was sent again
	//	abandoned  the push waited for a run of the same push, and WeChat did not
	//	ignored    a message, and no OnMessage
	//	refused    the push was not taken: a warning
	//	failed     onEvent or OnMessage failed: an error
	//
	// A reply that could not be sent is an error too (reply_error). Nothing logged shows
	// a token, a key, a body or a whole OpenID. Nil logs warnings and errors to
	// [slog.Default].
	Logger *slog.Logger
}

// A Message is a push that is not subscribe, unsubscribe or SCAN.
type Message struct {
	MsgType string // text, image, event, …
	Event   string // CLICK, VIEW, LOCATION, …; empty if MsgType is not "event"
	Raw     []byte // the whole of it, XML or JSON, decrypted
}

const (
	defaultMaxBody = 64 << 10
	defaultMaxAge  = 5 * time.Minute
	defaultTimeout = 14 * time.Second

	// bodyTimeout is how long a request may take to come in: after 5 s WeChat itself
	// has given it up.
	bodyTimeout = 5 * time.Second
)

// A Handler answers at the account's callback URL. Make one with [New]. It shows no
// token and no key in print.
type Handler struct {
	token       func() string // fmt sees through all but a function
	appID       string
	keys        []wxcrypt.Key // the present one first; none in plain mode
	allowPlain  bool
	maxBody     int64
	maxAge      time.Duration // negative: unchecked
	timeout     time.Duration
	bodyTimeout time.Duration
	ttl         time.Duration // how long pushes are known again
	onEvent     func(context.Context, *wxqrcode.Event) (Reply, error)
	onMessage   func(context.Context, Message) (Reply, error)
	dedup       Dedup
	signatures  *signatureMemory
	log         *slog.Logger
}

// New returns a handler that calls onEvent for each subscribe, unsubscribe and SCAN
// once: WeChat sends a push up to three times, and somebody may have captured one.
// It returns a [*wxqrcode.ValidationError] if cfg cannot work or onEvent is nil.
//
// onEvent is called on the goroutine of the request that brought the push. Its
// context carries the values of the request's, ends after cfg.Timeout and does not
// end with the connection: WeChat closes that after 5 s, sends the push again, and
// the repeat waits for the same call and carries its reply. So a reply may take up
// to 14 s, and [http.Server.Shutdown] waits for it.
//
// WeChat dates events in whole seconds: a second scan of a code by the same person in
// the same second is the first one again.
//
// If onEvent returns an error or panics, the push is answered 500, and one that
// comes again runs again. If it overruns its deadline, repeats go on waiting for it.
// A reply that cannot be sent (see [Text], [Image], [News]) is logged, and the push
// answered "success".
func New(cfg Config, onEvent func(context.Context, *wxqrcode.Event) (Reply, error)) (*Handler, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if onEvent == nil {
		return nil, invalid("onEvent", "", "is nil; give a function that takes the events")
	}
	h := &Handler{
		token:       func() string { return cfg.Token },
		appID:       cfg.AppID,
		allowPlain:  cfg.AllowPlain,
		maxBody:     cmp.Or(cfg.MaxBody, defaultMaxBody),
		maxAge:      cmp.Or(cfg.MaxAge, defaultMaxAge),
		timeout:     cmp.Or(cfg.Timeout, defaultTimeout),
		bodyTimeout: bodyTimeout,
		ttl:         2 * defaultMaxAge,
		onEvent:     onEvent,
		onMessage:   cfg.OnMessage,
		dedup:       cfg.Dedup,
		log:         cfg.Logger,
	}
	if h.log == nil {
		h.log = logFailures()
	}
	if h.maxAge > 0 {
		h.ttl = 2 * min(h.maxAge, math.MaxInt64/4)
	}
	if h.dedup == nil {
		h.dedup = newMemory(h.log)
	}
	h.signatures = newSignatureMemory(h.log)
	for _, k := range cfg.keys() {
		key, err := wxcrypt.ParseKey(k.text)
		if err != nil {
			return nil, invalid(k.name, "", err.Error())
		}
		h.keys = append(h.keys, key)
	}
	return h, nil
}

func (c *Config) validate() error {
	switch {
	case c.Token == "":
		return invalid("Token", "", "is empty; take it from the account's settings page")
	case c.EncodingAESKey == "" && c.PreviousAESKey != "":
		return invalid("EncodingAESKey", "", "is empty though there is a PreviousAESKey; the present key comes first")
	case c.EncodingAESKey != "" && c.AppID == "":
		return invalid("AppID", "", "is empty; with an EncodingAESKey it must be known, as every encrypted push names it")
	case c.spaced() != "":
		return invalid(c.spaced(), "", "begins or ends with white space, as what is read from a file may")
	case c.MaxBody < 0:
		return invalid("MaxBody", fmt.Sprint(c.MaxBody), "must not be negative; 0 means 64 KiB")
	case c.Timeout < 0:
		return invalid("Timeout", c.Timeout.String(), "must not be negative; 0 means 14s")
	}
	return nil
}

// spaced returns the name of a setting with white space around it.
func (c *Config) spaced() string {
	for _, s := range []namedKey{
		{"Token", c.Token}, {"AppID", c.AppID}, {"EncodingAESKey", c.EncodingAESKey}, {"PreviousAESKey", c.PreviousAESKey},
	} {
		if strings.TrimSpace(s.text) != s.text {
			return s.name
		}
	}
	return ""
}

type namedKey struct{ name, text string }

// keys returns the keys that are set.
func (c *Config) keys() (keys []namedKey) {
	for _, k := range []namedKey{{"EncodingAESKey", c.EncodingAESKey}, {"PreviousAESKey", c.PreviousAESKey}} {
		if k.text != "" {
			keys = append(keys, k)
		}
	}
	return keys
}

func invalid(field, value, reason string) error {
	return &wxqrcode.ValidationError{Field: field, Value: value, Reason: reason}
}

// Format prints the settings without token and keys, for every verb of fmt.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.LogValue().String()) }

// LogValue keeps token and keys out of logs.
func (c Config) LogValue() slog.Value {
	return slog.StringValue(fmt.Sprintf("callback.Config(appid %s, %d keys)", c.AppID, len(c.keys())))
}

// Format prints the same for every verb of fmt, and no token and no key.
func (h *Handler) Format(f fmt.State, _ rune) { io.WriteString(f, h.LogValue().String()) }

// LogValue keeps token and keys out of logs.
func (h *Handler) LogValue() slog.Value {
	if h == nil {
		return slog.StringValue("callback.Handler(nil)")
	}
	return slog.StringValue(fmt.Sprintf("callback.Handler(appid %s, %d keys)", h.appID, len(h.keys)))
}
