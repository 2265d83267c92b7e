package wxredis_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxredis"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A pushKey is the key of a push that no other test has.
type pushKey string

func newPush(t testing.TB, rdb testRedis) pushKey {
	t.Helper()
	key := pushKey(rand.Text())
	t.Cleanup(func() { rdb.Del(context.Background(), key.run(), key.reply()) })
	return key
}

// The keys in Redis.
func (k pushKey) run() string   { return "wxqrcode:{push:" + string(k) + "}:run" }
func (k pushKey) reply() string { return "wxqrcode:{push:" + string(k) + "}:reply" }

// do calls Do of a new Dedup, as another instance does.
func (k pushKey) do(ctx context.Context, rdb testRedis, fn func(context.Context) ([]byte, error)) (reply []byte, duplicate bool, err error) {
	return wxredis.NewDedup(rdb).Do(ctx, string(k), time.Hour, fn)
}

func replies(reply string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(reply), nil }
}

func notRun(t testing.TB) func(context.Context) ([]byte, error) {
	t.Helper()
	return func(context.Context) ([]byte, error) {
		t.Error("fn was called")
		return nil, nil
	}
}

func TestDedup_Conformance(t *testing.T) {
	rdb := newRedis(t)
	wxtest.TestDeduplicator(t, func() callback.Deduplicator { return wxredis.NewDedup(rdb) })
}

func TestDedup_TwoInstances(t *testing.T) {
	rdb := newRedis(t)
	instance := func() *wxredis.Dedup { return wxredis.NewDedup(rdb) }
	key := newPush(t, rdb)
	failure := errors.New("no database")
	_, duplicate, err := instance().Do(t.Context(), string(key), time.Hour, func(context.Context) ([]byte, error) { return nil, failure })
	require.ErrorIs(t, err, failure)
	assert.False(t, duplicate)
	assert.Panics(t, func() {
		_, _, _ = instance().Do(t.Context(), string(key), time.Hour, func(context.Context) ([]byte, error) { panic("boom") })
	})

	started, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_, duplicate, err := instance().Do(t.Context(), string(key), time.Hour, func(context.Context) ([]byte, error) {
			close(started)
			<-release
			return []byte("welcome"), nil
		})
		assert.NoError(t, err)
		assert.False(t, duplicate)
	})
	<-started
	for range 10 {
		all.Go(func() {
			got, duplicate, err := instance().Do(t.Context(), string(key), time.Hour, notRun(t))
			assert.NoError(t, err)
			assert.True(t, duplicate)
			assert.Equal(t, "welcome", string(got))
		})
	}
	closed := errors.New("the connection was closed")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, closed)
	defer cancel()
	_, duplicate, err = instance().Do(ctx, string(key), time.Hour, notRun(t))
	assert.ErrorIs(t, err, closed)
	assert.True(t, duplicate)
	close(release)
	all.Wait()
}

// The dedup window ends on every instance when it ends in Redis.
func TestDedup_ExpiryOnAnotherInstance(t *testing.T) {
	rdb := newRedis(t)
	key := newPush(t, rdb)
	_, _, err := key.do(t.Context(), rdb, replies("welcome"))
	require.NoError(t, err)
	other := wxredis.NewDedup(rdb)
	got, duplicate, err := other.Do(t.Context(), string(key), time.Hour, notRun(t))
	require.NoError(t, err)
	assert.True(t, duplicate)
	assert.Equal(t, "welcome", string(got))
	rdb.Del(t.Context(), key.run())
	got, duplicate, err = other.Do(t.Context(), string(key), time.Hour, replies("welcome back"))
	require.NoError(t, err)
	assert.False(t, duplicate)
	assert.Equal(t, "welcome back", string(got))
}

// A lease that Redis has lost is taken again. If another instance has it, the
// context of fn is canceled, and the run changes nothing in Redis.
func TestDedup_LostLease(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	for name, failure := range map[string]error{"run that fails": errors.New("no database"), "run that succeeds": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := newPush(t, rdb)
			state := key.run()
			var log logBuffer
			_, duplicate, err := wxredis.NewDedup(rdb, log.option()).Do(t.Context(), string(key), time.Hour, func(ctx context.Context) ([]byte, error) {
				id := rdb.Get(t.Context(), state).Val()
				rdb.Del(t.Context(), state)
				assert.Eventually(t, func() bool { return rdb.Get(t.Context(), state).Val() == id }, time.Minute, 50*time.Millisecond)
				assert.Empty(t, log.String())
				assert.NoError(t, ctx.Err())
				rdb.Set(t.Context(), state, "another", time.Minute)
				<-ctx.Done()
				assert.ErrorContains(t, context.Cause(ctx), "another instance")
				return nil, failure
			})
			assert.ErrorIs(t, err, failure)
			assert.False(t, duplicate)
			assert.Equal(t, "another", rdb.Get(t.Context(), state).Val())
			assert.Contains(t, log.String(), "level=WARN")
		})
	}
}

func TestDedup_StoresForTTL(t *testing.T) {
	rdb := newRedis(t)
	for _, reply := range []string{"welcome", ""} {
		key := newPush(t, rdb)
		got, _, err := key.do(t.Context(), rdb, replies(reply))
		require.NoError(t, err)
		assert.Equal(t, reply, string(got))
		for range 2 {
			got, _, err = key.do(t.Context(), rdb, notRun(t))
			require.NoError(t, err)
			assert.Equal(t, reply, string(got))
		}
		assert.InDelta(t, time.Hour.Seconds(), rdb.PTTL(t.Context(), key.run()).Val().Seconds(), 5)
		if reply != "" {
			assert.InDelta(t, time.Minute.Seconds(), rdb.PTTL(t.Context(), key.reply()).Val().Seconds(), 5)
		}
	}
}

func TestDedup_RenewsLease(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newPush(t, rdb)
	state := key.run()
	_, _, err := key.do(t.Context(), rdb, func(context.Context) ([]byte, error) {
		assert.InDelta(t, 10, rdb.PTTL(t.Context(), state).Val().Seconds(), 1)
		rdb.PExpire(t.Context(), state, 5*time.Second)
		assert.Eventually(t, func() bool { return rdb.PTTL(t.Context(), state).Val() > 6*time.Second }, 10*time.Second, 50*time.Millisecond)
		return nil, nil
	})
	require.NoError(t, err)

	// The instance that held the lease was killed.
	key = newPush(t, rdb)
	require.NoError(t, rdb.Set(t.Context(), key.run(), "a process that was killed", 200*time.Millisecond).Err())
	got, _, err := key.do(t.Context(), rdb, replies("welcome"))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got))
}

func TestDedup_CanceledContext(t *testing.T) {
	rdb := newRedis(t)
	key := newPush(t, rdb)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var log logBuffer
	got, _, err := wxredis.NewDedup(rdb, log.option()).Do(ctx, string(key), time.Hour, replies("welcome"))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got))
	assert.Empty(t, log.String())
	assert.Equal(t, "done", rdb.Get(t.Context(), key.run()).Val())
}

func TestDedup_SlowRedis(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newPush(t, rdb)
	slow, network := newLink(t, rdb)
	require.NoError(t, slow.Ping(t.Context()).Err())
	network.delay()
	var log logBuffer
	start := time.Now()
	_, _, err := wxredis.NewDedup(slow, log.option()).Do(t.Context(), string(key), time.Hour, func(context.Context) ([]byte, error) {
		network.restore()
		return []byte("welcome"), nil
	})
	require.NoError(t, err)
	assert.Less(t, time.Since(start), 3*time.Second)
	assert.Contains(t, log.String(), "deduplication unavailable, handling the push anyway")
	assert.Eventually(t, func() bool {
		return rdb.Get(t.Context(), key.run()).Val() == "done"
	}, 10*time.Second, 10*time.Millisecond)
	got, _, err := key.do(t.Context(), rdb, notRun(t))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got))
}

func TestDedup_OutageDuringRun(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newPush(t, rdb)
	flaky, network := newLink(t, rdb)
	for reply, warning := range map[string]string{"welcome": "cannot store that a push is handled", "": "cannot release the lease of a push"} {
		var log logBuffer
		d := wxredis.NewDedup(flaky, log.option())
		got, _, err := d.Do(t.Context(), string(key)+reply, time.Hour, func(context.Context) ([]byte, error) {
			network.disconnect()
			if reply == "" {
				return nil, errors.New("no database")
			}
			return []byte(reply), nil
		})
		assert.Equal(t, reply, string(got))
		assert.Equal(t, reply == "", err != nil)
		assert.Contains(t, log.String(), warning)
		network.restore()
		require.Eventually(t, func() bool { return flaky.Ping(t.Context()).Err() == nil }, 10*time.Second, 10*time.Millisecond)
	}
	rdb.Del(t.Context(), (key + "welcome").run(), (key + "welcome").reply())
}

func TestDedup_RedisUnreachable(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer rdb.Close()
	var log logBuffer
	d := wxredis.NewDedup(rdb, log.option())
	got, _, err := d.Do(t.Context(), "key", time.Hour, replies("welcome"))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got))
	assert.Contains(t, log.String(), "level=WARN msg=\"wxredis: deduplication unavailable, handling the push anyway\"")
	got, _, err = d.Do(t.Context(), "key", time.Hour, notRun(t))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got), "an instance stores what it has handled")
}

// Each redelivery reaches another instance behind one URL.
func TestDedup_RedeliveriesReachThreeInstances(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	wechat := wxtest.NewServer(wxtest.WithPushTimeout(time.Second), wxtest.WithFreshRetries())
	defer wechat.Close()
	cfg := wechat.CallbackConfig(wxtest.Secure)
	var runs, pushes atomic.Int32
	thirdDelivery := make(chan struct{})
	cfg.OnEvent = func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
		runs.Add(1)
		<-thirdDelivery
		return callback.Text("welcome"), nil
	}
	var instances []http.Handler
	for range 3 {
		cfg.Dedup = wxredis.NewDedup(rdb)
		h, err := callback.New(cfg)
		require.NoError(t, err)
		instances = append(instances, h)
	}
	require.NoError(t, wechat.Connect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet { // URL verification
			instances[0].ServeHTTP(w, r)
			return
		}
		n := int(pushes.Add(1))
		if n == 3 {
			close(thirdDelivery)
		}
		instances[(n-1)%3].ServeHTTP(w, r)
	})))
	code, err := wechat.Client().Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneStr("poster")))
	require.NoError(t, err)
	d, err := wechat.Scan(t.Context(), code.Ticket, "o-ann")
	require.NoError(t, err)
	assert.Equal(t, 3, d.Tries)
	reply, err := d.Reply()
	require.NoError(t, err)
	assert.Contains(t, string(reply), "welcome")
	assert.EqualValues(t, 1, runs.Load())
}
