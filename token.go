package wxqrcode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A TokenProvider provides the access token for a request. Implementations must
// be safe for concurrent use. Use [TokenSource] unless another program already
// manages the token of the account: a central token server, or a third-party
// platform with its authorizer_access_token.
type TokenProvider interface {
	AccessToken(ctx context.Context) (string, error)
}

// A TokenInvalidator is a [TokenProvider] whose token can be invalidated. It is
// called when WeChat rejects the token (40001, 40014 or 42001), so that the
// next AccessToken returns another one. InvalidateToken may be called several
// times for one token, and late.
type TokenInvalidator interface {
	InvalidateToken(ctx context.Context, token string)
}

// TokenProviderFunc is a function that implements [TokenProvider].
type TokenProviderFunc func(ctx context.Context) (string, error)

// AccessToken calls f. If f is nil it returns a [*ValidationError].
func (f TokenProviderFunc) AccessToken(ctx context.Context) (string, error) {
	if f == nil {
		return "", invalidConfig("TokenProviderFunc", "", "must not be nil")
	}
	return f(ctx)
}

// StaticToken returns a provider that always returns token, for tests and short
// programs. A token is valid for two hours at most.
func StaticToken(token string) TokenProvider { return staticToken(newSecret(token)) }

type staticToken secret

func (t staticToken) AccessToken(context.Context) (string, error) { return secret(t).reveal(), nil }
func (t staticToken) Format(f fmt.State, _ rune)                  { writeOpaque(f, "wxqrcode.StaticToken") }
func (t staticToken) LogValue() slog.Value                        { return slog.StringValue("wxqrcode.StaticToken") }

const (
	maxTokenLifetime     = 7200 * time.Second // WeChat grants no more
	maxRefreshMargin     = 5 * time.Minute
	refreshMarginDivisor = 5    // of the lifetime
	minJitter            = 0.01 // of the margin; at least this, so that WeChat returns another token
	maxJitter            = 0.1
	refreshRetryDelay    = 20 * time.Second // after a refresh that failed or returned the same token
	errorTTL             = 10 * time.Second // how long a permanent error is cached
)

// A TokenSource fetches the access token of an account, caches it and refreshes
// it before it expires. Create one with [New] or [NewTokenSource] and share it;
// it is safe for concurrent use, and there is nothing to close.
//
// Concurrent callers share one fetch. The first reader after the refresh margin
// has begun (5 minutes before expiry, or a fifth of the lifetime if that is
// less) starts a refresh in the background. A token that WeChat rejects is
// dropped and replaced by a new one, with force_refresh if WeChat returns the
// same token again. Permanent errors, such as a wrong AppSecret, are cached for
// 10 s.
type TokenSource struct {
	appID  string
	tokens *storedTokens
	log    *slog.Logger

	cached atomic.Pointer[cachedToken] // nil if there is none

	mu       sync.Mutex  // guards the fields below, and writes to cached
	fetch    *tokenFetch // in flight, or the last one
	retryAt  time.Time   // before it, a fetch that is done is not repeated
	rejected secret      // the token that WeChat rejected last
}

// A cachedToken is immutable.
type cachedToken struct {
	value                string
	refreshAt, expiresAt time.Time // with monotonic clock readings
}

// A tokenFetch is a fetch that all waiters share.
type tokenFetch struct {
	done  chan struct{} // closed when token and err are set
	token string
	err   error
}

// NewTokenSource returns a TokenSource of the account with the given AppID and
// AppSecret. It uses stable_token, which returns the same token to every
// caller, so that several programs can each have their own source. It returns a
// [*ValidationError] if a value is empty or an option is invalid; only a
// request can tell whether the values are right.
//
// See https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken.html.
func NewTokenSource(appID, appSecret string, opts ...Option) (*TokenSource, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	return cfg.tokenSource(appID, appSecret)
}

func (cfg *config) tokenSource(appID, appSecret string) (*TokenSource, error) {
	const reason = "must not be empty, or begin or end with white space"
	switch {
	case appID == "" || strings.TrimSpace(appID) != appID:
		return nil, invalidConfig("AppID", appID, reason)
	case appSecret == "" || strings.TrimSpace(appSecret) != appSecret:
		return nil, invalidConfig("AppSecret", "", reason)
	}
	api := &tokenAPI{cfg.api(), appID, newSecret(appSecret), cfg.legacyToken, newRedactor(appSecret)}
	store := cfg.tokenStore
	if store == nil {
		store = newMemoryStore()
	}
	return &TokenSource{appID: appID, tokens: &storedTokens{api: api, store: store}, log: cfg.log}, nil
}

// AccessToken returns the access token. It fetches one if none is cached or the
// cached one expired. The fetch takes at most 15 s and continues for other
// callers if ctx ends.
func (s *TokenSource) AccessToken(ctx context.Context) (string, error) {
	if s == nil || s.tokens == nil {
		return "", invalidConfig("TokenSource", "", "must not be nil or the zero TokenSource; use NewTokenSource")
	}
	c, now := s.cached.Load(), time.Now()
	switch {
	case c != nil && now.Before(c.refreshAt):
		return c.value, nil
	case c != nil && now.Before(c.expiresAt):
		s.join(ctx) // a refresh in the background
		return c.value, nil
	case ctx.Err() != nil:
		return "", s.tokens.api.wrap(contextError(ctx))
	}
	f := s.join(ctx)
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return "", s.tokens.api.wrap(contextError(ctx))
	}
}

// InvalidateToken drops the token if it is the cached one, so that the next
// AccessToken fetches another. A [Client] calls it when WeChat rejects a token.
func (s *TokenSource) InvalidateToken(_ context.Context, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.cached.Load(); c != nil && c.value == token {
		s.cached.Store(nil)
		s.rejected, s.retryAt = newSecret(token), time.Time{}
	}
}

// Format prints the TokenSource without its secret and token.
func (s *TokenSource) Format(f fmt.State, _ rune) { writeOpaque(f, s.LogValue().String()) }

// LogValue keeps the secret and the token out of logs.
func (s *TokenSource) LogValue() slog.Value {
	return slog.StringValue("wxqrcode.TokenSource(" + s.appID + ")")
}

// join returns the fetch in flight, or starts one that outlives ctx. It returns
// the last fetch if its token is fresh, or if it is too early for another one.
func (s *TokenSource) join(ctx context.Context) *tokenFetch {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, now := s.cached.Load(), time.Now()
	if s.fetch != nil && (!s.fetch.isDone() || now.Before(s.retryAt) || c != nil && now.Before(c.refreshAt)) {
		return s.fetch
	}
	stale := ""
	if c != nil && now.Before(c.expiresAt) {
		stale = c.value
	}
	s.fetch = &tokenFetch{done: make(chan struct{})}
	go s.run(context.WithoutCancel(ctx), s.fetch, stale, s.rejected.reveal())
	return s.fetch
}

func (f *tokenFetch) isDone() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// run fetches a token other than stale and rejected, and releases the waiters of
// f. It fetches again if WeChat rejects that token in the meantime.
func (s *TokenSource) run(ctx context.Context, f *tokenFetch, stale, rejected string) {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeout.limit, fetchTimeout)
	defer cancel()
	token, err := s.get(ctx, stale, rejected)
	for !s.finish(f, rejected, token, err) {
		stale, rejected = "", token.Value
		token, err = s.get(ctx, stale, rejected)
	}
	close(f.done)
	if err == nil {
		return
	}
	message := "wxqrcode: access token not fetched"
	if f.err == nil {
		message = "wxqrcode: token store failed, using an access token without it"
	}
	s.log.LogAttrs(ctx, slog.LevelWarn, message, slog.String("op", s.tokens.api.op()), slog.String("error", err.Error()))
}

// get gets a token from the store or from WeChat. A token beside an error is
// valid: only the store failed. A panic or runtime.Goexit in a
// transport or a store is an error; code that ignores ctx is abandoned.
func (s *TokenSource) get(ctx context.Context, stale, rejected string) (Token, error) {
	type result struct {
		token Token
		err   error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: s.tokens.api.wrap(errors.New("the transport or the token store called runtime.Goexit"))}
		defer func() {
			if p := recover(); p != nil {
				r.err = s.tokens.api.wrap(fmt.Errorf("panic in the transport or the token store: %v", p))
			}
			done <- r
		}()
		r.token, r.err = s.tokens.get(ctx, stale, rejected)
	}()
	select {
	case r := <-done:
		return r.token, r.err
	case <-ctx.Done():
		return Token{}, &transportError{error: s.tokens.api.wrap(context.Cause(ctx)), timeout: true}
	}
}

// finish sets the result of f and caches the token. It returns false if WeChat
// rejected that token during the fetch.
func (s *TokenSource) finish(f *tokenFetch, rejected string, token Token, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.rejected.reveal(); token.Value != "" && token.Value == now && now != rejected {
		return false
	}
	f.token, s.retryAt = token.Value, time.Time{}
	if token.Value == "" {
		f.err = err
	}
	c, now := s.cached.Load(), time.Now()
	valid := c != nil && now.Before(c.expiresAt)
	switch {
	case f.err == nil && (!valid || c.value != token.Value):
		s.cached.Store(newCachedToken(token, now))
	case valid: // the refresh failed or returned the same token
		s.retryAt = now.Add(min(refreshRetryDelay, c.expiresAt.Sub(now)))
	case isPermanent(f.err):
		s.retryAt = now.Add(errorTTL)
	}
	return true
}

// isPermanent reports whether an immediate retry is of no use.
func isPermanent(err error) bool {
	return errors.Is(err, ErrInvalidCredential) || errors.Is(err, ErrIPNotAllowed) || errors.Is(err, ErrUnauthorized) ||
		errors.Is(err, ErrQuotaExceeded) || errors.Is(err, ErrInvalidToken)
}

func newCachedToken(t Token, now time.Time) *cachedToken {
	lifetime := min(time.Until(t.ExpiresAt), maxTokenLifetime)
	margin := min(maxRefreshMargin, lifetime/refreshMarginDivisor)
	jitter := minJitter + (maxJitter-minJitter)*rand.Float64() //nolint:gosec // not a secret
	margin -= time.Duration(float64(margin) * jitter)
	return &cachedToken{value: t.Value, refreshAt: now.Add(lifetime - margin), expiresAt: now.Add(lifetime)}
}

// A tokenAPI requests access tokens from WeChat.
type tokenAPI struct {
	client    *apiClient
	appID     string
	appSecret secret
	legacy    bool      // use cgi-bin/token
	redact    *redactor // of the AppSecret and of the last few tokens
}

// fetch requests a token. With force, WeChat invalidates the current token and
// creates another one; such a request is sent once, because WeChat allows 20 a
// day.
func (a *tokenAPI) fetch(ctx context.Context, force bool) (Token, error) {
	r := &apiRequest{op: a.op(), timeout: jsonTimeout, noRetry: force, isToken: true, redact: a.redact}
	if a.legacy {
		r.method, r.path = http.MethodGet, "/cgi-bin/token"
		r.secretQuery = url.Values{"grant_type": {"client_credential"}, "appid": {a.appID}, "secret": {a.appSecret.reveal()}}.Encode()
	} else {
		r.method, r.path = http.MethodPost, "/cgi-bin/stable_token"
		end := "}"
		if force {
			end = `,"force_refresh":true}`
		}
		r.body = fmt.Appendf(nil, `{"grant_type":"client_credential","appid":"%s","secret":"%s"%s`,
			jsonEscaper.Replace(a.appID), jsonEscaper.Replace(a.appSecret.reveal()), end)
	}
	sent := time.Now()
	res, err := doWithRetry(ctx, a.client, r, decodeJSON[tokenResponse])
	if err != nil {
		return Token{}, err
	}
	a.redact.add(res.AccessToken)
	lifetime := maxTokenLifetime
	if res.ExpiresIn < maxTokenLifetime.Seconds() {
		lifetime = time.Duration(res.ExpiresIn * float64(time.Second))
	}
	return Token{Value: res.AccessToken, ExpiresAt: sent.Add(lifetime)}, nil
}

func (a *tokenAPI) op() string {
	if a.legacy {
		return opToken
	}
	return opStableToken
}

// rejectedAgain returns the error for the case that WeChat returns a token that
// it rejected.
func (a *tokenAPI) rejectedAgain(reason string) error {
	return fmt.Errorf("wxqrcode: %s: WeChat returned the rejected token again; %s: %w", a.op(), reason, ErrInvalidToken)
}

// wrap returns err with the operation in front and without secrets.
func (a *tokenAPI) wrap(err error) error { return a.redact.wrap(a.op(), err) }

type tokenResponse struct {
	apiStatus
	AccessToken string  `json:"access_token"`
	ExpiresIn   float64 `json:"expires_in"`
}

// status removes the token of a response from its errmsg.
func (r tokenResponse) status() apiStatus {
	s := r.apiStatus
	s.Message = newRedactor(r.AccessToken).replace(s.Message)
	return s
}

func (r tokenResponse) missing() string {
	switch {
	case r.AccessToken == "":
		return "no access_token"
	case r.ExpiresIn < 1:
		return fmt.Sprintf("expires_in is %v", r.ExpiresIn)
	}
	return ""
}
