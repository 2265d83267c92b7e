package wxredis_test

import (
	"context"
	"crypto/rand"
	"log/slog"
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

// The user whom the package's documentation recommends may do all that is needed, and no more.
func TestTheRecommendedUser(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	rules := regexp.MustCompile(`ACL SETUSER wxqrcode on >PASSWORD (.+)`).FindSubmatch(doc)
	require.NotNil(t, rules)
	name, password := "wxqrcode-test-"+rand.Text(), rand.Text()
	command := []any{"ACL", "SETUSER", name, "on", ">" + password}
	for rule := range strings.FieldsSeq(string(rules[1])) {
		command = append(command, rule)
	}
	if !isReal(t, rdb) {
		require.Error(t, rdb.Do(t.Context(), command...).Err(), "miniredis has learnt of users: test with them")
		return
	}
	require.NoError(t, rdb.Do(t.Context(), command...).Err())
	t.Cleanup(func() { rdb.Do(context.Background(), "ACL", "DELUSER", name) })

	options := *rdb.Options()
	options.Username, options.Password = name, password
	user := redis.NewClient(&options)
	defer user.Close()
	var log record
	logger := slog.New(slog.NewTextHandler(&log, nil))

	key := newKey(t, rdb)
	for range 2 {
		_, err = key.update(t.Context(), user, returning("token-1"))
		require.NoError(t, err)
	}
	assert.Equal(t, "token-1", key.load(t, user))
	assert.Zero(t, rdb.Exists(t.Context(), key.lock()).Val(), "it may unlock")
	push := newPush(t, rdb)
	for range 2 {
		reply, _, err := wxredis.NewDedup(user, logger).Do(t.Context(), push, time.Hour, func(context.Context) ([]byte, error) {
			time.Sleep(3500 * time.Millisecond) // until the lease is renewed
			return []byte("welcome"), nil
		})
		require.NoError(t, err)
		assert.Equal(t, "welcome", string(reply))
	}
	stream := newBusName(t, rdb)
	require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: "wxqrcode:{" + stream + "}:scans", ID: "1-1", Values: []any{"event", "old"}}).Err())
	heard := make(chan *wxqrcode.Event, 1)
	bus := wxredis.NewBus(user, stream, logger)
	listen(t, bus, func(e *wxqrcode.Event) { heard <- e })
	time.Sleep(1500 * time.Millisecond) // until the listener has looked whether the stream is still the same
	require.NoError(t, bus.Publish(t.Context(), scanOf("poster-7")))
	assert.Equal(t, "poster-7", (<-heard).EventKey)
	assert.Empty(t, log.String())

	require.ErrorContains(t, user.Get(t.Context(), "another").Err(), "NOPERM")
	require.ErrorContains(t, user.FlushAll(t.Context()).Err(), "NOPERM")
}
