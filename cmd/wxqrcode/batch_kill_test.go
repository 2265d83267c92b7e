package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// envKills is how many times TestBatch_ResumesAfterKills kills a batch. 30 take 15 s.
const envKills = "WXQRCODE_KILLS"

// A killedBatch counts the requests of each run of a batch, whose API URL ends in the run's number.
type killedBatch struct {
	wechat *wxtest.Server

	mu      sync.Mutex // guards created
	created map[string][]string
}

var sceneInRequest = regexp.MustCompile(`"scene_str":"([^"]*)"`)

func (k *killedBatch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	run, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the batch was killed meanwhile
	}
	if m := sceneInRequest.FindSubmatch(body); m != nil {
		k.mu.Lock()
		k.created[run] = append(k.created[run], string(m[1]))
		k.mu.Unlock()
	}
	r.URL.Path, r.Body = "/"+path, io.NopCloser(bytes.NewReader(body))
	k.wechat.ServeHTTP(w, r)
}

func (k *killedBatch) createdIn(run int) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.created[strconv.Itoa(run)])
}

// recordedCodes reads the tickets in the state of a batch, by scene.
func recordedCodes(t *testing.T, folder string) map[string]wxqrcode.Ticket {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, stateFolder, "codes.jsonl"))
	if err != nil {
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	recorded := make(map[string]wxqrcode.Ticket)
	for line := range bytes.Lines(text) {
		var record stateRecord
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // the kill came first
		}
		require.NoError(t, json.Unmarshal(line, &record))
		if record.Code != nil {
			assert.NotContains(t, recorded, record.Scene, "recorded twice")
			recorded[record.Scene] = record.Code.Ticket
		}
	}
	return recorded
}

func TestBatch_ResumesAfterKills(t *testing.T) {
	wanted, _ := strconv.Atoi(os.Getenv(envKills))
	if wanted == 0 {
		t.Skip("set " + envKills + "=30, or to another number")
	}
	const concurrency, moment = 8, 400 * time.Millisecond
	rows := 80 * wanted
	server := newServer(t)
	server.Fail("qrcode/create", 1_000_000, wxtest.Failure{Delay: 10 * time.Millisecond})
	batch := &killedBatch{wechat: server, created: make(map[string][]string)}
	proxy := httptest.NewServer(batch)
	defer proxy.Close()

	var text strings.Builder // temporary codes: each request makes another one
	text.WriteString("scene,kind,lifetime,file\n")
	for i := range rows {
		fmt.Fprintf(&text, "poster-%d,temporary,30d,%d%s\n", i, i, []string{".svg", ".jpg", ".png"}[i%3])
	}
	sheet, folder := writeFileOf(t, text.String()), t.TempDir()

	recorded := make(map[string]wxqrcode.Ticket)
	kills, runs, requests, mostInFlight := 0, 0, 0, 0
	for done := false; !done; runs++ {
		require.Less(t, runs, 20*wanted, "it gets nowhere")
		t.Setenv(envAPIURL, proxy.URL+"/"+strconv.Itoa(runs))
		cmd := startProgram(t, "batch", sheet, "--out", folder, "--concurrency", strconv.Itoa(concurrency))
		if kills < wanted {
			time.Sleep(rand.N(moment))
			require.NoError(t, cmd.Process.Kill())
		}
		if err := cmd.Wait(); err == nil {
			done = kills >= wanted // else all was made before the last kill, and runs that find that are killed
		} else {
			require.Equal(t, -1, cmd.ProcessState.ExitCode(), "%v: %s", err, cmd.Stderr)
			kills++
		}
		created, before := batch.createdIn(runs), recorded
		recorded = recordedCodes(t, folder)
		requests += len(created)
		for _, scene := range created {
			assert.NotContains(t, before, scene, "a recorded code is created again")
		}
		for scene, ticket := range before {
			assert.Equal(t, ticket, recorded[scene], "a recorded code is lost")
		}
		inFlight := len(created) - (len(recorded) - len(before))
		assert.LessOrEqual(t, inFlight, concurrency, "codes that were created and not recorded")
		mostInFlight = max(mostInFlight, inFlight)
		assertWhole(t, folder)
	}
	t.Logf("%d kills in %d runs: %d requests for %d codes, %d of them again, at most %d for one kill",
		kills, runs, requests, rows, requests-rows, mostInFlight)
	assert.Len(t, recorded, rows)
	assert.Equal(t, rows, assertWhole(t, folder))
	tickets := make(map[string]wxqrcode.Ticket)
	for _, row := range readResult(t, folder) {
		assert.Empty(t, row["error"])
		tickets[row["scene"]] = wxqrcode.Ticket(row["ticket"])
	}
	assert.True(t, maps.Equal(recorded, tickets), "result.csv has the codes that were recorded")
}
