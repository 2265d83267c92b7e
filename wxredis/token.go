package wxredis

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-0142d113/wxqrcode"
)

// A TokenStore stores access tokens in Redis, so that all instances of a program
// use the same one and only one at a time fetches the next. It implements
// [wxqrcode.TokenStore]. Create one with [NewTokenStore]; it is safe for
// concurrent use, and there is nothing to close.
//
// The lock of a key expires after 20 s, longer than a fetch takes. Each lock has a
// fencing token, a number greater than that of all earlier locks; a token is
// stored only if no later lock was taken, so that a slow instance cannot overwrite
// a newer token. Update waits for the lock for at most 3 s and then returns an
// error, because the lock holder may have been killed.
type TokenStore struct {
	rdb   redis.UniversalClient
	local sync.Map // of chan struct{}, by key; full while a caller of this instance has or awaits the lock
}

// NewTokenStore returns a TokenStore that stores its tokens in rdb.
func NewTokenStore(rdb redis.UniversalClient) *TokenStore { return &TokenStore{rdb: rdb} }

const (
	lockTTL              = 20 * time.Second // a fetch of a TokenSource takes at most 15 s
	lockWait             = 3 * time.Second  // leaves the caller time to fetch without the store
	retentionAfterExpiry = time.Minute      // for ForcedAt and the fencing token
)

var (
	errLockWait    = fmt.Errorf("another caller has held the lock for more than %v", lockWait)
	errLockExpired = fmt.Errorf("wxredis: the lock of the token expired after %v", lockTTL)
)

// Load implements [wxqrcode.TokenStore].
func (s *TokenStore) Load(ctx context.Context, key string) (wxqrcode.Token, error) {
	text, err := withTimeout(ctx, s.rdb, func(ctx context.Context) (string, error) {
		return s.rdb.HGet(ctx, tokenKey(key), "token").Result()
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return wxqrcode.Token{}, fmt.Errorf("wxredis: load token: %w", err)
	}
	token := decodeToken(text)
	if token.Value == "" {
		return wxqrcode.Token{}, wxqrcode.ErrTokenNotFound
	}
	return token, nil
}

// Update implements [wxqrcode.TokenStore].
func (s *TokenStore) Update(ctx context.Context, key string, fn func(context.Context, wxqrcode.Token) (wxqrcode.Token, error)) (wxqrcode.Token, error) {
	l, err := s.lock(ctx, key)
	if err != nil {
		return wxqrcode.Token{}, fmt.Errorf("wxredis: update token: %w", err)
	}
	defer l.unlock() // also if fn panics
	fnCtx, cancel := context.WithDeadlineCause(ctx, l.expiresAt, errLockExpired)
	defer cancel()
	defer context.AfterFunc(fnCtx, l.unlock)() // an fn that ignores its context must not block others
	token, err := fn(fnCtx, l.current)
	if err != nil && token == (wxqrcode.Token{}) {
		return token, err
	}
	newer, storeErr := s.store(ctx, key, l.fence, token)
	switch {
	case err != nil:
		return token, err
	case storeErr != nil:
		return token, fmt.Errorf("wxredis: update token: %w", storeErr)
	case newer.Value != l.current.Value && time.Now().Before(newer.ExpiresAt):
		return newer, nil
	}
	return token, nil
}

// A tokenLock is a lock that a caller of this instance has taken.
type tokenLock struct {
	fence     string // the fencing token
	current   wxqrcode.Token
	expiresAt time.Time
	unlock    func()
}

// lock waits for the lock of key, first within this instance and then in Redis.
func (s *TokenStore) lock(ctx context.Context, key string) (tokenLock, error) {
	waitCtx, cancel := context.WithTimeoutCause(ctx, lockWait, errLockWait)
	defer cancel()
	v, _ := s.local.LoadOrStore(key, make(chan struct{}, 1))
	local, _ := v.(chan struct{})
	select {
	case local <- struct{}{}:
	case <-waitCtx.Done():
		return tokenLock{}, context.Cause(waitCtx)
	}
	id := rand.Text()
	unlock := sync.OnceFunc(func() {
		_, _ = withTimeout(context.WithoutCancel(ctx), s.rdb, func(ctx context.Context) (int, error) { // the lock expires anyway
			return releaseScript.Run(ctx, s.rdb, []string{lockKey(key)}, id).Int()
		})
		<-local
	})
	for {
		now := time.Now()
		reply, err := withTimeout(waitCtx, s.rdb, func(ctx context.Context) ([]string, error) {
			return lockScript.Run(ctx, s.rdb, []string{lockKey(key), tokenKey(key)},
				id, lockTTL.Milliseconds(), retentionAfterExpiry.Milliseconds()).StringSlice()
		})
		if err == nil {
			return tokenLock{reply[0], decodeToken(reply[1]), now.Add(lockTTL), unlock}, nil
		}
		if errors.Is(err, redis.Nil) { // another instance holds the lock
			select {
			case <-time.After(pause()):
				continue
			case <-waitCtx.Done():
				err = context.Cause(waitCtx)
			}
		}
		go unlock() // Redis may have given the lock all the same
		return tokenLock{}, err
	}
}

// store stores token, also if ctx has ended: a force refresh must be recorded. If
// a later lock was taken, it returns what is stored instead.
func (s *TokenStore) store(ctx context.Context, key, fence string, token wxqrcode.Token) (newer wxqrcode.Token, err error) {
	text, err := json.Marshal(token)
	if err != nil {
		return wxqrcode.Token{}, err
	}
	ttl := max(time.Until(token.ExpiresAt), 0) + retentionAfterExpiry
	stored, err := withTimeout(context.WithoutCancel(ctx), s.rdb, func(ctx context.Context) (string, error) {
		return storeScript.Run(ctx, s.rdb, []string{tokenKey(key)}, fence, text, ttl.Milliseconds()).Text()
	})
	return decodeToken(stored), err
}

// decodeToken returns the zero Token for a text that is not one: the next Update
// replaces it, and an error could quote a token.
func decodeToken(text string) (token wxqrcode.Token) {
	if json.Unmarshal([]byte(text), &token) != nil {
		return wxqrcode.Token{}
	}
	return token
}

// The braces make Redis Cluster put both keys into one slot.
func tokenKey(key string) string { return "wxqrcode:{" + key + "}:token" }
func lockKey(key string) string  { return "wxqrcode:{" + key + "}:lock" }

// lockScript takes the lock and returns its fencing token and the stored token.
// The fencing token is the time in microseconds, which a Lua number holds exactly,
// and greater than the one before even if the clock of Redis was set back. A
// request that is repeated because the response was lost has the same result. A
// lock library would have no fencing token to check the write with.
var lockScript = redis.NewScript(`
	local holder = redis.call('GET', KEYS[1])
	if holder and holder ~= ARGV[1] then return false end
	local fence = redis.call('HGET', KEYS[2], 'fence')
	if not holder then
		local now = redis.call('TIME')
		fence = string.format('%.0f', math.max(now[1] * 1000000 + now[2], (fence or 0) + 1))
		redis.call('HSET', KEYS[2], 'fence', fence)
		if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
		redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
	end
	return {fence, redis.call('HGET', KEYS[2], 'token') or ''}
`)

// storeScript stores a token, or, if a later lock was taken, returns the stored
// one.
var storeScript = redis.NewScript(`
	if tonumber(redis.call('HGET', KEYS[1], 'fence') or 0) > tonumber(ARGV[1]) then
		return redis.call('HGET', KEYS[1], 'token') or ''
	end
	redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'token', ARGV[2])
	redis.call('PEXPIRE', KEYS[1], ARGV[3])
	return ''
`)

// releaseScript deletes a lock or a lease that the caller still holds.
var releaseScript = redis.NewScript(`
	if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
	return 0
`)

var _ wxqrcode.TokenStore = (*TokenStore)(nil)
