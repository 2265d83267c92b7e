package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadLicenses(t *testing.T) {
	for _, s := range systems {
		licenses, err := readLicenses(t.Context(), programFor(place{dir: "../.."}, s))
		require.NoError(t, err)
		for _, part := range []string{
			"=== Go/LICENSE\n\nCopyright 2009 The Go Authors.",
			"=== github.com/spf13/cobra/LICENSE.txt\n\n                                Apache License",
			"=== modernc.org/sqlite/LICENSE-SQLITE\n",
			"=== github.com/seed-0142d113/wxqrcode/scanstats/web/chart.LICENSE.md\n\nThe MIT License",
		} {
			assert.Contains(t, string(licenses.data), part, s)
		}
		// On Windows only.
		assert.Equal(t, s.os == "windows", strings.Contains(string(licenses.data), "=== github.com/inconshreveable/mousetrap/LICENSE\n"))
	}
	_, err := readLicenses(t.Context(), place{dir: t.TempDir()})
	assert.Error(t, err, "no program")
}
