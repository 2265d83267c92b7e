package callback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newTestMemory(limit, replies int) (*memory, *bytes.Buffer) {
	var log bytes.Buffer
	m := newMemory(slog.New(slog.NewTextHandler(&log, nil)))
	m.done.limit, m.replies.limit = limit, replies
	return m, &log
}

// do runs key, or finds that it was run.
func do(t *testing.T, m *memory, key string) (reply string, ran bool) {
	t.Helper()
	b, err := m.Do(t.Context(), key, time.Hour, func() ([]byte, error) {
		ran = true
		return []byte("reply to " + key), nil
	})
	require.NoError(t, err)
	return string(b), ran
}

func TestAFullMemoryForgetsTheOldestAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := newTestMemory(3, 1000)
		for i := range 3 {
			_, ran := do(t, m, fmt.Sprint(i))
			assert.True(t, ran)
		}
		_, ran := do(t, m, "0")
		assert.False(t, ran)
		assert.Empty(t, log.String())

		_, ran = do(t, m, "3")
		assert.True(t, ran)
		assert.Contains(t, log.String(), "the memory of pushes is full; the oldest are forgotten early")
		for _, key := range []string{"1", "2", "3"} {
			_, ran = do(t, m, key)
			assert.False(t, ran, key)
		}
		_, ran = do(t, m, "0")
		assert.True(t, ran, "the oldest was forgotten")

		for i := range 100 {
			do(t, m, fmt.Sprint("more", i))
		}
		assert.Equal(t, 1, strings.Count(log.String(), "level=WARN"), "a warning a minute")
		time.Sleep(time.Minute)
		do(t, m, "again")
		assert.Equal(t, 2, strings.Count(log.String(), "level=WARN"))
	})
}

func TestAFullMemoryOfSignaturesSaysSo(t *testing.T) {
	var log bytes.Buffer
	m := newSignatureMemory(slog.New(slog.NewTextHandler(&log, nil)))
	m.bodies.limit = 2
	for i := range 3 {
		assert.Empty(t, log.String())
		assert.True(t, m.admit(fmt.Sprint(i), []byte("a"), time.Now(), time.Hour))
	}
	assert.Contains(t, log.String(), "the memory of signatures is full; the oldest are forgotten early")
	assert.False(t, m.admit("2", []byte("b"), time.Now(), time.Hour))
	assert.True(t, m.admit("0", []byte("b"), time.Now(), time.Hour), "the oldest was forgotten")
}

func TestWhatHasExpiredIsNoLossToAFullMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := newTestMemory(3, 1000)
		for i := range 3 {
			do(t, m, fmt.Sprint(i))
		}
		time.Sleep(time.Hour + 1)
		for i := range 3 {
			_, ran := do(t, m, fmt.Sprint(i))
			assert.True(t, ran, "it is new again")
		}
		assert.Empty(t, log.String())
		assert.Len(t, m.done.entries, 3)
	})
}

func TestRepliesAreBoundedByTheirLength(t *testing.T) {
	m, log := newTestMemory(100, 25) // two of 10 bytes
	for i := range 4 {
		do(t, m, fmt.Sprint(i))
	}
	for i, want := range []string{"", "", "reply to 2", "reply to 3"} {
		reply, ran := do(t, m, fmt.Sprint(i))
		assert.False(t, ran)
		assert.Equal(t, want, reply)
	}
	assert.Equal(t, 20, m.replies.cost)
	do(t, m, strings.Repeat("x", 100))
	assert.Zero(t, m.replies.cost, "one that is too long alone is not kept")
	assert.Empty(t, log.String(), "no push is forgotten")
}

func TestAReplyIsForgottenNoLaterThanItsPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newTestMemory(100, 1000)
		reply := []byte("reply")
		push := func(key string) string {
			b, err := m.Do(t.Context(), key, time.Second, func() ([]byte, error) { return reply, nil })
			require.NoError(t, err)
			return string(b)
		}
		push("a")
		time.Sleep(time.Second + 1)
		reply = nil
		assert.Empty(t, push("a"), "a run that had nothing to say")
		assert.Empty(t, push("a"), "its repeat has not either")
		assert.Empty(t, m.replies.entries, "what has expired goes though no reply comes")
	})
}

func TestRunsAtWorkAreNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newTestMemory(2, 1000)
		end := make(chan struct{})
		runs := 0
		var all sync.WaitGroup
		join := func() {
			_, err := m.Do(t.Context(), "long", time.Hour, func() ([]byte, error) { runs++; <-end; return nil, nil })
			assert.NoError(t, err)
		}
		all.Go(join)
		synctest.Wait()
		for i := range 100 {
			do(t, m, fmt.Sprint(i))
		}
		all.Go(join)
		synctest.Wait()
		close(end)
		all.Wait()
		assert.Equal(t, 1, runs)
		assert.Empty(t, m.running)
	})
}

func TestARunThatEndsItsGoroutineIsForgotten(t *testing.T) {
	for name, end := range map[string]func(){"Goexit": runtime.Goexit, "a panic": func() { panic("boom") }} {
		t.Run(name, func(t *testing.T) {
			m, _ := newTestMemory(10, 100)
			var all sync.WaitGroup
			all.Go(func() {
				defer func() { _ = recover() }()
				_, _ = m.Do(t.Context(), "key", time.Hour, func() ([]byte, error) { end(); return nil, nil })
			})
			all.Wait()
			_, ran := do(t, m, "key")
			assert.True(t, ran)
		})
	}
}

func TestNothingIsKeptWithoutATime(t *testing.T) {
	m, _ := newTestMemory(10, 100)
	for _, ttl := range []time.Duration{0, -1} {
		runs := 0
		for range 2 {
			_, err := m.Do(t.Context(), "key", ttl, func() ([]byte, error) { runs++; return []byte("x"), nil })
			assert.NoError(t, err)
		}
		assert.Equal(t, 2, runs)
	}
	assert.Empty(t, m.done.entries)
	assert.Empty(t, m.replies.entries)
}

func TestTheContextBoundsTheWaitingAndNotTheRun(t *testing.T) {
	m, _ := newTestMemory(10, 100)
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	reply, err := m.Do(ctx, "key", time.Hour, func() ([]byte, error) {
		_, err := m.Do(ctx, "key", time.Hour, func() ([]byte, error) { t.Error("ran beside itself"); return nil, nil })
		assert.ErrorIs(t, err, gone)
		return []byte("reply"), nil
	})
	assert.NoError(t, err)
	assert.Equal(t, "reply", string(reply))
}

// gone is a context that has ended and wakes nobody.
type gone struct{ context.Context }

func (gone) Done() <-chan struct{} { return nil }
func (gone) Err() error            { return context.Canceled }

func TestWhoeverHasGoneWhenARunFailsDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newTestMemory(10, 100)
		var all sync.WaitGroup
		all.Go(func() {
			_, err := m.Do(t.Context(), "key", time.Hour, func() ([]byte, error) {
				time.Sleep(time.Second)
				return nil, errors.New("no database")
			})
			assert.EqualError(t, err, "no database")
		})
		synctest.Wait()
		_, err := m.Do(gone{t.Context()}, "key", time.Hour, func() ([]byte, error) { t.Error("it ran"); return nil, nil })
		assert.Equal(t, context.Canceled, err)
		all.Wait()
	})
}

// Whatever happens, the memory is no larger than what it should know.
func TestTheMemoryShrinks(t *testing.T) {
	r := newRecent[int, struct{}](1_000_000)
	for i := range 50_000 {
		r.put(i, struct{}{}, 1, 0, 10)
		r.put(i, struct{}{}, 1, 0, 20) // takes the place of the first
	}
	assert.Len(t, r.entries, 50_000)
	assert.Equal(t, 50_000, r.cost)
	now := time.Duration(21)
	for i := range 20_000 {
		r.put(-1, struct{}{}, 1, now, now+time.Duration(i))
	}
	assert.Equal(t, 1, r.cost)
	assert.Len(t, r.entries, 1)
	assert.Less(t, cap(r.queue), 50_000)
	assert.LessOrEqual(t, r.head, len(r.queue))
	assert.Less(t, r.peak, 10_000, "a map does not shrink: it is another")
}

func TestABurstLeavesNoMemoryBehind(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	r := newRecent[digest, struct{}](maxRemembered)
	before := heap()
	const n = 200_000
	for i := range uint64(n) {
		r.put(digest{i, i}, struct{}{}, 1, 0, 10)
	}
	full := heap() - before
	for i := range uint64(n) {
		r.put(digest{i, ^i}, struct{}{}, 1, time.Duration(20+20*i), time.Duration(20+20*i+10))
	}
	assert.Less(t, heap()-before, full/10)
	runtime.KeepAlive(&r)
}

func TestAValueLivesToTheLastMoment(t *testing.T) {
	r := newRecent[string, int](10)
	r.put("a", 1, 1, 0, 10)
	r.put("b", 2, 1, 10, 20)
	_, ok := r.get("a", 10)
	assert.True(t, ok)
	_, ok = r.get("a", 11)
	assert.False(t, ok)
	r.put("c", 3, 1, 11, 20)
	assert.Len(t, r.entries, 2, "a is forgotten")
}

func TestAMemoryHoldsAllThatItsLimitAllows(t *testing.T) {
	r := newRecent[string, int](3)
	for i, key := range []string{"a", "b", "c"} {
		assert.False(t, r.put(key, i, 1, 0, time.Minute), key)
	}
	_, ok := r.get("a", 0)
	assert.True(t, ok, "three of three")
	assert.True(t, r.put("d", 4, 1, 0, time.Minute), "one that is of use had to go")
	_, ok = r.get("a", 0)
	assert.False(t, ok)
}

// A model of what a recent promises, beside the real one.
func FuzzRecent(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{0, 0, 0, 255, 0, 0})
	f.Add(bytes.Repeat([]byte{3, 9, 12}, 200))
	f.Fuzz(func(t *testing.T, steps []byte) {
		const limit, life = 10, 16
		r := newRecent[byte, int](limit)
		type kept struct {
			value, cost int
			expires     time.Duration
		}
		model := map[byte]kept{}
		now := time.Duration(0)
		for i, step := range steps {
			key, cost := step&7, int(step>>3&3)
			now += time.Duration(step >> 5)
			value, ok := r.get(key, now)
			want, known := model[key]
			known = known && now <= want.expires
			require.Equal(t, known, ok)
			if known {
				require.Equal(t, want.value, value)
				continue
			}
			r.put(key, i, cost, now, now+life)
			delete(model, key)
			model[key] = kept{i, cost, now + life}
			sum := func() (n int) {
				for _, k := range model {
					n += k.cost
				}
				return n
			}
			for sum() > limit { // the oldest go
				oldest, at := byte(0), len(steps)
				for k, v := range model {
					if v.value < at {
						oldest, at = k, v.value
					}
				}
				delete(model, oldest)
			}
			require.LessOrEqual(t, r.cost, limit)
		}
	})
}
