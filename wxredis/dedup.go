package wxredis

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-0142d113/wxqrcode/callback"
)

// A Dedup deduplicates pushes in Redis, so that a redelivery that reaches another
// instance waits for the run in flight and gets its reply. It implements
// [callback.Deduplicator]. Create one with [NewDedup]; it is safe for concurrent
// use, and there is nothing to close.
//
// A run holds a lease of 10 s, which is renewed until the run ends, so that a push
// can run again if its instance is killed. The context of a run is canceled if
// another instance takes the lease. If Redis fails or is slow, the push is handled
// anyway, with a warning in the log, and each instance still deduplicates what it
// has handled itself. A push that Redis has forgotten may run again: the package
// documentation says when.
type Dedup struct {
	conn
	local callback.Deduplicator // of this instance, asked before Redis
}

// NewDedup returns a Dedup that stores its state in rdb.
func NewDedup(rdb redis.UniversalClient, opts ...Option) *Dedup {
	c := newConn(rdb, opts)
	return &Dedup{c, callback.NewMemoryDedup(c.log)}
}

const (
	leaseTTL        = 10 * time.Second
	renewalInterval = 3 * time.Second
	replyTTL        = time.Minute // the three deliveries of WeChat take 15 s
)

// errLeaseLost is the cause of the context of a run whose lease another instance
// has taken.
var errLeaseLost = errors.New("wxredis: another instance has taken the lease of this push")

// Do implements [callback.Deduplicator].
func (d *Dedup) Do(ctx context.Context, key string, ttl time.Duration, fn func(context.Context) ([]byte, error)) (reply []byte, duplicate bool, err error) {
	if d.local == nil {
		return nil, false, errors.New("wxredis: the Dedup is the zero value; create one with NewDedup")
	}
	reply, duplicate, err = d.local.Do(ctx, key, ttl, func(context.Context) ([]byte, error) {
		tag := "push:" + key
		return lease{d, d.key(tag, "run", "string"), d.key(tag, "reply", "string"), rand.Text(), ttl}.do(ctx, fn)
	})
	if other, ok := errors.AsType[*duplicateError](err); ok {
		return other.reply, true, other.err
	}
	return reply, duplicate, err
}

// A duplicateError is the result of a caller whose fn was not called, because
// another instance has handled the push. It is an error so that this instance does
// not store the reply: the dedup window ends with the key in Redis.
type duplicateError struct {
	reply []byte
	err   error // the cause of the caller's context, if that ended
}

func (*duplicateError) Error() string { return "wxredis: another instance handles this push" }

// A lease is the right to call fn once.
type lease struct {
	*Dedup
	state, reply redisKey // the holder of the lease, or done; the reply
	id           string
	ttl          time.Duration
}

const done = "done"

// do calls fn if it gets the lease; otherwise it waits for the run of another
// instance and returns its result as a duplicateError.
func (l lease) do(ctx context.Context, fn func(context.Context) ([]byte, error)) (reply []byte, err error) {
	detached := context.WithoutCancel(ctx) // a push whose client is gone is handled all the same
	for {
		state, err := runScript(detached, l.conn, acquireScript, (*redis.Cmd).Text, []redisKey{l.state}, l.id, leaseTTL.Milliseconds(), l.doneTTL())
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
		case <-time.After(pollDelay()):
		case <-ctx.Done():
			return nil, &duplicateError{err: context.Cause(ctx)}
		}
	}
}

// doneTTL is the dedup window in milliseconds, the smallest unit of Redis.
func (l lease) doneTTL() int64 { return max(l.ttl.Milliseconds(), 1) }

func (l lease) storedReply(ctx context.Context) []byte {
	reply, err := run(ctx, l.conn, func(ctx context.Context) ([]byte, error) { return l.rdb.Get(ctx, l.reply.name).Bytes() }, l.reply)
	if err != nil && !errors.Is(err, redis.Nil) {
		l.warn(ctx, "reply unavailable, answering a duplicate without it", err)
	}
	return reply
}

// run calls fn, renews the lease until it returns, and stores the result. It waits
// until Redis has stored it only if Redis was available before: otherwise Redis may
// have given the lease all the same, and be back by now.
func (l lease) run(ctx context.Context, fn func(context.Context) ([]byte, error), available bool) (reply []byte, err error) {
	fnCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	renewalCtx, stop := context.WithCancel(ctx)
	var renewal sync.WaitGroup
	renewal.Go(func() { l.keepAlive(renewalCtx, cancel) })
	succeeded := false
	defer func() { // also after a panic or runtime.Goexit
		stop()
		finish := func() {
			renewal.Wait() // a renewal must not reach Redis after markDone
			if succeeded && l.ttl >= time.Millisecond {
				l.markDone(ctx, reply)
			} else {
				l.release(ctx)
			}
		}
		if available {
			finish()
		} else {
			go finish()
		}
	}()
	reply, err = fn(fnCtx)
	succeeded = err == nil
	return reply, err
}

// keepAlive renews the lease until ctx ends or another instance has taken it.
func (l lease) keepAlive(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(renewalInterval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// Not canceled with ctx: it must not reach Redis after markDone.
		renewed, err := runScript(context.WithoutCancel(ctx), l.conn, renewScript, (*redis.Cmd).Bool, []redisKey{l.state}, l.id, leaseTTL.Milliseconds())
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && !renewed:
			l.warn(ctx, "canceling the handling of a push", errLeaseLost)
			cancel(errLeaseLost)
			return
		case err != nil && !failing:
			l.warn(ctx, "cannot renew the lease of a push", err)
		}
		failing = err != nil
	}
}

func (l lease) markDone(ctx context.Context, reply []byte) {
	_, err := runScript(ctx, l.conn, markDoneScript, (*redis.Cmd).Int, []redisKey{l.state, l.reply},
		l.id, leaseTTL.Milliseconds(), l.doneTTL(), reply, min(l.ttl, replyTTL).Milliseconds())
	if err != nil {
		l.warn(ctx, "cannot store that a push is handled", err)
	}
}

func (l lease) release(ctx context.Context) {
	if _, err := runScript(ctx, l.conn, releaseScript, (*redis.Cmd).Int, []redisKey{l.state}, l.id); err != nil {
		l.warn(ctx, "cannot release the lease of a push", err)
	}
}

// acquireScript takes the lease if it is free. It returns its holder or "done". It
// has one key, because a slot of a Redis Cluster that is moving to another node
// takes no script whose keys are on both.
var acquireScript = redis.NewScript(otherHolderLua + `
	if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return ARGV[1] end
	if redis.call('GET', KEYS[1]) == 'done' then
		if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
		return 'done'
	end
	local holder = otherHolder(KEYS[1], ARGV[1], ARGV[2])
	if holder then return holder end
	redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
	return ARGV[1]
`)

// renewScript renews the lease of the caller, also if Redis has lost it, and
// reports whether the caller has it.
var renewScript = redis.NewScript(otherHolderLua + `
	if otherHolder(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
	redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
	return 1
`)

// markDoneScript stores that a push is handled, and the reply, unless another
// instance has taken the lease.
var markDoneScript = redis.NewScript(otherHolderLua + `
	if otherHolder(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
	if ARGV[4] == '' then redis.call('DEL', KEYS[2]) else redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5]) end
	redis.call('SET', KEYS[1], 'done', 'PX', ARGV[3])
	return 1
`)

var _ callback.Deduplicator = (*Dedup)(nil)
