package wxredis_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxredis"
)

func TestOptions_KeyPrefix(t *testing.T) {
	for name, tt := range map[string]struct {
		opts []wxredis.Option
		want string
	}{
		"default":                 {nil, "wxqrcode:"},
		"nil option":              {[]wxredis.Option{nil}, "wxqrcode:"},
		"empty":                   {[]wxredis.Option{wxredis.WithKeyPrefix("")}, "wxqrcode:"},
		"other":                   {[]wxredis.Option{wxredis.WithKeyPrefix("shop/7:")}, "shop/7:"},
		"later one":               {[]wxredis.Option{wxredis.WithKeyPrefix("a:"), nil, wxredis.WithKeyPrefix("b:")}, "b:"},
		"braces":                  {[]wxredis.Option{wxredis.WithKeyPrefix("{shop}")}, "%7Bshop%7D"},
		"empty braces":            {[]wxredis.Option{wxredis.WithKeyPrefix("{}")}, "%7B%7D"},
		"what braces are encoded": {[]wxredis.Option{wxredis.WithKeyPrefix("%7Bshop%7D")}, "%257Bshop%257D"},
		"control characters":      {[]wxredis.Option{wxredis.WithKeyPrefix("\x00\r\n")}, "\x00\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			rdb := newRedis(t)
			key, push, bus := newKey(t, rdb), newPush(t, rdb), newBusName(t, rdb)
			keys := []string{
				tt.want + "{" + string(key) + "}:token",
				tt.want + "{push:" + string(push) + "}:run",
				tt.want + "{" + string(bus) + "}:scans",
			}
			_, err := wxredis.NewTokenStore(rdb, tt.opts...).Update(t.Context(), string(key), returning("token-1"))
			require.NoError(t, err)
			_, _, err = wxredis.NewDedup(rdb, tt.opts...).Do(t.Context(), string(push), time.Minute, replies("welcome"))
			require.NoError(t, err)
			require.NoError(t, wxredis.NewBus(rdb, string(bus), tt.opts...).Publish(t.Context(), scanOf("7")))
			for _, key := range keys {
				assert.EqualValues(t, 1, rdb.Del(t.Context(), key).Val(), "%q", key)
			}
		})
	}
}

func TestOptions_NilClient(t *testing.T) {
	const want = "there is no Redis client"
	for _, store := range []*wxredis.TokenStore{wxredis.NewTokenStore(nil), {}} {
		_, err := store.Load(t.Context(), "key")
		require.ErrorContains(t, err, want)
		_, err = store.Update(t.Context(), "key", notCalled(t))
		require.ErrorContains(t, err, want)
	}
	for _, bus := range []*wxredis.Bus{wxredis.NewBus(nil, "name"), {}} {
		require.ErrorContains(t, bus.Publish(t.Context(), scanOf("1000")), want)
		require.ErrorContains(t, bus.Listen(t.Context(), func(*wxqrcode.Event) {}), want)
	}

	var log logBuffer
	reply, _, err := wxredis.NewDedup(nil, log.option()).Do(t.Context(), "key", time.Minute, replies("welcome"))
	require.NoError(t, err, "the push is handled anyway")
	assert.Equal(t, "welcome", string(reply))
	assert.Contains(t, log.String(), want)
	_, _, err = new(wxredis.Dedup).Do(t.Context(), "key", time.Minute, notRun(t))
	require.ErrorContains(t, err, "create one with NewDedup")
}

func TestOptions_NilLogger(t *testing.T) {
	var log logBuffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	_, _, err := wxredis.NewDedup(nil, wxredis.WithLogger(nil)).Do(t.Context(), "key", time.Minute, func(context.Context) ([]byte, error) { return nil, nil })
	require.NoError(t, err)
	assert.Contains(t, log.String(), "deduplication unavailable, handling the push anyway")
}
