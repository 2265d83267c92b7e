package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// rootPath is the path of the root module; those of the others begin with it.
const rootPath = "github.com/seed-0142d113/wxqrcode"

// program is the folder of the command-line program.
const program = "cmd/wxqrcode"

// released are the folders of the modules that get a tag, in groups: a module needs only
// modules of earlier groups. The module of this program is not released.
var released = [][]string{
	{"."},
	{"scanstats", "wxredis", "examples"},
	{program},
}

// nested are the released modules below the root.
func nested() []string { return slices.Concat(released[1:]...) }

func modulePath(dir string) string { return path.Join(rootPath, dir) }

func tagOf(dir, version string) string { return path.Join(dir, version) }

// ours tells whether a module is one of this repository.
func ours(module string) bool {
	return module == rootPath || strings.HasPrefix(module, rootPath+"/")
}

// pin rewrites a go.mod so that it requires our other modules at a version. For a release
// they come from the network: go install MODULE@VERSION refuses a go.mod with a replace.
func pin(file, version string, dropReplaces bool) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if data, err = pinned(file, data, version, dropReplaces); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

func pinned(file string, data []byte, version string, dropReplaces bool) ([]byte, error) {
	mod, err := modfile.Parse(file, data, nil)
	if err != nil {
		return nil, err
	}
	for _, r := range slices.Clone(mod.Require) {
		if ours(r.Mod.Path) {
			if err := mod.AddRequire(r.Mod.Path, version); err != nil {
				return nil, fmt.Errorf("%s: requiring %s at %s: %w", file, r.Mod.Path, version, err)
			}
		}
	}
	for _, r := range slices.Clone(mod.Replace) {
		if dropReplaces && ours(r.Old.Path) {
			if err := mod.DropReplace(r.Old.Path, r.Old.Version); err != nil {
				return nil, fmt.Errorf("%s: dropping the replace of %s: %w", file, r.Old.Path, err)
			}
		}
	}
	mod.Cleanup()
	return mod.Format()
}

// replacesOf returns the paths that a go.mod replaces.
func replacesOf(file string) ([]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	mod, err := modfile.Parse(file, data, nil)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, r := range mod.Replace {
		paths = append(paths, r.Old.Path)
	}
	return paths, nil
}

// workspace returns the folders of all modules of a checkout.
func workspace(ctx context.Context, p place) ([]string, error) {
	out, err := p.run(ctx, "go", "work", "edit", "-json", "go.work")
	if err != nil {
		return nil, err
	}
	var work struct{ Use []struct{ DiskPath string } }
	if err := json.Unmarshal([]byte(out), &work); err != nil {
		return nil, fmt.Errorf("reading go work edit -json: %w", err)
	}
	var dirs []string
	for _, use := range work.Use {
		dirs = append(dirs, filepath.ToSlash(filepath.Clean(use.DiskPath)))
	}
	return dirs, nil
}
