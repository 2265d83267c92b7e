package wxtest_test

import (
	"testing"

	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

func TestMemoryDedup(t *testing.T) {
	wxtest.TestDeduplicator(t, func() callback.Deduplicator { return callback.NewMemoryDedup(nil) })
}
