package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestWrite_ReplacesTheFileAndKeepsItsMode(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "code.jpg")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o604))
	require.NoError(t, os.Chmod(path, 0o604))
	require.NoError(t, Write(path, []byte("new")))
	assert.Equal(t, "new", read(t, path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o604), info.Mode())
	assert.Equal(t, []string{"code.jpg"}, names(t, dir))
}

func TestWrite_KeepsTheModeZero(t *testing.T) {
	path := filepath.Join(t.TempDir(), "code.jpg")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Chmod(path, 0))
	require.NoError(t, Write(path, []byte("new")))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Zero(t, info.Mode().Perm())
}

func TestWrite_AcceptsTheLongestNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 255))
	require.NoError(t, Write(path, []byte("1")))
	require.NoError(t, Write(path, []byte("2")))
	assert.Equal(t, "2", read(t, path))
}

func TestWrite_ManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "code.jpg")
	data := strings.Repeat("x", 100_000)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { assert.NoError(t, Write(path, []byte(data))) })
	}
	all.Wait()
	assert.Equal(t, data, read(t, path))
	assert.Equal(t, []string{"code.jpg"}, names(t, dir))
}

func TestWrite_LeavesEverythingAfterAnError(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("old"), 0o600))
	for name, path := range map[string]string{
		"a folder":            filepath.Join(dir, "folder"),
		"a missing folder":    filepath.Join(dir, "missing", "x"),
		"a file as folder":    filepath.Join(dir, "file", "x"),
		"a name that is long": filepath.Join(dir, strings.Repeat("x", 256)),
		"a device":            os.DevNull,
		"a zero byte":         filepath.Join(dir, "a\x00b"),
		"empty":               "",
	} {
		t.Run(name, func(t *testing.T) {
			require.Error(t, Write(path, []byte("new")))
			assert.Equal(t, []string{"file", "folder"}, names(t, dir))
			assert.Equal(t, "old", read(t, filepath.Join(dir, "file")))
		})
	}
}

// A limit on the size of files stands for a full disk.
func TestWrite_LeavesTheFileIfTheDiskIsFull(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 20, Max: limit.Max}))
	err := Write(path, make([]byte, 2<<20))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	require.ErrorIs(t, err, syscall.EFBIG)
	assert.Equal(t, "old", read(t, path))
	assert.Equal(t, []string{"file"}, names(t, dir))
}

func TestWrite_FollowsSymbolicLinks(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	for link, target := range map[string]string{
		"to-nothing": filepath.Join(elsewhere, "new"),
		"relative":   "beside",
		"to-a-link":  filepath.Join(dir, "relative"),
		"circle-a":   "circle-b",
		"circle-b":   "circle-a",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, link)))
	}
	for _, link := range []string{"to-nothing", "to-a-link"} {
		require.NoError(t, Write(filepath.Join(dir, link), []byte("data")))
		info, err := os.Lstat(filepath.Join(dir, link))
		require.NoError(t, err)
		assert.Equal(t, fs.ModeSymlink, info.Mode().Type(), link)
	}
	assert.Equal(t, "data", read(t, filepath.Join(elsewhere, "new")))
	info, err := os.Lstat(filepath.Join(dir, "beside"))
	require.NoError(t, err)
	assert.True(t, info.Mode().IsRegular())
	require.Error(t, Write(filepath.Join(dir, "circle-a"), []byte("data")))
}

// The .. of a link refers to the folder of the link, not to the path that led
// there.
func TestWrite_FollowsParentsOfLinkedFolders(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	folder := filepath.Join(elsewhere, "b", "c")
	require.NoError(t, os.MkdirAll(folder, 0o700))
	require.NoError(t, os.Symlink(folder, filepath.Join(dir, "a")))
	require.NoError(t, os.WriteFile(filepath.Join(elsewhere, "b", "existing"), []byte("old"), 0o600))
	for _, name := range []string{"existing", "new"} {
		require.NoError(t, os.Symlink(filepath.Join("..", name), filepath.Join(folder, "link-"+name)))
		require.NoError(t, Write(filepath.Join(dir, "a", "link-"+name), []byte("data")))
		assert.Equal(t, "data", read(t, filepath.Join(elsewhere, "b", name)))
	}
	// A link whose target goes through another link and up again.
	require.NoError(t, os.Symlink("a/../newer", filepath.Join(dir, "link")))
	require.NoError(t, Write(filepath.Join(dir, "link"), []byte("data")))
	assert.Equal(t, "data", read(t, filepath.Join(elsewhere, "b", "newer")))
}
