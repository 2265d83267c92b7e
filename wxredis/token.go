package wxredis

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-0142d113/wxqrcode"
)

// A TokenStore keeps access tokens in Redis, so that all instances of a program use
// the same one and only one at a time fetches another. It implements
// [wxqrcode.TokenStore]. Make one with [NewTokenStore]; it is safe for concurrent use,
// and there is nothing to close.
//
// Whoever fetches has a turn of 20 s, longer than a fetch can take, and a fencing
// value: the time at which Redis gave out the turn, always greater than the one
// before. A token is kept only by the fencing value that was given out last, so that
// whoever was held up beyond its turn cannot overwrite what came after it. Nobody waits
// for another's turn for longer than 3 s: its holder may have been killed. This is
// short Lua scripts and not a lock library: the libraries have no fencing value that
// the write could be checked by.
type TokenStore struct {
	rdb redis.UniversalClient
}

// NewTokenStore returns a TokenStore that keeps its tokens in rdb.
func NewTokenStore(rdb redis.UniversalClient) *TokenStore { return &TokenStore{rdb} }

const (
	turnLife = 20 * time.Second // a fetch of a TokenSource ends after 15 s
	turnWait = 3 * time.Second  // for another's turn; the caller must have time left to do without
	keptOver = time.Minute      // how long a token is kept after its end, for ForcedAt, and a fencing value
)

// Load implements [wxqrcode.TokenStore].
func (s *TokenStore) Load(ctx context.Context, key string) (wxqrcode.Token, error) {
	token, err := s.load(ctx, key)
	if err != nil {
		return wxqrcode.Token{}, fmt.Errorf("wxredis: load a token: %w", err)
	}
	return token, nil
}

func (s *TokenStore) load(ctx context.Context, key string) (token wxqrcode.Token, err error) {
	text, err := withTimeout(ctx, s.rdb, func(ctx context.Context) (string, error) {
		return s.rdb.HGet(ctx, tokenKey(key), "token").Result()
	})
	switch {
	case errors.Is(err, redis.Nil):
		return token, wxqrcode.ErrNoToken
	case err != nil:
		return token, err
	}
	if json.Unmarshal([]byte(text), &token) != nil { // whose error could show a part of it
		return wxqrcode.Token{}, errUnreadable
	}
	return token, nil
}

// errUnreadable is no reason not to renew: the next token takes its place.
var errUnreadable = fmt.Errorf("what is kept cannot be read: %w", wxqrcode.ErrNoToken)

// Renew implements [wxqrcode.TokenStore].
func (s *TokenStore) Renew(ctx context.Context, key, refused string, fetch func(context.Context, wxqrcode.Token) (wxqrcode.Token, error)) (wxqrcode.Token, error) {
	id := rand.Text()
	for deadline := time.Now().Add(turnWait); ; {
		kept, good, err := s.look(ctx, key, refused)
		if err != nil || good {
			return kept, err
		}
		fence, err := s.begin(ctx, key, id)
		if err != nil {
			go s.end(ctx, key, id) // it may have begun all the same
			return wxqrcode.Token{}, fmt.Errorf("wxredis: renew a token: %w", err)
		}
		if fence != "" {
			defer s.end(ctx, key, id) // also if fetch panics
			return s.renew(ctx, key, refused, fence, fetch)
		}
		if time.Now().After(deadline) {
			return wxqrcode.Token{}, fmt.Errorf("wxredis: renew a token: another instance has been at it for more than %v", turnWait)
		}
		select {
		case <-time.After(pause()):
		case <-ctx.Done():
			return wxqrcode.Token{}, fmt.Errorf("wxredis: renew a token: wait for another instance to do it: %w", context.Cause(ctx))
		}
	}
}

// renew is Renew in its turn.
func (s *TokenStore) renew(ctx context.Context, key, refused, fence string, fetch func(context.Context, wxqrcode.Token) (wxqrcode.Token, error)) (wxqrcode.Token, error) {
	kept, good, err := s.look(ctx, key, refused) // again: somebody's turn may have ended since
	if err != nil || good {
		return kept, err
	}
	token, err := fetch(ctx, kept)
	if err != nil {
		return wxqrcode.Token{}, err
	}
	text, err := json.Marshal(token)
	if err != nil {
		return wxqrcode.Token{}, errors.New("wxredis: renew a token: its times cannot be written")
	}
	life := max(time.Until(token.ExpiresAt), 0) + keptOver
	saved, err := withTimeout(ctx, s.rdb, func(ctx context.Context) (int, error) {
		return saveToken.Run(ctx, s.rdb, []string{tokenKey(key)}, fence, text, life.Milliseconds()).Int()
	})
	if err != nil {
		return wxqrcode.Token{}, fmt.Errorf("wxredis: keep a token: %w", err)
	}
	if saved == 1 {
		return token, nil
	}
	if newer, good, err := s.look(ctx, key, refused); err == nil && good {
		return newer, nil
	}
	return token, nil
}

// look returns the token that is kept, if any, and whether it is good: it lives, and is
// not the refused one.
func (s *TokenStore) look(ctx context.Context, key, refused string) (kept wxqrcode.Token, good bool, err error) {
	kept, err = s.load(ctx, key)
	switch {
	case errors.Is(err, wxqrcode.ErrNoToken):
		return wxqrcode.Token{}, false, nil
	case err != nil:
		return wxqrcode.Token{}, false, fmt.Errorf("wxredis: renew a token: %w", err)
	}
	return kept, kept.Value != refused && time.Now().Before(kept.ExpiresAt), nil
}

// begin returns the fencing value of the turn of id, or "" if another has the turn.
func (s *TokenStore) begin(ctx context.Context, key, id string) (fence string, err error) {
	fence, err = withTimeout(ctx, s.rdb, func(ctx context.Context) (string, error) {
		return beginTurn.Run(ctx, s.rdb, []string{turnKey(key), tokenKey(key)}, id, turnLife.Milliseconds(), keptOver.Milliseconds()).Text()
	})
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return fence, err
}

// end ends the turn of id, so that nobody need wait for the rest of it.
func (s *TokenStore) end(ctx context.Context, key, id string) {
	_, _ = withTimeout(context.WithoutCancel(ctx), s.rdb, func(ctx context.Context) (int, error) { // it ends by itself too
		return releaseScript.Run(ctx, s.rdb, []string{turnKey(key)}, id).Int()
	})
}

// The key is in braces: Redis Cluster puts what is in them into one slot.
func tokenKey(key string) string { return "wxqrcode:{" + key + "}:token" }
func turnKey(key string) string  { return "wxqrcode:{" + key + "}:turn" }

// beginTurn gives out a turn and its fencing value: microseconds, which fit a Lua
// number exactly, and always more than those given out before, also if the clock of
// Redis was set back. Who asks again, because the answer was lost, gets the same.
var beginTurn = redis.NewScript(`
	local holder = redis.call('GET', KEYS[1])
	if holder == ARGV[1] then return redis.call('HGET', KEYS[2], 'fence') end
	if holder then return false end
	local now = redis.call('TIME')
	local fence = now[1] * 1000000 + now[2]
	local last = tonumber(redis.call('HGET', KEYS[2], 'fence') or 0)
	if last >= fence then fence = last + 1 end
	fence = string.format('%.0f', fence)
	redis.call('HSET', KEYS[2], 'fence', fence)
	if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
	redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
	return fence
`)

// saveToken keeps a token if no greater fencing value was given out since.
var saveToken = redis.NewScript(`
	local last = tonumber(redis.call('HGET', KEYS[1], 'fence') or 0)
	if last > tonumber(ARGV[1]) then return 0 end
	redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'token', ARGV[2])
	redis.call('PEXPIRE', KEYS[1], ARGV[3])
	return 1
`)

// releaseScript deletes a lock or a lease that the caller still holds.
var releaseScript = redis.NewScript(`
	if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
	return 0
`)

var _ wxqrcode.TokenStore = (*TokenStore)(nil)
