package wxredis_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
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

// newPush returns the key of a push that no other test has.
func newPush(t testing.TB, rdb *redis.Client) string {
	t.Helper()
	key := rand.Text()
	t.Cleanup(func() { rdb.Del(context.Background(), "wxqrcode:{push:"+key+"}:run", "wxqrcode:{push:"+key+"}:reply") })
	return key
}

func replies(reply string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(reply), nil }
}

func neverCalled(t testing.TB) func(context.Context) ([]byte, error) {
	t.Helper()
	return func(context.Context) ([]byte, error) {
		t.Error("fn was called")
		return nil, nil
	}
}

func TestDedup_Conformance(t *testing.T) {
	rdb := newRedis(t)
	wxtest.TestDeduplicator(t, func() callback.Deduplicator { return wxredis.NewDedup(rdb, nil) })
}

// What one instance does, another one knows.
func TestDedup_TwoInstances(t *testing.T) {
	rdb := newRedis(t)
	instance := func() *wxredis.Dedup { return wxredis.NewDedup(rdb, nil) }
	key := newPush(t, rdb)
	failure := errors.New("no database")
	_, duplicate, err := instance().Do(t.Context(), key, time.Hour, func(context.Context) ([]byte, error) { return nil, failure })
	require.ErrorIs(t, err, failure)
	assert.False(t, duplicate)
	assert.Panics(t, func() {
		_, _, _ = instance().Do(t.Context(), key, time.Hour, func(context.Context) ([]byte, error) { panic("boom") })
	})

	began, end := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_, duplicate, err := instance().Do(t.Context(), key, time.Hour, func(context.Context) ([]byte, error) {
			close(began)
			<-end
			return []byte("welcome"), nil
		})
		assert.NoError(t, err)
		assert.False(t, duplicate)
	})
	<-began
	for range 10 {
		all.Go(func() {
			got, duplicate, err := instance().Do(t.Context(), key, time.Hour, neverCalled(t))
			assert.NoError(t, err)
			assert.True(t, duplicate)
			assert.Equal(t, "welcome", string(got))
		})
	}
	gone := errors.New("the client is gone")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, gone)
	defer cancel()
	_, duplicate, err = instance().Do(ctx, key, time.Hour, neverCalled(t))
	assert.ErrorIs(t, err, gone)
	assert.True(t, duplicate)
	close(end)
	all.Wait()
}

// The ttl of a call ends on every instance when it ends in Redis.
func TestDedup_ExpiryOnAnotherInstance(t *testing.T) {
	rdb := newRedis(t)
	key := newPush(t, rdb)
	_, _, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, replies("welcome"))
	require.NoError(t, err)
	another := wxredis.NewDedup(rdb, nil)
	got, duplicate, err := another.Do(t.Context(), key, time.Hour, neverCalled(t))
	require.NoError(t, err)
	assert.True(t, duplicate)
	assert.Equal(t, "welcome", string(got))
	rdb.Del(t.Context(), "wxqrcode:{push:"+key+"}:run")
	got, duplicate, err = another.Do(t.Context(), key, time.Hour, replies("welcome back"))
	require.NoError(t, err)
	assert.False(t, duplicate)
	assert.Equal(t, "welcome back", string(got))
}

// A lease that Redis has lost is taken again. If another instance has it, the
// context of the call is canceled, and its end changes nothing in Redis.
func TestDedup_LostLease(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	for name, failure := range map[string]error{"a call that fails": errors.New("no database"), "a call that succeeds": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := newPush(t, rdb)
			state := "wxqrcode:{push:" + key + "}:run"
			var log record
			_, duplicate, err := wxredis.NewDedup(rdb, slog.New(slog.NewTextHandler(&log, nil))).Do(t.Context(), key, time.Hour, func(ctx context.Context) ([]byte, error) {
				ours := rdb.Get(t.Context(), state).Val()
				rdb.Del(t.Context(), state)
				assert.Eventually(t, func() bool { return rdb.Get(t.Context(), state).Val() == ours }, time.Minute, 50*time.Millisecond)
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
		got, _, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, replies(reply))
		require.NoError(t, err)
		assert.Equal(t, reply, string(got))
		for range 2 {
			got, _, err = wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, neverCalled(t))
			require.NoError(t, err)
			assert.Equal(t, reply, string(got))
		}
		assert.InDelta(t, time.Hour.Seconds(), rdb.PTTL(t.Context(), "wxqrcode:{push:"+key+"}:run").Val().Seconds(), 5)
		if reply != "" {
			assert.InDelta(t, time.Minute.Seconds(), rdb.PTTL(t.Context(), "wxqrcode:{push:"+key+"}:reply").Val().Seconds(), 5)
		}
	}
}

func TestDedup_RenewsLease(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newPush(t, rdb)
	state := "wxqrcode:{push:" + key + "}:run"
	_, _, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, func(context.Context) ([]byte, error) {
		assert.InDelta(t, 10, rdb.PTTL(t.Context(), state).Val().Seconds(), 1)
		rdb.PExpire(t.Context(), state, 5*time.Second)
		assert.Eventually(t, func() bool { return rdb.PTTL(t.Context(), state).Val() > 6*time.Second }, 10*time.Second, 50*time.Millisecond)
		return nil, nil
	})
	require.NoError(t, err)

	// The instance that held the lease was killed.
	key = newPush(t, rdb)
	require.NoError(t, rdb.Set(t.Context(), "wxqrcode:{push:"+key+"}:run", "a process that was killed", 200*time.Millisecond).Err())
	got, _, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, replies("welcome"))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got))
}

func TestDedup_CanceledContext(t *testing.T) {
	rdb := newRedis(t)
	key := newPush(t, rdb)
	ctx, cut := context.WithCancel(t.Context())
	cut()
	var log record
	got, _, err := wxredis.NewDedup(rdb, slog.New(slog.NewTextHandler(&log, nil))).Do(ctx, key, time.Hour, replies("welcome"))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got))
	assert.Empty(t, log.String())
	assert.Equal(t, "done", rdb.Get(t.Context(), "wxqrcode:{push:"+key+"}:run").Val())
}

func TestDedup_SlowRedis(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newPush(t, rdb)
	slow, network := newLink(t, rdb)
	require.NoError(t, slow.Ping(t.Context()).Err())
	network.hold()
	var log record
	start := time.Now()
	_, _, err := wxredis.NewDedup(slow, slog.New(slog.NewTextHandler(&log, nil))).Do(t.Context(), key, time.Hour, func(context.Context) ([]byte, error) {
		network.restore()
		return []byte("welcome"), nil
	})
	require.NoError(t, err)
	assert.Less(t, time.Since(start), 3*time.Second)
	assert.Contains(t, log.String(), "deduplication unavailable, handling the push anyway")
	assert.Eventually(t, func() bool {
		return rdb.Get(t.Context(), "wxqrcode:{push:"+key+"}:run").Val() == "done"
	}, 10*time.Second, 10*time.Millisecond)
	got, _, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, neverCalled(t))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got))
}

func TestDedup_RedisGoneDuringCall(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newPush(t, rdb)
	flaky, network := newLink(t, rdb)
	for reply, warning := range map[string]string{"welcome": "cannot store that a push is handled", "": "cannot release the lease of a push"} {
		var log record
		d := wxredis.NewDedup(flaky, slog.New(slog.NewTextHandler(&log, nil)))
		got, _, err := d.Do(t.Context(), key+reply, time.Hour, func(context.Context) ([]byte, error) {
			network.remove()
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
	rdb.Del(t.Context(), "wxqrcode:{push:"+key+"welcome}:run")
}

func TestDedup_WithoutRedis(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer rdb.Close()
	var log record
	d := wxredis.NewDedup(rdb, slog.New(slog.NewTextHandler(&log, nil)))
	got, _, err := d.Do(t.Context(), "key", time.Hour, replies("welcome"))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got))
	assert.Contains(t, log.String(), "level=WARN msg=\"wxredis: deduplication unavailable, handling the push anyway\"")
	got, _, err = d.Do(t.Context(), "key", time.Hour, neverCalled(t))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got), "an instance stores what it has handled")
}

// Redeliveries reach instances behind one URL in turn.
func TestDedup_ThreeInstancesBehindOneURL(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	wechat := wxtest.NewServer(wxtest.WithPushTimeout(time.Second), wxtest.WithFreshRetries())
	defer wechat.Close()
	cfg := wechat.CallbackConfig(wxtest.Secure)
	var runs, pushes atomic.Int32
	third := make(chan struct{})
	cfg.OnEvent = func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
		runs.Add(1)
		<-third
		return callback.Text("welcome"), nil
	}
	var instances []http.Handler
	for range 3 {
		cfg.Dedup = wxredis.NewDedup(rdb, nil)
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
			close(third)
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

func TestDedup_NilLogger(t *testing.T) {
	var log record
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	_, _, err := wxredis.NewDedup(nil, nil).Do(t.Context(), "key", time.Minute, func(context.Context) ([]byte, error) { return nil, nil })
	require.NoError(t, err)
	assert.Contains(t, log.String(), "deduplication unavailable, handling the push anyway")
}
