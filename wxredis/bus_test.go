package wxredis_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
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
		ToUserName: "gh_1", OpenID: "o-ann", CreateTime: time.Unix(1714112445, 0), MsgType: "event",
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
	one, another := callback.NewWaiter(), callback.NewWaiter()
	listen(t, wxredis.NewBus(rdb, name), one.Notify)
	listen(t, wxredis.NewBus(rdb, name), another.Notify)

	scene := wxqrcode.RandomScene("login-")
	here, there := one.Expect(scene, time.Minute), another.Expect(scene, time.Minute)
	require.NoError(t, wxredis.NewBus(rdb, name).Publish(t.Context(), scanOf(scene.Key())))
	for _, scan := range []*callback.Scan{here, there} {
		e, err := scan.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, scanOf(scene.Key()), e)
	}
	life := rdb.PTTL(t.Context(), "wxqrcode:{"+name+"}:scans").Val()
	assert.InDelta(t, time.Hour.Seconds(), life.Seconds(), 5)
}

func TestWhatWasPublishedShortlyBeforeIsHeard(t *testing.T) {
	rdb := newRedis(t)
	name := newBusName(t, rdb)
	b := wxredis.NewBus(rdb, name)
	now, err := rdb.Time(t.Context()).Result()
	require.NoError(t, err)
	old := rdb.XAdd(t.Context(), &redis.XAddArgs{
		Stream: "wxqrcode:{" + name + "}:scans", ID: fmt.Sprint(now.Add(-2*time.Minute).UnixMilli()) + "-1",
		Values: []any{"event", `{"Event":"SCAN","EventKey":"of two minutes ago"}`},
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
	var cuts cutter
	options := *rdb.Options()
	options.Dialer = cuts.dial
	flaky := redis.NewClient(&options)
	defer flaky.Close()
	listen(t, wxredis.NewBus(flaky, name), func(e *wxqrcode.Event) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, e.EventKey)
	})
	var want []string
	for i := range 20 {
		if i%5 == 0 {
			cuts.cut()
		}
		want = append(want, fmt.Sprint("scan-", i))
		require.NoError(t, wxredis.NewBus(rdb, name).Publish(t.Context(), scanOf(want[i])))
	}
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) >= len(want)
	}, 10*time.Second, 10*time.Millisecond)
	assert.Equal(t, want, got, "in order, each once")
}

// A cutter dials, and cuts all connections that it made.
type cutter struct {
	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func (c *cutter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

func TestOnlyScansArePublished(t *testing.T) {
	rdb := newRedis(t)
	name := newBusName(t, rdb)
	b := wxredis.NewBus(rdb, name)
	require.NoError(t, b.Publish(t.Context(), nil))
	require.NoError(t, b.Publish(t.Context(), &wxqrcode.Event{Type: wxqrcode.EventUnsubscribe, OpenID: "o-ann"}))
	require.NoError(t, b.Publish(t.Context(), &wxqrcode.Event{Type: wxqrcode.EventSubscribe, OpenID: "o-ann"}))
	assert.Zero(t, rdb.Exists(t.Context(), "wxqrcode:{"+name+"}:scans").Val())
}

func TestWithoutRedisAPublishIsAnErrorAndAListenerEnds(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer rdb.Close()
	b := wxredis.NewBus(rdb, "wx1")
	assert.ErrorContains(t, b.Publish(t.Context(), scanOf("7")), "wxredis: publish a scan: ")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, b.Listen(ctx, func(*wxqrcode.Event) {}), context.DeadlineExceeded)
}
