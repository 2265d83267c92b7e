package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/scanstats"
)

// startDemo starts the demo with an input that stays open.
func startDemo(t *testing.T, args ...string) (p *program, input *io.PipeWriter) {
	t.Helper()
	stdin, input := io.Pipe()
	p = &program{ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	p.interrupt = cancel
	go func() {
		defer close(p.ended)
		p.code = run(ctx, append([]string{"demo"}, args...), stdin, &p.stdout, &p.stderr)
	}()
	t.Cleanup(func() {
		p.stop()
		_ = input.Close()
	})
	return p, input
}

const demoAddress = `\nThe page: (http://127\.0\.0\.1:\d+/\?token=\w+)\nPress Enter to end\.\n$`

func TestDemoShowsThePageUntilSomebodyPressesEnter(t *testing.T) {
	for name, end := range map[string]func(p *program, input *io.PipeWriter) error{
		"Enter": func(_ *program, input *io.PipeWriter) error {
			_, err := io.WriteString(input, "well\n")
			return err
		},
		"the end of the input": func(_ *program, input *io.PipeWriter) error { return input.Close() },
		"an interrupt": func(p *program, _ *io.PipeWriter) error {
			p.interrupt()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			leaveNoGoroutine(t)
			dir := t.TempDir()
			p, input := startDemo(t, "--out", dir)
			address := p.stdout.await(t, demoAddress)
			user := newBrowser(t)
			status, _, at := user.open(t, address)
			assert.Equal(t, http.StatusOK, status)
			_, body, _ := user.open(t, "http://"+at.Host+"/report.json")
			var r scanstats.Report
			require.NoError(t, json.Unmarshal([]byte(body), &r))
			assertMonth(t, r)
			status, _ = call(t, http.MethodGet, "http://"+at.Host+"/", nil)
			assert.Equal(t, http.StatusForbidden, status)

			require.NoError(t, end(p, input))
			<-p.ended
			assert.Zero(t, p.code)
			assert.Empty(t, p.stderr.String())
			_, err := user.Get(address)
			require.Error(t, err, "the page has ended")
			assertMonth(t, reportOf(t, filepath.Join(dir, "scans.db")))
		})
	}
}

// assertMonth checks that a report has the month that is made up and the two scans.
func assertMonth(t *testing.T, r scanstats.Report) {
	t.Helper()
	assert.Greater(t, r.Total.Scans, int64(3000))
	assert.Less(t, r.Total.Scans, int64(5000))
	assert.Len(t, r.Buckets, 30)
	assert.Equal(t, []string{"Flyers", "Online", "上海", "北京"}, r.Groups)
	scenes := map[string]scanstats.SceneReport{}
	for _, s := range r.Scenes {
		scenes[s.Scene] = s
	}
	assert.Len(t, scenes, len(posters)+2)
	assert.Equal(t, "poster-1", r.Scenes[0].Scene, "the best")
	for _, s := range r.Scenes[1:] {
		assert.Greater(t, r.Scenes[0].Scans, s.Scans*3/2)
	}
	flyer := scenes["flyer-1"]
	assert.Greater(t, flyer.Unfollows, flyer.NewFollowers/2, "those whom the flyer brings leave again")
	assert.Equal(t, "Win a phone!", flyer.Name)
	newFollower, follower := scenes["海报-地铁站&展位=7"].Counts, scenes["login-*"].Counts
	assert.Equal(t, []int64{1, 1, 1}, []int64{newFollower.Scans, newFollower.NewFollowers, newFollower.UniqueUsers})
	assert.Equal(t, []int64{1, 0, 1}, []int64{follower.Scans, follower.NewFollowers, follower.UniqueUsers})
	assert.Positive(t, r.Unattributed.NewFollowers)
}

func TestDemoEndsAtOnceWithoutAnInput(t *testing.T) {
	leaveNoGoroutine(t)
	dir := t.TempDir()
	code, out, errs := runDemo(t, "--out", dir)
	require.Zero(t, code, errs)
	assert.Empty(t, errs)
	assert.Regexp(t, demoAddress, out)
	assert.Contains(t, out, "wxqrcode stats "+filepath.Join(dir, "scans.db")+" ")
	for _, text := range []string{" by day, Asia/Shanghai\n", "南京路步行街 (poster-1)", "海报-地铁站&展位=7", "login-*", "█"} {
		assert.Contains(t, out, text)
	}
	pictures, err := filepath.Glob(filepath.Join(dir, "*.jpg"))
	require.NoError(t, err)
	assert.Len(t, pictures, 4)
	assert.Equal(t, demoStatsKey+"\n", readKey(t, filepath.Join(dir, "scans.db")))

	code, _, errs = runDemo(t, "--out", dir)
	require.Zero(t, code, errs)
	r := reportOf(t, filepath.Join(dir, "scans.db"))
	assertMonth(t, r) // not two of them
}

func TestDemoReportsTheStatisticsAsJSON(t *testing.T) {
	p, _ := startDemo(t, "--json", "--out", t.TempDir()) // whose input stays open
	<-p.ended
	require.Zero(t, p.code, p.stderr.String())
	var r report
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &r))
	require.NotNil(t, r.Statistics)
	assertMonth(t, *r.Statistics)
}

func TestDemoLeavesADatabaseThatIsNotItsOwn(t *testing.T) {
	path := newStatsFile(t, map[string]int{"poster-1": 1})
	for name, key := range map[string]string{"without a key": "", "with a key": "0123456789abcdef"} {
		t.Run(name, func(t *testing.T) {
			if key != "" {
				require.NoError(t, os.WriteFile(statsKeyFile(path), []byte(key), 0o600))
			}
			code, out, errs := runDemo(t, "--out", filepath.Dir(path))
			assert.Equal(t, exitUsage, code)
			assert.Contains(t, errs, "is not the demo's own")
			assert.NotContains(t, out, "All went well")
			assert.Equal(t, 1, reportedScans(t, path))
		})
	}
	require.NoError(t, os.Remove(path))
	code, _, _ := runDemo(t, "--out", filepath.Dir(path))
	assert.Equal(t, exitUsage, code, "nor is its key lost")
	assert.Equal(t, "0123456789abcdef", readKey(t, path))
}

func TestTheMonthIsTheSameForEverybodyAndInOrder(t *testing.T) {
	from := time.Date(2026, 10, 23, 0, 0, 0, 0, time.FixedZone("", 8*60*60))
	now := from.AddDate(0, 0, 29).Add(15 * time.Hour)
	people := makeUpMonth(from, now)
	assert.Equal(t, people, makeUpMonth(from, now))
	n, days := 0, map[time.Weekday]int{}
	for _, events := range people {
		last := time.Time{}
		for i, e := range events {
			n++
			days[e.CreatedAt.Weekday()]++
			assert.False(t, e.CreatedAt.After(now))
			assert.False(t, e.CreatedAt.Before(last))
			assert.Equal(t, i == 0, e.Type == wxqrcode.EventSubscribe, "each comes once")
			last = e.CreatedAt
		}
	}
	assert.Greater(t, n, 3000)
	assert.Less(t, n, 5000)
	for day := time.Monday; day <= time.Friday; day++ {
		assert.Greater(t, days[time.Saturday], days[day])
	}
}

func TestAMonthThatCannotBeRecordedSaysWhy(t *testing.T) {
	stats, err := scanstats.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "scans.db"), scanstats.Config{Key: []byte(demoStatsKey)})
	require.NoError(t, err)
	require.NoError(t, stats.Close())
	events := [][]*wxqrcode.Event{{anEvent("o1", "a")}, {anEvent("o2", "a")}}
	require.ErrorIs(t, recordAll(t.Context(), stats, events), scanstats.ErrClosed)
}
