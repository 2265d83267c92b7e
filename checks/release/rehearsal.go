package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A rehearsal follows the steps of a release in a repository of its own, and then does what
// users, and those who work on afterwards, would do.
type rehearsal struct {
	root    string // the checkout
	tmp     string
	version string

	git    []string // environment: settings of Git of our own, and none of the caller's
	origin string   // stands for the repository at GitHub
	work   place    // a clone of it
	served goproxy  // the modules of version
}

// A step does something and tells in a few words what came of it.
type step struct {
	name string
	do   func(context.Context) (string, error)
}

func rehearse(ctx context.Context, root string) (err error) {
	tmp, err := os.MkdirTemp("", "wxqrcode-rehearsal-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeAll(tmp)) }()
	if tmp, err = filepath.EvalSymlinks(tmp); err != nil { // as git shows paths
		return err
	}
	r := &rehearsal{root: root, tmp: tmp}
	start := time.Now()
	for _, s := range r.steps() {
		began := time.Now()
		result, err := s.do(ctx)
		if err != nil {
			return fmt.Errorf("the rehearsal failed: %s: %w", s.name, err)
		}
		first, rest, _ := strings.Cut(result, "\n")
		fmt.Printf("%5.1f s  %-37s  %s\n", time.Since(began).Seconds(), s.name, first)
		for line := range strings.Lines(rest) {
			fmt.Printf("%48s%s\n", "", strings.TrimSuffix(line, "\n"))
		}
	}
	fmt.Printf("%5.1f s  all\n", time.Since(start).Seconds())
	return nil
}

func (r *rehearsal) steps() []step {
	return []step{
		{"copy what is committed", r.copy},
		{"use main, as the README says", r.useMain},
		{"make the version", r.make},
		{"push it", r.push},
		{"fetch the modules by their tags", r.fetch},
		{"install the programs", r.install},
		{"use the packages", r.usePackages},
		{"build an archive", r.archive},
		{"work on after it", r.workOn},
		{"API: nothing changed", r.apiUnchanged},
		{"API: something new", r.apiNew},
		{"API: something removed", r.apiRemoved},
		{"API: removed, and said to be", r.apiBreaking},
		{"make the next version", r.makeNext},
	}
}

// copy makes a repository of one commit. It does not need the history, which a checkout in
// CI may not have.
func (r *rehearsal) copy(ctx context.Context) (string, error) {
	if err := r.isolateGit(); err != nil {
		return "", err
	}
	here := place{dir: r.root, env: r.git}
	changes, err := here.run(ctx, "git", "status", "--porcelain")
	if err != nil {
		return "", err
	}
	r.work = here
	r.work.dir = filepath.Join(r.tmp, "work")
	if err := here.do(ctx, "git", "init", "--quiet", "--bare", r.origin); err != nil {
		return "", err
	}
	if err := here.do(ctx, "git", "clone", "--quiet", "--depth=1", "--no-tags", "file://"+filepath.ToSlash(r.root), r.work.dir); err != nil {
		return "", err
	}
	if err := r.addExported(); err != nil {
		return "", err
	}
	if err := r.work.do(ctx, "git", "add", "--all"); err != nil {
		return "", err
	}
	tree, err := r.work.line(ctx, "git", "write-tree")
	if err != nil {
		return "", err
	}
	commit, err := r.work.line(ctx, "git", "commit-tree", "-m", "All that was before", tree)
	if err != nil {
		return "", err
	}
	if err := r.work.do(ctx, "git", "remote", "set-url", "origin", r.origin); err != nil {
		return "", err
	}
	if err := r.work.doAll(ctx, "git checkout --quiet -B main "+commit, "git push --quiet origin main"); err != nil {
		return "", err
	}
	if changes != "" {
		return "without what is not committed here", nil
	}
	return "", nil
}

// isolateGit writes the settings of Git: nobody's signatures and hooks, and our repository
// in place of GitHub's.
func (r *rehearsal) isolateGit() error {
	r.origin = filepath.Join(r.tmp, "origin.git")
	config := filepath.Join(r.tmp, "gitconfig")
	r.git = []string{"GIT_CONFIG_GLOBAL=" + config, "GIT_CONFIG_NOSYSTEM=1", "GOWORK=", "GOFLAGS="}
	return os.WriteFile(config, []byte(`[user]
	name = Rehearsal
	email = rehearsal@example.com
[init]
	defaultBranch = main
[safe]
	directory = *
[url "file://`+filepath.ToSlash(r.origin)+`"]
	insteadOf = https://`+rootPath+`
`), 0o600)
}

// make follows CONTRIBUTING.md.
func (r *rehearsal) make(ctx context.Context) (string, error) {
	log, err := readChangelog(r.work.dir)
	if err != nil {
		return "", err
	}
	r.version = nextMinor(log.last())
	if notes, _ := log.section(unreleased); notes == "" { // a version was just made
		if err := r.edit(ctx, "CHANGELOG.md", unreleased, unreleased+"\n\nA rehearsal."); err != nil {
			return "", err
		}
	}
	if err := r.work.do(ctx, "go", "run", "./checks/release", "make", r.version); err != nil {
		return "", err
	}
	return r.version, checkClean(ctx, r.work)
}

// push does what the program told.
func (r *rehearsal) push(ctx context.Context) (string, error) {
	for _, command := range pushes(r.version) {
		if err := r.work.do(ctx, command[0], command[1:]...); err != nil {
			return "", err
		}
	}
	return strings.Join(tags(r.version), " "), nil
}

// edit replaces text of a file and commits that.
func (r *rehearsal) edit(ctx context.Context, name, from, to string) error {
	path := filepath.Join(r.work.dir, filepath.FromSlash(name))
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), from) {
		return fmt.Errorf("%s holds no %q", name, from)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), from, to, 1)), 0o644); err != nil {
		return err
	}
	return r.work.do(ctx, "git", "commit", "--quiet", "--all", "--message", "Change "+name)
}
