package callback

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestShortenCutsAtTheEndOfACharacter(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"empty":                 {"", ""},
		"as long as allowed":    {"1234567", "1234567"},
		"a byte too long":       {"12345678", "1234567…"},
		"within a character":    {"海报海报", "海报…"},
		"behind a character":    {"1海报海", "1海报…"},
		"nothing but its inner": {strings.Repeat("\x80", 10), "…"},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, shorten(test.text, 7)) })
	}
}

func TestAMemoryDedupWarnsTheLoggerThatItWasGiven(t *testing.T) {
	own := slog.New(slog.DiscardHandler)
	given, ok := NewMemoryDedup(own).(*memory)
	require.True(t, ok)
	assert.Same(t, own, given.full.log)
	without, ok := NewMemoryDedup(nil).(*memory)
	require.True(t, ok)
	assert.NotNil(t, without.full.log)
}
