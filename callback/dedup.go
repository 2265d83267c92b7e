package callback

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"
)

// A Deduplicator runs one call for each key. It must be safe for concurrent
// use. [Config] uses a [MemoryDedup] by default; implement Deduplicator to
// share one between instances, and test it with the suite TestDeduplicator of
// package wxtest.
type Deduplicator interface {
	// Do calls fn on the caller's goroutine unless a call for key succeeded
	// within ttl, counted from its end. Concurrent callers of a key share one
	// call: the others wait for it and receive its reply. duplicate reports that
	// fn was not called for this caller; the reply may be nil once it is
	// forgotten. Replies must not be modified.
	//
	// The error of a call is returned without a reply. A call that fails or
	// panics is forgotten, and one of the callers that wait for it calls fn next.
	// A caller whose ctx ends while it waits receives duplicate and the cause.
	// fn's context has the values of ctx and ends only if the lease of the call is
	// lost to another instance. If the store behind a Deduplicator fails, Do logs
	// that and calls fn.
	Do(ctx context.Context, key string, ttl time.Duration, fn func(context.Context) ([]byte, error)) (reply []byte, duplicate bool, err error)
}

// Limits of a MemoryDedup.
const (
	maxKeys       = 1_000_000
	maxReplyBytes = 64 << 20
	replyTTL      = time.Minute // WeChat's three tries take 15 s
	replyOverhead = 256         // bytes of a stored reply in addition to its text, at most
	warnInterval  = time.Minute
)

// A MemoryDedup is a [Deduplicator] in the memory of this process. It keeps a
// million keys, which take about 130 MB, and replies of 64 MiB in all, each for
// up to a minute. When it is full it forgets the oldest and logs a warning.
// Make one with [NewMemoryDedup].
type MemoryDedup struct {
	full fullWarning

	mu       sync.Mutex // guards the fields below
	inflight map[keyHash]*inflightCall
	done     ttlCache[keyHash, struct{}]
	replies  ttlCache[keyHash, []byte]
}

// A keyHash identifies a key, a signature or a body. With a million keys, the
// chance that a new one has the hash of another is 5 in 10^14.
type keyHash uint64

var seed = maphash.MakeSeed()

// An inflightCall is a call of fn. ok and reply are set before done is closed.
type inflightCall struct {
	done  chan struct{}
	ok    bool
	reply []byte
}

// NewMemoryDedup returns an empty MemoryDedup that logs to log; nil means
// [slog.Default] at Warn and above.
func NewMemoryDedup(log *slog.Logger) *MemoryDedup {
	return &MemoryDedup{
		full:     fullWarning{log: loggerOrDefault(log), what: "pushes and replies"},
		inflight: make(map[keyHash]*inflightCall),
		done:     newTTLCache[keyHash, struct{}](maxKeys),
		replies:  newTTLCache[keyHash, []byte](maxReplyBytes),
	}
}

// Do implements [Deduplicator].
func (m *MemoryDedup) Do(ctx context.Context, key string, ttl time.Duration, fn func(context.Context) ([]byte, error)) (reply []byte, duplicate bool, err error) {
	if m.inflight == nil {
		return nil, false, errors.New("wxqrcode: callback: the MemoryDedup is the zero value; make one with NewMemoryDedup")
	}
	hash := keyHash(maphash.String(seed, key))
	for {
		call, joined := m.join(hash)
		if !joined {
			defer m.finish(hash, call, ttl) // also after a panic or runtime.Goexit
			reply, err := fn(context.WithoutCancel(ctx))
			if err != nil {
				return nil, false, err
			}
			call.reply, call.ok = reply, true
			return reply, false, nil
		}
		select {
		case <-call.done:
		case <-ctx.Done():
			select {
			case <-call.done: // a stored reply takes precedence
			default:
				return nil, true, context.Cause(ctx)
			}
		}
		switch {
		case call.ok:
			return call.reply, true, nil
		case ctx.Err() != nil:
			return nil, true, context.Cause(ctx)
		}
	}
}

// join returns the call for a key, in flight or done, or a new one.
func (m *MemoryDedup) join(hash keyHash) (call *inflightCall, joined bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := sinceStart()
	if _, ok := m.done.get(hash, now); ok {
		reply, _ := m.replies.get(hash, now)
		call := &inflightCall{done: make(chan struct{}), ok: true, reply: reply}
		close(call.done)
		return call, true
	}
	if call, ok := m.inflight[hash]; ok {
		return call, true
	}
	call = &inflightCall{done: make(chan struct{})}
	m.inflight[hash] = call
	return call, false
}

// finish releases the callers that wait, and stores a call that succeeded.
func (m *MemoryDedup) finish(hash keyHash, call *inflightCall, ttl time.Duration) {
	m.mu.Lock()
	delete(m.inflight, hash)
	full := false
	if now := sinceStart(); call.ok && ttl > 0 {
		full = m.done.put(hash, struct{}{}, 1, now, ttl)
		if len(call.reply) > 0 {
			full = m.replies.put(hash, call.reply, len(call.reply)+replyOverhead, now, min(ttl, replyTTL)) || full
		}
	}
	m.mu.Unlock()
	close(call.done)
	if full {
		m.full.warn()
	}
}

// A signatureCache remembers the body that came with a signature of plain mode,
// which does not cover the body.
type signatureCache struct {
	full fullWarning

	mu     sync.Mutex // guards bodies
	bodies ttlCache[keyHash, keyHash]
}

func newSignatureCache(log *slog.Logger) *signatureCache {
	return &signatureCache{full: fullWarning{log: log, what: "signatures"}, bodies: newTTLCache[keyHash, keyHash](maxKeys)}
}

// firstUse reports whether no other body came with signature within ttl.
func (c *signatureCache) firstUse(signature string, body []byte, ttl time.Duration) bool {
	key, hash := keyHash(maphash.String(seed, signature)), keyHash(maphash.Bytes(seed, body))
	now := sinceStart()
	c.mu.Lock()
	used, ok := c.bodies.get(key, now)
	full := !ok && c.bodies.put(key, hash, 1, now, ttl)
	c.mu.Unlock()
	if full {
		c.full.warn()
	}
	return !ok || used == hash
}

// A fullWarning logs that a cache is full, at most once in warnInterval.
type fullWarning struct {
	log  *slog.Logger
	what string

	mu   sync.Mutex // guards next
	next time.Time
}

func (w *fullWarning) warn() {
	w.mu.Lock()
	now := time.Now()
	due := now.After(w.next)
	if due {
		w.next = now.Add(warnInterval)
	}
	w.mu.Unlock()
	if due {
		w.log.Warn("wxqrcode: callback: memory is full, forgetting the oldest early", "what", w.what)
	}
}

// A ttlCache keeps values until they expire. If their costs exceed a limit, it
// keeps the newest. It is not safe for concurrent use. It removes expired
// values when a new one is stored.
type ttlCache[K comparable, V any] struct {
	limit   int // of the sum of all costs
	cost    int
	entries map[K]ttlEntry[V]
	queue   []ttlKey[K] // in the order of put calls
}

type ttlEntry[V any] struct {
	value   V
	cost    int
	expires time.Duration // after the start of the process, which takes 8 bytes
}

type ttlKey[K comparable] struct {
	key     K
	expires time.Duration
}

var start = time.Now()

func sinceStart() time.Duration { return time.Since(start) }

func newTTLCache[K comparable, V any](limit int) ttlCache[K, V] {
	return ttlCache[K, V]{limit: limit, entries: make(map[K]ttlEntry[V])}
}

func (c *ttlCache[K, V]) get(key K, now time.Duration) (value V, ok bool) {
	e, ok := c.entries[key]
	if !ok || now > e.expires {
		var zero V
		return zero, false
	}
	return e.value, true
}

// put stores a value that get does not find. It reports whether it removed a
// value that had not expired.
func (c *ttlCache[K, V]) put(key K, value V, cost int, now time.Duration, ttl time.Duration) (full bool) {
	expires := now + ttl
	c.cost += cost - c.entries[key].cost
	c.entries[key] = ttlEntry[V]{value, cost, expires}
	c.queue = append(c.queue, ttlKey[K]{key, expires})
	for len(c.queue) > 0 && (c.cost > c.limit || now > c.queue[0].expires) {
		full = c.removeOldest(now) || full
	}
	return full
}

// removeOldest removes the first key of the queue, and its entry unless a later
// put replaced it.
func (c *ttlCache[K, V]) removeOldest(now time.Duration) (unexpired bool) {
	oldest := c.queue[0]
	c.queue = c.queue[1:] // append copies what is left when the array is full
	if e := c.entries[oldest.key]; e.expires == oldest.expires {
		c.cost -= e.cost
		delete(c.entries, oldest.key)
	}
	return now <= oldest.expires
}
