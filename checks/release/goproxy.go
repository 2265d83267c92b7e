package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// A goproxy is a folder that serves modules by GOPROXY=file://….
type goproxy string

// add adds a module of a checkout as it is in a revision, which a repository has, under a
// version that need not be tagged. The zip holds what the go command would put into it, down
// to the root's LICENSE in modules that have none: go.sum has a hash of that.
func (g goproxy) add(checkout, repo, revision, dir, version string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("serving %s of %s as %s: %w", modulePath(dir), revision, version, err)
		}
	}()
	escaped, err := module.EscapePath(modulePath(dir))
	if err != nil {
		return err
	}
	base := filepath.Join(string(g), filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return err
	}
	goMod, err := os.ReadFile(filepath.Join(checkout, filepath.FromSlash(dir), "go.mod"))
	if err != nil {
		return err
	}
	info, err := json.Marshal(struct {
		Version string
		Time    time.Time
	}{version, time.Now().UTC()})
	if err != nil {
		return err
	}
	archive, err := os.Create(filepath.Join(base, version+".zip"))
	if err != nil {
		return err
	}
	subdir := dir
	if dir == "." {
		subdir = ""
	}
	err = zip.CreateFromVCS(archive, module.Version{Path: modulePath(dir), Version: version}, repo, revision, subdir)
	return errors.Join(err, archive.Close(),
		os.WriteFile(filepath.Join(base, version+".mod"), goMod, 0o644),
		os.WriteFile(filepath.Join(base, version+".info"), info, 0o644),
		os.WriteFile(filepath.Join(base, "list"), []byte(version+"\n"), 0o644))
}

// A cache is an empty module cache, so that nothing of a module that is made here gets into
// the user's. Modules of others come from there.
type cache struct {
	dir    string
	others string // GOPROXY for the modules of others
}

// newCache makes a cache in a folder that is not there yet.
func newCache(ctx context.Context, p place, dir string) (cache, error) {
	mine, err := p.line(ctx, "go", "env", "GOMODCACHE")
	if err != nil {
		return cache{}, err
	}
	outer, err := p.line(ctx, "go", "env", "GOPROXY")
	if err != nil {
		return cache{}, err
	}
	return cache{dir, "file://" + filepath.ToSlash(filepath.Join(mine, "cache", "download")) + "," + outer}, nil
}

// env makes the go command use the cache, and take our modules from a goproxy, or, if that
// is "", from where others come from.
func (c cache) env(ours goproxy) []string {
	proxies := c.others
	if ours != "" {
		proxies = "file://" + filepath.ToSlash(string(ours)) + "," + proxies
	}
	return []string{
		"GOMODCACHE=" + c.dir,
		"GOPROXY=" + proxies,
		"GOPRIVATE=", "GONOPROXY=",
		"GONOSUMDB=" + rootPath, // what is not published yet is in no database of checksums
		"GOWORK=off", "GOFLAGS=",
	}
}

// removeAll removes a folder, and module caches in it, whose folders cannot be written to.
func removeAll(dir string) error {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(dir))
}
