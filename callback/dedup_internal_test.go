package callback

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wxtest.TestDeduplicator tests the behavior of every Deduplicator. These tests
// are for the limits of MemoryDedup.

func newTestDedup(keys, replyBytes int) (*MemoryDedup, *bytes.Buffer) {
	var log bytes.Buffer
	m := NewMemoryDedup(slog.New(slog.NewTextHandler(&log, nil)))
	m.done.limit, m.replies.limit = keys, replyBytes
	return m, &log
}

// do calls Do and reports whether fn was called.
func do(t *testing.T, m *MemoryDedup, key string) (reply string, called bool) {
	t.Helper()
	b, duplicate, err := m.Do(t.Context(), key, time.Hour, func(context.Context) ([]byte, error) { return []byte("reply to " + key), nil })
	require.NoError(t, err)
	return string(b), !duplicate
}

func TestMemoryDedup_FullForgetsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := newTestDedup(3, 1<<20)
		for i := range 3 {
			_, called := do(t, m, fmt.Sprint(i))
			assert.True(t, called)
		}
		_, called := do(t, m, "0")
		assert.False(t, called)
		assert.Empty(t, log.String())
		do(t, m, "3")
		assert.Contains(t, log.String(), "level=WARN")
		for _, key := range []string{"1", "2", "3"} {
			_, called = do(t, m, key)
			assert.False(t, called, key)
		}
		_, called = do(t, m, "0")
		assert.True(t, called)
		for i := range 100 {
			do(t, m, fmt.Sprint("more", i))
		}
		assert.Equal(t, 1, strings.Count(log.String(), "level=WARN"), "at most one warning a minute")
		time.Sleep(time.Minute + 1)
		do(t, m, "again")
		assert.Equal(t, 2, strings.Count(log.String(), "level=WARN"))
	})
}

func TestMemoryDedup_NoWarningAboutExpiredKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := newTestDedup(3, 1<<20)
		for range 2 {
			for i := range 3 {
				_, called := do(t, m, fmt.Sprint(i))
				assert.True(t, called)
			}
			time.Sleep(time.Hour + 1)
		}
		assert.Empty(t, log.String())
		assert.Len(t, m.done.entries, 3)
	})
}

func TestMemoryDedup_RepliesAreBoundedByBytes(t *testing.T) {
	m, log := newTestDedup(100, 2*(10+replyOverhead))
	for i := range 4 {
		do(t, m, fmt.Sprint(i))
	}
	for i, want := range []string{"", "", "reply to 2", "reply to 3"} {
		reply, called := do(t, m, fmt.Sprint(i))
		assert.False(t, called)
		assert.Equal(t, want, reply)
	}
	do(t, m, strings.Repeat("x", 1000))
	assert.Zero(t, m.replies.cost, "a reply above the limit is not stored")
	assert.Empty(t, m.replies.queue)
	assert.Contains(t, log.String(), "level=WARN")
}

func TestMemoryDedup_ZeroValue(t *testing.T) {
	_, _, err := new(MemoryDedup).Do(t.Context(), "key", time.Hour, func(context.Context) ([]byte, error) { return nil, nil })
	assert.Error(t, err)
}

func TestMemoryDedup_InflightCallsAreNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newTestDedup(2, 1<<20)
		end := make(chan struct{})
		calls := 0
		join := func() {
			_, _, err := m.Do(t.Context(), "long", time.Hour, func(context.Context) ([]byte, error) { calls++; <-end; return nil, nil })
			assert.NoError(t, err)
		}
		go join()
		synctest.Wait()
		for i := range 100 {
			do(t, m, fmt.Sprint(i))
		}
		go join()
		synctest.Wait()
		close(end)
		synctest.Wait()
		assert.Equal(t, 1, calls)
		assert.Empty(t, m.inflight)
	})
}

// The limits include the overhead.
func TestMemoryDedup_Memory(t *testing.T) {
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	const keys, replies = 100_000, 6 << 20
	m, _ := newTestDedup(keys, replies)
	before := heap()
	for i := range 3 * keys {
		_, _, err := m.Do(t.Context(), fmt.Sprint(i), time.Hour, func(context.Context) ([]byte, error) { return []byte("reply."), nil })
		require.NoError(t, err)
	}
	assert.Len(t, m.done.entries, keys)
	assert.LessOrEqual(t, m.replies.cost, replies)
	used := heap() - before
	t.Logf("%d keys and %d replies take %d KiB", len(m.done.entries), len(m.replies.entries), used>>10)
	assert.Less(t, used, replies+keys*160)
	runtime.KeepAlive(m)
}

func TestSignatureCache_Full(t *testing.T) {
	var log bytes.Buffer
	c := newSignatureCache(slog.New(slog.NewTextHandler(&log, nil)))
	c.bodies.limit = 2
	for i := range 3 {
		assert.Empty(t, log.String())
		assert.True(t, c.firstUse(fmt.Sprint(i), []byte("a"), time.Hour))
	}
	assert.Contains(t, log.String(), "level=WARN")
	assert.True(t, c.firstUse("2", []byte("a"), time.Hour))
	assert.False(t, c.firstUse("2", []byte("b"), time.Hour))
	assert.True(t, c.firstUse("0", []byte("b"), time.Hour), "the oldest was forgotten")
}

// A ttlCache behaves like a slice of all values.
func FuzzTTLCache(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{0, 0, 0, 255, 0, 0})
	f.Add(bytes.Repeat([]byte{3, 9, 12}, 200))
	f.Fuzz(func(t *testing.T, steps []byte) {
		const limit, ttl = 10, 16
		c := newTTLCache[byte, int](limit)
		type stored struct {
			key         byte
			value, cost int
			expires     time.Duration
		}
		var model []stored // oldest first
		now := time.Duration(0)
		for i, step := range steps {
			key, cost := step&7, int(step>>3&3)
			now += time.Duration(step >> 5)
			want, known := 0, false
			for _, s := range model {
				if s.key == key && now <= s.expires {
					want, known = s.value, true
				}
			}
			value, ok := c.get(key, now)
			require.Equal(t, known, ok)
			if known {
				require.Equal(t, want, value)
				continue
			}
			c.put(key, i, cost, now, ttl)
			model = append(model, stored{key, i, cost, now + ttl})
			for sum := limit + 1; sum > limit; {
				sum = 0
				for len(model) > 0 && now > model[0].expires {
					model = model[1:]
				}
				for _, s := range model {
					sum += s.cost
				}
				if sum > limit {
					model = model[1:]
				}
			}
			require.LessOrEqual(t, c.cost, limit)
			require.Len(t, c.entries, len(model))
		}
	})
}
