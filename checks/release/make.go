package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// makeRelease makes two commits on the branch that is checked out, and a tag for each
// module on the first of them:
//
//   - In the first, CHANGELOG.md names the version, and the modules below the root require
//     it instead of replacing each other by folders. It is what users get.
//   - The second brings the replaces back, so that work goes on as before: a module can use
//     what is new in another at once, whatever is published.
//
// A module's go.sum needs the hashes of others whose tag is not pushed yet. They are those
// of the tree to be committed, and so all tags can be on one commit, and be pushed together.
// Until all is made nothing in the checkout changes, and nothing is ever pushed.
func makeRelease(ctx context.Context, root, version string, out io.Writer) (err error) {
	here := place{dir: root}
	log, err := readChangelog(root)
	if err != nil {
		return err
	}
	if err := errors.Join(log.check(version), checkClean(ctx, here), checkTags(ctx, here, version)); err != nil {
		return fmt.Errorf("cannot make %s: %w", version, err)
	}

	tmp, err := os.MkdirTemp("", "wxqrcode-release-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeAll(tmp)) }()
	if tmp, err = filepath.EvalSymlinks(tmp); err != nil {
		return err
	}
	r, err := newRelease(ctx, here, tmp, version)
	if err != nil {
		return err
	}
	defer func() { // also when ctx has ended
		err = errors.Join(err, here.do(context.WithoutCancel(ctx), "git", "worktree", "remove", "--force", r.tree.dir))
	}()
	tagged, err := r.commitReleased(ctx, log)
	if err != nil {
		return fmt.Errorf("making %s: %w", version, err)
	}
	head, err := r.commitDeveloped(ctx, log)
	if err != nil {
		return fmt.Errorf("making what follows %s: %w", version, err)
	}
	if err := here.doAll(ctx, "git merge --quiet --ff-only "+head); err != nil {
		return err
	}
	for _, tag := range tags(version) {
		if err := here.do(ctx, "git", "tag", "--annotate", "--message", "wxqrcode "+version, tag, tagged); err != nil {
			return err
		}
	}
	return tell(out, version)
}

// tell tells how to publish a version.
func tell(out io.Writer, version string) error {
	_, err := fmt.Fprintf(out, "%s is made, and pushed nowhere: look at it (git show %s), then publish it by\n\n", version, version)
	for _, push := range pushes(version) {
		if err == nil {
			_, err = fmt.Fprintf(out, "\t%s\n", strings.Join(push, " "))
		}
	}
	return err
}

// tags returns the tag of each module.
func tags(version string) []string {
	var tags []string
	for _, dir := range slices.Concat(released...) {
		tags = append(tags, tagOf(dir, version))
	}
	return tags
}

// pushes returns the commands that publish a version. The program's tag, which starts the
// workflow that builds the archives, has a push of its own: GitHub starts no workflow for a
// push of more than three tags.
func pushes(version string) [][]string {
	last := tagOf(program, version)
	others := slices.DeleteFunc(tags(version), func(tag string) bool { return tag == last })
	return [][]string{
		append([]string{"git", "push", "--atomic", "origin", "HEAD:main"}, others...),
		{"git", "push", "origin", last},
	}
}

func checkClean(ctx context.Context, p place) error {
	changes, err := p.run(ctx, "git", "status", "--porcelain")
	if err == nil && changes != "" {
		err = fmt.Errorf("there are changes that are not committed:\n%s", changes)
	}
	return err
}

func checkTags(ctx context.Context, p place, version string) error {
	found, err := p.line(ctx, "git", append([]string{"tag", "--list"}, tags(version)...)...)
	if err == nil && found != "" {
		err = fmt.Errorf("there are tags of it: %s", strings.Join(strings.Fields(found), ", "))
	}
	return err
}

// A release is a version that is being made.
type release struct {
	version string
	tree    place // where it is made
	mod     place // the same, with a module cache of its own and the modules that were made so far
	proxy   goproxy
	view    string // a repository that sees all objects: x/mod/zip takes no worktree for one
}

// newRelease begins a version in a folder: in a worktree, which the caller must remove.
func newRelease(ctx context.Context, here place, tmp, version string) (release, error) {
	modcache, err := newCache(ctx, here, filepath.Join(tmp, "modcache"))
	if err != nil {
		return release{}, err
	}
	r := release{
		version: version,
		tree:    place{dir: filepath.Join(tmp, "tree")},
		proxy:   goproxy(filepath.Join(tmp, "proxy")),
		view:    filepath.Join(tmp, "view"),
	}
	r.mod = r.tree.with(modcache.env(r.proxy)...)
	if err := makeView(ctx, here, r.view); err != nil {
		return release{}, err
	}
	return r, here.do(ctx, "git", "worktree", "add", "--quiet", "--detach", r.tree.dir, "HEAD")
}

// makeView makes a repository that sees the objects of another.
func makeView(ctx context.Context, of place, dir string) error {
	objects, err := of.line(ctx, "git", "rev-parse", "--path-format=absolute", "--git-path", "objects")
	if err != nil {
		return err
	}
	return errors.Join(
		of.do(ctx, "git", "init", "--quiet", dir),
		os.WriteFile(filepath.Join(dir, ".git", "objects", "info", "alternates"), []byte(objects+"\n"), 0o644))
}

func (r release) commitReleased(ctx context.Context, log changelog) (string, error) {
	if err := log.release(r.version, time.Now()).write(r.tree.dir); err != nil {
		return "", err
	}
	for i, group := range released {
		for _, dir := range group {
			if err := r.require(ctx, dir, true); err != nil {
				return "", err
			}
		}
		if i < len(released)-1 {
			if err := r.serve(ctx, group); err != nil {
				return "", err
			}
		}
	}
	if err := r.tidyAll(ctx); err != nil { // which pins the modules that are not released, too
		return "", err
	}
	return r.commit(ctx, "Release "+r.version)
}

func (r release) commitDeveloped(ctx context.Context, log changelog) (string, error) {
	if err := log.release(r.version, time.Now()).reopen().write(r.tree.dir); err != nil {
		return "", err
	}
	for _, dir := range nested() {
		// what was there before the release, but for the version
		if err := r.tree.do(ctx, "git", "checkout", "--quiet", "HEAD~", "--", dir+"/go.mod", dir+"/go.sum"); err != nil {
			return "", err
		}
		if err := r.require(ctx, dir, false); err != nil {
			return "", err
		}
	}
	return r.commit(ctx, "Develop on after "+r.version)
}

// require lets a module require the version of our other modules.
func (r release) require(ctx context.Context, dir string, dropReplaces bool) error {
	if dir == "." {
		return nil // it needs none
	}
	if err := pin(filepath.Join(r.tree.dir, dir, "go.mod"), r.version, dropReplaces); err != nil {
		return err
	}
	return r.mod.in(dir).do(ctx, "go", "mod", "tidy")
}

// serve makes modules as they are now available to those that are made after them.
func (r release) serve(ctx context.Context, dirs []string) error {
	if err := r.tree.do(ctx, "git", "add", "--all"); err != nil {
		return err
	}
	revision, err := r.tree.line(ctx, "git", "write-tree")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := r.proxy.add(r.tree.dir, r.view, revision, dir, r.version); err != nil {
			return err
		}
	}
	return nil
}

// tidyAll tidies the modules that are not released: those that a release changed are in
// their graphs.
func (r release) tidyAll(ctx context.Context) error {
	dirs, err := workspace(ctx, r.tree)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if slices.Contains(slices.Concat(released...), dir) {
			continue
		}
		if err := r.mod.in(dir).do(ctx, "go", "mod", "tidy"); err != nil {
			return err
		}
	}
	return nil
}

func (r release) commit(ctx context.Context, message string) (string, error) {
	if err := r.tree.do(ctx, "git", "commit", "--quiet", "--all", "--message", message); err != nil {
		return "", err
	}
	return r.tree.line(ctx, "git", "rev-parse", "HEAD")
}
