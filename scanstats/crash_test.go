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

// The test program records into the database that this variable names, until it is killed,
// and tells each event that was acknowledged.
const envCrash = "WXQRCODE_TEST_CRASH"

func crash() {
	path, begin, _ := strings.Cut(os.Getenv(envCrash), "|")
	begin, journal, _ := strings.Cut(begin, "|")
	at, err := time.Parse(time.RFC3339, begin)
	if err != nil {
		panic(err)
	}
	s, err := OpenSQLite(context.Background(), path, crashConfig(journal))
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

func crashConfig(journal string) Config {
	c := testConfig()
	if journal != "" {
		c.Journal, c.Timeout = journal, 200*time.Millisecond
	}
	return c
}

func crashEvent(i int, begin time.Time) *wxqrcode.Event {
	return scanned(fmt.Sprint("o-", i), fmt.Sprint("poster-", i%10), begin.Add(time.Duration(i%1000)*time.Second))
}

func TestStore_SurvivesKill(t *testing.T) {
	t.Run("in the database", func(t *testing.T) { testKill(t, "") })
	t.Run("in the journal", func(t *testing.T) { testKill(t, filepath.Join(t.TempDir(), "journal")) })
}

func testKill(t *testing.T, journal string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scans.db")
	release := func() {}
	if journal != "" { // the database is locked all the time
		s, err := OpenSQLite(t.Context(), path, testConfig())
		require.NoError(t, err)
		require.NoError(t, s.Close())
		release = holdLock(t, database{SQLite, dataSource(path), "sqlite"})
	}
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	acknowledged := map[int]bool{}
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envCrash+"="+path+"|"+begin.Format(time.RFC3339)+"|"+journal)
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
		for lines.Scan() { // it had told these too; each line is written at once
			i, err := strconv.Atoi(lines.Text())
			require.NoError(t, err)
			acknowledged[i] = true
		}
		require.Error(t, cmd.Wait())
	}
	require.Greater(t, len(acknowledged), 3000)

	release()
	s, err := OpenSQLite(t.Context(), path, crashConfig(journal))
	require.NoError(t, err)
	defer s.Close()
	if journal != "" {
		drained(t, s)
	}
	before := total(t, s).Scans
	require.GreaterOrEqual(t, before, int64(len(acknowledged)))
	// As WeChat would, push again what was acknowledged: nothing of it may be new.
	for i := range acknowledged {
		require.NoError(t, s.Record(t.Context(), crashEvent(i, begin)))
	}
	assert.Equal(t, before, total(t, s).Scans)
}
