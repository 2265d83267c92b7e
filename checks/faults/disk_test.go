package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func runDisk(t *testing.T, b *table) {
	t.Helper()
	runFaultTests(t, b, []fault{
		{name: "folder missing", calls: []*call{saveNew}, attempts: 1, wantErrors: []error{fs.ErrNotExist}, inject: func(e *env) {
			e.savesIn(filepath.Join(e.folder, "missing"), func(folder string) { check(os.Mkdir(folder, 0o700)) })
		}},
		{name: "folder is a file", calls: []*call{saveNew}, attempts: 1, matches: isFileSystemError, inject: func(e *env) {
			folder := filepath.Join(e.folder, "folder")
			check(os.WriteFile(folder, nil, 0o600))
			e.savesIn(folder, func(string) {
				check(os.Remove(folder))
				check(os.Mkdir(folder, 0o700))
			})
		}},
	})
	runDiskOfThisSystem(t, b)
}

func isFileSystemError(err error) bool {
	return as[*fs.PathError](err) || errors.Is(err, syscall.ENOTDIR)
}

// savesIn makes the call save to another folder. mend ends the fault.
func (e *env) savesIn(folder string, mend func(folder string)) {
	e.saveDir = folder
	e.replaced = append(e.replaced, folder, "folder")
	e.endFault = func() { mend(folder) }
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// A diskFault is a fault for a child process.
type diskFault struct {
	Name   string // in diskFaults
	Folder string
}

// A saveResult is the result of a save with a disk fault.
type saveResult struct {
	Call, Sees, Left, Tried string
}

// envDiskFault has the fault for the child, which prints a line per saveResult.
const envDiskFault = "WXQRCODE_TEST_FAULTS_TROUBLE"

func init() { children["save"] = runSaveChild }

// diskFaults injects a fault into a folder, and returns the function that ends it.
var diskFaults = map[string]func(folder string) (end func() error, err error){
	"folder not writable": func(string) (func() error, error) {
		return nil, nil // the fault exists, and cannot be ended
	},
}

// errNotAllowed means that this system does not allow the fault.
var errNotAllowed = errors.New("refused")

const exitNotAllowed = 3

// runSaveChild is the child process. It saves an image with and without an existing file,
// and panics if a check fails.
func runSaveChild() {
	var of diskFault
	check(json.Unmarshal([]byte(os.Getenv(envDiskFault)), &of))
	for _, c := range []*call{saveNew, saveOver} {
		end, err := diskFaults[of.Name](of.Folder)
		if errors.Is(err, errNotAllowed) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(exitNotAllowed)
		}
		check(err)
		before := countLeaks()
		e := newEnvIn(c, of.Folder)
		do := must(c.begin(e))
		files := e.files()
		failed := do(context.Background())
		result := saveResult{c.name, e.describeError(failed), "nothing", fmt.Sprintf("%d request", e.attempts())}
		if failed == nil || e.files() != files {
			result.Left = e.files()
		}
		if e.log.retries() != 0 || secretParts.MatchString(e.log.String()) {
			panic(e.log.String())
		}
		if end != nil {
			check(end())
			check(do(context.Background()))
			if e.imageSize != len(imageData) {
				panic("incomplete image")
			}
		}
		e.close()
		check(before.wait())
		check(json.NewEncoder(os.Stdout).Encode(result))
	}
}

// newEnvIn is newEnv for an existing folder with an image.
func newEnvIn(c *call, folder string) *env {
	spare := must(os.MkdirTemp("", "wxqrcode"))
	e := newEnv(context.Background(), c, spare)
	e.closers = append(e.closers, func() { check(os.RemoveAll(spare)) })
	e.folder, e.saveDir = folder, folder
	return e
}

// addSaveResults adds the output of a child.
func addSaveResults(t *testing.T, b *table, fault, output string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(output), "\n")
	require.Len(t, lines, 2, output)
	for _, line := range lines {
		var r saveResult
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		assert.NotRegexp(t, secretParts, line)
		b.add(fault, r.Call, r.Sees, r.Tried, r.Left, "nothing")
	}
}
