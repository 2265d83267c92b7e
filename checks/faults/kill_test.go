//go:build linux && (amd64 || arm64)

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// envSave names the file for the child that saves an image and is killed.
const envSave = "WXQRCODE_TEST_FAULTS_SAVE"

func init() {
	children["killed"] = func() {
		// No socket: the system calls are those of the save.
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(imageData)), Request: r}, nil
		})
		client := must(wxqrcode.NewClient(wxqrcode.StaticToken(token), wxqrcode.WithHTTPClient(&http.Client{Transport: transport})))
		check(client.SaveImage(context.Background(), os.Getenv(envSave), ticket))
	}
}

// runKills kills a process before each system call of a save.
func runKills(t *testing.T, b *table) {
	t.Helper()
	for _, c := range []*call{saveOver, saveNew} {
		for step := 1; ; step++ {
			ended, err := killAt(t, b, c, step)
			if errors.Is(err, errNoTrace) {
				b.partial = true
				t.Run("kills", func(t *testing.T) { t.Skip(err) })
				return
			}
			require.NoError(t, err)
			if ended {
				require.Greater(t, step, 6, "no system call was traced")
				break
			}
		}
	}
}

// killAt kills a save before the given system call. It reports whether the save ended
// before that.
func killAt(t *testing.T, b *table, c *call, step int) (ended bool, err error) {
	t.Helper()
	var name string // of the step
	folder := t.TempDir()
	e := newEnv(t.Context(), c, folder)
	defer e.close()
	path := filepath.Join(folder, map[*call]string{saveNew: newFile, saveOver: oldFile}[c])
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	require.NoError(t, err)
	defer output.Close()
	seen := map[string]int{}
	steps := 0
	ws, err := trace("killed", []string{envSave + "=" + path}, output, func(*tracedChild) error { return nil }, func(at *tracedChild) error {
		if !at.entry || steps == step {
			return nil
		}
		call, ok := at.inFolder(folder)
		if !ok {
			return nil
		}
		steps++
		if seen[call]++; seen[call] > 1 {
			call = fmt.Sprintf("%s, time %d", call, seen[call])
		}
		name = call
		if steps == step {
			return at.kill()
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	if steps < step {
		require.True(t, ws.Exited() && ws.ExitStatus() == 0, "%v", ws)
		return true, nil
	}
	require.Equal(t, syscall.SIGKILL, ws.Signal())
	fault := "killed before the " + name
	t.Run(fault+"/"+strings.ReplaceAll(c.name, "`", ""), func(t *testing.T) {
		left := e.afterKill(t, path)
		do, err := c.begin(e)
		require.NoError(t, err)
		assert.NoError(t, do(t.Context()), "the next save")
		assert.Equal(t, len(imageData), e.imageSize)
		b.add(fault, c.name, "process killed", "–", left, "–")
	})
	return false, nil
}

// afterKill describes the files after a kill.
func (e *env) afterKill(t *testing.T, path string) string {
	t.Helper()
	var left []string
	text, err := os.ReadFile(path)
	switch {
	case os.IsNotExist(err) && filepath.Base(path) != oldFile, err == nil && string(text) == oldImage && filepath.Base(path) == oldFile:
		left = append(left, "the previous state")
	default:
		require.NoError(t, err)
		require.Equal(t, imageData, string(text), "neither image, or a part of one")
		left = append(left, "the new image")
	}
	temporary, err := filepath.Glob(filepath.Join(e.folder, ".wxqrcode-*.tmp"))
	require.NoError(t, err)
	require.LessOrEqual(t, len(temporary), 1)
	for _, name := range temporary {
		info, err := os.Stat(name)
		require.NoError(t, err)
		left = append(left, fmt.Sprintf("a temporary file of %d bytes", info.Size()))
	}
	entries, err := os.ReadDir(e.folder)
	require.NoError(t, err)
	for _, entry := range entries {
		if entry.Name() != oldFile && entry.Name() != filepath.Base(path) && !strings.HasPrefix(entry.Name(), ".wxqrcode-") {
			t.Errorf("%s is left", entry.Name())
		}
	}
	return strings.Join(left, ", ")
}
