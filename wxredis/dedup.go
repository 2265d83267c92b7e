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

// A Dedup remembers pushes in Redis, so that a repeat that reaches another instance
// waits for the run at work and carries its reply. It implements [callback.Dedup]. Make
// one with [NewDedup]; it is safe for concurrent use, and there is nothing to close.
//
// A run holds its push by a lease of 10 s, which is renewed for as long as it takes, so
// that a push of which the instance was killed can run again. If Redis is gone or slow,
// the push runs: it fails open, says so in the log, and each instance goes on knowing
// what it saw itself. Programs that are given the same pushes, and are each to run them, take
// another database of the Redis each (DB in the client's options).
type Dedup struct {
	rdb   redis.UniversalClient
	log   *slog.Logger
	local callback.Dedup // what this instance knows, it need not ask
}

// NewDedup returns a Dedup that remembers in rdb. It warns log; nil stands for [slog.Default].
func NewDedup(rdb redis.UniversalClient, log *slog.Logger) *Dedup {
	if log == nil {
		log = slog.Default()
	}
	return &Dedup{rdb, log, callback.NewMemoryDedup(log)}
}

const (
	leaseLife  = 10 * time.Second
	leasePause = 3 * time.Second // between two renewals
	replyLife  = time.Minute     // WeChat's three tries take 15 s
)

// Do implements [callback.Dedup].
func (d *Dedup) Do(ctx context.Context, key string, ttl time.Duration, run func() ([]byte, error)) ([]byte, error) {
	if d.local == nil {
		return nil, errors.New("wxredis: the Dedup is the zero value; make one with NewDedup")
	}
	return d.local.Do(ctx, key, ttl, func() ([]byte, error) {
		p := push{d, runKey(key), replyKey(key), rand.Text(), ttl}
		return p.do(ctx, run)
	})
}

// A push is one call of Do that this instance does not know the end of.
type push struct {
	*Dedup
	state, reply string // keys: "done", or who runs it; and its reply
	id           string
	ttl          time.Duration
}

func (p *push) do(ctx context.Context, run func() ([]byte, error)) ([]byte, error) {
	asking := context.WithoutCancel(ctx) // a push whose connection was cut must run all the same
	for {
		state, err := limited(asking, p.rdb, func(ctx context.Context) (string, error) {
			return claim.Run(ctx, p.rdb, []string{p.state}, p.id, leaseLife.Milliseconds()).Text()
		})
		switch {
		case err != nil:
			p.warn(ctx, "run a push without knowing whether another instance has", err)
			// The claim may have come to be, and Redis may be back by the end.
			return p.run(asking, run, false)
		case state == p.id:
			return p.run(asking, run, true)
		case state == done:
			return p.oldReply(asking)
		}
		select {
		case <-time.After(pause()):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

const done = "done"

func runKey(key string) string   { return "wxqrcode:{push:" + key + "}:run" }
func replyKey(key string) string { return "wxqrcode:{push:" + key + "}:reply" }

func (p *push) oldReply(ctx context.Context) ([]byte, error) {
	reply, err := limited(ctx, p.rdb, func(ctx context.Context) ([]byte, error) { return p.rdb.Get(ctx, p.reply).Bytes() })
	if err != nil && !errors.Is(err, redis.Nil) {
		p.warn(ctx, "answer a repeat without its reply", err)
	}
	return reply, nil
}

// run calls run and holds the lease meanwhile. Then it tells Redis how that ended, and
// waits for Redis if it is known to answer.
func (p *push) run(ctx context.Context, run func() ([]byte, error), answers bool) (reply []byte, err error) {
	beating, stop := context.WithCancel(ctx)
	var beat sync.WaitGroup
	beat.Go(func() { p.hold(beating) })
	ended := false
	defer func() { // also after a panic
		stop()
		end := func() {
			beat.Wait()                             // or the lease comes back after its end
			if ended && p.ttl >= time.Millisecond { // Redis counts no less, and takes 0 for ever
				p.finish(ctx, reply)
			} else {
				p.release(ctx)
			}
		}
		if answers {
			end()
		} else {
			go end()
		}
	}()
	reply, err = run()
	ended = err == nil
	return reply, err
}

// hold renews the lease until ctx ends.
func (p *push) hold(ctx context.Context) {
	tick := time.NewTicker(leasePause)
	defer tick.Stop()
	lost := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// Not cut short by the end of the run: it must not reach Redis after what comes then.
		ours, err := limited(context.WithoutCancel(ctx), p.rdb, func(ctx context.Context) (bool, error) {
			return extend.Run(ctx, p.rdb, []string{p.state}, p.id, leaseLife.Milliseconds()).Bool()
		})
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && !ours:
			err = errors.New("another instance runs it too")
		}
		if err != nil && !lost {
			p.warn(ctx, "hold a push that is at work", err)
		}
		lost = err != nil
	}
}

func (p *push) finish(ctx context.Context, reply []byte) {
	_, err := limited(ctx, p.rdb, func(ctx context.Context) ([]redis.Cmder, error) {
		return p.rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			if len(reply) > 0 {
				tx.Set(ctx, p.reply, reply, min(p.ttl, replyLife))
			}
			tx.Set(ctx, p.state, done, p.ttl)
			return nil
		})
	})
	if err != nil {
		p.warn(ctx, "remember a push", err)
	}
}

func (p *push) release(ctx context.Context) {
	_, err := limited(ctx, p.rdb, func(ctx context.Context) (int, error) {
		return drop.Run(ctx, p.rdb, []string{p.state}, p.id).Int()
	})
	if err != nil {
		p.warn(ctx, "end the lease of a push", err)
	}
}

func (p *push) warn(ctx context.Context, what string, err error) {
	p.log.LogAttrs(ctx, slog.LevelWarn, "wxredis: "+what, slog.String("error", err.Error()))
}

// claim returns who runs a push, which is the caller if nobody else does or did.
var claim = redis.NewScript(`
	local state = redis.call('GET', KEYS[1])
	if state then return state end
	redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
	return ARGV[1]
`)

// extend renews a lease that is ours, or that Redis has lost, and says whether it is ours.
var extend = redis.NewScript(`
	local state = redis.call('GET', KEYS[1])
	if state and state ~= ARGV[1] then return 0 end
	redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
	return 1
`)

var _ callback.Dedup = (*Dedup)(nil)
