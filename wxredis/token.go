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
	conn
	local sync.Map // of chan struct{}, by key; full while a caller of this instance has or awaits the lock
}

// NewTokenStore returns a TokenStore that stores its tokens in rdb.
func NewTokenStore(rdb redis.UniversalClient, opts ...Option) *TokenStore {
	return &TokenStore{conn: newConn(rdb, opts)}
}

const (
	lockTTL              = 20 * time.Second     // a fetch of a TokenSource takes at most 15 s
	lockWait             = 3 * time.Second      // leaves the caller time to fetch without the store
	retentionAfterExpiry = time.Minute          // for ForcedAt and the fencing token
	maxTokenTTL          = 365 * 24 * time.Hour // Redis would take the TTL of the year 9999 for a negative one
)

var (
	errLockWait    = fmt.Errorf("another caller has held the lock for more than %v", lockWait)
	errLockExpired = fmt.Errorf("wxredis: the lock of the token expired after %v", lockTTL)
)

func (s *TokenStore) tokenKey(key string) redisKey { return s.key(key, "token", "hash") }
func (s *TokenStore) lockKey(key string) redisKey  { return s.key(key, "lock", "string") }

// Load implements [wxqrcode.TokenStore].
func (s *TokenStore) Load(ctx context.Context, key string) (wxqrcode.Token, error) {
	stored := s.tokenKey(key)
	text, err := run(ctx, s.conn, func(ctx context.Context) (string, error) {
		return s.rdb.HGet(ctx, stored.name, "token").Result()
	}, stored)
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
		if storeErr != nil {
			s.warn(ctx, "cannot record a force refresh", storeErr)
		}
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
	keys := []redisKey{s.lockKey(key), s.tokenKey(key)}
	release := func() error {
		_, err := runScript(context.WithoutCancel(ctx), s.conn, releaseScript, (*redis.Cmd).Int, keys[:1], id)
		<-local
		return err
	}
	unlock := sync.OnceFunc(func() {
		if err := release(); err != nil {
			s.warn(ctx, "cannot release the lock of a token; it expires after 20s", err)
		}
	})
	for {
		now := time.Now()
		reply, err := runScript(waitCtx, s.conn, lockScript, (*redis.Cmd).StringSlice, keys,
			id, lockTTL.Milliseconds(), retentionAfterExpiry.Milliseconds())
		if err == nil {
			return tokenLock{reply[0], decodeToken(reply[1]), now.Add(lockTTL), unlock}, nil
		}
		if errors.Is(err, redis.Nil) { // another instance holds the lock
			select {
			case <-time.After(pollDelay()):
				continue
			case <-waitCtx.Done():
				err = context.Cause(waitCtx)
			}
		}
		go func() { _ = release() }() // Redis may have taken the lock although it did not respond
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
	ttl := min(max(time.Until(token.ExpiresAt), 0), maxTokenTTL) + retentionAfterExpiry
	stored, err := runScript(context.WithoutCancel(ctx), s.conn, storeScript, (*redis.Cmd).Text, []redisKey{s.tokenKey(key)},
		fence, text, ttl.Milliseconds())
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

// fenceLua is a function for scripts. It returns the fencing token in the hash at
// key, or 0 if that is not a number that Lua holds exactly.
const fenceLua = `
	local function storedFence(key)
		local fence = tonumber(redis.call('HGET', key, 'fence') or 0)
		if fence and fence > 0 and fence < 2^53 then return fence end
		return 0
	end
`

// lockScript takes the lock and returns its fencing token and the stored token.
// The fencing token is the time in microseconds, which a Lua number holds exactly,
// and greater than the one before even if the clock of Redis was set back. A
// request that is repeated because the response was lost has the same result. A
// lock library would have no fencing token to check the write with.
var lockScript = redis.NewScript(otherHolderLua + fenceLua + `
	if otherHolder(KEYS[1], ARGV[1], ARGV[2]) then return false end
	local fence, ttl = storedFence(KEYS[2]), redis.call('PTTL', KEYS[2])
	if redis.call('GET', KEYS[1]) ~= ARGV[1] then
		local now = redis.call('TIME')
		fence = math.max(now[1] * 1000000 + now[2], fence + 1)
		redis.call('HSET', KEYS[2], 'fence', string.format('%.0f', fence))
		if ttl ~= -1 and ttl < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
		redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
	end
	return {string.format('%.0f', fence), redis.call('HGET', KEYS[2], 'token') or ''}
`)

// storeScript stores a token, or, if a later lock was taken, returns the stored
// one.
var storeScript = redis.NewScript(fenceLua + `
	if storedFence(KEYS[1]) > tonumber(ARGV[1]) then
		return redis.call('HGET', KEYS[1], 'token') or ''
	end
	redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'token', ARGV[2])
	redis.call('PEXPIRE', KEYS[1], ARGV[3])
	return ''
`)

var _ wxqrcode.TokenStore = (*TokenStore)(nil)
