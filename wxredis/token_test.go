package wxredis_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxredis"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A storeKey is the key of an account that no other test has.
type storeKey string

func newKey(t testing.TB, rdb testRedis) storeKey {
	t.Helper()
	key := storeKey("wx" + rand.Text() + ":stable")
	t.Cleanup(func() { rdb.Del(context.Background(), key.token(), key.lock()) })
	return key
}

// The keys in Redis.
func (k storeKey) token() string { return "wxqrcode:{" + string(k) + "}:token" }
func (k storeKey) lock() string  { return "wxqrcode:{" + string(k) + "}:lock" }

// update calls Update of a new TokenStore, as another instance does.
func (k storeKey) update(ctx context.Context, rdb testRedis, fn updateFunc) (wxqrcode.Token, error) {
	return wxredis.NewTokenStore(rdb).Update(ctx, string(k), fn)
}

func (k storeKey) load(t *testing.T, rdb testRedis) string {
	t.Helper()
	token, err := wxredis.NewTokenStore(rdb).Load(t.Context(), string(k))
	if err != nil {
		require.ErrorIs(t, err, wxqrcode.ErrTokenNotFound)
	}
	return token.Value
}

type updateFunc = func(context.Context, wxqrcode.Token) (wxqrcode.Token, error)

func returning(value string) updateFunc {
	return func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
		return wxqrcode.Token{Value: value, ExpiresAt: time.Now().Add(time.Hour)}, nil
	}
}

func notCalled(t testing.TB) updateFunc {
	t.Helper()
	return func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
		t.Error("fn was called")
		return wxqrcode.Token{}, errFn
	}
}

var errFn = errors.New("fn failed")

func failing(context.Context, wxqrcode.Token) (wxqrcode.Token, error) { return wxqrcode.Token{}, errFn }

func TestTokenStore_Conformance(t *testing.T) {
	rdb := newRedis(t)
	wxtest.TestTokenStore(t, func() wxqrcode.TokenStore { return wxredis.NewTokenStore(rdb) })
}

func TestTokenStore_Retention(t *testing.T) {
	for name, test := range map[string]struct {
		fn   updateFunc
		want time.Duration
	}{
		"token": {returning("token-1"), time.Hour + time.Minute},
		"failed force refresh": {func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
			return wxqrcode.Token{ForcedAt: time.Now()}, errFn
		}, time.Minute},
		"fencing token": {failing, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			rdb := newRedis(t)
			key := newKey(t, rdb)
			_, _ = key.update(t.Context(), rdb, test.fn)
			assert.InDelta(t, test.want.Seconds(), rdb.PTTL(t.Context(), key.token()).Val().Seconds(), 5)
			assert.Zero(t, rdb.Exists(t.Context(), key.lock()).Val())
			_, _ = key.update(t.Context(), rdb, failing)
			assert.InDelta(t, test.want.Seconds(), rdb.PTTL(t.Context(), key.token()).Val().Seconds(), 5, "a lock does not shorten it")
		})
	}
}

func TestTokenStore_LockExpires(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	_, err := key.update(t.Context(), rdb, func(ctx context.Context, _ wxqrcode.Token) (wxqrcode.Token, error) {
		ttl := rdb.PTTL(ctx, key.lock()).Val()
		assert.Greater(t, ttl, 15*time.Second, "longer than a fetch of a TokenSource takes")
		assert.LessOrEqual(t, ttl, 20*time.Second)
		deadline, ok := ctx.Deadline()
		assert.True(t, ok)
		assert.LessOrEqual(t, time.Until(deadline), ttl+time.Millisecond, "fn ends before the lock does")
		return returning("token-1")(ctx, wxqrcode.Token{})
	})
	require.NoError(t, err)

	require.NoError(t, rdb.Set(t.Context(), key.lock(), "a killed process", 100*time.Millisecond).Err())
	got, err := key.update(t.Context(), rdb, returning("token-2"))
	require.NoError(t, err)
	assert.Equal(t, "token-2", got.Value)
}

func TestTokenStore_LockWait(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newKey(t, rdb)
	require.NoError(t, rdb.Set(t.Context(), key.lock(), "a killed process", time.Minute).Err())
	store := wxredis.NewTokenStore(rdb)
	var callers sync.WaitGroup
	for range 2 { // one waits for the lock in Redis, the other for the first caller
		callers.Go(func() {
			start := time.Now()
			_, err := store.Update(t.Context(), string(key), notCalled(t))
			assert.EqualError(t, err, "wxredis: update token: another caller has held the lock for more than 3s")
			assert.InDelta(t, 3, time.Since(start).Seconds(), 1)
		})
	}
	callers.Wait()
	assert.Equal(t, "a killed process", rdb.Get(t.Context(), key.lock()).Val())
}

// loseLock deletes the lock, as if it had expired during a pause of the machine.
func loseLock(ctx context.Context, t *testing.T, rdb testRedis, key storeKey) {
	t.Helper()
	require.EqualValues(t, 1, rdb.Del(ctx, key.lock()).Val())
}

func TestTokenStore_LostLock(t *testing.T) {
	for name, test := range map[string]struct {
		late   wxqrcode.Token
		err    error
		newer  wxqrcode.Token
		want   string // what Update returns
		stored string
	}{
		"newer token":               {late: token("late"), newer: token("newer"), want: "newer", stored: "newer"},
		"newer token, but expired":  {late: token("late"), newer: wxqrcode.Token{Value: "newer"}, want: "late", stored: "newer"},
		"newer force refresh":       {late: token("late"), newer: wxqrcode.Token{ForcedAt: time.Now()}, want: "late"},
		"late force refresh":        {late: wxqrcode.Token{ForcedAt: time.Now()}, err: errFn, newer: token("newer"), stored: "newer"},
		"same token as before":      {late: token("late"), newer: token("current"), want: "late", stored: "current"},
		"no token since, not later": {late: token("late"), want: "late", stored: "late"},
	} {
		t.Run(name, func(t *testing.T) {
			rdb := newRedis(t)
			key := newKey(t, rdb)
			_, err := key.update(t.Context(), rdb, returning("current"))
			require.NoError(t, err)
			got, err := key.update(t.Context(), rdb, func(ctx context.Context, _ wxqrcode.Token) (wxqrcode.Token, error) {
				loseLock(ctx, t, rdb, key)
				if test.newer != (wxqrcode.Token{}) {
					_, err := key.update(ctx, rdb, func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) { return test.newer, nil })
					assert.NoError(t, err)
				}
				return test.late, test.err
			})
			assert.Equal(t, test.err, err)
			assert.Equal(t, test.want, got.Value)
			assert.Equal(t, test.stored, key.load(t, rdb))
		})
	}
}

func token(value string) wxqrcode.Token {
	return wxqrcode.Token{Value: value, ExpiresAt: time.Now().Add(time.Hour)}
}

func TestTokenStore_LostLock_OtherHolder(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	_, err := key.update(t.Context(), rdb, returning("rejected"))
	require.NoError(t, err)
	started, release := make(chan struct{}), make(chan struct{})
	var otherCaller sync.WaitGroup
	got, err := key.update(t.Context(), rdb, func(ctx context.Context, _ wxqrcode.Token) (wxqrcode.Token, error) {
		loseLock(ctx, t, rdb, key)
		otherCaller.Go(func() {
			_, err := key.update(t.Context(), rdb, func(ctx context.Context, current wxqrcode.Token) (wxqrcode.Token, error) {
				close(started)
				<-release
				return returning("newer")(ctx, current)
			})
			assert.NoError(t, err)
		})
		<-started
		return token("late"), nil
	})
	require.NoError(t, err)
	assert.Equal(t, "late", got.Value, "not the rejected one, which is still stored")
	assert.Equal(t, "rejected", key.load(t, rdb))
	assert.EqualValues(t, 1, rdb.Exists(t.Context(), key.lock()).Val(), "the other caller keeps its lock")
	close(release)
	otherCaller.Wait()
	assert.Equal(t, "newer", key.load(t, rdb))
}

func TestTokenStore_FencingTokenAlwaysIncreases(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	future := time.Now().Add(24 * time.Hour).UnixMicro() // as if the clock of Redis was set back
	require.NoError(t, rdb.HSet(t.Context(), key.token(), "fence", future, "token", `{"value":"first"}`).Err())
	for i, fn := range []updateFunc{failing, returning("token-1"), failing} {
		_, _ = key.update(t.Context(), rdb, fn)
		assert.Equal(t, fmt.Sprint(future+int64(i)+1), rdb.HGet(t.Context(), key.token(), "fence").Val())
	}
	assert.Equal(t, "token-1", key.load(t, rdb))
}

func TestTokenStore_LostResponse(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	flaky, network := newLink(t, rdb)
	store := wxredis.NewTokenStore(flaky)
	_, err := store.Update(t.Context(), string(key), returning("token-1")) // Redis knows the scripts from now on
	require.NoError(t, err)
	network.loseResponse(":lock")
	got, err := store.Update(t.Context(), string(key), returning("token-2"))
	require.NoError(t, err)
	assert.Equal(t, "token-2", got.Value)
	assert.Zero(t, rdb.Exists(t.Context(), key.lock()).Val())
}

func TestTokenStore_LateResponse(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newKey(t, rdb)
	slow, network := newLink(t, rdb)
	store := wxredis.NewTokenStore(slow)
	_, err := store.Update(t.Context(), string(key), returning("token-1")) // Redis knows the scripts from now on
	require.NoError(t, err)
	network.delayResponse(":lock")
	_, err = store.Update(t.Context(), string(key), notCalled(t))
	require.EqualError(t, err, "wxredis: update token: Redis did not respond within 1s")
	network.restore()
	assert.Eventually(t, func() bool { return rdb.Exists(t.Context(), key.lock()).Val() == 0 }, 5*time.Second, 10*time.Millisecond)
	_, err = store.Update(t.Context(), string(key), returning("token-2"))
	require.NoError(t, err)
}

func TestTokenStore_StoringFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fn   updateFunc
		want string
	}{
		"token": {returning("token-1"), "token-1"},
		"failed force refresh": {func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
			return wxqrcode.Token{ForcedAt: time.Now()}, errFn
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := newRedis(t)
			key := newKey(t, rdb)
			flaky, network := newLink(t, rdb)
			got, err := key.update(t.Context(), flaky, func(ctx context.Context, current wxqrcode.Token) (wxqrcode.Token, error) {
				network.disconnect()
				return test.fn(ctx, current)
			})
			assert.Equal(t, test.want, got.Value, "good for this caller")
			if test.want == "" {
				assert.Equal(t, errFn, err)
			} else {
				assert.ErrorContains(t, err, "wxredis: update token: ")
				assert.NotContains(t, err.Error(), test.want)
			}
			assert.Empty(t, key.load(t, rdb))
		})
	}
}

func TestTokenStore_ContextEndsDuringFn(t *testing.T) {
	rdb := newRedis(t)
	for _, want := range []wxqrcode.Token{{ForcedAt: time.Unix(1714112445, 0).UTC()}, {Value: "token-1", ExpiresAt: time.Now().Add(time.Hour).UTC().Truncate(0)}} {
		key := newKey(t, rdb)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := key.update(ctx, rdb, func(fnCtx context.Context, _ wxqrcode.Token) (wxqrcode.Token, error) {
			cancel()
			require.ErrorIs(t, fnCtx.Err(), context.Canceled)
			return want, fnCtx.Err()
		})
		require.Equal(t, context.Canceled, err)
		assert.Zero(t, rdb.Exists(t.Context(), key.lock()).Val())
		_, _ = key.update(t.Context(), rdb, func(_ context.Context, current wxqrcode.Token) (wxqrcode.Token, error) {
			assert.Equal(t, want, current)
			return current, nil
		})
	}
}

func TestTokenStore_FnIgnoresContext(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	store := wxredis.NewTokenStore(rdb)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := store.Update(ctx, string(key), func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
		cancel()
		got, err := store.Update(t.Context(), string(key), returning("newer"))
		assert.NoError(t, err)
		assert.Equal(t, "newer", got.Value)
		return token("late"), nil
	})
	require.NoError(t, err)
	assert.Equal(t, "newer", key.load(t, rdb))
}

func TestTokenStore_Unreadable(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	require.NoError(t, rdb.HSet(t.Context(), key.token(), "fence", 1, "token", `{"sesame`).Err())
	assert.Empty(t, key.load(t, rdb))
	got, err := key.update(t.Context(), rdb, func(ctx context.Context, current wxqrcode.Token) (wxqrcode.Token, error) {
		assert.Equal(t, wxqrcode.Token{}, current)
		return returning("token-1")(ctx, current)
	})
	require.NoError(t, err)
	assert.Equal(t, "token-1", got.Value)
}

// A Redis that accepts connections and does not respond.
func TestTokenStore_SlowRedis(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	rdb := redis.NewClient(&redis.Options{Addr: l.Addr().String()})
	defer rdb.Close()

	wechat := wxtest.NewServer()
	defer wechat.Close()
	source, err := wxqrcode.NewTokenSource(wechat.AppID(), wechat.AppSecret(),
		append(wechat.Options(), wxqrcode.WithTokenStore(wxredis.NewTokenStore(rdb)))...)
	require.NoError(t, err)
	start := time.Now()
	_, err = source.AccessToken(t.Context())
	require.NoError(t, err, "stable_token returns the same token to every instance")
	assert.Less(t, time.Since(start), 10*time.Second)
	assert.Equal(t, 1, wechat.Calls("stable_token"))

	legacy, err := wxqrcode.NewTokenSource(wechat.AppID(), wechat.AppSecret(),
		append(wechat.Options(), wxqrcode.WithLegacyToken(), wxqrcode.WithTokenStore(wxredis.NewTokenStore(rdb)))...)
	require.NoError(t, err)
	_, err = legacy.AccessToken(t.Context())
	require.Error(t, err)
	assert.ErrorContains(t, err, "Redis did not respond within 1s")
	assert.Zero(t, wechat.Calls("token"), "it would invalidate the token of the other instances")
}

func TestTokenStore_ManyInstancesShareOneToken(t *testing.T) {
	rdb := newRedis(t)
	wechat := wxtest.NewServer()
	defer wechat.Close()
	t.Cleanup(func() {
		for _, kind := range []string{":stable", ":legacy"} {
			key := storeKey(wechat.AppID() + kind)
			rdb.Del(context.Background(), key.token(), key.lock())
		}
	})
	for _, opts := range [][]wxqrcode.Option{{}, {wxqrcode.WithLegacyToken()}} {
		endpoint := "stable_token"
		if len(opts) == 1 {
			endpoint = "token"
		}
		var clients []*wxqrcode.Client
		for range 20 {
			client, err := wxqrcode.New(wechat.AppID(), wechat.AppSecret(),
				append(append(wechat.Options(), wxqrcode.WithTokenStore(wxredis.NewTokenStore(rdb))), opts...)...)
			require.NoError(t, err)
			clients = append(clients, client)
		}
		for round := range 3 {
			var all sync.WaitGroup
			for i, client := range clients {
				all.Go(func() {
					_, err := client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneID(uint32(i+1))))
					assert.NoError(t, err)
				})
			}
			all.Wait()
			assert.Equal(t, round+1, wechat.Calls(endpoint), "%s, after %d revocations", endpoint, round)
			wechat.RevokeTokens()
		}
	}
}
