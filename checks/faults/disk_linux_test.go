package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func runDiskOfThisSystem(t *testing.T, b *table) {
	t.Helper()
	for _, name := range []string{"disk full", "no free inode", "disk read-only"} {
		t.Run(name, func(t *testing.T) {
			// A mount namespace for the child.
			runDiskChild(t, b, diskFault{name, t.TempDir()}, os.Args[0], &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
				UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
			})
		})
	}
	t.Run("file size limit", func(t *testing.T) {
		folder := t.TempDir()
		runDiskChild(t, b, diskFault{"file size limit", folder}, os.Args[0], nil)
	})
	t.Run("folder not writable", func(t *testing.T) { runUnwritable(t, b) })
	t.Run(noRoom, func(t *testing.T) { runDevFull(t, b) })
	runKills(t, b)
}

// runDiskChild starts a child that saves images with a disk fault.
func runDiskChild(t *testing.T, b *table, of diskFault, program string, how *syscall.SysProcAttr) {
	t.Helper()
	var output, errs bytes.Buffer
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), envChild+"=save", envDiskFault+"="+string(must(json.Marshal(of))), "TMPDIR=/tmp")
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &output, &errs, how
	cmd.Dir = "/"
	err := cmd.Run()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC) || cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == exitNotAllowed {
		b.partial = true
		t.Skipf("this system lets no child make a file system: %v %s", err, &errs)
	}
	require.NoError(t, err, "%s", &errs)
	assert.NotRegexp(t, secretParts, errs.String(), "log of net/http")
	addSaveResults(t, b, of.Name, output.String())
}

func init() {
	diskFaults["disk full"] = func(folder string) (func() error, error) {
		if err := mount(folder, "size=64k"); err != nil {
			return nil, err
		}
		filler := filepath.Join(folder, "filler")
		f := must(os.Create(filler))
		defer f.Close()
		if _, err := io.Copy(f, spaces{}); !errors.Is(err, syscall.ENOSPC) {
			return nil, fmt.Errorf("the disk is not full: %w", err)
		}
		return func() error { return os.Remove(filler) }, nil
	}
	diskFaults["no free inode"] = func(folder string) (func() error, error) {
		if err := mount(folder, "nr_inodes=4"); err != nil {
			return nil, err
		}
		var fillers []string
		for {
			filler := filepath.Join(folder, fmt.Sprint("filler-", len(fillers)))
			f, err := os.Create(filler)
			if errors.Is(err, syscall.ENOSPC) {
				return func() error { return os.Remove(fillers[0]) }, nil
			}
			check(err)
			check(f.Close())
			fillers = append(fillers, filler)
		}
	}
	diskFaults["disk read-only"] = func(folder string) (func() error, error) {
		if err := mount(folder, "size=64k"); err != nil {
			return nil, err
		}
		if err := syscall.Mount("", folder, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			return nil, err
		}
		return func() error { return syscall.Mount("", folder, "", syscall.MS_REMOUNT, "") }, nil
	}
	diskFaults["file size limit"] = func(folder string) (func() error, error) {
		check(os.WriteFile(filepath.Join(folder, oldFile), []byte(oldImage), 0o640))
		var before syscall.Rlimit
		check(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
		check(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(len(imageData) / 2), Max: before.Max}))
		return func() error { return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before) }, nil
	}
}

// mount mounts a small tmpfs with the old image.
func mount(folder, options string) error {
	_ = syscall.Unmount(folder, 0) // the one of the call before
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, options); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
			return errors.Join(errNotAllowed, err)
		}
		return err
	}
	return os.WriteFile(filepath.Join(folder, oldFile), []byte(oldImage), 0o640)
}

// unprivilegedUser is an unprivileged user.
const unprivilegedUser = 65534

// runUnwritable saves to a folder of another user, because root can write everywhere.
func runUnwritable(t *testing.T, b *table) {
	t.Helper()
	dir, err := os.MkdirTemp("", "wxqrcode") //nolint:usetesting // others may not enter the folder of t.TempDir
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	program := filepath.Join(dir, "program")
	binary, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, binary, 0o755))
	folder := filepath.Join(dir, "folder")
	require.NoError(t, os.Mkdir(folder, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, oldFile), []byte(oldImage), 0o644))
	require.NoError(t, os.Chmod(folder, 0o555))
	t.Cleanup(func() { assert.NoError(t, os.Chmod(folder, 0o755)) })
	how := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		how.Credential = &syscall.Credential{Uid: unprivilegedUser, Gid: unprivilegedUser}
	}
	runDiskChild(t, b, diskFault{"folder not writable", folder}, program, how)
}

const noRoom = "writer fails: no space"

// runDevFull writes an image to /dev/full.
func runDevFull(t *testing.T, b *table) {
	t.Helper()
	leaks := countLeaks()
	standard, release := captureStandardLog()
	defer release()
	e := newEnv(t.Context(), writeImage, t.TempDir())
	client, err := e.client()
	require.NoError(t, err)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	n, err := client.WriteImage(t.Context(), full, ticket)
	require.ErrorIs(t, err, syscall.ENOSPC)
	assertNoSecret(t, err)
	assert.Zero(t, n)
	assert.Equal(t, 1, e.attempts())
	assert.Zero(t, e.log.retries())
	b.add(noRoom, writeImage.name, strings.ReplaceAll(e.describeError(err), "/dev/full", "file"), "1 request", "nothing", "nothing")
	_, err = client.WriteImage(t.Context(), io.Discard, ticket)
	assert.NoError(t, err)
	require.NoError(t, full.Close())
	e.close()
	assert.NotRegexp(t, secretParts, standard.String(), "log of net/http")
	leaks.check(t)
}
