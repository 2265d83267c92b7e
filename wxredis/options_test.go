package wxredis_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxredis"
)

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
	reply, _, err := wxredis.NewDedup(nil, log.option()).
		Do(t.Context(), "key", time.Minute, func(context.Context) ([]byte, error) { return []byte("reply"), nil })
	require.NoError(t, err, "it fails open")
	assert.Equal(t, "reply", string(reply))
	assert.Contains(t, log.String(), want)
	_, _, err = new(wxredis.Dedup).Do(t.Context(), "key", time.Minute, func(context.Context) ([]byte, error) { return nil, nil })
	require.ErrorContains(t, err, "create one with NewDedup")
}
