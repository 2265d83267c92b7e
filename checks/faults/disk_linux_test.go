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
	for _, name := range []string{"the disk is full", "there is no room for one file more", "the disk is read-only"} {
		t.Run(name, func(t *testing.T) {
			// A file system of its own, which only the child sees.
			runTrouble(t, b, trouble{name, t.TempDir()}, os.Args[0], &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
				UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
			})
		})
	}
	t.Run("a file may not become so large", func(t *testing.T) {
		folder := t.TempDir()
		runTrouble(t, b, trouble{"a file may not become so large", folder}, os.Args[0], nil)
	})
	t.Run("the folder is not writable", func(t *testing.T) { runUnwritable(t, b) })
	t.Run(noRoom, func(t *testing.T) { runDevFull(t, b) })
	runKills(t, b)
}

// runTrouble starts the child that saves in trouble.
func runTrouble(t *testing.T, b *table, of trouble, program string, how *syscall.SysProcAttr) {
	t.Helper()
	var output, errs bytes.Buffer
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), envChild+"=save", envTrouble+"="+string(must(json.Marshal(of))), "TMPDIR=/tmp")
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &output, &errs, how
	cmd.Dir = "/"
	err := cmd.Run()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC) || cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == exitRefused {
		b.partial = true
		t.Skipf("this system lets no child make a file system: %v %s", err, &errs)
	}
	require.NoError(t, err, "%s", &errs)
	assert.NotRegexp(t, secretParts, errs.String(), "log of net/http")
	addTroubled(t, b, of.Name, output.String())
}

func init() {
	troubles["the disk is full"] = func(folder string) (func() error, error) {
		if err := mount(folder, "size=64k"); err != nil {
			return nil, err
		}
		filler := filepath.Join(folder, "filler")
		f := must(os.Create(filler))
		defer f.Close()
		if _, err := io.Copy(f, blanks{}); !errors.Is(err, syscall.ENOSPC) {
			return nil, fmt.Errorf("the disk is not full: %w", err)
		}
		return func() error { return os.Remove(filler) }, nil
	}
	troubles["there is no room for one file more"] = func(folder string) (func() error, error) {
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
	troubles["the disk is read-only"] = func(folder string) (func() error, error) {
		if err := mount(folder, "size=64k"); err != nil {
			return nil, err
		}
		if err := syscall.Mount("", folder, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			return nil, err
		}
		return func() error { return syscall.Mount("", folder, "", syscall.MS_REMOUNT, "") }, nil
	}
	troubles["a file may not become so large"] = func(folder string) (func() error, error) {
		check(os.WriteFile(filepath.Join(folder, oldFile), []byte(oldPicture), 0o640))
		var before syscall.Rlimit
		check(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
		check(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(len(picture) / 2), Max: before.Max}))
		return func() error { return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before) }, nil
	}
}

// mount makes a small file system in memory, with the old picture in it.
func mount(folder, options string) error {
	_ = syscall.Unmount(folder, 0) // the one of the call before
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, options); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
			return errors.Join(errRefused, err)
		}
		return err
	}
	return os.WriteFile(filepath.Join(folder, oldFile), []byte(oldPicture), 0o640)
}

// nobody is a user who owns nothing.
const nobody = 65534

// runUnwritable saves into a folder of another user, as root may write everywhere.
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
	require.NoError(t, os.WriteFile(filepath.Join(folder, oldFile), []byte(oldPicture), 0o644))
	require.NoError(t, os.Chmod(folder, 0o555))
	t.Cleanup(func() { assert.NoError(t, os.Chmod(folder, 0o755)) })
	how := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		how.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	runTrouble(t, b, trouble{"the folder is not writable", folder}, program, how)
}

const noRoom = "the file that is written to has no room"

// runDevFull writes a picture to a device that is always full.
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
	assert.Equal(t, 1, e.tries())
	assert.Zero(t, e.log.repeats())
	b.add(noRoom, writeImage.name, strings.ReplaceAll(e.sees(err), "/dev/full", "file"), "nothing; 1 request", "nothing", "nothing")
	_, err = client.WriteImage(t.Context(), io.Discard, ticket)
	assert.NoError(t, err)
	require.NoError(t, full.Close())
	e.close()
	assert.NotRegexp(t, secretParts, standard.String(), "log of net/http")
	leaks.check(t)
}
