package wxredis

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-0142d113/wxqrcode/callback"
)

// A Dedup deduplicates pushes in Redis, so that a redelivery that reaches
// another instance waits for the call in flight and carries its reply. It
// implements [callback.Deduplicator]. Make one with [NewDedup]; it is safe for
// concurrent use and has nothing to close.
//
// A call holds a lease of 10 s, which is renewed while it runs, so that a push
// can run again if its instance is killed. The context of a call is canceled if
// another instance has taken the lease. If Redis fails or is slow, the push is
// handled anyway, with a warning in the log, and each instance still knows what
// it has handled itself. Programs that each handle the same pushes need different
// databases of the Redis (DB in the options of the client).
type Dedup struct {
	rdb   redis.UniversalClient
	log   *slog.Logger
	local callback.Deduplicator // what this instance knows without asking Redis
}

// NewDedup returns a Dedup that stores its state in rdb and logs to log; nil
// means [slog.Default] at Warn and above, which is all that it logs.
func NewDedup(rdb redis.UniversalClient, log *slog.Logger) *Dedup {
	if log == nil {
		log = slog.Default()
	}
	return &Dedup{rdb, log, callback.NewMemoryDedup(log)}
}

const (
	leaseTTL        = 10 * time.Second
	renewalInterval = 3 * time.Second
	replyTTL        = time.Minute // WeChat's three tries take 15 s
)

// errLeaseLost is the cause of the context of a call whose lease another
// instance has taken.
var errLeaseLost = errors.New("wxredis: another instance has taken the lease of this push")

// Do implements [callback.Deduplicator].
func (d *Dedup) Do(ctx context.Context, key string, ttl time.Duration, fn func(context.Context) ([]byte, error)) (reply []byte, duplicate bool, err error) {
	if d.local == nil {
		return nil, false, errors.New("wxredis: the Dedup is the zero value; make one with NewDedup")
	}
	reply, duplicate, err = d.local.Do(ctx, key, ttl, func(context.Context) ([]byte, error) {
		return lease{d, stateKey(key), replyKey(key), rand.Text(), ttl}.do(ctx, fn)
	})
	if other, ok := errors.AsType[*duplicateError](err); ok {
		return other.reply, true, other.err
	}
	return reply, duplicate, err
}

// A duplicateError is the result of a caller whose fn was not called, because another
// instance made the call. It is an error so that this instance does not store the reply:
// the ttl of the call ends with the key in Redis.
type duplicateError struct {
	reply []byte
	err   error // the cause of the caller's context, if that ended
}

func (*duplicateError) Error() string { return "wxredis: another instance handles this push" }

// A lease is the right to make one call of fn.
type lease struct {
	*Dedup
	state, reply string // keys of Redis: the holder of the lease, or done; the reply
	id           string
	ttl          time.Duration
}

const done = "done"

func stateKey(key string) string { return "wxqrcode:{push:" + key + "}:run" }
func replyKey(key string) string { return "wxqrcode:{push:" + key + "}:reply" }

// do calls fn if the lease can be had, or waits for the call of another instance and returns
// its result as a duplicateError.
func (l lease) do(ctx context.Context, fn func(context.Context) ([]byte, error)) (reply []byte, err error) {
	detached := context.WithoutCancel(ctx) // a push whose client is gone is handled all the same
	for {
		state, err := withTimeout(detached, l.rdb, func(ctx context.Context) (string, error) {
			return claimScript.Run(ctx, l.rdb, []string{l.state}, l.id, leaseTTL.Milliseconds()).Text()
		})
		switch {
		case err != nil:
			l.warn(ctx, "deduplication unavailable, handling the push anyway", err)
			return l.run(detached, fn, false)
		case state == l.id:
			return l.run(detached, fn, true)
		case state == done:
			return nil, &duplicateError{reply: l.storedReply(detached)}
		}
		select {
		case <-time.After(pause()):
		case <-ctx.Done():
			return nil, &duplicateError{err: context.Cause(ctx)}
		}
	}
}

func (l lease) storedReply(ctx context.Context) []byte {
	reply, err := withTimeout(ctx, l.rdb, func(ctx context.Context) ([]byte, error) { return l.rdb.Get(ctx, l.reply).Bytes() })
	if err != nil && !errors.Is(err, redis.Nil) {
		l.warn(ctx, "reply unavailable, answering a duplicate without it", err)
	}
	return reply
}

// run calls fn, renews the lease meanwhile, and stores the result. It waits for
// Redis to store it only if Redis was available before: otherwise the claim may
// have arrived all the same, and Redis may be back by now.
func (l lease) run(ctx context.Context, fn func(context.Context) ([]byte, error), available bool) (reply []byte, err error) {
	callCtx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	renewing, stop := context.WithCancel(ctx)
	var renewal sync.WaitGroup
	renewal.Go(func() { l.keepAlive(renewing, lose) })
	succeeded := false
	defer func() { // also after a panic or runtime.Goexit
		stop()
		end := func() {
			renewal.Wait()                              // a renewal must not follow the end
			if succeeded && l.ttl >= time.Millisecond { // the smallest TTL of Redis
				l.markDone(ctx, reply)
			} else {
				l.release(ctx)
			}
		}
		if available {
			end()
		} else {
			go end()
		}
	}()
	reply, err = fn(callCtx)
	succeeded = err == nil
	return reply, err
}

// keepAlive renews the lease until ctx ends or another instance has taken it.
func (l lease) keepAlive(ctx context.Context, lose context.CancelCauseFunc) {
	tick := time.NewTicker(renewalInterval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// Not canceled with ctx: it must not reach Redis after what follows the call.
		ours, err := withTimeout(context.WithoutCancel(ctx), l.rdb, func(ctx context.Context) (bool, error) {
			return renewScript.Run(ctx, l.rdb, []string{l.state}, l.id, leaseTTL.Milliseconds()).Bool()
		})
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && !ours:
			l.warn(ctx, "canceling a call", errLeaseLost)
			lose(errLeaseLost)
			return
		case err != nil && !failing:
			l.warn(ctx, "cannot renew the lease of a push", err)
		}
		failing = err != nil
	}
}

func (l lease) markDone(ctx context.Context, reply []byte) {
	_, err := withTimeout(ctx, l.rdb, func(ctx context.Context) (int, error) {
		return markDoneScript.Run(ctx, l.rdb, []string{l.state, l.reply}, l.id, l.ttl.Milliseconds(), reply, min(l.ttl, replyTTL).Milliseconds()).Int()
	})
	if err != nil {
		l.warn(ctx, "cannot store that a push is handled", err)
	}
}

func (l lease) release(ctx context.Context) {
	_, err := withTimeout(ctx, l.rdb, func(ctx context.Context) (int, error) {
		return releaseScript.Run(ctx, l.rdb, []string{l.state}, l.id).Int()
	})
	if err != nil {
		l.warn(ctx, "cannot release the lease of a push", err)
	}
}

func (l lease) warn(ctx context.Context, what string, err error) {
	l.log.LogAttrs(ctx, slog.LevelWarn, "wxredis: "+what, slog.String("error", err.Error()))
}

// claimScript returns the holder of a lease, which is the caller if there was
// none.
var claimScript = redis.NewScript(`
	local state = redis.call('GET', KEYS[1])
	if state then return state end
	redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
	return ARGV[1]
`)

// renewScript renews the lease of the caller, also if Redis has lost it, and
// reports whether the caller has it.
var renewScript = redis.NewScript(`
	local state = redis.call('GET', KEYS[1])
	if state and state ~= ARGV[1] then return 0 end
	redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
	return 1
`)

// markDoneScript stores that a push is handled, and the reply, unless another
// instance has taken the lease.
var markDoneScript = redis.NewScript(`
	local state = redis.call('GET', KEYS[1])
	if state and state ~= ARGV[1] then return 0 end
	if ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4]) end
	redis.call('SET', KEYS[1], 'done', 'PX', ARGV[2])
	return 1
`)

var _ callback.Deduplicator = (*Dedup)(nil)
