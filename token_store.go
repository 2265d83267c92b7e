package wxqrcode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A Token is an access token in a [TokenStore]. Its JSON contains the value;
// fmt and slog print it redacted, except where they cannot know the type: fmt
// for a Token in an unexported field of a struct, slog's JSON for a Token in
// another value.
type Token struct {
	Value     string    `json:"value"`
	ExpiresAt time.Time `json:"expires_at"`
	ForcedAt  time.Time `json:"forced_at,omitzero"` // the last force refresh, of this token or an earlier one
}

// Format prints the Token without its value.
func (t Token) Format(f fmt.State, _ rune) { writeOpaque(f, t.LogValue().String()) }

// LogValue keeps the value out of logs.
func (t Token) LogValue() slog.Value {
	return slog.StringValue("wxqrcode.Token{Value:" + redacted + " ExpiresAt:" + t.ExpiresAt.Format(time.RFC3339) + "}")
}

func (t Token) isValid() bool { return t.Value != "" && time.Now().Before(t.ExpiresAt) }

// isUsable reports whether t is valid and neither stale nor rejected.
func (t Token) isUsable(stale, rejected string) bool {
	return t.isValid() && t.Value != stale && t.Value != rejected
}

// A TokenStore holds the token that several instances of a program share: in a
// database, a cache or a file. Pass it to each of them with [WithTokenStore].
// Package wxtest has a conformance suite, TestTokenStore.
//
// The key is "<appid>:stable" or "<appid>:legacy". Methods must return when their
// context ends. A Load takes at most 5 s, so does the wait for the lock of Update,
// and a fetch with all of it takes at most 15 s. If the text of an error
// contains a token, the TokenSource removes it.
type TokenStore interface {
	// Load returns the stored token, or [ErrTokenNotFound]. The token may be
	// expired.
	Load(ctx context.Context, key string) (Token, error)

	// Update locks key, calls fn once with the stored token (zero if there is
	// none, perhaps expired), stores the token that fn returns, unlocks key and
	// returns the token.
	//
	// If fn fails, Update returns its error unwrapped. A token that fn returns
	// together with an error has an empty Value; unless it is zero it is stored:
	// its ForcedAt records a force refresh that brought no token. Load reports
	// ErrTokenNotFound for it, and it is stored for at least a minute.
	//
	// If storing fails, Update returns the token of fn and the error: the token is
	// valid for this caller. If the lock was lost in the meantime, Update does not
	// overwrite a newer token but returns it.
	//
	// Waiting for the lock ends with ctx. The context of fn ends when ctx ends or
	// the lock is lost; the lock may be released when ctx ends, even if fn has not
	// returned. If fn panics, Update unlocks key.
	Update(ctx context.Context, key string, fn func(ctx context.Context, current Token) (Token, error)) (Token, error)
}

// A memoryStore is the TokenStore of a source that does not share its token.
type memoryStore struct {
	lock chan struct{} // full while Update holds it; a channel, so that waiting ends with a context

	mu     sync.Mutex
	tokens map[string]Token // guarded by mu
}

func newMemoryStore() *memoryStore {
	return &memoryStore{lock: make(chan struct{}, 1), tokens: make(map[string]Token)}
}

func (m *memoryStore) Load(_ context.Context, key string) (Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tokens[key]
	if t.Value == "" {
		return Token{}, ErrTokenNotFound
	}
	return t, nil
}

func (m *memoryStore) Update(ctx context.Context, key string, fn func(context.Context, Token) (Token, error)) (Token, error) {
	select {
	case m.lock <- struct{}{}:
	case <-ctx.Done():
		return Token{}, context.Cause(ctx)
	}
	unlock := sync.OnceFunc(func() { <-m.lock })
	defer unlock()
	defer context.AfterFunc(ctx, unlock)() // an fn that ignores its context must not block others
	m.mu.Lock()
	current := m.tokens[key]
	m.mu.Unlock()
	t, err := fn(ctx, current)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err != nil && t == Token{}:
		return t, err
	case ctx.Err() != nil: // the lock is lost
		return t, cmp.Or(err, context.Cause(ctx))
	}
	m.tokens[key] = t
	return t, err
}

const (
	// minForceInterval is the shortest time between two force refreshes: WeChat
	// ignores an earlier one.
	minForceInterval = 30 * time.Second

	// storeTimeout limits Load, and how long Update waits for the lock, so that a
	// store that hangs leaves time for a fetch without it.
	storeTimeout = 5 * time.Second
)

// storedTokens gets access tokens through a TokenStore, which several instances
// may share.
type storedTokens struct {
	api      *tokenAPI
	store    TokenStore
	forcedAt atomic.Int64 // the last force refresh of this instance, in Unix nanoseconds, if the store lost it
}

// get returns a valid token other than stale and rejected: from the store if
// another instance has put it there, else from WeChat. A token beside an error is
// valid: only the store failed.
func (s *storedTokens) get(ctx context.Context, stale, rejected string) (Token, error) {
	token, err := s.load(ctx)
	if err == nil && token.isUsable(stale, rejected) {
		return token, nil
	}
	if err != nil && !errors.Is(err, ErrTokenNotFound) {
		return s.fetchWithoutStore(ctx, rejected, err)
	}
	token, err = s.update(ctx, stale, rejected)
	if e, ok := errors.AsType[*fetchError](err); ok {
		return Token{}, e.error
	}
	if !token.isValid() {
		return s.fetchWithoutStore(ctx, rejected, cmp.Or(err, errExpiredToken))
	}
	if err != nil {
		err = s.storeError(err)
	}
	return token, err
}

var errExpiredToken = errors.New("the store returned an expired token")

func (s *storedTokens) load(ctx context.Context) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	token, err := s.store.Load(ctx, s.key())
	s.api.redact.add(token.Value)
	return token, err
}

// update fetches a token under the lock of the store, unless another instance has
// done so. An error of the fetch is a fetchError.
func (s *storedTokens) update(ctx context.Context, stale, rejected string) (Token, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waiting := time.AfterFunc(storeTimeout, cancel)
	defer waiting.Stop()
	token, err := s.store.Update(ctx, s.key(), func(ctx context.Context, current Token) (Token, error) {
		waiting.Stop()
		s.api.redact.add(current.Value)
		if current.isUsable(stale, rejected) {
			return current, nil
		}
		token, err := s.fetch(ctx, rejected, current.ForcedAt)
		if err != nil {
			err = &fetchError{err}
		}
		return token, err
	})
	s.api.redact.add(token.Value)
	return token, err
}

// A fetchError distinguishes an error of WeChat from one of the store.
type fetchError struct{ error }

func (e *fetchError) Unwrap() error { return e.error }

// fetch requests a token under the lock of the store, with a force refresh if
// WeChat returns the rejected token again. If the force refresh fails, it
// returns an empty token with ForcedAt and the error.
func (s *storedTokens) fetch(ctx context.Context, rejected string, forcedAt time.Time) (Token, error) {
	if own := s.forcedAt.Load(); own != 0 && time.Unix(0, own).After(forcedAt) {
		forcedAt = time.Unix(0, own)
	}
	token, err := s.api.fetch(ctx, false)
	if err != nil {
		return Token{}, err
	}
	if token.Value != rejected {
		token.ForcedAt = forcedAt
		return token, nil
	}
	switch {
	case s.api.legacy:
		return Token{}, s.api.rejectedAgain("this endpoint has no force refresh")
	case time.Since(forcedAt).Abs() < minForceInterval: // Abs, because the clock may have been set back
		return Token{}, s.api.rejectedAgain(fmt.Sprintf("the last force refresh was less than %v ago", minForceInterval))
	}
	now := time.Now()
	s.forcedAt.Store(now.UnixNano())
	token, err = s.api.fetch(ctx, true)
	if err == nil && token.Value == rejected {
		err = s.api.rejectedAgain("even after a force refresh, which WeChat allows 20 times a day")
	}
	if err != nil {
		return Token{ForcedAt: now}, err
	}
	token.ForcedAt = now
	return token, nil
}

// fetchWithoutStore requests a token while the store is down. Stable tokens
// allow that: WeChat returns the same one to every instance, unless one of them
// forces a refresh.
func (s *storedTokens) fetchWithoutStore(ctx context.Context, rejected string, storeErr error) (Token, error) {
	if s.api.legacy || ctx.Err() != nil {
		return Token{}, s.storeError(storeErr)
	}
	token, err := s.api.fetch(ctx, false)
	if err != nil {
		return Token{}, err
	}
	if token.Value == rejected {
		return Token{}, s.api.rejectedAgain("there is no force refresh while the token store is unavailable")
	}
	return token, s.storeError(storeErr)
}

func (s *storedTokens) storeError(err error) error {
	return s.api.redact.wrap(s.api.op()+": token store", err)
}

// key returns the key of the token. The tokens of the two endpoints are
// independent of each other.
func (s *storedTokens) key() string {
	if s.api.legacy {
		return s.api.appID + ":legacy"
	}
	return s.api.appID + ":stable"
}
