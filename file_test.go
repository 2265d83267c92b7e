package wxqrcode

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A failing reader stands for a full disk: both end the copy half way.
type failAfter struct {
	io.Reader
	err error
}

func (r failAfter) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		err = r.err
	}
	return n, err
}

func TestReplaceFileLeavesNothingOfAWriteThatFails(t *testing.T) {
	for name, old := range map[string]string{"a file is there": "old", "no file is there": ""} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "code.jpg")
			if old != "" {
				require.NoError(t, os.WriteFile(path, []byte(old), 0o600))
			}
			err := replaceFile(path, failAfter{strings.NewReader("half"), syscall.ENOSPC})
			require.ErrorIs(t, err, syscall.ENOSPC)
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			if old == "" {
				assert.Empty(t, entries)
				return
			}
			require.Len(t, entries, 1)
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, old, string(b))
		})
	}
}

// A readerFunc does something while the content is copied.
type readerFunc func() error

func (f readerFunc) Read([]byte) (int, error) { return 0, f() }

func TestReplaceFileLeavesNothingIfItCannotRename(t *testing.T) {
	path := filepath.Join(t.TempDir(), "code.jpg")
	err := replaceFile(path, readerFunc(func() error {
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		return io.EOF
	}))
	require.Error(t, err, "a folder came in between")
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.True(t, entries[0].IsDir())
}
