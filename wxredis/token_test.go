package wxredis_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxredis"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// newKey returns the key of an account that no other test has.
func newKey(t testing.TB, rdb *redis.Client) string {
	t.Helper()
	key := "wx" + rand.Text() + ":stable"
	t.Cleanup(func() { rdb.Del(context.Background(), "wxqrcode:{"+key+"}:token", "wxqrcode:{"+key+"}:turn") })
	return key
}

type fetchFunc = func(context.Context, wxqrcode.Token) (wxqrcode.Token, error)

func brings(value string, life time.Duration) fetchFunc {
	return func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
		return wxqrcode.Token{Value: value, ExpiresAt: time.Now().Add(life)}, nil
	}
}

func neverFetched(t testing.TB) fetchFunc {
	t.Helper()
	return func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
		t.Error("fetched")
		return wxqrcode.Token{}, errors.New("fetched")
	}
}

func TestATokenIsFetchedOnceAndKept(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	store, other := wxredis.NewTokenStore(rdb), wxredis.NewTokenStore(rdb)
	_, err := store.Load(t.Context(), key)
	require.ErrorIs(t, err, wxqrcode.ErrNoToken)

	forcedAt := time.Unix(1714112445, 0).UTC()
	want := wxqrcode.Token{Value: "token-1", ExpiresAt: time.Now().Add(time.Hour).UTC().Truncate(0), ForcedAt: forcedAt}
	got, err := store.Renew(t.Context(), key, "", func(_ context.Context, kept wxqrcode.Token) (wxqrcode.Token, error) {
		assert.Equal(t, wxqrcode.Token{}, kept)
		return want, nil
	})
	require.NoError(t, err)
	assert.Equal(t, "token-1", got.Value)

	got, err = other.Load(t.Context(), key)
	require.NoError(t, err)
	assert.Equal(t, want.Value, got.Value)
	assert.True(t, want.ExpiresAt.Equal(got.ExpiresAt))
	assert.True(t, want.ForcedAt.Equal(got.ForcedAt))

	got, err = other.Renew(t.Context(), key, "", neverFetched(t))
	require.NoError(t, err)
	assert.Equal(t, "token-1", got.Value)
	got, err = other.Renew(t.Context(), key, "some older token", neverFetched(t))
	require.NoError(t, err)
	assert.Equal(t, "token-1", got.Value)

	life := rdb.PTTL(t.Context(), "wxqrcode:{"+key+"}:token").Val()
	assert.InDelta(t, (time.Hour + time.Minute).Seconds(), life.Seconds(), 5)
	assert.Zero(t, rdb.Exists(t.Context(), "wxqrcode:{"+key+"}:turn").Val(), "the turn is over")
}

func TestARefusedOrDeadTokenIsReplaced(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	store := wxredis.NewTokenStore(rdb)
	_, err := store.Renew(t.Context(), key, "", brings("token-1", time.Hour))
	require.NoError(t, err)
	got, err := store.Renew(t.Context(), key, "token-1", func(_ context.Context, kept wxqrcode.Token) (wxqrcode.Token, error) {
		assert.Equal(t, "token-1", kept.Value)
		return brings("token-2", -time.Second)(nil, kept)
	})
	require.NoError(t, err)
	assert.Equal(t, "token-2", got.Value)
	got, err = store.Renew(t.Context(), key, "", brings("token-3", time.Hour))
	require.NoError(t, err)
	assert.Equal(t, "token-3", got.Value, "token-2 was dead")
}

func TestAFetchThatFailsKeepsNothingAndEndsItsTurn(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	store := wxredis.NewTokenStore(rdb)
	_, err := store.Renew(t.Context(), key, "", func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
		return wxqrcode.Token{Value: "half"}, wxqrcode.ErrIPNotAllowed
	})
	require.ErrorIs(t, err, wxqrcode.ErrIPNotAllowed)
	_, err = store.Load(t.Context(), key)
	require.ErrorIs(t, err, wxqrcode.ErrNoToken)
	assert.Panics(t, func() {
		_, _ = store.Renew(t.Context(), key, "", func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) { panic("boom") })
	})
	start := time.Now()
	_, err = store.Renew(t.Context(), key, "", brings("token-1", time.Hour))
	require.NoError(t, err)
	assert.Less(t, time.Since(start), 5*time.Second, "nobody waits for the rest of a turn")
}

func TestOneInstanceAtATimeFetches(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	var atWork, fetched atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			got, err := wxredis.NewTokenStore(rdb).Renew(t.Context(), key, "", func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
				assert.EqualValues(t, 1, atWork.Add(1))
				defer atWork.Add(-1)
				n := fetched.Add(1)
				if n == 1 {
					return wxqrcode.Token{}, errors.New("the first fails")
				}
				return wxqrcode.Token{Value: fmt.Sprint("token-", n), ExpiresAt: time.Now().Add(time.Hour)}, nil
			})
			if err == nil {
				assert.Equal(t, "token-2", got.Value)
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 2, fetched.Load())
}

// Somebody was held up beyond its turn: by a pause of the machine, a slow network.
func TestWhoeverLostItsTurnDoesNotOverwriteANewerToken(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	store := wxredis.NewTokenStore(rdb)
	got, err := store.Renew(t.Context(), key, "", func(ctx context.Context, _ wxqrcode.Token) (wxqrcode.Token, error) {
		require.NoError(t, rdb.Del(ctx, "wxqrcode:{"+key+"}:turn").Err()) // as if its time were over
		newer, err := wxredis.NewTokenStore(rdb).Renew(ctx, key, "", brings("newer", time.Hour))
		require.NoError(t, err)
		require.Equal(t, "newer", newer.Value)
		return brings("older", time.Hour)(ctx, wxqrcode.Token{})
	})
	require.NoError(t, err)
	assert.Equal(t, "newer", got.Value, "it uses the newer one itself")
	kept, err := store.Load(t.Context(), key)
	require.NoError(t, err)
	assert.Equal(t, "newer", kept.Value)
}

func TestWhoeverLostItsTurnDoesNotEndAnothers(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	turn := "wxqrcode:{" + key + "}:turn"
	_, err := wxredis.NewTokenStore(rdb).Renew(t.Context(), key, "", func(ctx context.Context, _ wxqrcode.Token) (wxqrcode.Token, error) {
		require.NoError(t, rdb.Set(ctx, turn, "another's", time.Minute).Err())
		return brings("token-1", time.Hour)(ctx, wxqrcode.Token{})
	})
	require.NoError(t, err)
	assert.Equal(t, "another's", rdb.Get(t.Context(), turn).Val())
}

// It need not have kept the newer token yet.
func TestWhoeverLostItsTurnKeepsNothingOnceAnotherHasOne(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	began, end := make(chan struct{}), make(chan struct{})
	var another sync.WaitGroup
	_, err := wxredis.NewTokenStore(rdb).Renew(t.Context(), key, "", func(ctx context.Context, _ wxqrcode.Token) (wxqrcode.Token, error) {
		rdb.Del(ctx, "wxqrcode:{"+key+"}:turn") // as if its time were over
		another.Go(func() {
			_, err := wxredis.NewTokenStore(rdb).Renew(t.Context(), key, "", func(ctx context.Context, _ wxqrcode.Token) (wxqrcode.Token, error) {
				close(began)
				<-end
				return brings("newer", time.Hour)(ctx, wxqrcode.Token{})
			})
			assert.NoError(t, err)
		})
		<-began
		return brings("older", time.Hour)(ctx, wxqrcode.Token{})
	})
	require.NoError(t, err)
	_, err = wxredis.NewTokenStore(rdb).Load(t.Context(), key)
	require.ErrorIs(t, err, wxqrcode.ErrNoToken)
	close(end)
	another.Wait()
	kept, err := wxredis.NewTokenStore(rdb).Load(t.Context(), key)
	require.NoError(t, err)
	assert.Equal(t, "newer", kept.Value)
}

// The clock of Redis was set back.
func TestATurnIsAlwaysLaterThanTheOneBefore(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	future := time.Now().Add(24 * time.Hour).UnixMicro()
	require.NoError(t, rdb.HSet(t.Context(), "wxqrcode:{"+key+"}:token", "fence", future, "token", `{"Value":"old"}`).Err())
	_, err := wxredis.NewTokenStore(rdb).Renew(t.Context(), key, "", func(ctx context.Context, _ wxqrcode.Token) (wxqrcode.Token, error) {
		assert.Equal(t, fmt.Sprint(future+1), rdb.HGet(ctx, "wxqrcode:{"+key+"}:token", "fence").Val())
		return wxqrcode.Token{}, errors.New("it fails")
	})
	require.Error(t, err)
	_, err = wxredis.NewTokenStore(rdb).Renew(t.Context(), key, "", brings("token-1", time.Hour))
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprint(future+2), rdb.HGet(t.Context(), "wxqrcode:{"+key+"}:token", "fence").Val())
}

func TestAFencingValueIsNotKeptForEver(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	_, err := wxredis.NewTokenStore(rdb).Renew(t.Context(), key, "", func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
		return wxqrcode.Token{}, errors.New("it fails")
	})
	require.Error(t, err)
	assert.InDelta(t, 60, rdb.PTTL(t.Context(), "wxqrcode:{"+key+"}:token").Val().Seconds(), 5)
}

func TestALostAnswerDoesNotCostTheTurn(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	flaky, network := newLink(t, rdb)
	store := wxredis.NewTokenStore(flaky)
	_, err := store.Renew(t.Context(), key, "", brings("token-1", time.Hour)) // Redis knows the scripts from now on
	require.NoError(t, err)
	network.loseAnswerTo(":turn")
	start := time.Now()
	got, err := store.Renew(t.Context(), key, "token-1", brings("token-2", time.Hour))
	require.NoError(t, err)
	assert.Equal(t, "token-2", got.Value)
	assert.Less(t, time.Since(start), 3*time.Second)
	assert.Eventually(t, func() bool { return rdb.Exists(t.Context(), "wxqrcode:{"+key+"}:turn").Val() == 0 }, 5*time.Second, 10*time.Millisecond)
}

func TestATurnThatCameTooLateIsEnded(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newKey(t, rdb)
	slow, network := newLink(t, rdb)
	store := wxredis.NewTokenStore(slow)
	_, err := store.Renew(t.Context(), key, "", brings("token-1", time.Hour)) // Redis knows the scripts from now on
	require.NoError(t, err)
	network.holdAnswerTo(":turn")
	_, err = store.Renew(t.Context(), key, "token-1", neverFetched(t))
	require.ErrorContains(t, err, "redis did not answer within 1s")
	network.restore()
	assert.Eventually(t, func() bool { return rdb.Exists(t.Context(), "wxqrcode:{"+key+"}:turn").Val() == 0 }, 5*time.Second, 10*time.Millisecond)
}

func TestATurnEndsThoughItsHolderGaveUp(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := wxredis.NewTokenStore(rdb).Renew(ctx, key, "", func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
		cancel()
		return wxqrcode.Token{}, context.Canceled
	})
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, rdb.Exists(t.Context(), "wxqrcode:{"+key+"}:turn").Val())
}

func TestATurnEndsWithItsHolder(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	turn := "wxqrcode:{" + key + "}:turn"
	_, err := wxredis.NewTokenStore(rdb).Renew(t.Context(), key, "", func(ctx context.Context, _ wxqrcode.Token) (wxqrcode.Token, error) {
		life := rdb.PTTL(ctx, turn).Val()
		assert.Greater(t, life, 15*time.Second, "longer than a fetch of a TokenSource can take")
		assert.LessOrEqual(t, life, 20*time.Second)
		return brings("token-1", time.Hour)(ctx, wxqrcode.Token{})
	})
	require.NoError(t, err)

	require.NoError(t, rdb.Set(t.Context(), turn, "of a process that was killed", 100*time.Millisecond).Err())
	got, err := wxredis.NewTokenStore(rdb).Renew(t.Context(), key, "token-1", brings("token-2", time.Hour))
	require.NoError(t, err)
	assert.Equal(t, "token-2", got.Value)
}

func TestWaitingForATurnEndsWithTheContext(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	require.NoError(t, rdb.Set(t.Context(), "wxqrcode:{"+key+"}:turn", "another's", time.Minute).Err())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := wxredis.NewTokenStore(rdb).Renew(ctx, key, "", neverFetched(t))
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "wxredis: renew a token: ")
}

func TestWhatIsNoTokenIsReplaced(t *testing.T) {
	rdb := newRedis(t)
	key := newKey(t, rdb)
	require.NoError(t, rdb.HSet(t.Context(), "wxqrcode:{"+key+"}:token", "fence", 1, "token", `{"sesame`).Err())
	store := wxredis.NewTokenStore(rdb)
	_, err := store.Load(t.Context(), key)
	require.ErrorIs(t, err, wxqrcode.ErrNoToken)
	assert.NotContains(t, err.Error(), "sesame")
	got, err := store.Renew(t.Context(), key, "", brings("token-1", time.Hour))
	require.NoError(t, err)
	assert.Equal(t, "token-1", got.Value)
}

// A Redis that takes connections and says nothing.
func TestASlowRedisIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	rdb := redis.NewClient(&redis.Options{Addr: l.Addr().String()})
	defer rdb.Close()

	wechat := wxtest.NewServer()
	defer wechat.Close()
	source, err := wxqrcode.NewTokenSource(wechat.AppID(), wechat.AppSecret(),
		append(wechat.TokenOptions(), wxqrcode.WithTokenStore(wxredis.NewTokenStore(rdb)))...)
	require.NoError(t, err)
	start := time.Now()
	_, err = source.AccessToken(t.Context())
	require.NoError(t, err, "stable_token gives every instance the same one")
	assert.Less(t, time.Since(start), 10*time.Second)
	assert.Equal(t, 1, wechat.Calls("stable_token"))

	legacy, err := wxqrcode.NewTokenSource(wechat.AppID(), wechat.AppSecret(),
		append(wechat.TokenOptions(), wxqrcode.WithLegacyToken(), wxqrcode.WithTokenStore(wxredis.NewTokenStore(rdb)))...)
	require.NoError(t, err)
	_, err = legacy.AccessToken(t.Context())
	require.Error(t, err)
	assert.ErrorContains(t, err, "redis did not answer within 1s")
	assert.Zero(t, wechat.Calls("token"), "it would knock the other instances out")
}

// Many instances on one account: one request for each life of the token.
func TestManyInstancesShareOneToken(t *testing.T) {
	rdb := newRedis(t)
	wechat := wxtest.NewServer()
	defer wechat.Close()
	t.Cleanup(func() {
		for _, kind := range []string{":stable", ":legacy"} {
			rdb.Del(context.Background(), "wxqrcode:{"+wechat.AppID()+kind+"}:token", "wxqrcode:{"+wechat.AppID()+kind+"}:turn")
		}
	})
	for _, opts := range [][]wxqrcode.TokenOption{{}, {wxqrcode.WithLegacyToken()}} {
		endpoint := "stable_token"
		if len(opts) == 1 {
			endpoint = "token"
		}
		var clients []*wxqrcode.Client
		for range 20 {
			source, err := wxqrcode.NewTokenSource(wechat.AppID(), wechat.AppSecret(),
				append(append(wechat.TokenOptions(), wxqrcode.WithTokenStore(wxredis.NewTokenStore(rdb))), opts...)...)
			require.NoError(t, err)
			client, err := wxqrcode.NewClient(source, wechat.ClientOptions()...)
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
