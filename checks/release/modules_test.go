package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

const repository = "../.."

func TestEveryModuleIsReleasedButThisOne(t *testing.T) {
	dirs, err := workspace(t.Context(), place{dir: repository})
	require.NoError(t, err)
	assert.ElementsMatch(t, append(slices.Concat(released...), "checks"), dirs)
}

func TestModulesAreReleasedAfterThoseThatTheyNeed(t *testing.T) {
	earlier := make(map[string]bool)
	for _, group := range released {
		for _, dir := range group {
			data, err := os.ReadFile(filepath.Join(repository, filepath.FromSlash(dir), "go.mod"))
			require.NoError(t, err)
			mod, err := modfile.Parse("go.mod", data, nil)
			require.NoError(t, err)
			assert.Equal(t, modulePath(dir), mod.Module.Mod.Path)
			for _, r := range mod.Require {
				assert.True(t, !ours(r.Mod.Path) || earlier[r.Mod.Path], "%s needs %s", dir, r.Mod.Path)
			}
		}
		for _, dir := range group {
			earlier[modulePath(dir)] = true
		}
	}
}

func TestAReleasePinsOurModulesAndNoOthers(t *testing.T) {
	const before = `module github.com/seed-0142d113/wxqrcode/cmd/wxqrcode

go 1.26.0

require (
	example.com/other v1.2.3
	github.com/seed-0142d113/wxqrcode v0.0.0
	github.com/seed-0142d113/wxqrcode-other v0.0.0
	github.com/seed-0142d113/wxqrcode/scanstats v0.0.0
)

replace github.com/seed-0142d113/wxqrcode => ../..

replace github.com/seed-0142d113/wxqrcode/scanstats => ../../scanstats

replace example.com/other => ../other
`
	const released = `module github.com/seed-0142d113/wxqrcode/cmd/wxqrcode

go 1.26.0

require (
	example.com/other v1.2.3
	github.com/seed-0142d113/wxqrcode v0.1.0
	github.com/seed-0142d113/wxqrcode-other v0.0.0
	github.com/seed-0142d113/wxqrcode/scanstats v0.1.0
)

replace example.com/other => ../other
`
	got, err := pinned("go.mod", []byte(before), "v0.1.0", true)
	require.NoError(t, err)
	assert.Equal(t, released, string(got))

	file := filepath.Join(t.TempDir(), "go.mod")
	require.NoError(t, os.WriteFile(file, []byte(before), 0o600))
	require.NoError(t, pin(file, "v0.1.0", false))
	replaces, err := replacesOf(file)
	require.NoError(t, err)
	assert.Equal(t, []string{modulePath("."), modulePath("scanstats"), "example.com/other"}, replaces)
}

func TestTheProgramsTagIsPushedByItself(t *testing.T) {
	assert.Equal(t, [][]string{
		{"git", "push", "--atomic", "origin", "HEAD:main", "v0.1.0", "scanstats/v0.1.0", "wxredis/v0.1.0", "examples/v0.1.0"},
		{"git", "push", "origin", "cmd/wxqrcode/v0.1.0"},
	}, pushes("v0.1.0"))
}
