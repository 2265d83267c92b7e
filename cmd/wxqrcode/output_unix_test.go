//go:build unix

package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newTree creates a folder with a private file and links to it.
func newTree(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, folder := range []string{"private", "links", "temp"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, folder), 0o700))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "private/code"), []byte("old"), 0o600))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	for link, target := range map[string]string{
		"to-code":       "private/code",
		"to-whole-path": filepath.Join(dir, "private/code"),
		"to-link":       "links/up",
		"links/up":      "../private/code",
		"to-nothing":    "private/new",
		"to-folder":     "links",
		"to-pipe":       "pipe",
		"circle":        "circle",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, link)))
	}
	return dir
}

// treeOf returns the modes in a folder, with the text of files and the targets of links.
func treeOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := make(map[string]string)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		content := ""
		switch info.Mode().Type() {
		case 0:
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			content = string(text)
		case fs.ModeSymlink:
			content, err = os.Readlink(path)
			require.NoError(t, err)
		}
		name, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		tree[name] = info.Mode().String() + " " + content
		return nil
	}))
	return tree
}

// writers are the two functions that write a file.
var writers = map[string]func(dir, path string, write func(io.Writer) error) error{
	"in its folder": func(_, path string, write func(io.Writer) error) error { return writeFileAtomic(path, write) },
	"in another folder": func(dir, path string, write func(io.Writer) error) error {
		return writeFileAtomicVia(filepath.Join(dir, "temp"), path, write)
	},
}

func TestWriteFileAtomic_Replaces(t *testing.T) {
	umask := syscall.Umask(0o027)
	t.Cleanup(func() { syscall.Umask(umask) })
	for _, test := range []struct{ name, path, file, mode string }{
		{"a file keeps its mode", "private/code", "private/code", "-rw-------"},
		{"a new file respects the umask", "new", "new", "-rw-r-----"},
		{"a link stays one", "to-code", "private/code", "-rw-------"},
		{"a link that names the whole path stays one", "to-whole-path", "private/code", "-rw-------"},
		{"a link that leads upwards stays one", "links/up", "private/code", "-rw-------"},
		{"a link in a folder that is a link stays one", "to-folder/up", "private/code", "-rw-------"},
		{"a link to a link stays one", "to-link", "private/code", "-rw-------"},
		{"a link to a missing file stays one", "to-nothing", "private/new", "-rw-r-----"},
	} {
		for how, writeTo := range writers {
			t.Run(test.name+", written "+how, func(t *testing.T) {
				dir := newTree(t)
				want := treeOf(t, dir)
				want[test.file] = test.mode + " new"
				require.NoError(t, writeTo(dir, filepath.Join(dir, test.path), func(w io.Writer) error {
					_, err := io.WriteString(w, "new")
					return err
				}))
				assert.Equal(t, want, treeOf(t, dir), "nothing else changed")
			})
		}
	}
}

func TestWriteFileAtomic_FailureChangesNothing(t *testing.T) {
	errFull := errors.New("the disk is full")
	for _, test := range []struct {
		name, path string
		want       error
	}{
		{"a folder", "links", errNotRegular},
		{"a link to a folder", "to-folder", errNotRegular},
		{"a link to a pipe", "to-pipe", errNotRegular},
		{"a pipe", "pipe", errNotRegular},
		{"a cycle of links", "circle", syscall.ELOOP},
		{"a file in a file", "private/code/new", syscall.ENOTDIR},
		{"a file in a missing folder", "none/new", fs.ErrNotExist},
		{"a file whose writing fails", "private/code", errFull},
		{"a new file whose writing fails", "new", errFull},
		{"a link to a file whose writing fails", "to-code", errFull},
		{"a link to a missing file whose writing fails", "to-nothing", errFull},
	} {
		for how, writeTo := range writers {
			t.Run(test.name+", written "+how, func(t *testing.T) {
				dir := newTree(t)
				before := treeOf(t, dir)
				err := writeTo(dir, filepath.Join(dir, test.path), func(w io.Writer) error {
					if errors.Is(test.want, errFull) {
						_, err := io.WriteString(w, "half of it")
						require.NoError(t, err)
						return errFull
					}
					_, err := io.WriteString(w, "new")
					return err
				})
				require.ErrorIs(t, err, test.want)
				assert.Equal(t, before, treeOf(t, dir))
			})
		}
	}
}

func TestRender_FollowsLink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "shared.svg"), filepath.Join(dir, "poster.svg")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Symlink("shared.svg", link))
	code, _, errs := wxqr(t, "render", "http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI", "--out", link)
	require.Zero(t, code, errs)
	tree := treeOf(t, dir)
	assert.Len(t, tree, 3, "the folder, the file and the link")
	assert.Equal(t, "Lrwxrwxrwx shared.svg", tree["poster.svg"])
	assert.Contains(t, tree["shared.svg"], "-rw------- <svg")

	code, _, errs = wxqr(t, "batch", writeFileOf(t, "scene,kind,file\na,permanent,poster.svg\n"), "--out", dir, "--sandbox", "--dark", "#123456")
	require.Zero(t, code, errs)
	tree = treeOf(t, dir)
	assert.Equal(t, "Lrwxrwxrwx shared.svg", tree["poster.svg"])
	assert.Contains(t, tree["shared.svg"], "#123456")
}
