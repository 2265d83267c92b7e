package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/semver"
)

// exported is a name that the copy of the repository has in two of its modules, so that the
// rehearsal has something to remove which no real change takes away.
const exported = "Rehearsed"

// exporting are the files that hold it, by module.
var exporting = map[string]string{".": "rehearsed.go", "scanstats": "scanstats/rehearsed.go"}

func (r *rehearsal) addExported() error {
	for _, file := range exporting {
		name := "wxqrcode"
		if dir := filepath.Dir(file); dir != "." {
			name = dir
		}
		if err := r.write(file, "package "+name+"\n\n// "+exported+" goes away.\nfunc "+exported+"() bool { return true }\n"); err != nil {
			return err
		}
	}
	return nil
}

// workOn proves that work goes on after a release: nothing needs what was published, and a
// module can use at once what is new in another.
func (r *rehearsal) workOn(ctx context.Context) (string, error) {
	if err := r.work.do(ctx, "bash", ".ci/run", "tidy"); err != nil {
		return "", err
	}
	if err := r.addNew(); err != nil {
		return "", err
	}
	if err := r.write("scanstats/new.go", "package scanstats\n\nimport \""+rootPath+"\"\n\nvar _ = wxqrcode.AddedLater\n"); err != nil {
		return "", err
	}
	at := r.work.in("scanstats")
	for _, p := range []place{at, at.with("GOWORK=off")} {
		if err := p.do(ctx, "go", "build", "."); err != nil {
			return "", err
		}
	}
	return "all modules are tidy; scanstats can use what is new in the root", r.clean(ctx)
}

func (r *rehearsal) apiUnchanged(ctx context.Context) (string, error) {
	return "passes", r.api(ctx)
}

func (r *rehearsal) apiNew(ctx context.Context) (string, error) {
	if err := r.addNew(); err != nil {
		return "", err
	}
	if err := r.api(ctx); err != nil {
		return "", err
	}
	return "passes", r.clean(ctx)
}

func (r *rehearsal) addNew() error {
	return r.write("new.go", "package wxqrcode\n\n// AddedLater is new.\nconst AddedLater = true\n")
}

// apiRemoved removes the name from each module in turn.
func (r *rehearsal) apiRemoved(ctx context.Context) (string, error) {
	for dir, file := range exporting {
		if err := os.Remove(filepath.Join(r.work.dir, filepath.FromSlash(file))); err != nil {
			return "", err
		}
		if err := refused(r.api(ctx), exported+": removed", breaking); err != nil {
			return "", fmt.Errorf("removing %s from %s: %w", exported, modulePath(dir), err)
		}
		if err := r.clean(ctx); err != nil {
			return "", err
		}
	}
	return "is refused, in the root and in scanstats", nil
}

// apiBreaking says in CHANGELOG.md that something is removed.
func (r *rehearsal) apiBreaking(ctx context.Context) (string, error) {
	if err := r.edit(ctx, "CHANGELOG.md", unreleased, unreleased+"\n\n"+breaking+"\n\n- `"+exported+"` is gone."); err != nil {
		return "", err
	}
	for _, file := range exporting {
		if err := r.work.doAll(ctx, "git rm --quiet "+file); err != nil {
			return "", err
		}
	}
	if err := r.work.do(ctx, "git", "commit", "--quiet", "--message", "Remove "+exported); err != nil {
		return "", err
	}
	if err := r.api(ctx); err != nil {
		return "", err
	}
	patch := nextPatch(r.version)
	err := refused(r.work.do(ctx, "go", "run", "./checks/release", "make", patch), patch, "another minor version")
	return "passes, but not for " + patch, err
}

// makeNext makes another version, from what the first release left behind.
func (r *rehearsal) makeNext(ctx context.Context) (string, error) {
	r.version = nextMinor(r.version)
	if err := r.work.do(ctx, "go", "run", "./checks/release", "make", r.version); err != nil {
		return "", err
	}
	if _, err := r.push(ctx); err != nil {
		return "", err
	}
	if _, err := r.fetch(ctx); err != nil {
		return "", err
	}
	return r.version, checkClean(ctx, r.work)
}

func (r *rehearsal) api(ctx context.Context) error {
	return r.work.do(ctx, "bash", ".ci/run", "api")
}

// refused returns nil if there is an error that says all that is wanted.
func refused(err error, want ...string) error {
	if err == nil {
		return errors.New("it passed, and should not")
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			return fmt.Errorf("the reason does not say %q: %w", part, err)
		}
	}
	return nil
}

func (r *rehearsal) write(name, text string) error {
	return os.WriteFile(filepath.Join(r.work.dir, filepath.FromSlash(name)), []byte(text), 0o600)
}

// clean takes back what was written and removed since the last commit.
func (r *rehearsal) clean(ctx context.Context) error {
	return r.work.doAll(ctx, "git reset --quiet --hard", "git clean --quiet -d --force")
}

// nextMinor returns the minor version after a version, and v0.1.0 after none.
func nextMinor(version string) string {
	var major, minor int
	if n, _ := fmt.Sscanf(semver.MajorMinor(version), "v%d.%d", &major, &minor); n != 2 {
		return "v0.1.0"
	}
	return fmt.Sprintf("v%d.%d.0", major, minor+1)
}

// nextPatch returns the patch version after a version.
func nextPatch(version string) string {
	var patch int
	_, _ = fmt.Sscanf(strings.TrimPrefix(version, semver.MajorMinor(version)), ".%d", &patch) // it is canonical
	return fmt.Sprintf("%s.%d", semver.MajorMinor(version), patch+1)
}
