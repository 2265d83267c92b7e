package wxqrcode

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

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
