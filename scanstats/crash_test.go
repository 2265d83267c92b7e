package scanstats

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// If this variable names a database, the test program records into it until it is
// killed, and prints each event that was acknowledged.
const envCrash = "WXQRCODE_TEST_CRASH"

func crash() {
	path, begin, _ := strings.Cut(os.Getenv(envCrash), "|")
	begin, spool, _ := strings.Cut(begin, "|")
	at, err := time.Parse(time.RFC3339, begin)
	if err != nil {
		panic(err)
	}
	s, err := OpenSQLite(context.Background(), path, crashConfig(spool))
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	var callers sync.WaitGroup
	for caller := range 50 {
		callers.Go(func() {
			for i := caller; ; i += 50 {
				if err := s.Record(context.Background(), crashEvent(i, at)); err != nil {
					panic(err)
				}
				mu.Lock()
				fmt.Println(i)
				mu.Unlock()
			}
		})
	}
	callers.Wait()
}

func crashConfig(spool string) Config {
	c := testConfig()
	if spool != "" {
		c.Spool, c.Timeout = spool, 200*time.Millisecond
	}
	return c
}

func crashEvent(i int, begin time.Time) *wxqrcode.Event {
	return scanned(fmt.Sprint("o-", i), fmt.Sprint("poster-", i%10), begin.Add(time.Duration(i%1000)*time.Second))
}

func TestStore_SurvivesKill(t *testing.T) {
	t.Run("in the database", func(t *testing.T) { testKill(t, "") })
	t.Run("in the spool", func(t *testing.T) { testKill(t, filepath.Join(t.TempDir(), "spool")) })
}

func testKill(t *testing.T, spool string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scans.db")
	release := func() {}
	if spool != "" { // the database is locked all the time
		s, err := OpenSQLite(t.Context(), path, testConfig())
		require.NoError(t, err)
		require.NoError(t, s.Close())
		release = holdLock(t, database{SQLite, dataSource(path), "sqlite"})
	}
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	acknowledged := map[int]bool{}
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envCrash+"="+path+"|"+begin.Format(time.RFC3339)+"|"+spool)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; n < 2000+777*round && lines.Scan(); n++ {
			i, err := strconv.Atoi(lines.Text())
			require.NoError(t, err)
			acknowledged[i] = true
		}
		require.NoError(t, cmd.Process.Kill())
		for lines.Scan() { // lines printed before the kill
			i, err := strconv.Atoi(lines.Text())
			require.NoError(t, err)
			acknowledged[i] = true
		}
		require.Error(t, cmd.Wait())
	}
	require.Greater(t, len(acknowledged), 3000)

	release()
	s, err := OpenSQLite(t.Context(), path, crashConfig(spool))
	require.NoError(t, err)
	defer s.Close()
	if spool != "" {
		drained(t, s)
	}
	before := total(t, s).Scans
	require.GreaterOrEqual(t, before, int64(len(acknowledged)))
	// Redeliver what was acknowledged: every event is a duplicate.
	for i := range acknowledged {
		require.NoError(t, s.Record(t.Context(), crashEvent(i, begin)))
	}
	assert.Equal(t, before, total(t, s).Scans)
}
