package main

import (
	"archive/zip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAModuleIsServedAsItIsInARevision(t *testing.T) {
	repo := place{dir: t.TempDir(), env: []string{
		"GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
	}}
	for name, text := range map[string]string{
		"LICENSE": "MIT", "go.mod": "module " + rootPath + "\n", "root.go": "package root\n",
		"scanstats/go.mod": "module " + rootPath + "/scanstats\n", "scanstats/stats.go": "package scanstats\n",
	} {
		file := filepath.Join(repo.dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	require.NoError(t, repo.do(t.Context(), "git", "init", "--quiet"))
	require.NoError(t, repo.do(t.Context(), "git", "add", "--all"))
	tree, err := repo.line(t.Context(), "git", "write-tree")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(repo.dir, "later.go"), []byte("package root\n"), 0o600))

	proxy := goproxy(t.TempDir())
	for dir, want := range map[string][]string{
		".":         {"LICENSE", "go.mod", "root.go"},
		"scanstats": {"LICENSE", "go.mod", "stats.go"},
	} {
		require.NoError(t, proxy.add(repo.dir, repo.dir, tree, dir, "v0.1.0"))
		at := filepath.Join(string(proxy), modulePath(dir), "@v")
		archive, err := zip.OpenReader(filepath.Join(at, "v0.1.0.zip"))
		require.NoError(t, err)
		defer archive.Close()
		var names []string
		for _, f := range archive.File {
			names = append(names, f.Name[len(modulePath(dir)+"@v0.1.0/"):])
		}
		assert.ElementsMatch(t, want, names, "without modules below, and with the root's licence")
		list, err := os.ReadFile(filepath.Join(at, "list"))
		require.NoError(t, err)
		assert.Equal(t, "v0.1.0\n", string(list))
	}
	assert.ErrorContains(t, proxy.add(repo.dir, repo.dir, "nothing", ".", "v0.1.0"), "serving "+rootPath+" of nothing as v0.1.0")
}

func TestAModuleCacheIsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "modcache")
	locked := filepath.Join(dir, "example.com", "module@v1.0.0")
	require.NoError(t, os.MkdirAll(locked, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(locked, "go.mod"), nil, 0o400))
	require.NoError(t, os.Chmod(locked, 0o500))
	require.NoError(t, removeAll(dir))
	assert.NoDirExists(t, dir)
}
