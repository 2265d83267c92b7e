package wxqrcode

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// A TokenProvider gives the access token for a call. Every implementation must be
// safe for concurrent use. [TokenSource] is the one to use unless something else
// keeps the account's token already: a central token server, or a third-party
// platform with its authorizer_access_token.
type TokenProvider interface {
	AccessToken(ctx context.Context) (string, error)
}

// A TokenInvalidator is a [TokenProvider] that wants to be told when WeChat refuses
// a token (40001, 40014 or 42001), so that its next AccessToken gives another. It
// may be told several times of one token, and late.
type TokenInvalidator interface {
	InvalidateToken(ctx context.Context, token string)
}

// TokenProviderFunc is a function that is a [TokenProvider].
type TokenProviderFunc func(ctx context.Context) (string, error)

// AccessToken calls f. If f is nil it returns a [*ValidationError].
func (f TokenProviderFunc) AccessToken(ctx context.Context) (string, error) {
	if f == nil {
		return "", &ValidationError{Field: "TokenProviderFunc", Reason: "is nil"}
	}
	return f(ctx)
}

// StaticToken returns a provider of the one token, for tests and short programs.
// Tokens live two hours at most; see [NewTokenSource] for more than that.
func StaticToken(token string) TokenProvider { return staticToken(hide(token)) }

type staticToken hidden

func (t staticToken) AccessToken(context.Context) (string, error) { return t(), nil }
func (t staticToken) Format(f fmt.State, _ rune)                  { formatOpaque(f, "wxqrcode.StaticToken") }
func (t staticToken) LogValue() slog.Value                        { return slog.StringValue("wxqrcode.StaticToken") }

// A Token is an access token as a [TokenStore] keeps it. Its JSON holds the value;
// fmt and slog do not show it, except where they cannot know: fmt for a Token in an
// unexported field of a struct, slog's JSON for one inside another value.
type Token struct {
	Value     string    `json:"value"`
	ExpiresAt time.Time `json:"expires_at"`
	ForcedAt  time.Time `json:"forced_at,omitzero"` // the last force_refresh, of this token or one before it
}

// Format prints the Token without its value.
func (t Token) Format(f fmt.State, _ rune) { formatOpaque(f, t.LogValue().String()) }

// LogValue keeps the token's value out of logs.
func (t Token) LogValue() slog.Value {
	return slog.StringValue("wxqrcode.Token{Value:" + redacted + " ExpiresAt:" + t.ExpiresAt.Format(time.RFC3339) + "}")
}

func (t Token) livesAt(now time.Time) bool { return t.Value != "" && t.ExpiresAt.After(now) }

// A TokenStore keeps the token that several instances of a program share: through
// a database, a cache, a file. Give it to each of them with [WithTokenStore].
//
// Its methods must end when their context does, and Renew not before the fetch that it
// called; nobody is kept waiting for longer than 15 s in any case. The tokens in an error of theirs are cut out of what is shown.
type TokenStore interface {
	// Load returns the token kept under key, which is "<appid>:stable" or
	// "<appid>:legacy", or an error that matches ErrNoToken if there is none.
	Load(ctx context.Context, key string) (Token, error)

	// Renew returns the kept token if it lives and its value is not refused.
	// Otherwise it calls fetch with the kept token, one process at a time, keeps
	// what fetch returns and returns it. Whoever has lost its turn meanwhile must
	// not overwrite a newer token. An error of fetch is returned, and nothing kept.
	Renew(ctx context.Context, key, refused string, fetch func(context.Context, Token) (Token, error)) (Token, error)
}

// WithLegacyToken makes a [TokenSource] call cgi-bin/token in place of
// stable_token. Each such call makes a new token, and the one before it dies five
// minutes later: two programs that do so for one account knock each other out,
// unless they share a [TokenStore].
//
// See https://developers.weixin.qq.com/doc/service/api/base/api_getaccesstoken.html.
func WithLegacyToken() TokenOption {
	return tokenOption(func(s *settings) error {
		s.legacy = true
		return nil
	})
}

// WithTokenStore makes a [TokenSource] share its token through s. With nil, as
// without it, the token stays in memory.
func WithTokenStore(s TokenStore) TokenOption {
	return tokenOption(func(set *settings) error {
		set.store = s
		return nil
	})
}

const (
	maxTokenLife  = 7200 * time.Second // more than WeChat ever grants counts as this
	maxMargin     = 5 * time.Minute    // a token with less than this left is old,
	marginPart    = 5                  // or with less than this part of its life,
	minJitter     = 0.01               // less this part of either at least, so that WeChat gives another by then,
	maxJitter     = 0.1                // and this part at most
	renewPause    = 20 * time.Second   // after a renewal that brought nothing new
	failurePause  = 10 * time.Second   // after an error that trying again does not mend
	forceInterval = 30 * time.Second   // WeChat refreshes nothing that is forced sooner
)

// A TokenSource fetches the account's access token, keeps it, and renews it before
// its end. Make one with [NewTokenSource] and share it; it is safe for concurrent
// use, and there is nothing to close.
//
// However many callers meet an empty or dead token, one request goes out. A token
// is renewed in the background, by the first reader who finds it old: with less
// left than 5 minutes or a fifth of its life, whichever is less. A token that WeChat
// refuses is dropped and fetched anew, by force (force_refresh) if WeChat gives the
// very same one again. Errors that no second try mends, such as a wrong secret, are
// remembered for 10 s.
type TokenSource struct {
	caller *caller
	appID  string
	secret hidden
	legacy bool
	store  TokenStore
	start  time.Time // the clock of cachedToken counts from here

	current atomic.Pointer[cachedToken]

	mu        sync.Mutex // guards what follows, and writing current
	flight    *flight    // the fetch under way, if any
	refused   hidden     // the token that WeChat refused last; nil if none
	forcedAt  time.Time  // this source's last force_refresh
	failure   error      // remembered
	failureTo time.Duration
}

// A cachedToken is a token and when to renew it. Its times count from
// TokenSource.start by the monotonic clock, which does not step.
type cachedToken struct {
	value   string
	dies    time.Duration
	renewAt atomic.Int64 // a time.Duration, never after dies
}

// A flight is a fetch that everybody waits for.
type flight struct {
	done  chan struct{} // closed when token and err are set
	token string
	err   error
}

// NewTokenSource returns a TokenSource for the account with that AppID and
// AppSecret. It uses stable_token, whose token is the same for everybody who asks,
// so that several programs may each have a source of their own. It returns a
// [*ValidationError] for an empty appID or appSecret, or an unusable option; whether
// they are right, only WeChat can say.
//
// See https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken.html.
func NewTokenSource(appID, appSecret string, opts ...TokenOption) (*TokenSource, error) {
	if appID == "" {
		return nil, &ValidationError{Field: "appid", Reason: "is empty"}
	}
	if appSecret == "" {
		return nil, &ValidationError{Field: "secret", Reason: "is empty"}
	}
	set := defaultSettings()
	for _, o := range opts {
		if o == nil {
			continue
		}
		if err := o.applyToken(&set); err != nil {
			return nil, err
		}
	}
	if set.store == nil {
		set.store = new(memoryStore)
	}
	return &TokenSource{
		caller: set.caller(set.apiHosts),
		appID:  appID,
		secret: hide(appSecret),
		legacy: set.legacy,
		store:  set.store,
		start:  time.Now(),
	}, nil
}

// AccessToken returns the account's access token, from memory as a rule. If a token
// must be fetched it waits for that, no longer than ctx allows and 15 s; a caller
// that gives up does not stop the fetch for the others.
//
// It returns an [*APIError] if WeChat refuses; see [ErrInvalidCredential] and
// [ErrIPNotAllowed]. [ErrInvalidToken] says that WeChat refused the token and gives
// no other for now: a token may be replaced by force every 30 s only.
func (s *TokenSource) AccessToken(ctx context.Context) (string, error) {
	if c := s.current.Load(); c != nil {
		now := time.Since(s.start)
		if int64(now) < c.renewAt.Load() {
			return c.value, nil
		}
		if now < c.dies {
			s.renew(ctx, c, now)
			return c.value, nil
		}
	}
	return s.wait(ctx)
}

// InvalidateToken drops the token if it is the current one, so that the next
// AccessToken fetches another. A [Client] calls it when WeChat refuses a token.
func (s *TokenSource) InvalidateToken(_ context.Context, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.current.Load(); c != nil && c.value == token {
		s.refused = hide(token)
		s.current.Store(nil)
	}
}

// Format prints the TokenSource without its secret and token.
func (s *TokenSource) Format(f fmt.State, _ rune) { formatOpaque(f, s.LogValue().String()) }

// LogValue keeps the secret and the token out of logs.
func (s *TokenSource) LogValue() slog.Value {
	return slog.StringValue("wxqrcode.TokenSource(" + s.appID + ")")
}

// wait waits for a token to be fetched.
func (s *TokenSource) wait(ctx context.Context) (string, error) {
	if s.caller == nil {
		return "", &ValidationError{Field: "TokenSource", Reason: "is the zero value; make one with NewTokenSource"}
	}
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("wxqrcode: %s: %w", s.op(), err)
	}
	f, err := s.join(ctx)
	if err != nil {
		return "", err
	}
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return "", fmt.Errorf("wxqrcode: %s: %w", s.op(), ctx.Err())
	}
}

// join returns the fetch under way, or begins one. What is there already counts as
// a fetch that is over.
func (s *TokenSource) join(ctx context.Context) (*flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Since(s.start)
	if c := s.current.Load(); c != nil && now < c.dies {
		return landed(c.value), nil
	}
	if s.failure != nil && now < s.failureTo {
		return nil, s.failure
	}
	if s.flight == nil {
		s.depart(ctx, "")
	}
	return s.flight, nil
}

func landed(token string) *flight {
	f := &flight{done: make(chan struct{}), token: token}
	close(f.done)
	return f
}

// renew begins to fetch a token in place of the old c, unless somebody has.
func (s *TokenSource) renew(ctx context.Context, c *cachedToken, now time.Duration) {
	due := c.renewAt.Load()
	if due > int64(now) || !c.renewAt.CompareAndSwap(due, int64(c.dies)) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil && s.current.Load() == c {
		s.depart(ctx, c.value)
	}
}

// depart begins a fetch that outlives ctx. The token old, if any, is what it is to
// replace. s.mu must be held.
func (s *TokenSource) depart(ctx context.Context, old string) {
	f := &flight{done: make(chan struct{})}
	s.flight = f
	go s.fly(context.WithoutCancel(ctx), f, old)
}

func (s *TokenSource) fly(ctx context.Context, f *flight, old string) {
	ctx, cancel := context.WithTimeoutCause(ctx, tokenTimeout.limit, tokenTimeout)
	defer cancel()
	// A store that does not heed ctx holds up nobody for longer.
	defer context.AfterFunc(ctx, func() {
		err := fmt.Errorf("wxqrcode: %s: %w", s.op(), context.Cause(ctx))
		s.land(f, Token{}, &transportError{error: err, timeout: true}, "")
	})()
	for {
		s.mu.Lock()
		refused := s.refused.reveal()
		s.mu.Unlock()
		t, err := s.obtain(ctx, old, refused)
		if s.land(f, t, err, refused) {
			return
		}
		old = "" // it was refused while this fetch was on its way
	}
}

// land ends the flight f with what it brought. It reports false if that is a token
// which was refused meanwhile.
func (s *TokenSource) land(f *flight, t Token, err error, refused string) bool {
	ended, failed := false, false
	defer func() {
		if failed { // logged without mu, as a logger may itself want a token
			s.caller.log.LogAttrs(context.Background(), slog.LevelWarn, "wxqrcode: no new access token",
				slog.String("op", s.op()), slog.String("error", err.Error()))
		}
		if ended {
			close(f.done)
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != f {
		return true // too late
	}
	if now := s.refused.reveal(); err == nil && now != refused && t.Value == now {
		return false
	}
	s.flight = nil
	f.token, f.err, ended = t.Value, err, true

	now := time.Since(s.start)
	c := s.current.Load()
	if err == nil && (c == nil || c.value != t.Value || now >= c.dies) {
		s.failure = nil
		s.current.Store(newCachedToken(t, now))
		return true
	}
	if c != nil {
		c.renewAt.Store(int64(min(now+renewPause, c.dies)))
	}
	if err == nil {
		return true
	}
	failed = true
	if isLasting(err) {
		s.failure, s.failureTo = err, now+failurePause
	}
	return true
}

// isLasting reports whether trying again at once is of no use.
func isLasting(err error) bool {
	for _, is := range []error{ErrInvalidCredential, ErrIPNotAllowed, ErrUnauthorized, ErrQuotaExceeded, ErrInvalidToken} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

func newCachedToken(t Token, now time.Duration) *cachedToken {
	left := min(time.Until(t.ExpiresAt), maxTokenLife)
	margin := min(maxMargin, left/marginPart)
	jitter := minJitter + (maxJitter-minJitter)*rand.Float64() //nolint:gosec // no secret
	margin -= time.Duration(float64(margin) * jitter)
	c := &cachedToken{value: t.Value, dies: now + left}
	c.renewAt.Store(int64(c.dies - margin))
	return c
}

// obtain gets a token other than old and refused: from the store if another
// instance has put one there, else from WeChat.
func (s *TokenSource) obtain(ctx context.Context, old, refused string) (Token, error) {
	avoid := old
	var gone error // why there is no store
	if avoid == "" {
		avoid = refused
		t, err := s.store.Load(ctx, s.key())
		switch {
		case err == nil && t.livesAt(time.Now()) && t.Value != avoid:
			return t, nil
		case err != nil && !errors.Is(err, ErrNoToken):
			gone = err
		}
	}
	var fetched, kept Token
	var asked bool
	var failed error
	fetch := func(ctx context.Context, k Token) (Token, error) {
		asked, kept = true, k
		fetched, failed = s.fetch(ctx, refused, kept.ForcedAt, true)
		if failed != nil && fetched.ForcedAt.After(kept.ForcedAt) {
			return fetched, nil // the refused token; the others must know that it was forced
		}
		return fetched, failed
	}
	t, err := Token{}, gone
	if gone == nil { // whose callers need not wait for it twice
		t, err = s.store.Renew(ctx, s.key(), avoid, fetch)
	}
	switch {
	case asked && failed != nil:
		return Token{}, failed
	case err == nil && t.livesAt(time.Now()):
		return t, nil
	case err == nil:
		err = errors.New("it gave a dead token")
	}
	known := s.secrets()
	known[3], known[4] = fetched.Value, kept.Value
	if !asked {
		return s.goOn(ctx, refused, err, known)
	}
	s.warnOfStore(ctx, err, known)
	return fetched, nil // and nobody else knows of it
}

// goOn gets a token without the store, which failed with err, if that harms nobody.
func (s *TokenSource) goOn(ctx context.Context, refused string, err error, known secrets) (Token, error) {
	if s.legacy || ctx.Err() != nil {
		return Token{}, s.storeError(err, known)
	}
	// stable_token gives every instance the same one, unless it is forced.
	t, failed := s.fetch(ctx, refused, time.Time{}, false)
	if failed == nil {
		known[3] = t.Value
		s.warnOfStore(ctx, err, known)
	}
	return t, failed
}

func (s *TokenSource) storeError(err error, known secrets) error {
	return known.wrap("wxqrcode: "+s.op()+": token store", err)
}

func (s *TokenSource) warnOfStore(ctx context.Context, err error, known secrets) {
	s.caller.log.LogAttrs(ctx, slog.LevelWarn, "wxqrcode: going on without the token store",
		slog.String("error", s.storeError(err, known).Error()))
}

// fetch gets a token from WeChat, by force if WeChat gives the refused one again and
// the store has given this instance the turn. If force brings no other, it returns the
// refused token, with its ForcedAt, and an error.
func (s *TokenSource) fetch(ctx context.Context, refused string, forcedAt time.Time, turn bool) (Token, error) {
	t, err := s.request(ctx, false)
	if err != nil {
		return Token{}, err
	}
	s.mu.Lock()
	if s.forcedAt.After(forcedAt) {
		forcedAt = s.forcedAt
	}
	s.mu.Unlock()
	t.ForcedAt = forcedAt
	if refused == "" || t.Value != refused {
		return t, nil
	}
	if !turn {
		return Token{}, fmt.Errorf("wxqrcode: %s: WeChat gives the token again that it refused; it is not replaced by force "+
			"without the token store, or the instances would knock each other out: %w", s.op(), ErrInvalidToken)
	}
	// A clock that was set back must not bar force_refresh for long.
	since := time.Since(forcedAt).Abs()
	if s.legacy || since < forceInterval {
		return Token{}, fmt.Errorf("wxqrcode: %s: WeChat gives the token again that it refused; "+
			"it may be replaced by force once in %v: %w", s.op(), forceInterval, ErrInvalidToken)
	}
	s.mu.Lock()
	s.forcedAt = time.Now()
	t.ForcedAt = s.forcedAt
	s.mu.Unlock()
	forced, err := s.request(ctx, true)
	if err != nil {
		return t, err
	}
	if forced.Value == refused {
		return t, fmt.Errorf("wxqrcode: %s: WeChat gives the token again that it refused, even by force "+
			"(which it allows 20 times a day): %w", s.op(), ErrInvalidToken)
	}
	forced.ForcedAt = t.ForcedAt
	return forced, nil
}

// request makes the call that brings a token.
func (s *TokenSource) request(ctx context.Context, force bool) (Token, error) {
	r := &call{op: s.op(), timeout: jsonTimeout, opaque: true, once: force, secrets: s.secrets()}
	if s.legacy {
		r.method = http.MethodGet
		r.path = "/cgi-bin/token"
		r.query = "?"
		r.value = url.Values{
			"grant_type": {"client_credential"}, "appid": {s.appID}, "secret": {s.secret()},
		}.Encode()
	} else {
		r.method = http.MethodPost
		r.path = "/cgi-bin/stable_token"
		r.body = s.stableTokenBody(force)
	}
	sent := time.Now() // the token's life began after this
	var a tokenAnswer
	if err := s.caller.json(ctx, r, &a); err != nil {
		return Token{}, err
	}
	life := maxTokenLife
	if a.ExpiresIn < maxTokenLife.Seconds() {
		life = time.Duration(a.ExpiresIn * float64(time.Second))
	}
	return Token{Value: a.AccessToken, ExpiresAt: sent.Add(life)}, nil
}

func (s *TokenSource) stableTokenBody(force bool) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(struct { // strings and a bool: it cannot fail
		GrantType    string `json:"grant_type"`
		AppID        string `json:"appid"`
		Secret       string `json:"secret"`
		ForceRefresh bool   `json:"force_refresh,omitempty"`
	}{"client_credential", s.appID, s.secret(), force})
	return b.Bytes()
}

type tokenAnswer struct {
	failure
	AccessToken string  `json:"access_token"`
	ExpiresIn   float64 `json:"expires_in"`
}

func (a *tokenAnswer) reset() { *a = tokenAnswer{} }

// refusal cuts a token that stands beside an error code out of its message.
func (a *tokenAnswer) refusal() failure {
	f := a.failure
	f.Message = secrets{a.AccessToken}.redact(f.Message)
	return f
}

func (a *tokenAnswer) missing() string {
	switch {
	case a.AccessToken == "":
		return "no access_token"
	case a.ExpiresIn < 1:
		return fmt.Sprintf("expires_in is %v", a.ExpiresIn)
	}
	return ""
}

func (s *TokenSource) op() string {
	if s.legacy {
		return opToken
	}
	return opStableToken
}

// key is what the token is kept under. The tokens of the two calls are independent
// of each other.
func (s *TokenSource) key() string {
	if s.legacy {
		return s.appID + ":legacy"
	}
	return s.appID + ":stable"
}

// secrets returns what this source knows and no error may show.
func (s *TokenSource) secrets() secrets {
	known := secrets{s.secret()}
	if c := s.current.Load(); c != nil {
		known[1] = c.value
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known[2] = s.refused.reveal()
	return known
}

// A memoryStore is the TokenStore of a source that shares its token with nobody.
// The zero value is ready to use.
type memoryStore struct {
	mu   sync.Mutex
	kept Token // guarded by mu
}

func (m *memoryStore) Load(context.Context, string) (Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept.Value == "" {
		return Token{}, ErrNoToken
	}
	return m.kept, nil
}

func (m *memoryStore) Renew(ctx context.Context, key, refused string, fetch func(context.Context, Token) (Token, error)) (Token, error) {
	kept, _ := m.Load(ctx, key)
	if kept.livesAt(time.Now()) && kept.Value != refused {
		return kept, nil
	}
	t, err := fetch(ctx, kept) // one at a time, as the source has one flight at a time
	if err == nil {
		err = ctx.Err() // too late: another flight may have kept a newer one
	}
	if err != nil {
		return Token{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = t
	return t, nil
}
