package wxredis_test

import (
	"context"
	"crypto/rand"
	"fmt"
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

// A busName is the name of a Bus that no other test has.
type busName string

func newBusName(t testing.TB, rdb testRedis) busName {
	t.Helper()
	name := busName("wx" + rand.Text())
	t.Cleanup(func() { rdb.Del(context.Background(), name.stream()) })
	return name
}

func (n busName) stream() string { return "wxqrcode:{" + string(n) + "}:scans" }

func (n busName) bus(rdb testRedis, opts ...wxredis.Option) *wxredis.Bus {
	return wxredis.NewBus(rdb.UniversalClient, string(n), opts...)
}

// add adds an entry to the stream, with an ID of its own.
func (n busName) add(t testing.TB, rdb testRedis, id, event string) {
	t.Helper()
	require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: n.stream(), ID: id, Values: []any{"event", event}}).Err())
}

func scanOf(scene string) *wxqrcode.Event {
	return &wxqrcode.Event{
		ToUserName: "gh_1", OpenID: "o-ann", CreatedAt: time.Unix(1714112445, 0).UTC(), MsgType: "event",
		Type: wxqrcode.EventScan, EventKey: scene, Ticket: "gQH=",
	}
}

// listen calls notify with published events until the test ends. It returns when b
// is listening.
func listen(t *testing.T, b *wxredis.Bus, notify func(*wxqrcode.Event)) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	probe := "probe-" + rand.Text()
	received := make(chan struct{})
	var once sync.Once
	var listening sync.WaitGroup
	listening.Go(func() {
		err := b.Listen(ctx, func(e *wxqrcode.Event) {
			switch {
			case e.EventKey == probe:
				once.Do(func() { close(received) })
			case !strings.HasPrefix(e.EventKey, "probe-"): // of another listener
				notify(e)
			}
		})
		assert.ErrorIs(t, err, context.Canceled)
	})
	t.Cleanup(func() { stop(); listening.Wait() })
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		require.NoError(t, b.Publish(t.Context(), scanOf(probe)))
		select {
		case <-received:
			return
		case <-tick.C:
		}
	}
}

// receive returns the scene of the next event.
func receive(t *testing.T, scenes <-chan string) string {
	t.Helper()
	select {
	case scene := <-scenes:
		return scene
	case <-time.After(10 * time.Second):
		t.Error("no event received")
		return ""
	}
}

// busTests run on a single Redis, behind Sentinel and in a Redis Cluster.
var busTests = []struct {
	name string
	test func(*testing.T, testRedis)
}{
	{"a scan reaches all instances", testBusScanReachesAll},
	{"an event of the minute before is received", testBusReplay},
	{"missed events are received after a lost connection, in order, each once", testBusLostConnection},
	{"events without a scene are not published", testBusIgnoresOtherEvents},
	{"after an outage each event is received once", testBusOutage},
	{"a stream that was lost is read from its new beginning", testBusLostStream},
	{"a stream with an ID above int64 is read", testBusHugeID},
	{"events are stored for ten minutes", testBusRetention},
	{"Listen returns although Redis does not respond", testBusListenReturns},
}

func testBus(t *testing.T, rdb testRedis) {
	t.Helper()
	for _, tt := range busTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, rdb)
		})
	}
}

func TestBus_Events(t *testing.T) { testBus(t, newRedis(t)) }

func testBusScanReachesAll(t *testing.T, rdb testRedis) {
	t.Helper()
	name := newBusName(t, rdb)
	first, second := new(callback.Waiter), new(callback.Waiter)
	listen(t, name.bus(rdb), first.Notify)
	listen(t, name.bus(rdb), second.Notify)

	scene := wxqrcode.RandomScene("login-")
	scans := []*callback.PendingScan{first.Expect(scene, time.Minute), second.Expect(scene, time.Minute)}
	require.NoError(t, name.bus(rdb).Publish(t.Context(), scanOf(scene.Key())))
	for _, scan := range scans {
		e, err := scan.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, scanOf(scene.Key()), e)
	}
	ttl := rdb.PTTL(t.Context(), name.stream()).Val()
	assert.InDelta(t, (10 * time.Minute).Seconds(), ttl.Seconds(), 5)
}

func testBusReplay(t *testing.T, rdb testRedis) {
	t.Helper()
	name := newBusName(t, rdb)
	now, err := rdb.Time(t.Context()).Result()
	require.NoError(t, err)
	name.add(t, rdb, fmt.Sprint(now.Add(-2*time.Minute).UnixMilli())+"-1", `{"event":"SCAN","event_key":"two minutes before"}`)
	require.NoError(t, name.bus(rdb).Publish(t.Context(), scanOf("before")))
	scenes := make(chan string, 10)
	listen(t, name.bus(rdb), func(e *wxqrcode.Event) { scenes <- e.EventKey })
	assert.Equal(t, "before", receive(t, scenes))
}

func testBusLostConnection(t *testing.T, rdb testRedis) {
	t.Helper()
	name := newBusName(t, rdb)
	scenes := make(chan string, 100)
	flaky, network := newLink(t, rdb)
	listen(t, name.bus(flaky), func(e *wxqrcode.Event) { scenes <- e.EventKey })
	const events = 20
	for i := range events {
		if i%5 == 0 {
			network.closeConns()
		}
		require.NoError(t, name.bus(rdb).Publish(t.Context(), scanOf(fmt.Sprint("scan-", i))))
	}
	for i := range events {
		require.Equal(t, fmt.Sprint("scan-", i), receive(t, scenes))
	}
}

func testBusIgnoresOtherEvents(t *testing.T, rdb testRedis) {
	t.Helper()
	name := newBusName(t, rdb)
	b := name.bus(rdb)
	require.NoError(t, b.Publish(t.Context(), nil))
	require.NoError(t, b.Publish(t.Context(), &wxqrcode.Event{Type: wxqrcode.EventUnsubscribe, OpenID: "o-ann"}))
	require.NoError(t, b.Publish(t.Context(), &wxqrcode.Event{Type: wxqrcode.EventSubscribe, OpenID: "o-ann"}))
	assert.Zero(t, rdb.Exists(t.Context(), name.stream()).Val())
}

func testBusOutage(t *testing.T, rdb testRedis) {
	t.Helper()
	name := newBusName(t, rdb)
	flaky, network := newLink(t, rdb)
	var log logBuffer
	scenes := make(chan string, 100)
	listen(t, name.bus(flaky, log.option()), func(e *wxqrcode.Event) { scenes <- e.EventKey })
	publish := func(scene string) { require.NoError(t, name.bus(rdb).Publish(t.Context(), scanOf(scene))) }
	publish("before")
	assert.Equal(t, "before", receive(t, scenes))
	network.disconnect()
	publish("meanwhile")
	require.Eventually(t, func() bool { return log.String() != "" }, 10*time.Second, 10*time.Millisecond)
	time.Sleep(time.Second) // for two more failures
	assert.Equal(t, 1, strings.Count(log.String(), `level=WARN msg="wxredis: listen for scans"`), "one warning a minute")
	network.restore()
	assert.Equal(t, "meanwhile", receive(t, scenes))
	publish("after")
	assert.Equal(t, "after", receive(t, scenes))
}

// Redis lost the stream, and its clock was ahead before: all new IDs are earlier.
func testBusLostStream(t *testing.T, rdb testRedis) {
	t.Helper()
	name := newBusName(t, rdb)
	b := name.bus(rdb)
	scenes := make(chan string, 10)
	listen(t, b, func(e *wxqrcode.Event) { scenes <- e.EventKey })
	name.add(t, rdb, fmt.Sprint(time.Now().Add(9*time.Minute).UnixMilli())+"-1", `{"event":"SCAN","event_key":"ahead"}`)
	assert.Equal(t, "ahead", receive(t, scenes))
	for _, idle := range []time.Duration{0, 1500 * time.Millisecond} {
		require.NoError(t, rdb.Del(t.Context(), name.stream()).Err())
		time.Sleep(idle) // long enough for the listener to notice
		require.NoError(t, b.Publish(t.Context(), scanOf("anew")))
		assert.Equal(t, "anew", receive(t, scenes))
	}
}

func testBusHugeID(t *testing.T, rdb testRedis) {
	t.Helper()
	for _, id := range []string{"9223372036854775808-9223372036854775808", "18446744073709551615-18446744073709551615"} {
		name := newBusName(t, rdb)
		b := name.bus(rdb)
		scenes := make(chan string, 10)
		listen(t, b, func(e *wxqrcode.Event) { scenes <- e.EventKey })
		name.add(t, rdb, id, `{"event":"SCAN","event_key":"huge"}`)
		assert.Equal(t, "huge", receive(t, scenes))
		require.NoError(t, b.Publish(t.Context(), scanOf("after")))
		assert.Equal(t, "huge", receive(t, scenes), "from the stream with new IDs")
		assert.Equal(t, "after", receive(t, scenes))
		entries, err := rdb.XRange(t.Context(), name.stream(), "-", "+").Result()
		require.NoError(t, err)
		assert.Less(t, entries[len(entries)-1].ID, fmt.Sprint(time.Now().Add(time.Minute).UnixMilli()))
	}
}

func testBusRetention(t *testing.T, rdb testRedis) {
	t.Helper()
	name := newBusName(t, rdb)
	now, err := rdb.Time(t.Context()).Result()
	require.NoError(t, err)
	for _, age := range []time.Duration{time.Hour, 11 * time.Minute, 9 * time.Minute} {
		name.add(t, rdb, fmt.Sprint(now.Add(-age).UnixMilli()), age.String())
	}
	require.NoError(t, name.bus(rdb).Publish(t.Context(), scanOf("new")))
	entries, err := rdb.XRange(t.Context(), name.stream(), "-", "+").Result()
	require.NoError(t, err)
	require.Len(t, entries, 2)
	assert.Equal(t, "9m0s", entries[0].Values["event"])
}

func testBusListenReturns(t *testing.T, rdb testRedis) {
	t.Helper()
	slow, network := newLink(t, rdb)
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan error)
	var log logBuffer
	b := newBusName(t, rdb).bus(slow, log.option())
	go func() { returned <- b.Listen(ctx, func(*wxqrcode.Event) {}) }()
	require.NoError(t, slow.Ping(ctx).Err())
	network.delay()
	assert.Eventually(t, func() bool { return log.String() != "" }, 10*time.Second, 10*time.Millisecond)
	cancel()
	select {
	case err := <-returned:
		assert.ErrorIs(t, err, context.Canceled)
	case <-time.After(10 * time.Second):
		t.Error("Listen has not returned")
	}
}

func TestBus_RedisUnreachable(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer rdb.Close()
	b := wxredis.NewBus(rdb, "wx1")
	assert.ErrorContains(t, b.Publish(t.Context(), scanOf("7")), "wxredis: publish a scan: ")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, b.Listen(ctx, func(*wxqrcode.Event) {}), context.DeadlineExceeded)
}
