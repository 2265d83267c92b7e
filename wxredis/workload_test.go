package wxredis_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxredis"
)

// A workload is what three instances do with one Redis: they handle events, each
// of which is delivered twice, share a token that is revoked 50 times a second, and
// publish and receive scans.
type workload struct {
	token     storeKey
	bus       busName
	pushSlots int
	clients   []testRedis
	dedups    []*wxredis.Dedup
	warnings  logBuffer    // of dedups
	revoked   atomic.Int64 // tokens
	keepToken atomic.Bool
	end       func() // ends the callers and waits for them

	mu           sync.Mutex // guards the other fields
	nextKey      int
	events       []*event
	published    map[string]time.Time // by scene
	received     []map[string]int     // by listener and scene
	fetches      map[int64]int        // by revoked
	updateErrors int
}

type event struct {
	key              string
	runs             atomic.Int32
	started, handled time.Time // its first delivery
}

// startWorkload starts a workload whose events are in the first pushSlots slots of
// a cluster.
func startWorkload(t *testing.T, rdb testRedis, pushSlots int) *workload {
	t.Helper()
	const instances, handlers, pause = 3, 4, 5 * time.Millisecond
	w := &workload{
		token: "wx1:stable", bus: "wx1", pushSlots: pushSlots,
		published: map[string]time.Time{}, fetches: map[int64]int{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	var callers sync.WaitGroup
	w.end = sync.OnceFunc(func() { cancel(); callers.Wait() })
	repeat := func(every time.Duration, f func()) {
		callers.Go(func() {
			for ctx.Err() == nil {
				f()
				time.Sleep(every)
			}
		})
	}
	for i := range instances {
		client := connect(t, rdb.options)
		w.clients = append(w.clients, client)
		w.dedups = append(w.dedups, wxredis.NewDedup(client.UniversalClient, w.warnings.option()))
		store, bus := wxredis.NewTokenStore(client.UniversalClient), w.bus.bus(client, wxredis.WithLogger(slog.New(slog.DiscardHandler)))
		listen(t, bus, w.receiver())
		scenes := 0
		repeat(pause, func() {
			scenes++
			w.publish(bus, fmt.Sprint("scene-", i, "-", scenes))
		})
		repeat(pause, func() { w.updateToken(store) })
	}
	repeat(20*time.Millisecond, func() {
		if !w.keepToken.Load() {
			w.revoked.Add(1)
		}
	})
	for i := range instances * handlers {
		repeat(pause, func() { w.handle(i) })
	}
	t.Cleanup(w.end) // before the clients are closed
	return w
}

// receiver returns the notify function of a listener.
func (w *workload) receiver() func(*wxqrcode.Event) {
	received := map[string]int{}
	w.received = append(w.received, received)
	return func(e *wxqrcode.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		received[e.EventKey]++
	}
}

func (w *workload) publish(bus *wxredis.Bus, scene string) {
	if bus.Publish(context.Background(), scanOf(scene)) == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.published[scene] = time.Now()
	}
}

// updateToken fetches a token unless another instance has fetched it since the last
// one was revoked.
func (w *workload) updateToken(store *wxredis.TokenStore) {
	_, err := store.Update(context.Background(), string(w.token), func(_ context.Context, current wxqrcode.Token) (wxqrcode.Token, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		revoked := w.revoked.Load()
		next := token(fmt.Sprint("token-", revoked))
		if current.Value == next.Value {
			return current, nil
		}
		w.fetches[revoked]++
		return next, nil
	})
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.updateErrors++
	}
}

// handle delivers a new event to two instances, one after the other.
func (w *workload) handle(instance int) {
	e := &event{started: time.Now()}
	w.mu.Lock()
	for e.key == "" || slotOf("push:"+e.key) >= w.pushSlots {
		w.nextKey++
		e.key = fmt.Sprint("event-", w.nextKey)
	}
	w.mu.Unlock()
	e.deliver(w.dedups[instance%len(w.dedups)])
	e.handled = time.Now()
	e.deliver(w.dedups[(instance+1)%len(w.dedups)])
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

func (e *event) deliver(d *wxredis.Dedup) {
	_, _, _ = d.Do(context.Background(), e.key, time.Hour, func(context.Context) ([]byte, error) {
		e.runs.Add(1)
		return []byte("welcome"), nil
	})
}

// slotOf returns the slot of a cluster for the keys with a tag: CRC-16/XMODEM.
func slotOf(tag string) int {
	var crc uint16
	for _, b := range []byte(tag) {
		crc ^= uint16(b) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			if crc <<= 1; carry {
				crc ^= 0x1021
			}
		}
	}
	return int(crc % 16384)
}

// waitForRecovery waits until each instance can write to the first slots.
func (w *workload) waitForRecovery(t *testing.T) {
	t.Helper()
	tag := 0
	for slotOf(fmt.Sprint(tag)) >= w.pushSlots {
		tag++
	}
	waitFor(t, "the failover", func(ctx context.Context) bool {
		for _, client := range w.clients {
			if client.Set(ctx, fmt.Sprintf("{%d}", tag), "", time.Minute).Err() != nil {
				return false
			}
		}
		return true
	})
}

// A workloadResult counts what went wrong.
type workloadResult struct {
	before, during, after eventCount
	published             int
	notReceived           int // by at least one listener
	notReceivedAfter      int // of them, published after the outage
	receivedTwice         int
	tokens, fetchedTwice  int
	updateErrors          int
}

type eventCount struct{ events, twice int }

func (c eventCount) String() string {
	return fmt.Sprintf("%d events, %d handled twice", c.events, c.twice)
}

func (r workloadResult) String() string {
	return fmt.Sprintf("\n\tevents handled before: %v\n\tduring: %v\n\tafter: %v\n\tpublished: %d events, %d lost, %d received twice\n\ttokens: %d, %d fetched twice, %d failed updates",
		r.before, r.during, r.after, r.published, r.notReceived, r.receivedTwice, r.tokens, r.fetchedTwice, r.updateErrors)
}

// warned returns the number of warnings of the Dedups.
func (w *workload) warned() int { return strings.Count(w.warnings.String(), "level=WARN") }

// stop ends the workload, delivers all events once more, to a further instance, and
// counts. The outage, if there was one, began and ended at these times.
func (w *workload) stop(t *testing.T, began, ended time.Time) (r workloadResult) {
	t.Helper()
	w.end()
	d := wxredis.NewDedup(w.clients[0].UniversalClient, w.warnings.option())
	var deliveries sync.WaitGroup
	const callers = 8
	for i := range callers {
		deliveries.Go(func() {
			for j := i; j < len(w.events); j += callers {
				w.events[j].deliver(d)
			}
		})
	}
	deliveries.Wait()
	for _, e := range w.events {
		count := &r.during
		switch {
		case e.handled.Before(began):
			count = &r.before
		case e.started.After(ended):
			count = &r.after
		}
		count.events++
		assert.NotZero(t, e.runs.Load(), "event lost")
		if e.runs.Load() > 1 {
			count.twice++
		}
	}
	w.publish(w.bus.bus(w.clients[0]), "last")
	waitFor(t, "the last event", func(context.Context) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return !slices.ContainsFunc(w.received, func(received map[string]int) bool { return received["last"] == 0 })
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	r.published = len(w.published)
	for scene, at := range w.published {
		least, most := w.received[0][scene], 0
		for _, received := range w.received {
			least, most = min(least, received[scene]), max(most, received[scene])
		}
		if least == 0 {
			r.notReceived++
			if at.After(ended) {
				r.notReceivedAfter++
			}
		}
		if most > 1 {
			r.receivedTwice++
		}
	}
	for _, n := range w.fetches {
		r.tokens++
		if n > 1 {
			r.fetchedTwice++
		}
	}
	r.updateErrors = w.updateErrors
	return r
}
