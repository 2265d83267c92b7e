package wxredis

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

// opLimit is how long one operation may take, retries of the client included. A
// Redis that is slower counts as gone: a caller who waits for a token must have time
// left to do without.
const opLimit = time.Second

var (
	errSlow     = errors.New("redis did not answer within 1s")
	errNoClient = errors.New("there is no Redis client: it is nil")
)

// withTimeout calls f, which uses rdb, and waits at most opLimit for it, and until ctx ends.
func withTimeout[T any](ctx context.Context, rdb redis.UniversalClient, f func(context.Context) (T, error)) (T, error) {
	return withTimeoutOf(ctx, opLimit, rdb, f)
}

// withTimeoutOf is limited with a limit of its own. A client of go-redis heeds a context
// only if ContextTimeoutEnabled is set; else f goes on by itself until the client's own
// time-outs end it.
func withTimeoutOf[T any](ctx context.Context, limit time.Duration, rdb redis.UniversalClient, f func(context.Context) (T, error)) (T, error) {
	var none T
	if rdb == nil {
		return none, errNoClient
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errSlow)
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer cancel()
		value, err := f(ctx)
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select { // f ended, and its cancel was seen first
	case r := <-done:
		return r.value, r.err
	default:
		return none, context.Cause(ctx)
	}
}

// How long to wait before looking again whether somebody else is done.
const (
	leastPause = 20 * time.Millisecond
	mostPause  = 100 * time.Millisecond
)

// pause returns a time to wait that differs from instance to instance.
func pause() time.Duration {
	return leastPause + rand.N(mostPause-leastPause) //nolint:gosec // no secret
}
