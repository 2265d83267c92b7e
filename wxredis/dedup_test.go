package wxredis_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
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

func answers(reply string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(reply), nil }
}

func neverRun(t testing.TB) func() ([]byte, error) {
	t.Helper()
	return func() ([]byte, error) {
		t.Error("it ran")
		return nil, nil
	}
}

func TestAPushRunsOnOneInstance(t *testing.T) {
	rdb := newRedis(t)
	for _, reply := range []string{"welcome", ""} {
		key := newPush(t, rdb)
		got, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, answers(reply))
		require.NoError(t, err)
		assert.Equal(t, reply, string(got))
		for range 2 {
			got, err = wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, neverRun(t))
			require.NoError(t, err)
			assert.Equal(t, reply, string(got))
		}
		assert.InDelta(t, time.Hour.Seconds(), rdb.PTTL(t.Context(), "wxqrcode:{push:"+key+"}:run").Val().Seconds(), 5)
		if reply != "" {
			assert.InDelta(t, time.Minute.Seconds(), rdb.PTTL(t.Context(), "wxqrcode:{push:"+key+"}:reply").Val().Seconds(), 5)
		}
	}
}

func TestARepeatOnAnotherInstanceJoinsTheRun(t *testing.T) {
	rdb := newRedis(t)
	key := newPush(t, rdb)
	began, end := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, func() ([]byte, error) {
			close(began)
			<-end
			return []byte("welcome"), nil
		})
		assert.NoError(t, err)
	})
	<-began
	for range 10 {
		all.Go(func() {
			got, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, neverRun(t))
			assert.NoError(t, err)
			assert.Equal(t, "welcome", string(got))
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := wxredis.NewDedup(rdb, nil).Do(ctx, key, time.Hour, neverRun(t))
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	close(end)
	all.Wait()
}

func TestWhatFailedRunsAgainOnAnotherInstance(t *testing.T) {
	rdb := newRedis(t)
	key := newPush(t, rdb)
	failure := errors.New("no database")
	_, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, func() ([]byte, error) { return nil, failure })
	require.ErrorIs(t, err, failure)
	assert.Panics(t, func() {
		_, _ = wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, func() ([]byte, error) { panic("boom") })
	})
	got, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, answers("welcome"))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got))
}

func TestNothingIsKeptWithoutATime(t *testing.T) {
	rdb := newRedis(t)
	for _, ttl := range []time.Duration{0, -1, time.Microsecond} {
		key := newPush(t, rdb)
		for range 2 {
			got, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, ttl, answers("welcome"))
			require.NoError(t, err)
			assert.Equal(t, "welcome", string(got))
			assert.Zero(t, rdb.Exists(t.Context(), "wxqrcode:{push:"+key+"}:run", "wxqrcode:{push:"+key+"}:reply").Val())
		}
	}
}

func TestALeaseIsHeldForAsLongAsARunTakes(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newPush(t, rdb)
	state := "wxqrcode:{push:" + key + "}:run"
	_, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, func() ([]byte, error) {
		assert.InDelta(t, 10, rdb.PTTL(t.Context(), state).Val().Seconds(), 1)
		rdb.PExpire(t.Context(), state, 5*time.Second)
		assert.Eventually(t, func() bool { return rdb.PTTL(t.Context(), state).Val() > 6*time.Second }, 10*time.Second, 50*time.Millisecond)
		return nil, nil
	})
	require.NoError(t, err)

	// The instance that ran it was killed.
	key = newPush(t, rdb)
	require.NoError(t, rdb.Set(t.Context(), "wxqrcode:{push:"+key+"}:run", "a process that was killed", 200*time.Millisecond).Err())
	got, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, answers("welcome"))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got))
}

func TestACutConnectionDoesNotKeepAPushFromRunning(t *testing.T) {
	rdb := newRedis(t)
	key := newPush(t, rdb)
	ctx, cut := context.WithCancel(t.Context())
	cut()
	var log record
	got, err := wxredis.NewDedup(rdb, slog.New(slog.NewTextHandler(&log, nil))).Do(ctx, key, time.Hour, answers("welcome"))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got))
	assert.Empty(t, log.String())
	assert.Equal(t, "done", rdb.Get(t.Context(), "wxqrcode:{push:"+key+"}:run").Val())
}

func TestALeaseThatRedisLostIsTakenAgain(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newPush(t, rdb)
	state := "wxqrcode:{push:" + key + "}:run"
	var log record
	_, err := wxredis.NewDedup(rdb, slog.New(slog.NewTextHandler(&log, nil))).Do(t.Context(), key, time.Hour, func() ([]byte, error) {
		ours := rdb.Get(t.Context(), state).Val()
		rdb.Del(t.Context(), state)
		assert.Eventually(t, func() bool { return rdb.Get(t.Context(), state).Val() == ours }, 10*time.Second, 50*time.Millisecond)
		assert.Empty(t, log.String())
		rdb.Set(t.Context(), state, "another", time.Minute)
		assert.Eventually(t, func() bool { return strings.Contains(log.String(), "another instance runs it too") }, 10*time.Second, 50*time.Millisecond)
		assert.Greater(t, rdb.PTTL(t.Context(), state).Val(), 50*time.Second, "the lease of another is not touched")
		return nil, errors.New("no database")
	})
	require.Error(t, err)
	assert.Equal(t, "another", rdb.Get(t.Context(), state).Val())
}

func TestAPushThatRanWhileRedisWasSlowIsRememberedAfterwards(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newPush(t, rdb)
	slow, network := newLink(t, rdb)
	require.NoError(t, slow.Ping(t.Context()).Err())
	network.hold()
	var log record
	start := time.Now()
	_, err := wxredis.NewDedup(slow, slog.New(slog.NewTextHandler(&log, nil))).Do(t.Context(), key, time.Hour, func() ([]byte, error) {
		network.restore()
		return []byte("welcome"), nil
	})
	require.NoError(t, err)
	assert.Less(t, time.Since(start), 3*time.Second)
	assert.Contains(t, log.String(), "run a push without knowing whether another instance has")
	assert.Eventually(t, func() bool {
		return rdb.Get(t.Context(), "wxqrcode:{push:"+key+"}:run").Val() == "done"
	}, 10*time.Second, 10*time.Millisecond)
	got, err := wxredis.NewDedup(rdb, nil).Do(t.Context(), key, time.Hour, neverRun(t))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got))
}

func TestARedisThatGoesWhileAPushRunsIsAWarning(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newPush(t, rdb)
	flaky, network := newLink(t, rdb)
	for reply, warning := range map[string]string{"welcome": "remember a push", "": "end the lease of a push"} {
		var log record
		d := wxredis.NewDedup(flaky, slog.New(slog.NewTextHandler(&log, nil)))
		got, err := d.Do(t.Context(), key+reply, time.Hour, func() ([]byte, error) {
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

func TestWithoutRedisPushesRunAndTheLogSaysSo(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer rdb.Close()
	var log record
	d := wxredis.NewDedup(rdb, slog.New(slog.NewTextHandler(&log, nil)))
	got, err := d.Do(t.Context(), "key", time.Hour, answers("welcome"))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got))
	assert.Contains(t, log.String(), "level=WARN msg=\"wxredis: run a push without knowing whether another instance has\"")
	got, err = d.Do(t.Context(), "key", time.Hour, neverRun(t))
	require.NoError(t, err)
	assert.Equal(t, "welcome", string(got), "what an instance knows itself it goes on knowing")
}

// Two instances behind one URL, and WeChat's repeats reach both.
func TestTwoInstancesServeOneURL(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	wechat := wxtest.NewServer(wxtest.WithPushTimeout(time.Second), wxtest.WithFreshRetries())
	defer wechat.Close()
	pushes := wxtest.RandomCallbackConfig(wxtest.Secure)
	var runs, came atomic.Int32
	third := make(chan struct{})
	var instances []http.Handler
	for range 3 {
		h, err := callback.New(callback.Config{
			Token: pushes.Token, AppID: wechat.AppID(), EncodingAESKey: pushes.EncodingAESKey, Dedup: wxredis.NewDedup(rdb, nil),
		}, func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
			runs.Add(1)
			<-third
			return callback.Text("welcome"), nil
		})
		require.NoError(t, err)
		instances = append(instances, h)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(came.Add(1))
		if n == 3 {
			close(third)
		}
		instances[(n-1)%3].ServeHTTP(w, r)
	}))
	defer server.Close()
	wechat.SetCallback(server.URL, pushes)
	code, err := wechat.Client().Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneStr("poster")))
	require.NoError(t, err)
	d, err := wechat.Scan(t.Context(), code.Ticket, "o-ann")
	require.NoError(t, err)
	assert.Equal(t, 3, d.Tries)
	reply, err := wechat.Reply(d)
	require.NoError(t, err)
	assert.Contains(t, string(reply), "welcome")
	assert.EqualValues(t, 1, runs.Load())
}

func TestWithoutALoggerTheDefaultOneIsWarned(t *testing.T) {
	var log record
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	_, err := wxredis.NewDedup(nil, nil).Do(t.Context(), "key", time.Minute, func() ([]byte, error) { return nil, nil })
	require.NoError(t, err)
	assert.Contains(t, log.String(), "run a push without knowing whether another instance has")
}
