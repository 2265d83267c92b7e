package wxqrcode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
