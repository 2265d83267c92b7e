package main

import (
	"archive/zip"
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// A download is what go mod download -json tells of a module.
type download struct {
	Path, Version, Info, GoMod, Zip string
}

// serve fetches our modules from the repository as the public proxy does, by the go command
// itself, and returns a folder that serves them. They are served under the query too, if
// that is a branch.
func (r *rehearsal) serve(ctx context.Context, query string) (goproxy, []download, error) {
	at := place{dir: r.tmp, env: r.git}.with("GOMODCACHE="+filepath.Join(r.tmp, "served", query),
		"GOPROXY=direct", "GOPRIVATE=", "GONOSUMDB="+rootPath, "GOWORK=off")
	args := []string{"mod", "download", "-json"}
	for _, dir := range slices.Concat(released...) {
		args = append(args, modulePath(dir)+"@"+query)
	}
	out, err := at.run(ctx, "go", args...)
	if err != nil {
		return "", nil, err
	}
	proxy := goproxy(filepath.Join(r.tmp, "served", query, "cache", "download"))
	var downloads []download
	for decoder := json.NewDecoder(strings.NewReader(out)); ; {
		var d download
		if err := decoder.Decode(&d); errors.Is(err, io.EOF) {
			return proxy, downloads, nil
		} else if err != nil {
			return "", nil, fmt.Errorf("reading go mod download -json: %w", err)
		}
		info, err := os.ReadFile(d.Info)
		if err != nil {
			return "", nil, err
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(d.Info), query+".info"), info, 0o600); err != nil {
			return "", nil, err
		}
		downloads = append(downloads, d)
	}
}

// user returns a folder of somebody who has nothing but Go, and to whom a folder serves our
// modules.
func (r *rehearsal) user(ctx context.Context, name string, proxy goproxy) (place, error) {
	home := filepath.Join(r.tmp, name)
	if err := os.Mkdir(home, 0o700); err != nil {
		return place{}, err
	}
	caller := place{dir: r.root}
	env := append([]string{"HOME=" + home, "GOPATH=" + filepath.Join(home, "go"), "GOBIN="}, r.git...)
	for _, keep := range []string{"GOCACHE", "GOENV"} { // which are in the caller's home
		value, err := caller.line(ctx, "go", "env", keep)
		if err != nil {
			return place{}, err
		}
		env = append(env, keep+"="+value)
	}
	modcache, err := newCache(ctx, caller, filepath.Join(r.tmp, "modcache"))
	if err != nil {
		return place{}, err
	}
	env = append(env, modcache.env(proxy)...)
	// The same flags for all, and those of the archives: packages of others are compiled once.
	return place{dir: home, env: append(env, "GOFLAGS=-trimpath", "CGO_ENABLED=0")}, nil
}

// useMain does what the README tells for the time before the first tag.
func (r *rehearsal) useMain(ctx context.Context) (string, error) {
	readme, err := os.ReadFile(filepath.Join(r.work.dir, "README.md"))
	if err != nil {
		return "", err
	}
	var commands []string
	for line := range strings.Lines(string(readme)) {
		if strings.HasPrefix(line, "go ") && strings.Contains(line, rootPath) && strings.Contains(line, "@main") {
			commands = append(commands, strings.TrimSpace(line))
		}
	}
	if len(commands) == 0 {
		return "it tells nothing of main", nil
	}
	proxy, _, err := r.serve(ctx, "main")
	if err != nil {
		return "", err
	}
	at, err := r.user(ctx, "early-user", proxy)
	if err != nil {
		return "", err
	}
	if err := startModule(ctx, at, "main.go"); err != nil {
		return "", err
	}
	for _, command := range commands {
		if err := at.do(ctx, "bash", "-euc", command); err != nil {
			return "", err
		}
	}
	said, err := at.line(ctx, "go", "run", ".")
	if err != nil {
		return "", err
	}
	// "The modules beside the root": scanstats is another.
	if err := addSource(at, "stats.go"); err != nil {
		return "", err
	}
	err = at.doAll(ctx, "go get "+modulePath("scanstats")+"@main", "go mod tidy", "go run .")
	return strings.Join(append(commands, said), "\n"), err
}

// fetch looks at what users get.
func (r *rehearsal) fetch(ctx context.Context) (string, error) {
	var (
		downloads []download
		err       error
	)
	if r.served, downloads, err = r.serve(ctx, r.version); err != nil {
		return "", err
	}
	var lines []string
	for _, d := range downloads {
		replaces, err := replacesOf(d.GoMod)
		if err != nil {
			return "", err
		}
		if len(replaces) > 0 {
			return "", fmt.Errorf("go.mod of %s %s replaces %s, which go install refuses", d.Path, d.Version, strings.Join(replaces, ", "))
		}
		line, err := look(d)
		if err != nil {
			return "", fmt.Errorf("%s %s: %w", d.Path, d.Version, err)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n"), nil
}

// A module is downloaded with every program that uses it.
const (
	maxModule = 2 << 20   // bytes of the zip
	maxFile   = 512 << 10 // bytes of a file, unpacked
)

// look tells the size of a module, and fails if it is too big or without a licence.
func look(d download) (string, error) {
	archive, err := zip.OpenReader(d.Zip)
	if err != nil {
		return "", err
	}
	defer archive.Close() //nolint:errcheck // it was only read
	info, err := os.Stat(d.Zip)
	if err != nil {
		return "", err
	}
	prefix := d.Path + "@" + d.Version + "/"
	if !slices.ContainsFunc(archive.File, func(f *zip.File) bool { return f.Name == prefix+"LICENSE" }) {
		return "", errors.New("there is no LICENSE in its zip")
	}
	biggest := slices.MaxFunc(archive.File, func(a, b *zip.File) int {
		return cmp.Compare(a.UncompressedSize64, b.UncompressedSize64)
	})
	name := strings.TrimPrefix(biggest.Name, prefix)
	if info.Size() > maxModule {
		return "", fmt.Errorf("its zip has %d bytes, more than %d", info.Size(), maxModule)
	}
	if biggest.UncompressedSize64 > maxFile {
		return "", fmt.Errorf("%s has %d bytes, more than %d", name, biggest.UncompressedSize64, maxFile)
	}
	return fmt.Sprintf("%s: %d KiB, %d files with LICENSE; the biggest is %s, %d KiB",
		cmp.Or(strings.TrimPrefix(strings.TrimPrefix(d.Path, rootPath), "/"), "the root"), info.Size()>>10, len(archive.File), name, biggest.UncompressedSize64>>10), nil
}

// install installs the programs as the README tells.
func (r *rehearsal) install(ctx context.Context) (string, error) {
	at, err := r.user(ctx, "user", r.served)
	if err != nil {
		return "", err
	}
	for _, dir := range []string{program, "examples/scanlogin"} {
		if err := at.do(ctx, "go", "install", modulePath(dir)+"@latest"); err != nil {
			return "", err
		}
	}
	return r.saysVersion(ctx, at, filepath.Join(at.dir, "go", "bin", "wxqrcode"))
}

// saysVersion returns what a program says of its version, which must be the one released.
func (r *rehearsal) saysVersion(ctx context.Context, at place, program string) (string, error) {
	said, err := at.line(ctx, program, "--version")
	if want := "wxqrcode version " + r.version; err == nil && said != want {
		err = fmt.Errorf("%s --version says %q, not %q", program, said, want)
	}
	return said, err
}

// usePackages uses the libraries in a new module.
func (r *rehearsal) usePackages(ctx context.Context) (string, error) {
	at, err := r.user(ctx, "developer", r.served)
	if err != nil {
		return "", err
	}
	if err := startModule(ctx, at, "main.go", "stats.go"); err != nil {
		return "", err
	}
	get := "go get " + modulePath("")
	if err := at.doAll(ctx, get+"@latest", get+"/wxredis@latest", get+"/scanstats@latest", "go mod tidy"); err != nil {
		return "", err
	}
	replaces, err := replacesOf(filepath.Join(at.dir, "go.mod"))
	if err != nil {
		return "", err
	}
	if len(replaces) > 0 {
		return "", fmt.Errorf("its go.mod replaces %s", strings.Join(replaces, ", "))
	}
	return at.line(ctx, "go", "run", ".")
}

// archive builds an archive from the tag, as the workflow does, and runs what is in it. That
// also proves the sums in go.sum, as no workspace takes part.
func (r *rehearsal) archive(ctx context.Context) (string, error) {
	at, err := r.user(ctx, "workflow", r.served)
	if err != nil {
		return "", err
	}
	if err := at.do(ctx, "git", "clone", "--quiet", "--branch", tagOf(program, r.version), r.origin, "checkout"); err != nil {
		return "", err
	}
	tagged := at.in("checkout")
	for _, dir := range nested() {
		if err := tagged.in(dir).do(ctx, "go", "mod", "tidy", "-diff"); err != nil {
			return "", err
		}
	}
	here := system{runtime.GOOS, runtime.GOARCH}
	out := filepath.Join(at.dir, "out")
	names, err := binaries(ctx, tagged, out, r.version, []system{here})
	if err != nil {
		return "", err
	}
	unpack := []string{"tar", "-xzf", names[0]}
	if here.os == "windows" {
		unpack[1] = "-xf" // its tar reads zip
	}
	if err := at.in("out").do(ctx, unpack[0], unpack[1:]...); err != nil {
		return "", err
	}
	said, err := r.saysVersion(ctx, at, filepath.Join(out, "wxqrcode"))
	return names[0] + ": " + said, err
}

// sources are of a program that uses the root and wxredis, and with stats.go scanstats too.
//
//go:embed testdata/user
var sources embed.FS

// startModule begins a module with some of the sources.
func startModule(ctx context.Context, at place, names ...string) error {
	for _, name := range names {
		if err := addSource(at, name); err != nil {
			return err
		}
	}
	return at.doAll(ctx, "go mod init example.com/user")
}

func addSource(at place, name string) error {
	source, err := sources.ReadFile("testdata/user/" + name)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(at.dir, name), source, 0o600)
}
