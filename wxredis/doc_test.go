package wxredis_test

import (
	"context"
	"crypto/rand"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxredis"
)

func TestDoc_RecommendedUser(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	if !isReal(t, rdb) {
		t.Skip("miniredis has no users")
	}
	testRecommendedUser(t, rdb, []redis.UniversalClient{rdb})
}

// testRecommendedUser tests that the user that the package documentation
// recommends has all permissions that it needs, and no others.
func testRecommendedUser(t *testing.T, rdb testRedis, nodes []redis.UniversalClient, clusterRules ...string) {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	rules := regexp.MustCompile(`ACL SETUSER wxqrcode on >PASSWORD (.+)`).FindSubmatch(doc)
	require.NotNil(t, rules)
	username, password := "wxqrcode-test-"+rand.Text(), rand.Text()
	command := []any{"ACL", "SETUSER", username, "on", ">" + password}
	for _, rule := range append(strings.Fields(string(rules[1])), clusterRules...) {
		assert.Contains(t, string(doc), rule)
		command = append(command, rule)
	}
	for _, node := range nodes {
		require.NoError(t, node.Do(t.Context(), command...).Err())
		t.Cleanup(func() { node.Do(context.Background(), "ACL", "DELUSER", username) })
	}

	options := rdb.options
	options.Username, options.Password = username, password
	user := connect(t, options)
	var log logBuffer

	key := newKey(t, rdb)
	for range 2 {
		_, err = key.update(t.Context(), user, returning("token-1"))
		require.NoError(t, err)
	}
	assert.Equal(t, "token-1", key.load(t, user))
	assert.Zero(t, rdb.Exists(t.Context(), key.lock()).Val(), "unlocked")
	push := newPush(t, rdb)
	for range 2 {
		reply, _, err := wxredis.NewDedup(user, log.option()).Do(t.Context(), string(push), time.Hour, func(context.Context) ([]byte, error) {
			time.Sleep(3500 * time.Millisecond) // until the lease is renewed
			return []byte("welcome"), nil
		})
		require.NoError(t, err)
		assert.Equal(t, "welcome", string(reply))
	}
	name := newBusName(t, rdb)
	name.add(t, rdb, "1-1", "expired")
	scenes := make(chan string, 1)
	bus := name.bus(user, log.option())
	listen(t, bus, func(e *wxqrcode.Event) { scenes <- e.EventKey })
	time.Sleep(1500 * time.Millisecond) // until the listener has checked its position
	require.NoError(t, bus.Publish(t.Context(), scanOf("poster-7")))
	assert.Equal(t, "poster-7", receive(t, scenes))
	assert.Empty(t, log.String())

	require.NoError(t, rdb.Del(t.Context(), name.stream()).Err())
	require.NoError(t, rdb.RPush(t.Context(), name.stream(), "a list").Err())
	require.NoError(t, bus.Publish(t.Context(), scanOf("poster-8")))
	require.ErrorContains(t, user.Get(t.Context(), "another").Err(), "NOPERM")
	require.ErrorContains(t, user.FlushAll(t.Context()).Err(), "NOPERM")
}
