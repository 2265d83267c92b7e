package wxtest

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Tokens, by https://developers.weixin.qq.com/doc/service/api/base/api_getaccesstoken.html
// and https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken.html.
// Not documented, and chosen here: the day of the limit on force_refresh is the
// last 24 hours, a forced refresh beyond a limit changes no count, and what a
// token cannot be (its length, its characters) is 40014.
const (
	minTokenLength = 136
	maxTokenLength = 157
	maxOverlap     = 5 * time.Minute // for which an old and a new token live side by side,
	overlapPart    = 5               // or this part of their life, if that is less
	maxForced      = 20              // forced refreshes in a day
	forcedDay      = 24 * time.Hour
	minForcedApart = 30 * time.Second
)

// A tokenAnswer is what both token endpoints answer.
type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
}

// RevokeTokens makes all live tokens of both endpoints invalid at once (40001).
// The next fetch gives a new one. That is what callers meet when another program
// has forced a refresh, or more than 5 minutes after it fetched a legacy token.
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

// checkCredentials returns 0 or the code of the first fault. The two endpoints
// differ in the code for a wrong secret.
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

// tokens are the account's access tokens: two families, one an endpoint, that
// know nothing of each other.
type tokens struct {
	lifetime time.Duration
	overlap  time.Duration

	mu     sync.Mutex // guards what follows
	issued map[string]*token
	legacy *token
	stable *token
	forced []time.Time // the forced refreshes of the last day, oldest first
}

// A token dies at its end, or before that once it was replaced or killed.
type token struct {
	value string
	end   time.Time
	cut   time.Time // when it becomes invalid before its end; the end itself if it does not
}

func newTokens(lifetime time.Duration) *tokens {
	return &tokens{lifetime: lifetime, overlap: min(maxOverlap, lifetime/overlapPart), issued: make(map[string]*token)}
}

// fetchLegacy makes a new token. The one before it stays valid for the overlap.
func (t *tokens) fetchLegacy(now time.Time) tokenAnswer {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.legacy.dieAt(now.Add(t.overlap))
	t.legacy = t.issue(now)
	return t.legacy.answer(now)
}

// fetchStable returns the current token until the overlap before its end, then a
// new one beside which the old lives on to its end. A forced refresh kills it
// instead, within the limits; beyond them nothing is refreshed.
func (t *tokens) fetchStable(now time.Time, force bool) tokenAnswer {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case force && t.mayForce(now):
		t.forced = append(t.forced, now)
		t.stable.dieAt(now)
		t.stable = t.issue(now)
	case t.stable.check(now) != 0 || !now.Before(t.stable.end.Add(-t.overlap)):
		t.stable = t.issue(now)
	}
	return t.stable.answer(now)
}

// mayForce reports whether a refresh may be forced. The caller holds mu.
func (t *tokens) mayForce(now time.Time) bool {
	for len(t.forced) > 0 && !now.Before(t.forced[0].Add(forcedDay)) {
		t.forced = t.forced[1:]
	}
	n := len(t.forced)
	return n < maxForced && (n == 0 || !now.Before(t.forced[n-1].Add(minForcedApart)))
}

// issue makes a token. The caller holds mu.
func (t *tokens) issue(now time.Time) *token {
	spread := randomBytes(1)[0] % (maxTokenLength - minTokenLength + 1)
	end := now.Add(t.lifetime)
	k := &token{value: randomText(minTokenLength + int(spread)), end: end, cut: end}
	t.issued[k.value] = k
	return k
}

// revoke kills every live token.
func (t *tokens) revoke(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.issued {
		if k.check(now) == 0 {
			k.dieAt(now)
		}
	}
}

// check returns 0 for a token that may be used, else the code that a call with it
// is refused with.
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

// dieAt shortens the token's life, never lengthens it. There need be no token.
func (k *token) dieAt(at time.Time) {
	if k != nil && at.Before(k.cut) {
		k.cut = at
	}
}

func (k *token) check(now time.Time) (errcode int) {
	switch {
	case k == nil:
		return errcodeInvalidCredential
	case now.Before(k.cut):
		return 0
	case k.cut.Before(k.end):
		return errcodeInvalidCredential
	}
	return errcodeTokenExpired
}

func (k *token) answer(now time.Time) tokenAnswer {
	return tokenAnswer{AccessToken: k.value, ExpiresIn: max(1, int64(k.end.Sub(now)/time.Second))}
}
