package wxredis_test

import (
	"context"
	"crypto/rand"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

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
	username, password := "wxqrcode-test-"+rand.Text(), rand.Text()
	command := []any{"ACL", "SETUSER", username, "on", ">" + password}
	for rule := range strings.FieldsSeq(string(rules[1])) {
		command = append(command, rule)
	}
	if !isReal(t, rdb) {
		require.Error(t, rdb.Do(t.Context(), command...).Err(), "miniredis has learnt of users: test with them")
		return
	}
	require.NoError(t, rdb.Do(t.Context(), command...).Err())
	t.Cleanup(func() { rdb.Do(context.Background(), "ACL", "DELUSER", username) })

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
	assert.Zero(t, rdb.Exists(t.Context(), key.lock()).Val(), "it may unlock")
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
	time.Sleep(1500 * time.Millisecond) // until the listener has looked whether the stream is still the same
	require.NoError(t, bus.Publish(t.Context(), scanOf("poster-7")))
	assert.Equal(t, "poster-7", receive(t, scenes))
	assert.Empty(t, log.String())

	require.ErrorContains(t, user.Get(t.Context(), "another").Err(), "NOPERM")
	require.ErrorContains(t, user.FlushAll(t.Context()).Err(), "NOPERM")
}
