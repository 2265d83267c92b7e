package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/scanstats"
)

// newStatsFile makes a database in which scenes were scanned now, so many times each.
func newStatsFile(t *testing.T, scans map[string]int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scans.db")
	t.Setenv(envStatsKey, "0123456789abcdef")
	stats, err := openStats(t.Context(), path, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	var events [][]*wxqrcode.Event
	for scene, n := range scans {
		for i := range n {
			events = append(events, []*wxqrcode.Event{anEvent(fmt.Sprintf("%s %d", scene, i), scene)})
		}
	}
	require.NoError(t, recordAll(t.Context(), stats, events))
	require.NoError(t, stats.Close())
	return path
}

// anEvent is that of somebody new.
func anEvent(openID, scene string) *wxqrcode.Event {
	return &wxqrcode.Event{ToUserName: "gh_1", OpenID: openID, CreatedAt: time.Now(), MsgType: "event", Type: wxqrcode.EventSubscribe, EventKey: "qrscene_" + scene}
}

func reportOf(t *testing.T, path string, args ...string) (r scanstats.Report) {
	t.Helper()
	code, out, errs := wxqr(t, append([]string{"stats", path, "--json"}, args...)...)
	require.Zero(t, code, errs)
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	return r
}

func TestStatsPrintsATableWithBars(t *testing.T) {
	path := newStatsFile(t, map[string]int{"poster-1": 40, "poster-2": 10, "海报": 1, "login-" + strings.Repeat("A", 26): 2})
	code, _, errs := wxqr(t, "stats", "label", path, "poster-2", "南京路店", "--group", "上海")
	require.Zero(t, code, errs)
	code, out, errs := wxqr(t, "stats", path, "--days", "7")
	require.Zero(t, code, errs)
	assert.Empty(t, errs)
	today := time.Now().In(time.FixedZone("", 8*60*60))
	assert.Contains(t, out, today.AddDate(0, 0, -6).Format(time.DateOnly)+" to "+today.Format(time.DateOnly)+" by day, Asia/Shanghai\n")
	assert.Regexp(t, `(?m)^scans +53  by 53 people$`, out)
	assert.Regexp(t, `(?m)^new followers +53$`, out)
	assert.Regexp(t, `(?m)^stayed 30 days +–  all came too recently to tell$`, out)
	full := strings.Repeat("█", maxBarWidth)
	assert.Contains(t, out, today.Format("2006-01-02 Mon")+"     53   53      53     0  "+full+"\n")
	assert.Contains(t, out, `
SCENE                GROUP  SCANS  NEW  PEOPLE  LOST  1 D  7 D  30 D
poster-1                       40   40      40     0    –    –     –  ██████████████████████████████
南京路店 (poster-2)  上海      10   10      10     0    –    –     –  ███████▌
login-*                         2    2       2     0    –    –     –  █▌
海报                            1    1       1     0    –    –     –  ▊
`)
	for line := range strings.Lines(out) {
		assert.LessOrEqual(t, text.StringWidth(strings.TrimSuffix(line, "\n")), tableWidth, line)
	}

	_, out, _ = wxqr(t, "stats", path, "--limit", "3", "--by", "month")
	assert.Contains(t, out, "\n… and 1 more; --limit shows more of them\n")
	_, out, _ = wxqr(t, "stats", path, "--group", "nobody", "--by", "hour", "--days", "1")
	assert.Contains(t, out, "no scene was scanned, or none is as asked for\n")
	assert.Contains(t, out, today.Format(time.DateOnly)+" 23:00 ")
	assert.Regexp(t, `(?m)^stayed 1 day +–$`, out)
}

func TestBarsAreDrawnInEighths(t *testing.T) {
	for _, test := range []struct {
		value, most int64
		want        string
	}{
		{0, 8, ""}, {1, 8, "▏"}, {3, 8, "▍"}, {7, 8, "▉"}, {8, 8, "█"}, {9, 72, "▏"}, {1, 1_000_000, "▏"}, {0, 0, ""}, {-1, 8, ""},
	} {
		assert.Equal(t, test.want, drawBar(test.value, test.most, 1), test)
	}
	assert.Equal(t, "██▌", drawBar(5, 10, 5))
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1: "-1", -100: "-100", -1000: "-1,000"} {
		assert.Equal(t, want, count(n))
	}
	for _, test := range []struct {
		stayed, of int64
		want       string
	}{{0, 0, "–"}, {0, 5, "0%"}, {1, 1000, "1%"}, {999, 1000, "99%"}, {5, 5, "100%"}, {2, 3, "67%"}} {
		assert.Equal(t, test.want, share(scanstats.Retention{Cohort: test.of, Retained: test.stayed}))
	}
}

func TestAWideTableGivesItsFirstColumnUp(t *testing.T) {
	c := scanstats.Counts{Scans: 12_345_678, NewFollowers: 12_345_678, UniqueUsers: 12_345_678, Unfollows: 1_234_567}
	r := &scanstats.Report{Interval: scanstats.Day, Zone: "UTC", Total: c, Unattributed: scanstats.Counts{Unfollows: 1}, Scenes: []scanstats.SceneReport{
		{Scene: strings.Repeat("海报", 40), Name: strings.Repeat("n", 200), Group: strings.Repeat("g", 200), Counts: c},
	}}
	var b bytes.Buffer
	require.NoError(t, printReport(&b, r))
	for line := range strings.Lines(b.String()) {
		assert.LessOrEqual(t, text.StringWidth(strings.TrimSuffix(line, "\n")), tableWidth, line)
	}
	assert.Contains(t, b.String(), "nnn…  ggggggggg…  12,345,678")
	assert.Regexp(t, `(?m)^\(no code\) `, b.String())
	require.Error(t, printReport(brokenPipe{}, r))
}

func TestStatsPrintsJSONAndCSV(t *testing.T) {
	path := newStatsFile(t, map[string]int{"poster-1": 3, "poster-2": 1})
	r := reportOf(t, path)
	assert.Len(t, r.Buckets, 30)
	assert.Equal(t, "Asia/Shanghai", r.Zone)
	require.Len(t, r.Scenes, 2)
	assert.EqualValues(t, 3, r.Scenes[0].Scans)
	assert.Empty(t, r.Scenes[0].Buckets)
	assert.Len(t, reportOf(t, path, "--each", "--days", "2").Scenes[0].Buckets, 2)
	assert.Equal(t, 1, reportOf(t, path, "--limit", "1").OmittedScenes)
	assert.EqualValues(t, 1, reportOf(t, path, "--scene", "poster-2").Total.Scans)
	assert.EqualValues(t, 4, reportOf(t, path, "--scene", "poster-2", "--scene", "poster-1").Total.Scans)
	assert.EqualValues(t, 3, reportOf(t, path, "--search", "ER-1").Total.Scans)
	r = reportOf(t, path, "--from", "2024-02-28", "--to", "2024-03-01", "--by", "month")
	assert.Equal(t, "2024-02-28 2024-03-02", r.From.Format(time.DateOnly)+" "+r.To.Format(time.DateOnly), "both days are included")
	assert.Len(t, r.Buckets, 2)
	assert.Zero(t, r.Total.Scans)

	readCSV := func(args ...string) [][]string {
		code, out, errs := wxqr(t, append([]string{"stats", path, "--csv"}, args...)...)
		require.Zero(t, code, errs)
		rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(out, "\ufeff"))).ReadAll()
		require.NoError(t, err)
		return rows
	}
	rows := readCSV()
	require.Len(t, rows, 3)
	assert.Equal(t, []string{"poster-1", "", "", "3"}, rows[1][:4])
	assert.Len(t, readCSV("--each", "--days", "3"), 1+2*3)
	assert.Len(t, readCSV("--limit", "1"), 2)
}

func TestAllScenesAreInJSONAndCSVAndTwentyInTheTable(t *testing.T) {
	scans := map[string]int{}
	for i := range shownScenes + 5 {
		scans[fmt.Sprintf("poster-%02d", i)] = 1
	}
	path := newStatsFile(t, scans)
	assert.Len(t, reportOf(t, path).Scenes, shownScenes+5)
	_, out, _ := wxqr(t, "stats", path)
	assert.Equal(t, shownScenes, strings.Count(out, "\nposter-"))
	assert.Contains(t, out, "… and 5 more")
	_, out, _ = wxqr(t, "stats", path, "--csv")
	assert.Equal(t, 1+shownScenes+5, strings.Count(out, "\n"))
}

func TestStatsKnowsTheDaysOfAnyZone(t *testing.T) {
	for _, name := range []string{"Pacific/Kiritimati", "Etc/GMT+12", "America/Havana", "Asia/Shanghai"} {
		path := filepath.Join(t.TempDir(), "scans.db")
		zone, err := time.LoadLocation(name)
		require.NoError(t, err)
		stats, err := scanstats.OpenSQLite(t.Context(), path, scanstats.Config{Location: zone})
		require.NoError(t, err)
		require.NoError(t, stats.Close())
		r := reportOf(t, path, "--from", "2026-02-08", "--to", "2026-02-09")
		assert.Equal(t, name+" 2026-02-08 2026-02-10", r.Zone+" "+r.From.Format(time.DateOnly)+" "+r.To.Format(time.DateOnly))
		assert.Len(t, reportOf(t, path, "--days", "40").Buckets, 40)
	}
}

func TestWhatStatsCannotUseIsRefused(t *testing.T) {
	path := newStatsFile(t, map[string]int{"poster-1": 1})
	for _, test := range []struct{ args, says string }{
		{"", "accepts 1 arg"},
		{"DB more", "accepts 1 arg"},
		{"DB --from yesterday", `--from is "yesterday"; it must be a day such as 2026-11-21`},
		{"DB --to 2026-02-30", `--to is "2026-02-30"`},
		{"DB --from=", `--from is ""`},
		{"DB --from 2026-11-02 --to 2026-11-01", "it begins on 2026-11-02, after its end on 2026-11-01"},
		{"DB --from 1990-01-01", "at most 3700"},
		{"DB --from 2026-01-01 --to 2026-11-01 --by hour", "choose a longer interval"},
		{"DB --days 0", "--days is 0"},
		{"DB --days 99999999999", "--days is 99999999999; it must be 1 to 3700"},
		{"DB --days 7d", "invalid argument"},
		{"DB --days 7 --to 2026-11-01", "--days takes the place of --from and --to"},
		{"DB --by year", `--by is "year"; it must be hour, day, week or month`},
		{"DB --limit 0", "--limit is 0"},
		{"DB --limit -1", "--limit is -1"},
		{"DB --scene=", "--scene is empty"},
		{"DB --each", "--each counts with --json or --csv only"},
		{"DB --csv --json", "one of --csv and --json"},
		{"DB --addr 127.0.0.1:0", "--addr counts with --page only"},
		{"DB --page --days 7", "--days has no place beside --page"},
		{"DB --page --csv", "--csv has no place beside --page"},
		{"DB --page --addr 8091", `--addr "8091" must be a host and a port`},
		{"DB.none", "there are no statistics in"},
		{"DB.none --page", "there are no statistics in"},
		{"DIR", "is no file that could hold statistics"},
		{"EMPTY", "there are no statistics in"},
		{"OTHER", "a database of another program"},
		{"label DB a", "accepts 3 arg(s)"},
		{"label DB.none a b", "there are no statistics in"},
		{"label DB a " + strings.Repeat("n", 201), "at most 200"},
		{"label DB a b --group " + strings.Repeat("g", 201), "at most 200"},
		{"--nonsense", "unknown flag"},
	} {
		t.Run(test.args, func(t *testing.T) {
			leaveNoGoroutine(t)
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600))
			writeOtherDatabase(t, filepath.Join(dir, "other"))
			args := strings.NewReplacer("DB", path, "DIR", dir, "EMPTY", filepath.Join(dir, "empty"), "OTHER", filepath.Join(dir, "other")).Replace(test.args)
			code, out, errs := wxqr(t, append([]string{"stats"}, strings.Fields(args)...)...)
			assert.Equal(t, exitUsage, code, errs)
			assert.Empty(t, out)
			assert.Contains(t, errs, test.says)
			assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
		})
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*none*"))
	require.NoError(t, err)
	assert.Empty(t, left, "nothing is made")
}

// writeOtherDatabase makes a database that is not ours.
func writeOtherDatabase(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "CREATE TABLE customers (id INTEGER)")
	require.NoError(t, err)
}

func TestAFileThatIsNoDatabaseStaysAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	notes := []byte(strings.Repeat("no database\n", 100))
	require.NoError(t, os.WriteFile(path, notes, 0o600))
	t.Setenv(envStatsKey, "0123456789abcdef")
	for _, args := range [][]string{
		{"stats", path}, {"stats", "label", path, "a", "b"}, {"listen", "--sandbox", "--addr", "127.0.0.1:0", "--stats", path, "--stats-addr", "127.0.0.1:0"},
	} {
		code, out, errs := wxqr(t, args...)
		assert.Equal(t, exitUsage, code, errs)
		assert.Empty(t, out)
		assert.Contains(t, errs, "not a database")
		now, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, notes, now)
	}
}

func TestAHostileSceneCannotUpsetTheTable(t *testing.T) {
	const scene = "\x1b[2J\u009b31m\r\n\u202e=1+1"
	path := newStatsFile(t, map[string]int{scene: 1})
	code, out, errs := wxqr(t, "stats", "label", path, scene, "\x1b[31m", "--group", "\u009b32m")
	require.Zero(t, code, errs)
	_, table, _ := wxqr(t, "stats", path)
	assert.Contains(t, table, `"\x1b[31m" ("\x1b[2J\u009b31m\r\n`)
	_, asJSON, _ := wxqr(t, "stats", path, "--json")
	for _, shown := range []string{out, table, asJSON} {
		for _, bad := range []string{"\x1b", "\u009b", "\r", "\u202e"} {
			assert.NotContains(t, shown, bad)
		}
	}
	assert.Equal(t, scene, reportOf(t, path).Scenes[0].Scene)
}

func TestALabelIsGivenChangedAndTakenAway(t *testing.T) {
	path := newStatsFile(t, map[string]int{"poster-1": 1})
	for _, test := range []struct {
		args        []string
		name, group string
	}{
		{[]string{"南京路店", "--group", "上海"}, "南京路店", "上海"},
		{[]string{"Nanjing Road"}, "Nanjing Road", ""},
		{[]string{""}, "", ""},
	} {
		code, out, errs := wxqr(t, append([]string{"stats", "label", "--json", path, "poster-1"}, test.args...)...)
		require.Zero(t, code, errs)
		var got labelled
		require.NoError(t, json.Unmarshal([]byte(out), &got))
		assert.Equal(t, labelled{"poster-1", test.name, test.group}, got)
		s := reportOf(t, path).Scenes[0]
		assert.Equal(t, test.name+" "+test.group, s.Name+" "+s.Group)
	}
	_, out, _ := wxqr(t, "stats", "label", path, "not-yet", "A shop")
	assert.Equal(t, "scene     not-yet\nname      A shop\n", out)
	assert.Len(t, reportOf(t, path).Scenes, 2)
}

func TestStatsTakesNoKey(t *testing.T) {
	path := newStatsFile(t, map[string]int{"poster-1": 1})
	t.Setenv(envStatsKey, "")
	assert.EqualValues(t, 1, reportOf(t, path).Total.Scans)
	assert.NoFileExists(t, statsKeyFile(path))
}

func TestStatsEndsWhenItIsInterruptedOrNobodyReads(t *testing.T) {
	path := newStatsFile(t, map[string]int{"poster-1": 1})
	leaveNoGoroutine(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, _, _ := wxqrUntil(ctx, "stats", path)
	assert.Equal(t, exitInterrupted, code)
	for _, flag := range []string{"--days=7", "--json", "--csv", "--page"} {
		args := []string{"stats", path, flag}
		if flag == "--page" {
			args = append(args, "--addr", "127.0.0.1:0")
		}
		assert.Equal(t, exitFailure, run(t.Context(), args, noInput, brokenPipe{}, io.Discard), flag)
	}
}
