package wxqrcode

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

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
// Its methods must end when their context does, but Renew must not return before a fetch
// that it called has. Nobody is kept waiting for longer than 15 s in any case. If their
// errors hold a token, it is cut out before they are shown.
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

// WithTokenStore makes a [TokenSource] share its token through s. With nil, as
// without it, the token stays in memory.
func WithTokenStore(s TokenStore) TokenOption {
	return tokenOption(func(set *settings) error {
		set.store = s
		return nil
	})
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
