package wxqrcode_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

func TestMemoryStore_Conformance(t *testing.T) {
	wxtest.TestTokenStore(t, wxqrcode.NewMemoryStore)
}

func TestMemoryStore_UnlocksWhenContextEnds(t *testing.T) {
	store := wxqrcode.NewMemoryStore()
	ctx, cancel := context.WithCancel(t.Context())
	late, err := store.Update(ctx, "key", func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
		cancel() // ignored
		newer, err := store.Update(t.Context(), "key", func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
			return wxqrcode.Token{Value: "newer"}, nil
		})
		require.NoError(t, err)
		assert.Equal(t, "newer", newer.Value)
		return wxqrcode.Token{Value: "late"}, nil
	})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, "late", late.Value, "valid for this caller")
	stored, err := store.Load(t.Context(), "key")
	require.NoError(t, err)
	assert.Equal(t, "newer", stored.Value)
}
