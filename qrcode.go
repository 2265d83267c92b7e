// Package wxqrcode makes WeChat parametric QR codes (带参数二维码), fetches their
// pictures and reads the events of their scans.
//
// A [Client] makes a code that carries a [Scene]: a temporary one for a login or a
// binding, a permanent one for a poster or a shop.
//
//	tokens, err := wxqrcode.NewTokenSource(appID, appSecret)
//	client, err := wxqrcode.NewClient(tokens)
//	code, err := client.Create(ctx, wxqrcode.Permanent(wxqrcode.SceneStr("poster-7")))
//	err = client.SaveImage(ctx, "poster-7.jpg", code.Ticket)
//
// When somebody scans it, WeChat pushes an event to the account's callback URL.
// [ParseEvent] reads it, and [Event.SceneKey] returns the scene.
//
// The account must be a verified service account. Package wxtest is a WeChat to test
// against, without an account.
//
// Errors match the variables of this package, such as [ErrQuotaExceeded], with
// [errors.Is]; their texts say what to do. No error, log line or fmt verb shows an
// access token or a secret.
//
// See https://developers.weixin.qq.com/doc/offiaccount/Account_Management/Generating_a_Parametric_QR_Code.html.
package wxqrcode

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A Client makes codes and fetches their pictures. Make one with [NewClient]
// and share it: it is safe for concurrent use and keeps connections alive.
type Client struct {
	tokens TokenProvider
	api    *caller
	images *caller
}

// NewClient returns a Client that asks tokens for the access token of each
// call. It returns a [*ValidationError] if tokens is nil or an option is
// unusable.
func NewClient(tokens TokenProvider, opts ...ClientOption) (*Client, error) {
	if source, ok := tokens.(*TokenSource); tokens == nil || ok && source == nil {
		return nil, &ValidationError{Field: "TokenProvider", Reason: "is nil; make one with NewTokenSource"}
	}
	s := defaultSettings()
	for _, o := range opts {
		if o == nil {
			continue
		}
		if err := o.applyClient(&s); err != nil {
			return nil, err
		}
	}
	return &Client{
		tokens: tokens,
		api:    s.caller(s.apiHosts),
		images: s.caller([]string{s.imageHost}),
	}, nil
}

// Create makes a code.
//
// It returns a [*ValidationError] before anything is sent if r is invalid, and
// an [*APIError] if WeChat refuses. If WeChat refuses the access token, the
// [TokenProvider] is told (see [TokenInvalidator]) and asked again, and the call
// is repeated once if the token is another. Calls that failed on the way are
// tried again (see [WithRetry]): a temporary code made twice dies by itself, and
// a permanent scene made twice is the same code.
//
// See https://developers.weixin.qq.com/doc/service/api/qrcode/qrcodes/api_createqrcode.html.
func (c *Client) Create(ctx context.Context, r Request) (*QRCode, error) {
	if c.api == nil {
		return nil, errZeroClient
	}
	body, err := r.Body()
	if err != nil {
		return nil, err
	}
	a, err := c.create(ctx, body)
	if err != nil {
		return nil, err
	}
	code := &a.code
	code.Ticket, code.URL = a.Ticket, a.URL
	if r.kind == temporary {
		code.Lifetime = r.Lifetime()
		if granted := int64(a.ExpireSeconds); granted > 0 && granted <= maxExpireSeconds {
			code.Lifetime = time.Duration(granted) * time.Second
		}
		code.ExpiresAt = a.sent.Add(code.Lifetime).Round(0).UTC()
	}
	return code, nil
}

type createAnswer struct {
	failure
	code          QRCode        // made of the rest; here, it takes no memory of its own
	sent          time.Time     // the code's life began after this
	Ticket        Ticket        `json:"ticket"`
	URL           string        `json:"url"`
	ExpireSeconds expireSeconds `json:"expire_seconds"`
}

func (a *createAnswer) reset() { *a = createAnswer{} }

func (a *createAnswer) missing() string {
	if a.Ticket == "" {
		return "no ticket"
	}
	return ""
}

// expireSeconds reads the lifetime that an answer grants. Whatever is no whole
// number counts as none: the code exists all the same.
type expireSeconds int64

func (s *expireSeconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		n = 0
	}
	*s = expireSeconds(n)
	return nil
}

// create makes the call, and once more if WeChat refuses the access token and there
// is another.
func (c *Client) create(ctx context.Context, body []byte) (*createAnswer, error) {
	token, err := c.token(ctx, "")
	if err != nil {
		return nil, err
	}
	a, refusal := c.createWith(ctx, token, body)
	if !isRefusedToken(refusal) {
		return a, refusal
	}
	c.invalidate(ctx, token)
	next, err := c.token(ctx, token)
	if err != nil {
		return nil, also(refusal, "; and no other token: ", err)
	}
	if next == token {
		return nil, refusal
	}
	a, err = c.createWith(ctx, next, body)
	if isRefusedToken(err) {
		c.invalidate(ctx, next)
	}
	return a, err
}

func (c *Client) createWith(ctx context.Context, token string, body []byte) (*createAnswer, error) {
	sent := time.Now()
	a := new(createAnswer)
	err := c.api.json(ctx, &call{
		op:      opCreate,
		method:  http.MethodPost,
		path:    "/cgi-bin/qrcode/create",
		query:   "?access_token=",
		value:   url.QueryEscape(token),
		body:    body,
		timeout: jsonTimeout,
		secrets: secrets{token},
	}, a)
	a.sent = sent
	return a, err
}

// token asks for a token, after the one that was refused, if any.
func (c *Client) token(ctx context.Context, refused string) (string, error) {
	token, err := c.tokens.AccessToken(ctx)
	if err != nil {
		return "", secrets{token, refused}.wrap("wxqrcode: "+opCreate+": access token", err)
	}
	if token == "" {
		return "", fmt.Errorf("wxqrcode: %s: the TokenProvider returned an empty token: %w", opCreate, ErrInvalidToken)
	}
	return token, nil
}

func (c *Client) invalidate(ctx context.Context, token string) {
	if i, ok := c.tokens.(TokenInvalidator); ok {
		i.InvalidateToken(ctx, token)
	}
}

// Format prints the Client without the token that its [TokenProvider] may hold.
func (c *Client) Format(f fmt.State, _ rune) { formatOpaque(f, "wxqrcode.Client") }

// LogValue keeps what the Client holds out of logs.
func (c *Client) LogValue() slog.Value { return slog.StringValue("wxqrcode.Client") }

// An Action is the kind of a code, by WeChat's name (action_name).
type Action string

// The four actions.
const (
	ActionTemporaryID  Action = "QR_SCENE"
	ActionTemporaryStr Action = "QR_STR_SCENE"
	ActionPermanentID  Action = "QR_LIMIT_SCENE"
	ActionPermanentStr Action = "QR_LIMIT_STR_SCENE"
)

// A Request says which code to make. Make one with [Temporary] or [Permanent].
// Requests may be compared with ==. The zero Request is invalid.
type Request struct {
	kind     requestKind
	scene    Scene
	lifetime time.Duration
}

type requestKind uint8

const (
	noRequest requestKind = iota
	temporary
	permanent
)

// Temporary returns a request for a code that dies after lifetime: 1 s to
// [MaxLifetime], rounded down to whole seconds after the check, so that the
// result of [time.Until] will do. WeChat has a default for a lifetime that was
// forgotten (60 s, a bad surprise on a poster); here that is an error.
//
// An account may make as many temporary codes as its daily quota of calls allows
// (100,000).
func Temporary(s Scene, lifetime time.Duration) Request {
	return Request{kind: temporary, scene: s, lifetime: lifetime}
}

// Permanent returns a request for a code that never dies. An account may hold
// 100,000 of them in all, and none can be deleted ([ErrQuotaExceeded] once they
// are used up). The same scene again is the same code and, by all reports, takes no
// further one of them.
func Permanent(s Scene) Request { return Request{kind: permanent, scene: s} }

// Action returns the request's action, empty if the request has no scene.
func (r Request) Action() Action {
	switch {
	case r.kind == temporary && r.scene.kind == idScene:
		return ActionTemporaryID
	case r.kind == temporary && r.scene.kind == strScene:
		return ActionTemporaryStr
	case r.kind == permanent && r.scene.kind == idScene:
		return ActionPermanentID
	case r.kind == permanent && r.scene.kind == strScene:
		return ActionPermanentStr
	}
	return ""
}

// Scene returns the request's scene.
func (r Request) Scene() Scene { return r.scene }

// Lifetime returns the lifetime that WeChat will be asked for, in whole seconds;
// 0 for a permanent code.
func (r Request) Lifetime() time.Duration { return r.lifetime.Truncate(time.Second) }

func (r Request) isPermanent() bool { return r.kind == permanent }

// Validate checks the request against the platform's limits, without sending
// anything. Its error is a [*ValidationError].
func (r Request) Validate() error {
	if r.kind == noRequest {
		return &ValidationError{Field: "request", Reason: "is the zero Request; make one with Temporary or Permanent"}
	}
	if err := r.scene.validate(r.isPermanent()); err != nil {
		return err
	}
	if r.kind == temporary && (r.lifetime < time.Second || r.lifetime > MaxLifetime) {
		return &ValidationError{
			Field:  "lifetime",
			Value:  r.lifetime.String(),
			Reason: fmt.Sprintf("must be 1s to %v (30 days)", MaxLifetime),
		}
	}
	return nil
}

// quoteJSON escapes what JSON does not allow bare in a valid scene, and only
// that. WeChat takes a \u escape for six characters of text, and encoding/json
// would write one for <, >, & and U+2028.
var quoteJSON = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// Body returns exactly the JSON that goes to WeChat, or the error of
// [Request.Validate]. Do not put it through [json.Marshal], which would escape
// characters that WeChat reads wrongly when escaped.
func (r Request) Body() ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, 192), '{')
	if r.kind == temporary {
		b = append(b, `"expire_seconds":`...)
		b = strconv.AppendInt(b, int64(r.lifetime/time.Second), 10)
		b = append(b, ',')
	}
	b = append(b, `"action_name":"`...)
	b = append(b, r.Action()...)
	b = append(b, `","action_info":{"scene":{"scene_`...)
	if id, ok := r.scene.ID(); ok {
		b = append(b, `id":`...)
		b = strconv.AppendUint(b, uint64(id), 10)
	} else {
		b = append(b, `str":"`...)
		b = append(b, quoteJSON.Replace(r.scene.str)...)
		b = append(b, '"')
	}
	return append(b, `}}}`...), nil
}

// A QRCode is a code that WeChat made.
//
// As JSON it has the members ticket, url, expire_seconds (whole seconds) and
// expires_at, the last two only for a temporary code, and it reads its own JSON
// back.
type QRCode struct {
	// Ticket fetches the picture: see [Client.Image] and [Ticket.ImageURL].
	Ticket Ticket
	// URL is the text in the code. Draw it to have the code in another size or
	// format than WeChat's. Empty if the server sent none.
	URL string
	// Lifetime is what WeChat granted, or else what was asked for; 0 for a
	// permanent code.
	Lifetime time.Duration
	// ExpiresAt is when a temporary code dies, by this machine's clock and counted
	// from before the call, so rather too early than too late; zero for a permanent
	// code.
	ExpiresAt time.Time
}

const maxExpireSeconds = int64(MaxLifetime / time.Second)

// qrCodeJSON is the JSON form of a QRCode.
type qrCodeJSON struct {
	Ticket        Ticket    `json:"ticket"`
	URL           string    `json:"url"`
	ExpireSeconds int64     `json:"expire_seconds,omitempty"`
	ExpiresAt     time.Time `json:"expires_at,omitzero"`
}

// MarshalJSON implements [json.Marshaler].
func (q QRCode) MarshalJSON() ([]byte, error) {
	return json.Marshal(qrCodeJSON{
		Ticket:        q.Ticket,
		URL:           q.URL,
		ExpireSeconds: int64(q.Lifetime / time.Second),
		ExpiresAt:     q.ExpiresAt,
	})
}

// UnmarshalJSON implements [json.Unmarshaler]. It returns a [*ValidationError]
// if expire_seconds is negative or beyond [MaxLifetime].
func (q *QRCode) UnmarshalJSON(b []byte) error {
	if string(b) == "null" { // by the convention of encoding/json
		return nil
	}
	var j qrCodeJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("wxqrcode: read a code's JSON: %w", err)
	}
	if j.ExpireSeconds < 0 || j.ExpireSeconds > maxExpireSeconds {
		return &ValidationError{
			Field:  "expire_seconds",
			Value:  strconv.FormatInt(j.ExpireSeconds, 10),
			Reason: fmt.Sprintf("must be 0 to %d (30 days)", maxExpireSeconds),
		}
	}
	*q = QRCode{
		Ticket:    j.Ticket,
		URL:       j.URL,
		Lifetime:  time.Duration(j.ExpireSeconds) * time.Second,
		ExpiresAt: j.ExpiresAt,
	}
	return nil
}

// isRefusedToken reports whether WeChat refused the access token itself, so that
// another one may be taken.
func isRefusedToken(err error) bool {
	if err == nil {
		return false
	}
	e, ok := errors.AsType[*APIError](err)
	return ok && (e.Code == errcodeInvalidCredential || e.Code == errcodeInvalidToken || e.Code == errcodeTokenExpired)
}
