package wxredis_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxredis"
)

func newBusName(t testing.TB, rdb *redis.Client) string {
	t.Helper()
	name := "wx" + rand.Text()
	t.Cleanup(func() { rdb.Del(context.Background(), "wxqrcode:{"+name+"}:scans") })
	return name
}

func scanOf(scene string) *wxqrcode.Event {
	return &wxqrcode.Event{
		ToUserName: "gh_1", OpenID: "o-ann", CreatedAt: time.Unix(1714112445, 0).UTC(), MsgType: "event",
		Type: wxqrcode.EventScan, EventKey: scene, Ticket: "gQH=",
	}
}

// listen lets f hear of what is published, until the test ends. It returns once f
// does hear.
func listen(t *testing.T, b *wxredis.Bus, f func(*wxqrcode.Event)) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	heard := make(chan struct{})
	var once sync.Once
	var listening sync.WaitGroup
	listening.Go(func() {
		err := b.Listen(ctx, func(e *wxqrcode.Event) {
			if e.EventKey == "are you there?" {
				once.Do(func() { close(heard) })
				return
			}
			f(e)
		})
		assert.ErrorIs(t, err, context.Canceled)
	})
	t.Cleanup(func() { stop(); listening.Wait() })
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		require.NoError(t, b.Publish(t.Context(), scanOf("are you there?")))
		select {
		case <-heard:
			return
		case <-tick.C:
		}
	}
}

func TestAScanReachesAllInstances(t *testing.T) {
	rdb := newRedis(t)
	name := newBusName(t, rdb)
	one, another := new(callback.Waiter), new(callback.Waiter)
	listen(t, wxredis.NewBus(rdb, name, nil), one.Notify)
	listen(t, wxredis.NewBus(rdb, name, nil), another.Notify)

	scene := wxqrcode.RandomScene("login-")
	here, there := one.Expect(scene, time.Minute), another.Expect(scene, time.Minute)
	require.NoError(t, wxredis.NewBus(rdb, name, nil).Publish(t.Context(), scanOf(scene.Key())))
	for _, scan := range []*callback.PendingScan{here, there} {
		e, err := scan.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, scanOf(scene.Key()), e)
	}
	life := rdb.PTTL(t.Context(), "wxqrcode:{"+name+"}:scans").Val()
	assert.InDelta(t, (10 * time.Minute).Seconds(), life.Seconds(), 5)
}

func TestWhatWasPublishedShortlyBeforeIsHeard(t *testing.T) {
	rdb := newRedis(t)
	name := newBusName(t, rdb)
	b := wxredis.NewBus(rdb, name, nil)
	now, err := rdb.Time(t.Context()).Result()
	require.NoError(t, err)
	old := rdb.XAdd(t.Context(), &redis.XAddArgs{
		Stream: "wxqrcode:{" + name + "}:scans", ID: fmt.Sprint(now.Add(-2*time.Minute).UnixMilli()) + "-1",
		Values: []any{"event", `{"event":"SCAN","event_key":"of two minutes ago"}`},
	})
	require.NoError(t, old.Err())
	require.NoError(t, b.Publish(t.Context(), scanOf("before")))
	heard := make(chan string, 10)
	listen(t, b, func(e *wxqrcode.Event) { heard <- e.EventKey })
	assert.Equal(t, "before", <-heard)
}

func TestWhatWasMissedIsHeardAfterwards(t *testing.T) {
	rdb := newRedis(t)
	name := newBusName(t, rdb)
	var mu sync.Mutex
	var got []string
	flaky, network := newLink(t, rdb)
	listen(t, wxredis.NewBus(flaky, name, nil), func(e *wxqrcode.Event) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, e.EventKey)
	})
	var want []string
	for i := range 20 {
		if i%5 == 0 {
			network.cut()
		}
		want = append(want, fmt.Sprint("scan-", i))
		require.NoError(t, wxredis.NewBus(rdb, name, nil).Publish(t.Context(), scanOf(want[i])))
	}
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) >= len(want)
	}, 10*time.Second, 10*time.Millisecond)
	assert.Equal(t, want, got, "in order, each once")
}

func TestOnlyScansArePublished(t *testing.T) {
	rdb := newRedis(t)
	name := newBusName(t, rdb)
	b := wxredis.NewBus(rdb, name, nil)
	require.NoError(t, b.Publish(t.Context(), nil))
	require.NoError(t, b.Publish(t.Context(), &wxqrcode.Event{Type: wxqrcode.EventUnsubscribe, OpenID: "o-ann"}))
	require.NoError(t, b.Publish(t.Context(), &wxqrcode.Event{Type: wxqrcode.EventSubscribe, OpenID: "o-ann"}))
	assert.Zero(t, rdb.Exists(t.Context(), "wxqrcode:{"+name+"}:scans").Val())
}

func TestWithoutRedisAPublishIsAnErrorAndAListenerEnds(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer rdb.Close()
	b := wxredis.NewBus(rdb, "wx1", nil)
	assert.ErrorContains(t, b.Publish(t.Context(), scanOf("7")), "wxredis: publish a scan: ")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, b.Listen(ctx, func(*wxqrcode.Event) {}), context.DeadlineExceeded)
}

func TestAfterAnOutageEachScanIsHeardOnce(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	name := newBusName(t, rdb)
	flaky, network := newLink(t, rdb)
	var log record
	heard := make(chan string, 100)
	listen(t, wxredis.NewBus(flaky, name, slog.New(slog.NewTextHandler(&log, nil))), func(e *wxqrcode.Event) { heard <- e.EventKey })
	publish := func(scene string) {
		require.NoError(t, wxredis.NewBus(rdb, name, nil).Publish(t.Context(), scanOf(scene)))
	}
	publish("before")
	assert.Equal(t, "before", <-heard)
	network.remove()
	publish("meanwhile")
	require.Eventually(t, func() bool { return log.String() != "" }, 10*time.Second, 10*time.Millisecond)
	time.Sleep(time.Second)
	assert.Equal(t, 1, strings.Count(log.String(), "level=WARN msg=\"wxredis: listen for scans\""), "and not at every failure")
	network.restore()
	assert.Equal(t, "meanwhile", <-heard)
	publish("after")
	assert.Equal(t, "after", <-heard, "nothing twice")
}

// Redis lost what it had, and its clock was ahead before: all its places are earlier now.
func TestAListenerHearsAStreamThatBeginsAnew(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	name := newBusName(t, rdb)
	b := wxredis.NewBus(rdb, name, nil)
	heard := make(chan string, 10)
	listen(t, b, func(e *wxqrcode.Event) { heard <- e.EventKey })
	ahead := rdb.XAdd(t.Context(), &redis.XAddArgs{
		Stream: "wxqrcode:{" + name + "}:scans", ID: fmt.Sprint(time.Now().Add(10*time.Minute).UnixMilli()) + "-1",
		Values: []any{"event", `{"event":"SCAN","event_key":"ahead"}`},
	})
	require.NoError(t, ahead.Err())
	assert.Equal(t, "ahead", <-heard)
	for _, idle := range []time.Duration{0, 1500 * time.Millisecond} {
		require.NoError(t, rdb.Del(t.Context(), "wxqrcode:{"+name+"}:scans").Err())
		time.Sleep(idle) // long enough for the listener to find it gone
		require.NoError(t, b.Publish(t.Context(), scanOf("anew")))
		select {
		case scene := <-heard:
			assert.Equal(t, "anew", scene)
		case <-time.After(10 * time.Second):
			t.Error("nothing heard")
		}
	}
}

func TestScansAreKeptForTenMinutes(t *testing.T) {
	rdb := newRedis(t)
	name := newBusName(t, rdb)
	stream := "wxqrcode:{" + name + "}:scans"
	now, err := rdb.Time(t.Context()).Result()
	require.NoError(t, err)
	for _, age := range []time.Duration{time.Hour, 11 * time.Minute, 9 * time.Minute} {
		require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{
			Stream: stream, ID: fmt.Sprint(now.Add(-age).UnixMilli()), Values: []any{"event", age.String()},
		}).Err())
	}
	require.NoError(t, wxredis.NewBus(rdb, name, nil).Publish(t.Context(), scanOf("new")))
	kept, err := rdb.XRange(t.Context(), stream, "-", "+").Result()
	require.NoError(t, err)
	require.Len(t, kept, 2)
	assert.Equal(t, "9m0s", kept[0].Values["event"])
}

func TestAListenerEndsThoughRedisHangs(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	hanging, network := newLink(t, rdb)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	var log record
	bus := wxredis.NewBus(hanging, newBusName(t, rdb), slog.New(slog.NewTextHandler(&log, nil)))
	go func() { ended <- bus.Listen(ctx, func(*wxqrcode.Event) {}) }()
	time.Sleep(100 * time.Millisecond)
	network.hold()
	assert.Eventually(t, func() bool { return log.String() != "" }, 5*time.Second, 10*time.Millisecond)
	cancel()
	select {
	case err := <-ended:
		assert.ErrorIs(t, err, context.Canceled)
	case <-time.After(5 * time.Second):
		t.Error("it goes on")
	}
}
