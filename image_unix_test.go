//go:build unix

package wxqrcode_test

import (
	"io/fs"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClient_SaveImageRespectsTheUmask(t *testing.T) {
	client := newStubClient(t, func(*http.Request) (*http.Response, error) { return respond(200, jpegHead) })
	for umask, mode := range map[int]fs.FileMode{0: 0o666, 0o077: 0o600, 0o027: 0o640} {
		path := filepath.Join(t.TempDir(), "code.jpg")
		old := syscall.Umask(umask)
		err := client.SaveImage(t.Context(), path, "ticket")
		syscall.Umask(old)
		require.NoError(t, err)
		assert.Equal(t, mode, modeOf(t, path))
	}
}
