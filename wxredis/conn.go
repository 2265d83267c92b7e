package wxredis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// conn is what all types of this package share.
type conn struct {
	rdb    redis.UniversalClient
	prefix string // of all keys
	log    *slog.Logger
}

// A redisKey is a key and the type of its value: "string", "hash" or "stream".
type redisKey struct{ name, valueType string }

// opTimeout is the timeout of an operation, including the retries of the client. A
// Redis that is slower counts as unavailable: a caller who waits for a token must
// have time left to fetch it without the store.
const opTimeout = time.Second

var (
	errTimeout  = &opError{"Redis did not respond within 1s", context.DeadlineExceeded}
	errNoClient = errors.New("there is no Redis client: it is nil")
)

// run calls op, which uses keys, and waits for it for at most opTimeout and until
// ctx ends.
func run[T any](ctx context.Context, c conn, op func(context.Context) (T, error), keys ...redisKey) (T, error) {
	return runWithin(ctx, opTimeout, c, op, keys...)
}

// runScript runs a script as run does, and reads its response with decode.
func runScript[T any](ctx context.Context, c conn, s *redis.Script, decode func(*redis.Cmd) (T, error), keys []redisKey, args ...any) (T, error) {
	return run(ctx, c, func(ctx context.Context) (T, error) {
		return decode(s.Run(ctx, c.rdb, names(keys), args...))
	}, keys...)
}

// runWithin is run with another timeout. A client of go-redis heeds a context only
// if ContextTimeoutEnabled is set; otherwise op continues in the background until
// the client's own timeouts end it.
func runWithin[T any](ctx context.Context, timeout time.Duration, c conn, op func(context.Context) (T, error), keys ...redisKey) (T, error) {
	var zero T
	if c.rdb == nil {
		return zero, errNoClient
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer cancel()
		value, err := op(ctx)
		c.reloadCluster(ctx, err)
		for healed := false; ctx.Err() == nil && c.canRetry(ctx, err, keys, &healed); {
			value, err = op(ctx)
		}
		done <- result{value, describe(err)}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select { // op returned, and its cancel was received first
	case r := <-done:
		return r.value, r.err
	default:
		return zero, context.Cause(ctx)
	}
}

// reloadCluster makes a client of a Redis Cluster look for the new master after a
// failed connection. By default it does so once a minute only.
func (c conn) reloadCluster(ctx context.Context, err error) {
	cluster, ok := c.rdb.(*redis.ClusterClient)
	if _, failed := errors.AsType[net.Error](err); ok && failed {
		cluster.ReloadState(ctx)
	}
}

// canRetry reports whether an operation that failed with err can be retried,
// after it has removed the cause or waited.
func (c conn) canRetry(ctx context.Context, err error, keys []redisKey, healed *bool) bool {
	e, ok := errors.AsType[redis.Error](err)
	switch {
	case !ok:
		return false
	case strings.Contains(e.Error(), "WRONGTYPE") && !*healed: // a script's error may begin otherwise
		*healed = true
		return c.heal(ctx, keys)
	case redis.IsTryAgainError(err), redis.IsClusterDownError(err), isRedirect(err): // a slot is moving to another node
		time.Sleep(pollDelay())
		return true
	}
	return false
}

// isRedirect reports whether the client has followed as many redirects as it may.
func isRedirect(err error) bool {
	_, moved := redis.IsMovedError(err)
	_, ask := redis.IsAskError(err)
	return moved || ask
}

// heal deletes values of another type than ours, which would fail every operation
// from then on. It reports whether there were any.
func (c conn) heal(ctx context.Context, keys []redisKey) bool {
	types := make([]any, len(keys))
	for i, key := range keys {
		types[i] = key.valueType
	}
	deleted, err := healScript.Run(ctx, c.rdb, names(keys), types...).Int()
	if err != nil || deleted == 0 {
		return err == nil // another instance may have healed them
	}
	c.warn(ctx, "deleted a value of another type; does another program use the same key prefix?", nil)
	return true
}

var healScript = redis.NewScript(`
	local deleted = 0
	for i, key in ipairs(KEYS) do
		local valueType = redis.call('TYPE', key).ok
		if valueType ~= 'none' and valueType ~= ARGV[i] then deleted = deleted + redis.call('DEL', key) end
	end
	return deleted
`)

// otherHolderLua is a function for scripts. It returns the holder of a lock or
// lease at key, if that is another than id. A value without expiry is not ours
// and holds nothing; one that expires after more than ttl expires after ttl.
const otherHolderLua = `
	local function otherHolder(key, id, ttl)
		local holder = redis.call('GET', key)
		if not holder or holder == id then return false end
		local left = redis.call('PTTL', key)
		if left < 0 then return false end
		if left > tonumber(ttl) and holder ~= 'done' then redis.call('PEXPIRE', key, ttl) end
		return holder
	end
`

// releaseScript deletes a lock or lease that the caller still holds.
var releaseScript = redis.NewScript(`
	if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
	return 0
`)

func names(keys []redisKey) []string {
	s := make([]string, len(keys))
	for i, key := range keys {
		s[i] = key.name
	}
	return s
}

// warn logs what happened, with err unless it is nil.
func (c conn) warn(ctx context.Context, what string, err error) {
	var attrs []slog.Attr
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	c.log.LogAttrs(ctx, slog.LevelWarn, "wxredis: "+what, attrs...)
}

// An opError describes an error of go-redis by its kind. The text of the error
// could quote an argument, such as an event with its OpenID, or a response.
type opError struct {
	kind string
	err  error
}

func (e *opError) Error() string { return e.kind }
func (e *opError) Unwrap() error { return e.err }

func describe(err error) error {
	if err == nil || errors.Is(err, redis.Nil) {
		return err
	}
	return &opError{kindOf(err), err}
}

func kindOf(err error) string {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[redis.Error](err); ok {
		return "Redis responded with " + redisErrorKind(e.Error())
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, redis.ErrClosed, redis.ErrPoolTimeout, redis.ErrPoolExhausted} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "the Redis client failed with an unknown error"
}

var (
	redisErrorCode = regexp.MustCompile(`^[A-Z]+\b`)
	// knownErrors are errors with the code ERR that say how to configure Redis or
	// the client.
	knownErrors = []string{
		"ERR max number of clients reached", "ERR DB index is out of range", "ERR unknown command",
		"ERR This instance has cluster support disabled", "ERR AUTH <password> called without any password configured",
	}
)

// redisErrorKind returns the code at the beginning of an error of Redis, or the
// beginning of a known one.
func redisErrorKind(text string) string {
	for _, known := range knownErrors {
		if strings.HasPrefix(text, known) {
			return known
		}
	}
	code := redisErrorCode.FindString(text)
	if code == "" {
		return "an error"
	}
	return "the error " + code
}

// The time between two attempts to take a lock that another caller holds.
const (
	minPollDelay = 20 * time.Millisecond
	maxPollDelay = 100 * time.Millisecond
)

// pollDelay returns a delay with jitter, so that instances do not poll in step.
func pollDelay() time.Duration {
	return minPollDelay + rand.N(maxPollDelay-minPollDelay) //nolint:gosec // no secret
}
