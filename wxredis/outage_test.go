package wxredis_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxredis"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// An account has its own WeChat simulator and the Redis that its instances share.
type account struct {
	wechat *wxtest.Server
	rdb    testRedis
	legacy bool
	keys   []string
}

// forBothEndpoints runs test with stable_token and with the legacy endpoint.
func forBothEndpoints(t *testing.T, test func(*testing.T, account)) {
	t.Helper()
	for endpoint, legacy := range map[string]bool{"stable_token": false, "token": true} {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			a := account{wechat: wxtest.NewServer(), rdb: newRedis(t), legacy: legacy}
			t.Cleanup(a.wechat.Close)
			key := storeKey(a.wechat.AppID() + map[bool]string{false: ":stable", true: ":legacy"}[legacy])
			a.keys = []string{key.token(), key.lock()}
			t.Cleanup(func() { a.rdb.Del(context.Background(), a.keys...) })
			test(t, a)
		})
	}
}

func (a account) fetches() int {
	return a.wechat.Calls(map[bool]string{false: "stable_token", true: "token"}[a.legacy])
}

// instance returns a TokenSource of the account and its link to Redis.
func (a account) instance(t *testing.T) (*wxqrcode.TokenSource, *link) {
	t.Helper()
	rdb, network := newLink(t, a.rdb)
	opts := append(a.wechat.Options(), wxqrcode.WithTokenStore(wxredis.NewTokenStore(rdb)))
	if a.legacy {
		opts = append(opts, wxqrcode.WithLegacyToken())
	}
	source, err := wxqrcode.NewTokenSource(a.wechat.AppID(), a.wechat.AppSecret(), opts...)
	require.NoError(t, err)
	return source, network
}

func accessToken(t *testing.T, source *wxqrcode.TokenSource) string {
	t.Helper()
	token, err := source.AccessToken(t.Context())
	require.NoError(t, err)
	return token
}

func TestTokenStore_InstancesConvergeAfterOutage(t *testing.T) {
	t.Parallel()
	forBothEndpoints(t, func(t *testing.T, a account) {
		t.Helper()
		var sources []*wxqrcode.TokenSource
		var networks []*link
		for range 4 {
			source, network := a.instance(t)
			sources, networks = append(sources, source), append(networks, network)
		}
		first := accessToken(t, sources[0])
		for i, source := range sources {
			assert.Equal(t, first, accessToken(t, source))
			networks[i].disconnect()
		}
		for _, source := range sources {
			assert.Equal(t, first, accessToken(t, source), "a valid token stays in use")
		}
		assert.Equal(t, 1, a.fetches())

		a.wechat.RevokeTokens()
		second := ""
		for _, source := range sources {
			source.InvalidateToken(t.Context(), first)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			got, err := source.AccessToken(ctx)
			require.NoError(t, ctx.Err(), "within the caller's deadline")
			cancel()
			if a.legacy {
				require.ErrorContains(t, err, "wxqrcode: token: token store: wxredis: load token: ")
				continue
			}
			require.NoError(t, err)
			if second == "" {
				second = got
			}
			assert.Equal(t, second, got, "all instances get the same token")
			assert.Equal(t, got, accessToken(t, source))
		}
		assert.Equal(t, map[bool]int{false: 1 + len(sources), true: 1}[a.legacy], a.fetches(), "one fetch per instance, or none")

		a.rdb.Del(t.Context(), a.keys...) // Redis is back, empty
		for _, network := range networks {
			network.restore()
		}
		before := a.fetches()
		a.wechat.RevokeTokens()
		third := ""
		for _, source := range sources {
			source.InvalidateToken(t.Context(), second)
			require.Eventually(t, func() bool { // go-redis notices it within a second
				got, err := source.AccessToken(t.Context())
				if third == "" {
					third = got
				}
				return err == nil && got == third
			}, 10*time.Second, 10*time.Millisecond)
		}
		assert.LessOrEqual(t, a.fetches(), before+len(sources))
		if a.legacy {
			assert.Equal(t, before+1, a.fetches())
		}
	})
}

// The lock holder was killed, or lost its network, while it was fetching a token.
func TestTokenStore_OrphanedLock(t *testing.T) {
	t.Parallel()
	forBothEndpoints(t, func(t *testing.T, a account) {
		t.Helper()
		source, _ := a.instance(t)
		require.NoError(t, a.rdb.Set(t.Context(), a.keys[1], "a killed process", 20*time.Second).Err())
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		_, err := source.AccessToken(ctx)
		require.NoError(t, ctx.Err())
		if a.legacy {
			require.ErrorContains(t, err, "wxqrcode: token: token store: wxredis: update token: another caller has held the lock for more than 3s")
			assert.Zero(t, a.fetches())
		} else {
			require.NoError(t, err)
			assert.Equal(t, 1, a.fetches())
		}
	})
}
