package callback

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"
)

// A Dedup remembers the pushes that were here before. It is safe for concurrent use.
// [Config] has one in memory by default; implement it to share one between
// instances.
type Dedup interface {
	// Do returns run's reply for key. It calls run, on the caller's goroutine, if
	// nobody has within ttl; waits if somebody is at it; and repeats the reply of a
	// run that ended well, or nil once it has let go of that. A run that ends in an
	// error or a panic is forgotten: whoever waits for it, or comes next, runs again.
	// ctx bounds the waiting, never run. Replies must not be changed.
	Do(ctx context.Context, key string, ttl time.Duration, run func() ([]byte, error)) ([]byte, error)
}

const (
	maxRemembered = 1_000_000       // pushes
	replyLife     = time.Minute     // of a reply; WeChat's three tries take 15 s
	maxReplies    = 64 << 20        // bytes of them
	warnPause     = 1 * time.Minute // between two warnings that a memory is full
)

// NewMemoryDedup returns what [Config] takes by default: a memory in this process, for a
// million pushes and 64 MiB of replies. Put before a shared Dedup, it spares that
// what one instance knows by itself. It warns log when it is full; nil stands for [slog.Default].
func NewMemoryDedup(log *slog.Logger) Dedup {
	if log == nil {
		log = slog.Default()
	}
	return newMemory(log)
}

// A memory is the default Dedup. It keeps hashes of keys, not keys.
type memory struct {
	seeds [2]maphash.Seed
	start time.Time
	full  fullWarning

	mu      sync.Mutex // guards all below
	running map[digest]*run
	done    recent[digest, struct{}]
	replies recent[digest, []byte]
}

type digest [2]uint64

// A run is at work.
type run struct {
	done  chan struct{} // closed at its end; made by the first who waits
	ok    bool
	reply []byte
}

func newMemory(log *slog.Logger) *memory {
	return &memory{
		seeds:   [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		start:   time.Now(),
		full:    fullWarning{log: log, what: "pushes"},
		running: make(map[digest]*run),
		done:    newRecent[digest, struct{}](maxRemembered),
		replies: newRecent[digest, []byte](maxReplies),
	}
}

// Do implements [Dedup].
func (m *memory) Do(ctx context.Context, key string, ttl time.Duration, f func() ([]byte, error)) ([]byte, error) {
	id := digest{maphash.String(m.seeds[0], key), maphash.String(m.seeds[1], key)}
	for {
		m.mu.Lock()
		now := time.Since(m.start)
		if _, done := m.done.get(id, now); done {
			reply, _ := m.replies.get(id, now)
			m.mu.Unlock()
			return reply, nil
		}
		r, running := m.running[id]
		if !running {
			r = &run{}
			m.running[id] = r
			m.mu.Unlock()
			return m.run(id, r, ttl, f)
		}
		if r.done == nil {
			r.done = make(chan struct{})
		}
		m.mu.Unlock()

		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if r.ok {
			return r.reply, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

func (m *memory) run(id digest, r *run, ttl time.Duration, f func() ([]byte, error)) ([]byte, error) {
	defer m.finish(id, r, ttl) // also if f panics
	reply, err := f()
	if err != nil {
		return nil, err
	}
	r.reply, r.ok = reply, true
	return reply, nil
}

func (m *memory) finish(id digest, r *run, ttl time.Duration) {
	m.mu.Lock()
	full := false
	delete(m.running, id)
	now := time.Since(m.start)
	if r.ok && ttl > 0 {
		full = m.done.put(id, struct{}{}, 1, now, now+ttl)
		m.replies.forget(now)
		if len(r.reply) > 0 {
			m.replies.put(id, r.reply, len(r.reply), now, now+min(ttl, replyLife))
		}
	}
	if r.done != nil {
		close(r.done)
	}
	m.mu.Unlock()
	if full {
		m.full.warn(now)
	}
}

// A fullWarning says now and then that a memory is full.
type fullWarning struct {
	log  *slog.Logger
	what string

	mu   sync.Mutex // guards next
	next time.Duration
}

func (w *fullWarning) warn(now time.Duration) {
	w.mu.Lock()
	due := now >= w.next
	if due {
		w.next = now + warnPause
	}
	w.mu.Unlock()
	if due {
		w.log.LogAttrs(context.Background(), slog.LevelWarn,
			"wxqrcode: callback: the memory of "+w.what+" is full; the oldest are forgotten early", slog.Int("limit", maxRemembered))
	}
}
