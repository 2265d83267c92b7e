package wxtest

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Limits of tokens. See
// https://developers.weixin.qq.com/doc/service/api/base/api_getaccesstoken.html
// and
// https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken.html.
// Not documented, and chosen here: the day of the limit on force_refresh is the
// last 24 hours, a force refresh that exceeds a limit does not count, and a
// token with a wrong length or a wrong character is 40014.
const (
	minTokenLength = 136
	maxTokenLength = 157
	maxOverlap     = 5 * time.Minute // both the previous and the new token are valid
	overlapDivisor = 5               // of the lifetime, if that is less than maxOverlap

	maxForced        = 20 // force refreshes in forcedPeriod
	forcedPeriod     = 24 * time.Hour
	minForceInterval = 30 * time.Second
)

// A tokenResponse is the response of both token endpoints.
type tokenResponse struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
}

// RevokeTokens invalidates all tokens of both endpoints at once (40001). The
// next fetch returns a new one. That happens to a program when another one
// forces a refresh, or 5 minutes after another one fetched a legacy token.
func (s *Server) RevokeTokens() { s.tokens.revoke(s.now()) }

// legacyToken is GET /cgi-bin/token.
func (s *Server) legacyToken(r *http.Request, _ []byte) (any, int) {
	if r.Method != http.MethodGet {
		return nil, errcodeRequireGet
	}
	q := r.URL.Query()
	if errcode := s.checkCredentials(q.Get("grant_type"), q.Get("appid"), q.Get("secret"), errcodeInvalidCredential); errcode != 0 {
		return nil, errcode
	}
	return s.tokens.fetchLegacy(s.now()), 0
}

// stableToken is POST /cgi-bin/stable_token.
func (s *Server) stableToken(r *http.Request, body []byte) (any, int) {
	o, errcode := parsePosted(r, body)
	if errcode != 0 {
		return nil, errcode
	}
	if errcode := s.checkCredentials(o.text("grant_type"), o.text("appid"), o.text("secret"), errcodeInvalidSecret); errcode != 0 {
		return nil, errcode
	}
	force := false
	if o.has("force_refresh") && json.Unmarshal(o["force_refresh"], &force) != nil {
		return nil, errcodeBadJSON
	}
	return s.tokens.fetchStable(s.now(), force), 0
}

// checkCredentials returns 0 or the errcode of the first mistake. The two
// endpoints differ in the errcode of a wrong secret.
func (s *Server) checkCredentials(grantType, appID, secret string, wrongSecret int) (errcode int) {
	switch {
	case grantType != "client_credential":
		return errcodeInvalidGrantType
	case appID == "":
		return errcodeNoAppID
	case appID != s.appID:
		return errcodeInvalidAppID
	case secret == "":
		return errcodeNoSecret
	case secret != s.appSecret:
		return wrongSecret
	}
	return 0
}

// tokens are the access tokens of the account. Those of the two endpoints are
// independent of each other.
type tokens struct {
	lifetime time.Duration
	overlap  time.Duration

	mu     sync.Mutex // guards the fields below
	issued map[string]*token
	legacy *token
	stable *token
	forced []time.Time // force refreshes in the last forcedPeriod, oldest first
}

// A token is valid until it expires, or until it was replaced or revoked.
type token struct {
	value      string
	expiresAt  time.Time
	validUntil time.Time // expiresAt, or before that if it was replaced or revoked
}

func newTokens(lifetime time.Duration) *tokens {
	return &tokens{lifetime: lifetime, overlap: min(maxOverlap, lifetime/overlapDivisor), issued: make(map[string]*token)}
}

// fetchLegacy returns a new token. The previous one stays valid for the
// overlap.
func (t *tokens) fetchLegacy(now time.Time) tokenResponse {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.legacy.expireAt(now.Add(t.overlap))
	t.legacy = t.issue(now)
	return t.legacy.response(now)
}

// fetchStable returns the current token until the overlap before it expires,
// then a new one; the previous one stays valid until it expires. Within the
// limits, a force refresh invalidates the current token at once; otherwise it
// has no effect.
func (t *tokens) fetchStable(now time.Time, force bool) tokenResponse {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case force && t.mayForce(now):
		t.forced = append(t.forced, now)
		t.stable.expireAt(now)
		t.stable = t.issue(now)
	case t.stable.check(now) != 0 || !now.Before(t.stable.expiresAt.Add(-t.overlap)):
		t.stable = t.issue(now)
	}
	return t.stable.response(now)
}

// mayForce reports whether the limits allow a force refresh. The caller holds
// mu.
func (t *tokens) mayForce(now time.Time) bool {
	for len(t.forced) > 0 && !now.Before(t.forced[0].Add(forcedPeriod)) {
		t.forced = t.forced[1:]
	}
	n := len(t.forced)
	return n < maxForced && (n == 0 || !now.Before(t.forced[n-1].Add(minForceInterval)))
}

// issue returns a new token. The caller holds mu.
func (t *tokens) issue(now time.Time) *token {
	spread := randomBytes(1)[0] % (maxTokenLength - minTokenLength + 1)
	expiresAt := now.Add(t.lifetime)
	k := &token{value: randomText(minTokenLength + int(spread)), expiresAt: expiresAt, validUntil: expiresAt}
	t.issued[k.value] = k
	return k
}

// revoke invalidates every token that is valid.
func (t *tokens) revoke(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.issued {
		if k.check(now) == 0 {
			k.expireAt(now)
		}
	}
}

// check returns 0 for a valid token, or the errcode of a request with it.
func (t *tokens) check(value string, now time.Time) (errcode int) {
	if value == "" {
		return errcodeNoToken
	}
	if len(value) < minTokenLength || len(value) > maxTokenLength || strings.Trim(value, urlSafe) != "" {
		return errcodeInvalidToken
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.issued[value].check(now)
}

// expireAt makes the token invalid at a time before it expires. k can be nil.
func (k *token) expireAt(at time.Time) {
	if k != nil && at.Before(k.validUntil) {
		k.validUntil = at
	}
}

func (k *token) check(now time.Time) (errcode int) {
	switch {
	case k == nil:
		return errcodeInvalidCredential
	case now.Before(k.validUntil):
		return 0
	case k.validUntil.Before(k.expiresAt):
		return errcodeInvalidCredential
	}
	return errcodeTokenExpired
}

func (k *token) response(now time.Time) tokenResponse {
	return tokenResponse{AccessToken: k.value, ExpiresIn: max(1, int64(k.expiresAt.Sub(now)/time.Second))}
}
