package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A system is what a binary is for.
type system struct{ os, arch string }

func (s system) String() string { return s.os + "/" + s.arch }

// systems are those that a release has binaries for.
var systems = []system{
	{"darwin", "amd64"}, {"darwin", "arm64"},
	{"linux", "amd64"}, {"linux", "arm64"},
	{"windows", "amd64"}, {"windows", "arm64"},
}

// parseSystems reads names of systems with commas between; none means all.
func parseSystems(names string) ([]system, error) {
	if names == "" {
		return systems, nil
	}
	var parsed []system
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(systems, func(s system) bool { return s.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("there are no binaries for %q, only for %v", name, systems)
		}
		parsed = append(parsed, systems[i])
	}
	return parsed, nil
}

// binaries builds the program for each system and writes an archive of each, with the licenses of
// what is linked into it, and their SHA256SUMS, into a folder, which it makes. It returns the names of the archives. Their
// version is the one that Go stamps, from the tag of the commit that is checked out; if one
// is wanted, any other is an error.
//
// Whoever builds the same commit with the same version of Go gets the same bytes, wherever
// the checkout is. As in go install PROGRAM@VERSION, no workspace takes part.
func binaries(ctx context.Context, root place, out, want string, systems []system) (archives []string, err error) {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "wxqrcode-binaries-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, removeAll(tmp)) }()
	documents, err := readDocuments(root.dir)
	if err != nil {
		return nil, err
	}
	var sums strings.Builder
	for _, s := range systems {
		b, err := build(ctx, root, filepath.Join(tmp, s.os+"-"+s.arch), s)
		if err != nil {
			return nil, fmt.Errorf("building for %s: %w", s, err)
		}
		if want != "" && b.version != want {
			return nil, fmt.Errorf("building for %s: the version is %s, not %s; is %s checked out, and nothing changed?",
				s, b.version, want, tagOf(program, want))
		}
		licenses, err := readLicenses(ctx, programFor(root, s))
		if err != nil {
			return nil, fmt.Errorf("collecting licenses for %s: %w", s, err)
		}
		name, data, err := b.archive(append(slices.Clone(documents), licenses))
		if err != nil {
			return nil, fmt.Errorf("packing for %s: %w", s, err)
		}
		if err := os.WriteFile(filepath.Join(out, name), data, 0o644); err != nil {
			return nil, err
		}
		archives = append(archives, name)
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), name)
	}
	return archives, os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(sums.String()), 0o644)
}

// readDocuments reads what is beside the program in each archive.
func readDocuments(root string) ([]file, error) {
	var documents []file
	for _, name := range []string{"LICENSE", "README.md", "README.zh-CN.md"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		documents = append(documents, file{name: name, data: data})
	}
	return documents, nil
}

// A binary is the program for one system.
type binary struct {
	system  system
	data    []byte
	version string
	commit  time.Time
}

// programFor is where the program is built for a system.
func programFor(root place, s system) place {
	return root.in(program).with(
		"GOWORK=off",
		"CGO_ENABLED=0", "GOOS="+s.os, "GOARCH="+s.arch,
		"GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off", // the caller's would make other bytes
		"GOFLAGS=",
	)
}

func build(ctx context.Context, root place, path string, s system) (binary, error) {
	if err := programFor(root, s).do(ctx, "go", "build", "-trimpath", "-buildvcs=true", "-o", path, "."); err != nil {
		return binary{}, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return binary{}, err
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		return binary{}, err
	}
	b := binary{system: s, data: data, version: info.Main.Version}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.time" {
			b.commit, err = time.Parse(time.RFC3339, setting.Value)
		}
	}
	if b.commit.IsZero() {
		err = errors.Join(err, errors.New("go stamped no commit; is it a checkout, with git on the PATH?"))
	}
	return b, err
}

// archive returns the archive of a binary, and its name.
func (b binary) archive(documents []file) (string, []byte, error) {
	name, suffix, write := "wxqrcode", ".tar.gz", writeTarGz
	if b.system.os == "windows" {
		name, suffix, write = "wxqrcode.exe", ".zip", writeZip
	}
	var archive bytes.Buffer
	err := write(&archive, b.commit, append([]file{{name: name, executable: true, data: b.data}}, documents...))
	return fmt.Sprintf("wxqrcode_%s_%s_%s%s", b.version, b.system.os, b.system.arch, suffix), archive.Bytes(), err
}
