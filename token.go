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
	"runtime/debug"
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

// A TokenInvalidator is a [TokenProvider] that wants to know when WeChat rejects
// a token (40001, 40014 or 42001), so that its next AccessToken returns another
// one. InvalidateToken may be called several times for one token, and late.
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
// it before it expires. Create one with [New] or [NewTokenSource] and share it; it
// is safe for concurrent use, and there is nothing to close.
//
// Concurrent callers share one fetch. The first reader after the refresh margin
// has begun (5 minutes before expiry, or a fifth of the lifetime if that is less)
// starts a refresh in the background. A token that WeChat rejects is dropped and
// fetched anew, with force_refresh if WeChat returns the same token again.
// Permanent errors, such as a wrong AppSecret, are cached for 10 s.
type TokenSource struct {
	appID  string
	tokens *storedTokens
	log    *slog.Logger

	cached atomic.Pointer[cachedToken] // nil if there is none

	mu       sync.Mutex  // guards the fields below, and writes to cached
	inflight *tokenFetch // nil if there is none
	rejected secret      // the token that WeChat rejected last
	err      error       // the last permanent error
	errUntil time.Time
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
// AppSecret. It uses stable_token, which returns the same token to every caller,
// so that several programs can each have their own source. It returns a
// [*ValidationError] if a value is empty or an option is invalid; only a request
// can tell whether the values are right.
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
	switch {
	case appID == "":
		return nil, invalidConfig("AppID", "", "must not be empty")
	case appSecret == "":
		return nil, invalidConfig("AppSecret", "", "must not be empty")
	}
	api := &tokenAPI{
		client:    cfg.api(),
		appID:     appID,
		appSecret: newSecret(appSecret),
		legacy:    cfg.legacyToken,
		redact:    newRedactor(appSecret),
	}
	store := cfg.tokenStore
	if store == nil {
		store = newMemoryStore()
	}
	return &TokenSource{appID: appID, tokens: &storedTokens{api: api, store: store, log: cfg.log}, log: cfg.log}, nil
}

// AccessToken returns the access token. It fetches one if none is cached or the
// cached one expired. The fetch takes at most 15 s and continues for other callers
// if ctx ends.
func (s *TokenSource) AccessToken(ctx context.Context) (string, error) {
	c, now := s.cached.Load(), time.Now()
	switch {
	case c == nil || !now.Before(c.expiresAt):
		return s.fetchAndWait(ctx)
	case !now.Before(c.refreshAt):
		s.refresh(ctx, c)
	}
	return c.value, nil
}

// InvalidateToken drops the token if it is the cached one, so that the next
// AccessToken fetches another. A [Client] calls it when WeChat rejects a token.
func (s *TokenSource) InvalidateToken(_ context.Context, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.cached.Load(); c != nil && c.value == token {
		s.rejected = newSecret(token)
		s.cached.Store(nil)
	}
}

// Format prints the TokenSource without its secret and token.
func (s *TokenSource) Format(f fmt.State, _ rune) { writeOpaque(f, s.LogValue().String()) }

// LogValue keeps the secret and the token out of logs.
func (s *TokenSource) LogValue() slog.Value {
	return slog.StringValue("wxqrcode.TokenSource(" + s.appID + ")")
}

// refresh starts a fetch in the background if c is still cached and no fetch is
// in flight.
func (s *TokenSource) refresh(ctx context.Context, c *cachedToken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inflight == nil && s.cached.Load() == c {
		s.startFetch(ctx, c.value)
	}
}

// fetchAndWait joins the fetch in flight, or starts one, and waits for it.
func (s *TokenSource) fetchAndWait(ctx context.Context) (string, error) {
	if s.tokens == nil {
		return "", invalidConfig("TokenSource", "", "must not be the zero TokenSource; use NewTokenSource")
	}
	if ctx.Err() != nil {
		return "", s.tokens.api.wrap(context.Cause(ctx))
	}
	s.mu.Lock()
	c, now := s.cached.Load(), time.Now()
	if c != nil && now.Before(c.expiresAt) { // another caller was faster
		s.mu.Unlock()
		return c.value, nil
	}
	if s.inflight == nil && now.Before(s.errUntil) {
		err := s.err
		s.mu.Unlock()
		return "", err
	}
	if s.inflight == nil {
		s.startFetch(ctx, "")
	}
	f := s.inflight
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return "", s.tokens.api.wrap(context.Cause(ctx))
	}
}

// startFetch starts a fetch that outlives ctx, for a token other than stale.
// s.mu must be held.
func (s *TokenSource) startFetch(ctx context.Context, stale string) {
	f := &tokenFetch{done: make(chan struct{})}
	s.inflight = f
	rejected := s.rejected.reveal()
	go func() {
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), fetchTimeout.limit, fetchTimeout)
		defer cancel()
		for {
			token, err := s.fetch(ctx, stale, rejected)
			again := s.finish(f, rejected, token, err)
			if again == "" {
				return
			}
			stale, rejected = "", again
		}
	}()
}

// fetch gets a token from the store or from WeChat. A panic or runtime.Goexit in
// a transport or a store is an error; code that ignores ctx is abandoned.
func (s *TokenSource) fetch(ctx context.Context, stale, rejected string) (Token, error) {
	type result struct {
		token Token
		err   error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: s.tokens.api.wrap(errors.New("the transport or the token store called runtime.Goexit"))}
		defer func() {
			if p := recover(); p != nil {
				r.err = s.tokens.api.wrap(&panicError{p, debug.Stack()})
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

// finish ends the fetch f with its result and releases the waiters. If the
// result is a token that WeChat rejected during the fetch, it returns that token
// and the fetch continues.
func (s *TokenSource) finish(f *tokenFetch, rejected string, token Token, err error) (again string) {
	s.mu.Lock()
	if now := s.rejected.reveal(); err == nil && now == token.Value && now != rejected {
		s.mu.Unlock()
		return now
	}
	s.inflight = nil
	f.token, f.err = token.Value, err
	c, now := s.cached.Load(), time.Now()
	switch {
	case err == nil && (c == nil || c.value != token.Value || !now.Before(c.expiresAt)):
		s.cached.Store(newCachedToken(token, now))
		s.errUntil = time.Time{}
	case c != nil: // the refresh failed or returned the same token
		s.cached.Store(&cachedToken{value: c.value, refreshAt: now.Add(refreshRetryDelay), expiresAt: c.expiresAt})
	}
	if isPermanent(err) {
		s.err, s.errUntil = err, now.Add(errorTTL)
	}
	s.mu.Unlock()
	close(f.done)
	if err != nil {
		s.logFailure(err)
	}
	return ""
}

func (s *TokenSource) logFailure(err error) {
	attrs := []slog.Attr{slog.String("op", s.tokens.api.op()), slog.String("error", err.Error())}
	if p, ok := errors.AsType[*panicError](err); ok {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	s.log.LogAttrs(context.Background(), slog.LevelWarn, "wxqrcode: access token not fetched", attrs...)
}

// A panicError is a panic of a transport or a token store.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// isPermanent reports whether an immediate retry is of no use.
func isPermanent(err error) bool {
	for _, sentinel := range []error{ErrInvalidCredential, ErrIPNotAllowed, ErrUnauthorized, ErrQuotaExceeded, ErrInvalidToken} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
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
	redact    *redactor // of the AppSecret and of all recent tokens
}

// fetch requests a token. With force, WeChat invalidates the current token and
// creates another one; such a request is sent once, because WeChat allows 20 a
// day.
func (a *tokenAPI) fetch(ctx context.Context, force bool) (Token, error) {
	r := &apiRequest{op: a.op(), timeout: jsonTimeout, noRetry: force, closeConn: true, redact: a.redact}
	if a.legacy {
		r.method, r.path = http.MethodGet, "/cgi-bin/token"
		r.secretQuery = url.Values{"grant_type": {"client_credential"}, "appid": {a.appID}, "secret": {a.appSecret.reveal()}}.Encode()
	} else {
		r.method, r.path = http.MethodPost, "/cgi-bin/stable_token"
		r.body = a.stableTokenBody(force)
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

func (a *tokenAPI) stableTokenBody(force bool) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(struct { // strings and a bool: it cannot fail
		GrantType    string `json:"grant_type"`
		AppID        string `json:"appid"`
		Secret       string `json:"secret"`
		ForceRefresh bool   `json:"force_refresh,omitempty"`
	}{"client_credential", a.appID, a.appSecret.reveal(), force})
	return b.Bytes()
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

// status removes a token beside an errcode from the errmsg.
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
