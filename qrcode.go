// Package wxqrcode creates WeChat parametric QR codes (带参数二维码), fetches
// their images and parses the events of their scans.
//
// A [Client] creates a code that carries a [Scene]: a temporary code for a
// login or a binding, a permanent code for a poster or a shop.
//
//	client, err := wxqrcode.New(appID, appSecret)
//	code, err := client.Create(ctx, wxqrcode.Permanent(wxqrcode.SceneStr("poster-7")))
//	err = client.SaveImage(ctx, "poster-7.jpg", code.Ticket)
//
// When a user scans it, WeChat pushes an event to the callback URL of the
// account. [ParseEvent] parses it, and [Event.SceneKey] returns the scene.
// Package callback is an [net/http.Handler] that receives the pushes.
//
// The account must be a verified service account. Package wxtest simulates
// WeChat for tests, without an account.
//
// Errors match the variables of this package, such as [ErrQuotaExceeded], with
// [errors.Is]; their texts say what to do. No error, log line or fmt verb shows
// an access token or a secret.
//
// See https://developers.weixin.qq.com/doc/offiaccount/Account_Management/Generating_a_Parametric_QR_Code.html.
package wxqrcode

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A Client creates codes and fetches their images. Create one with [New] and
// share it: it is safe for concurrent use and reuses connections.
type Client struct {
	tokens TokenProvider // nil in cloud hosting
	source *TokenSource  // of New, else nil
	api    *apiClient
	images *apiClient
	redact *redactor // of the last few access tokens
}

// New returns a Client of the account with the given AppID and AppSecret, with
// a [TokenSource] of its own. It returns a [*ValidationError] if a value is
// empty or an option is invalid; only a request can tell whether the values are
// right.
func New(appID, appSecret string, opts ...Option) (*Client, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	source, err := cfg.tokenSource(appID, appSecret)
	if err != nil {
		return nil, err
	}
	c := cfg.client(source)
	c.source = source
	return c, nil
}

// NewClient returns a Client that gets the access token of each request from
// tokens: a token server, a third-party platform or a shared [TokenSource]. It
// returns a [*ValidationError] if tokens is nil, or if an option is invalid or
// configures a TokenSource.
func NewClient(tokens TokenProvider, opts ...Option) (*Client, error) {
	if tokens == nil {
		return nil, invalidConfig("TokenProvider", "", "must not be nil; use New, or pass a TokenSource")
	}
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	if err := cfg.rejectTokenOptions("NewClient"); err != nil {
		return nil, err
	}
	return cfg.client(tokens), nil
}

// NewCloudHosting returns a Client for a service that runs in WeChat cloud
// hosting (微信云托管). It sends requests without an access token to
// http://api.weixin.qq.com, where the platform adds the token. The path
// /cgi-bin/qrcode/create must be on the list of 云调用 in the cloud console. There
// is no fallback host unless [WithAPIURL] names one.
//
// It returns a [*ValidationError] if an option is invalid or configures a
// [TokenSource].
//
// See https://developers.weixin.qq.com/miniprogram/dev/wxcloudservice/wxcloudrun/src/guide/weixin/open.html.
func NewCloudHosting(opts ...Option) (*Client, error) {
	cfg, err := newConfig(append([]Option{WithAPIURL(cloudAPIURL)}, opts...))
	if err != nil {
		return nil, err
	}
	if err := cfg.rejectTokenOptions("NewCloudHosting"); err != nil {
		return nil, err
	}
	return cfg.client(nil), nil
}

func (cfg *config) client(tokens TokenProvider) *Client {
	return &Client{tokens: tokens, api: cfg.api(), images: cfg.apiClient(cfg.imageURL), redact: newRedactor("")}
}

// TokenSource returns the TokenSource of a Client that [New] returned, to share
// its access token with other WeChat code. Of other Clients it returns nil.
func (c *Client) TokenSource() *TokenSource { return c.source }

// Create creates a code.
//
// It returns a [*ValidationError] before anything is sent if r is invalid, an
// [*APIError] if WeChat responds with an error code, and a [*ResponseError] if
// the response does not come from WeChat.
//
// If WeChat rejects the access token, the token is invalidated (see
// [TokenInvalidator]), a new one is requested, and the request is retried once
// if the token changed. Transient failures are retried too (see [WithRetry]): a
// duplicate temporary code expires on its own, and a permanent scene always
// gives the same code.
//
// See https://developers.weixin.qq.com/doc/service/api/qrcode/qrcodes/api_createqrcode.html.
func (c *Client) Create(ctx context.Context, r Request) (*QRCode, error) {
	body, err := r.body()
	if err != nil {
		return nil, err
	}
	return withToken(ctx, c, opCreate, func(token string) (*QRCode, error) {
		sent := time.Now()
		res, err := doWithRetry(ctx, c.api, &apiRequest{
			op:          opCreate,
			method:      http.MethodPost,
			path:        "/cgi-bin/qrcode/create",
			secretQuery: accessTokenQuery(token),
			body:        body,
			timeout:     jsonTimeout,
			redact:      c.redact,
		}, decodeJSON[createResponse])
		if err != nil {
			return nil, err
		}
		return res.qrCode(r, sent), nil
	})
}

type createResponse struct {
	apiStatus
	Ticket        Ticket        `json:"ticket"`
	URL           string        `json:"url"`
	ExpireSeconds expireSeconds `json:"expire_seconds"`
}

func (r createResponse) missing() string {
	if r.Ticket == "" {
		return "no ticket"
	}
	return ""
}

// qrCode returns the code that WeChat created for a request sent at that time.
func (r createResponse) qrCode(req Request, sent time.Time) *QRCode {
	code := &QRCode{Ticket: r.Ticket, URL: r.URL, Lifetime: req.Lifetime()}
	if code.Lifetime == 0 { // permanent: some servers send expire_seconds all the same
		return code
	}
	if s := int64(r.ExpireSeconds); s > 0 && s <= maxExpireSeconds {
		code.Lifetime = time.Duration(s) * time.Second
	}
	code.ExpiresAt = sent.Add(code.Lifetime).Round(0).UTC()
	return code
}

// expireSeconds is the lifetime in a response. A value that is not a whole
// number counts as missing, because the code exists all the same.
type expireSeconds int64

func (s *expireSeconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		n = 0
	}
	*s = expireSeconds(n)
	return nil
}

// withToken calls f with an access token. If WeChat rejects the token, it
// invalidates it and calls f again if there is another token.
func withToken[T any](ctx context.Context, c *Client, op string, f func(token string) (T, error)) (T, error) {
	var zero T
	switch {
	case c.api == nil:
		return zero, errZeroClient
	case c.tokens == nil: // cloud hosting
		return f("")
	}
	token, err := c.accessToken(ctx, op)
	if err != nil {
		return zero, err
	}
	v, err := f(token)
	if !isRejectedToken(err) {
		return v, err
	}
	c.invalidateToken(ctx, token)
	next, tokenErr := c.accessToken(ctx, op)
	switch {
	case tokenErr != nil:
		return zero, fmt.Errorf("%w; no other token: %w", err, tokenErr)
	case next == token:
		return zero, err
	}
	v, err = f(next)
	if isRejectedToken(err) {
		c.invalidateToken(ctx, next)
	}
	return v, err
}

func (c *Client) accessToken(ctx context.Context, op string) (string, error) {
	token, err := c.tokens.AccessToken(ctx)
	switch {
	case err != nil:
		return "", c.redact.wrap(op+": access token", err)
	case token == "":
		return "", fmt.Errorf("wxqrcode: %s: the TokenProvider returned an empty token: %w", op, ErrInvalidToken)
	}
	c.redact.add(token)
	return token, nil
}

func (c *Client) invalidateToken(ctx context.Context, token string) {
	if i, ok := c.tokens.(TokenInvalidator); ok {
		i.InvalidateToken(ctx, token)
	}
}

// accessTokenQuery returns the query parameter of a token, if there is one.
func accessTokenQuery(token string) string {
	if token == "" {
		return ""
	}
	return "access_token=" + url.QueryEscape(token)
}

// Format prints the Client without the token that its [TokenProvider] may hold.
func (c *Client) Format(f fmt.State, _ rune) { writeOpaque(f, "wxqrcode.Client") }

// LogValue keeps the token that the [TokenProvider] may hold out of logs.
func (c *Client) LogValue() slog.Value { return slog.StringValue("wxqrcode.Client") }

// A QRCode is a code that WeChat created.
//
// Its JSON has the members ticket, url, expire_seconds (whole seconds) and
// expires_at, the last two only for a temporary code.
type QRCode struct {
	// Ticket fetches the image: see [Client.Image] and [Ticket.ImageURL].
	Ticket Ticket
	// URL is the text in the code. Render it for another size or format than
	// WeChat's image. Empty if the server sent none.
	URL string
	// Lifetime is what WeChat granted, or the requested lifetime if the response
	// has none; 0 for a permanent code.
	Lifetime time.Duration
	// ExpiresAt is when a temporary code expires, by the clock of this machine and
	// counted from before the request, so never too late; zero for a permanent
	// code.
	ExpiresAt time.Time
}

const maxExpireSeconds = int64(MaxLifetime / time.Second)

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
// if expire_seconds is negative or exceeds [MaxLifetime].
func (q *QRCode) UnmarshalJSON(b []byte) error {
	if string(b) == "null" { // by the convention of encoding/json
		return nil
	}
	var j qrCodeJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("wxqrcode: decode QRCode: %w", err)
	}
	if j.ExpireSeconds < 0 || j.ExpireSeconds > maxExpireSeconds {
		return invalidRequest("expire_seconds", strconv.FormatInt(j.ExpireSeconds, 10), fmt.Sprintf("must be 0 to %d (30 days)", maxExpireSeconds))
	}
	*q = QRCode{
		Ticket:    j.Ticket,
		URL:       j.URL,
		Lifetime:  time.Duration(j.ExpireSeconds) * time.Second,
		ExpiresAt: j.ExpiresAt,
	}
	return nil
}
