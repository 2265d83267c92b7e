package wxredis_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxredis"
)

// A writer writes a value that is not ours to a key.
type writer func(ctx context.Context, rdb redis.UniversalClient, key string) error

func hash(values ...any) writer {
	return func(ctx context.Context, rdb redis.UniversalClient, key string) error {
		return rdb.HSet(ctx, key, values...).Err()
	}
}

func text(value string) writer {
	return func(ctx context.Context, rdb redis.UniversalClient, key string) error {
		return rdb.Set(ctx, key, value, 0).Err()
	}
}

func entry(id string, values ...any) writer {
	return func(ctx context.Context, rdb redis.UniversalClient, key string) error {
		return rdb.XAdd(ctx, &redis.XAddArgs{Stream: key, ID: id, Values: values}).Err()
	}
}

// foreignValues are values of each type of Redis, none of which expires.
var foreignValues = map[string]writer{
	"a string":        text("o-secret"),
	"an empty string": text(""),
	"a number":        text("7"),
	"a bitmap": func(ctx context.Context, rdb redis.UniversalClient, key string) error {
		return rdb.SetBit(ctx, key, 7, 1).Err()
	},
	"a list": func(ctx context.Context, rdb redis.UniversalClient, key string) error {
		return rdb.RPush(ctx, key, "o-secret").Err()
	},
	"a set": func(ctx context.Context, rdb redis.UniversalClient, key string) error {
		return rdb.SAdd(ctx, key, "o-secret").Err()
	},
	"a sorted set": func(ctx context.Context, rdb redis.UniversalClient, key string) error {
		return rdb.ZAdd(ctx, key, redis.Z{Member: "o-secret"}).Err()
	},
	"a HyperLogLog": func(ctx context.Context, rdb redis.UniversalClient, key string) error {
		return rdb.PFAdd(ctx, key, "o-secret").Err()
	},
	"a hash":            hash("field", "o-secret"),
	"a stream":          entry("*", "field", "o-secret"),
	"a hash of a token": hash("fence", 1, "token", `{"value":"o-secret"}`),
}

// forEachValue runs test with each foreign value and each one of more.
func forEachValue(t *testing.T, more map[string]writer, test func(t *testing.T, rdb testRedis, write writer)) {
	t.Helper()
	rdb := newRedis(t)
	values := maps.Clone(foreignValues)
	maps.Copy(values, more)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, rdb, func(ctx context.Context, rdb redis.UniversalClient, key string) error {
				if err := rdb.Del(ctx, key).Err(); err != nil {
					return err
				}
				time.Sleep(2 * time.Millisecond) // so that no ID of a stream is given twice
				return values[name](ctx, rdb, key)
			})
		})
	}
}

func TestTokenStore_ForeignValues(t *testing.T) {
	t.Parallel()
	valid := fmt.Sprintf(`{"value":"valid","expires_at":%q}`, time.Now().Add(time.Hour).Format(time.RFC3339))
	values := map[string]writer{"a hash that does not expire": hash("fence", 1, "token", valid)}
	for _, fence := range []any{"abc", "", "-1", "1.5", "nan", "inf", "0x7fffffffffffffff", "1e300", int64(1) << 53, uint64(math.MaxUint64)} {
		values[fmt.Sprintf("the fencing token %v", fence)] = hash("fence", fence, "token", valid)
	}
	for _, token := range []string{"", "abc", "null", "[]", `{"value":7}`, `{"value":"o-secret","expires_at":"tomorrow"}`, "{\"value\":\"\xff"} {
		values["the token "+token] = hash("fence", 1, "token", token)
	}
	for name, keyOf := range map[string]func(storeKey) string{"token": storeKey.token, "lock": storeKey.lock} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forEachValue(t, values, func(t *testing.T, rdb testRedis, write writer) {
				t.Helper()
				key := newKey(t, rdb)
				check := func(want string) {
					t.Helper()
					_, err := key.update(t.Context(), rdb, func(_ context.Context, current wxqrcode.Token) (wxqrcode.Token, error) {
						assert.Equal(t, want, current.Value)
						return token("next"), nil
					})
					require.NoError(t, err)
					assert.Equal(t, "next", key.load(t, rdb))
					assert.Zero(t, rdb.Exists(t.Context(), key.lock()).Val(), "unlocked")
					assert.Greater(t, rdb.PTTL(t.Context(), key.token()).Val(), 59*time.Minute)
				}
				_, err := key.update(t.Context(), rdb, returning("first"))
				require.NoError(t, err)
				require.NoError(t, write(t.Context(), rdb, keyOf(key)))
				loaded := key.load(t, rdb)
				if name == "lock" {
					require.Equal(t, "first", loaded, "a valid token is kept")
				}
				check(loaded)
				_, err = key.update(t.Context(), rdb, func(ctx context.Context, current wxqrcode.Token) (wxqrcode.Token, error) {
					require.NoError(t, write(ctx, rdb, keyOf(key)))
					return returning("last")(ctx, current)
				})
				require.NoError(t, err)
				check("last")
			})
		})
	}
}

func TestTokenStore_LockOfForeignProgram(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newKey(t, rdb)
	require.NoError(t, rdb.Set(t.Context(), key.lock(), "abc", 24*time.Hour).Err())
	_, err := key.update(t.Context(), rdb, notCalled(t))
	require.ErrorContains(t, err, "another caller has held the lock")
	assert.LessOrEqual(t, rdb.PTTL(t.Context(), key.lock()).Val(), 20*time.Second, "it expires like a lock")
}

func TestDedup_ForeignValues(t *testing.T) {
	t.Parallel()
	for name, keyOf := range map[string]func(pushKey) string{"run": pushKey.run, "reply": pushKey.reply} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forEachValue(t, nil, func(t *testing.T, rdb testRedis, write writer) {
				t.Helper()
				const before, duringFailedRun, duringRun = "before", "during a failed run", "during the run"
				for _, moment := range []string{before, duringFailedRun, duringRun} {
					for _, reply := range []string{"welcome", ""} {
						key := newPush(t, rdb)
						now := func(m string) {
							if m == moment {
								require.NoError(t, write(t.Context(), rdb, keyOf(key)))
							}
						}
						now(before)
						_, _, err := key.do(t.Context(), rdb, func(context.Context) ([]byte, error) {
							now(duringFailedRun)
							return nil, errFn
						})
						require.ErrorIs(t, err, errFn, moment)
						got, duplicate, err := key.do(t.Context(), rdb, func(context.Context) ([]byte, error) {
							now(duringRun)
							return []byte(reply), nil
						})
						require.NoError(t, err, moment)
						assert.False(t, duplicate, moment)
						assert.Equal(t, reply, string(got), moment)
						got, duplicate, err = key.do(t.Context(), rdb, notRun(t))
						require.NoError(t, err, moment)
						assert.True(t, duplicate, moment)
						assert.Equal(t, reply, string(got), moment)
						assert.Greater(t, rdb.PTTL(t.Context(), key.run()).Val(), 59*time.Minute, moment)
					}
				}
			})
		})
	}
}

func TestDedup_ForeignReply(t *testing.T) {
	t.Parallel()
	forEachValue(t, nil, func(t *testing.T, rdb testRedis, write writer) {
		t.Helper()
		key := newPush(t, rdb)
		_, _, err := key.do(t.Context(), rdb, replies("welcome"))
		require.NoError(t, err)
		require.NoError(t, write(t.Context(), rdb, key.reply()))
		_, duplicate, err := key.do(t.Context(), rdb, notRun(t))
		require.NoError(t, err)
		assert.True(t, duplicate, "the mark is kept")
	})
}

func TestDedup_BrokenExpiry(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	key := newPush(t, rdb)
	require.NoError(t, rdb.Set(t.Context(), key.run(), "done", 0).Err())
	_, duplicate, err := key.do(t.Context(), rdb, notRun(t))
	require.NoError(t, err)
	assert.True(t, duplicate)
	assert.InDelta(t, time.Hour.Seconds(), rdb.PTTL(t.Context(), key.run()).Val().Seconds(), 5, "done expires after the dedup window")

	key = newPush(t, rdb)
	require.NoError(t, rdb.Set(t.Context(), key.run(), "abc", 24*time.Hour).Err())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, duplicate, err = key.do(ctx, rdb, notRun(t))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.True(t, duplicate)
	assert.LessOrEqual(t, rdb.PTTL(t.Context(), key.run()).Val(), 10*time.Second, "it expires like a lease")
}

func TestBus_ForeignValues(t *testing.T) {
	t.Parallel()
	values := map[string]writer{
		"an event that is no JSON": entry("*", "event", "o-secret"),
		"an event without a type":  entry("*", "event", "{}"),
		"an event and more fields": entry("*", "event", "{}", "field", "o-secret"),
		"the last possible ID":     entry("18446744073709551615-18446744073709551615", "field", "o-secret"),
	}
	forEachValue(t, values, func(t *testing.T, rdb testRedis, write writer) {
		t.Helper()
		name := newBusName(t, rdb)
		require.NoError(t, write(t.Context(), rdb, name.stream()))
		require.NoError(t, name.bus(rdb).Publish(t.Context(), scanOf("first")))
		scenes := make(chan string, 10)
		listen(t, name.bus(rdb), func(e *wxqrcode.Event) { scenes <- e.EventKey })
		assert.Equal(t, "first", receive(t, scenes))
		require.NoError(t, write(t.Context(), rdb, name.stream()))
		listen(t, name.bus(rdb), func(*wxqrcode.Event) {})
		require.NoError(t, name.bus(rdb).Publish(t.Context(), scanOf("last")))
		assert.Equal(t, "last", receive(t, scenes))
	})
}

func TestDedup_WarnsOfForeignValue(t *testing.T) {
	rdb := newRedis(t)
	key := newPush(t, rdb)
	require.NoError(t, rdb.RPush(t.Context(), key.run(), "o-secret").Err())
	var log logBuffer
	_, _, err := wxredis.NewDedup(rdb, log.option()).Do(t.Context(), string(key), time.Hour, replies("welcome"))
	require.NoError(t, err)
	assert.Contains(t, log.String(), `level=WARN msg="wxredis: deleted a value of another type; does another program use the same key prefix?"`)
}
