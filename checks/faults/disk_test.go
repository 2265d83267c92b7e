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
	meet(t, b, []fault{
		{name: "the folder is not there", calls: []*call{saveNew}, want: 1, is: []error{fs.ErrNotExist}, begin: func(e *env) {
			e.savesIn(filepath.Join(e.folder, "missing"), func(folder string) { check(os.Mkdir(folder, 0o700)) })
		}},
		{name: "the folder is a file", calls: []*call{saveNew}, want: 1, as: isFileSystemError, begin: func(e *env) {
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

// savesIn makes the call save into another folder; mend makes one of it.
func (e *env) savesIn(folder string, mend func(folder string)) {
	e.saveDir = folder
	e.shown = append(e.shown, folder, "folder")
	e.end = func() { mend(folder) }
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// A trouble is what a child has with a disk.
type trouble struct {
	Name   string // of troubles
	Folder string
}

// A troubled is how a save ended there.
type troubled struct {
	Call, Sees, Left, Tried string
}

// envTrouble has a trouble for the child, which tells each troubled on a line.
const envTrouble = "WXQRCODE_TEST_FAULTS_TROUBLE"

func init() { children["save"] = saveInTrouble }

// troubles begin in a folder, and return what ends them.
var troubles = map[string]func(folder string) (end func() error, err error){
	"the folder is not writable": func(string) (func() error, error) {
		return nil, nil // it is not; and nothing here could change that
	},
}

// errRefused says that this system does not let a child make that trouble.
var errRefused = errors.New("refused")

const exitRefused = 3

// saveInTrouble saves a picture with and without an old one. It is the whole of a child,
// and panics if anything is not as it should be.
func saveInTrouble() {
	var of trouble
	check(json.Unmarshal([]byte(os.Getenv(envTrouble)), &of))
	for _, c := range []*call{saveNew, saveOver} {
		end, err := troubles[of.Name](of.Folder)
		if errors.Is(err, errRefused) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(exitRefused)
		}
		check(err)
		before := countLeaks()
		e := newEnvIn(c, of.Folder)
		do := must(c.begin(e))
		files := e.files()
		failed := do(context.Background())
		result := troubled{c.name, e.sees(failed), "nothing", fmt.Sprintf("nothing; %d request", e.tries())}
		if failed == nil || e.files() != files {
			result.Left = e.files()
		}
		if e.log.repeats() != 0 || secretParts.MatchString(e.log.String()) {
			panic(e.log.String())
		}
		if end != nil {
			check(end())
			check(do(context.Background()))
			if e.taken != len(picture) {
				panic("the picture is not whole")
			}
		}
		e.close()
		check(before.left())
		check(json.NewEncoder(os.Stdout).Encode(result))
	}
}

// newEnvIn is newEnv where the trouble has made the folder, with the old picture in it.
func newEnvIn(c *call, folder string) *env {
	spare := must(os.MkdirTemp("", "wxqrcode"))
	e := newEnv(context.Background(), c, spare)
	e.closers = append(e.closers, func() { check(os.RemoveAll(spare)) })
	e.folder, e.saveDir = folder, folder
	return e
}

// addTroubled adds what a child told.
func addTroubled(t *testing.T, b *table, fault, output string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(output), "\n")
	require.Len(t, lines, 2, output)
	for _, line := range lines {
		var r troubled
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		assert.NotRegexp(t, secretParts, line)
		b.add(fault, r.Call, r.Sees, r.Tried, r.Left, "nothing")
	}
}
