package scanstats

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

func TestStore_ReportRejectsInvalidQueries(t *testing.T) {
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	for name, tt := range map[string]struct {
		query Query
		says  string
	}{
		"another interval":     {Query{Interval: "year"}, `the interval is "year"; it must be hour, day, week or month`},
		"the end first":        {Query{From: now, To: now.AddDate(0, 0, -1)}, "it begins on 2026-11-21, after its end on 2026-11-20"},
		"too many days":        {Query{From: now.AddDate(0, 0, -3700), Interval: Month}, "are 3701 days; at most 3700 are allowed"},
		"too many buckets":     {Query{From: now.AddDate(0, 0, -1500)}, "by day are 1501 buckets; at most 1500 are allowed"},
		"too many hours":       {Query{From: now.AddDate(0, 0, -62), Interval: Hour}, "at most 1500 are allowed"},
		"before there was any": {Query{From: time.Unix(-1e10, 0), To: time.Unix(-1e10, 0)}, "they must be from 1970-01-02 to 9999-12-30"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Report(t.Context(), tt.query)
			require.ErrorIs(t, err, ErrInvalidQuery)
			require.ErrorContains(t, err, tt.says)
		})
	}
	for _, q := range []Query{{From: now.AddDate(0, 0, -3699), Interval: Month}, {From: now.AddDate(0, 0, -1499)}, {From: now.AddDate(0, 0, -61), Interval: Hour}} {
		_, err := s.Report(t.Context(), q)
		require.NoError(t, err)
	}
}

func TestReport_WriteCSVColumns(t *testing.T) {
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", now)))
	for name, tt := range map[string]struct {
		query Query
		begin string
		rows  int
	}{
		"scenes":                 {Query{}, "scene,", 1},
		"no scene":               {Query{Search: "none"}, "scene,", 0},
		"scenes, each by day":    {Query{PerScene: true}, "start,scene,", 30},
		"no scene, each by day":  {Query{PerScene: true, Search: "none"}, "start,scene,", 0},
		"no scene, each by hour": {Query{PerScene: true, Scenes: []string{"none"}, Interval: Hour}, "start,scene,", 0},
		"no scene of any group":  {Query{PerScene: true, Group: "none"}, "start,scene,", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := s.Report(t.Context(), tt.query)
			require.NoError(t, err)
			var b strings.Builder
			require.NoError(t, r.WriteCSV(&b))
			assert.True(t, strings.HasPrefix(b.String(), "\ufeff"+tt.begin), b.String())
			assert.Equal(t, 1+tt.rows, strings.Count(b.String(), "\n"))
		})
	}
}

func TestStore_ReportIntervals(t *testing.T) {
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	for by, want := range map[Interval][]string{
		Day:   {"2026-10-30", "2026-10-31", "2026-11-01", "2026-11-02", "2026-11-03"},
		Week:  {"2026-10-30", "2026-11-02"}, // a Monday
		Month: {"2026-10-30", "2026-11-01"},
	} {
		r, err := s.Report(t.Context(), Query{Interval: by, From: now.AddDate(0, 0, -22), To: now.AddDate(0, 0, -18)})
		require.NoError(t, err)
		var starts []string
		for _, b := range r.Buckets {
			starts = append(starts, b.Start.Format(time.DateOnly))
		}
		assert.Equal(t, want, starts, by)
		assert.Equal(t, "2026-11-04", r.Buckets[len(want)-1].End.Format(time.DateOnly))
	}
	r, err := s.Report(t.Context(), Query{})
	require.NoError(t, err)
	assert.Len(t, r.Buckets, 30)
	assert.Equal(t, "2026-10-23T00:00:00+08:00", r.From.Format(time.RFC3339))
	assert.Equal(t, "2026-11-22T00:00:00+08:00", r.To.Format(time.RFC3339))
}

func TestStore_ReportDaysOfZones(t *testing.T) {
	for zoneName, tt := range map[string]struct {
		day   string // in the zone
		hours int
	}{
		"Europe/Berlin":       {"2026-10-25", 25}, // summer time ends
		"America/New_York":    {"2026-03-08", 23}, // it begins
		"Asia/Kathmandu":      {"2026-11-20", 24}, // 5:45 ahead
		"Australia/Lord_Howe": {"2026-04-05", 25}, // by half an hour
		"America/Santiago":    {"2026-09-06", 23}, // at midnight, which does not come
	} {
		t.Run(zoneName, func(t *testing.T) {
			loc, err := time.LoadLocation(zoneName)
			require.NoError(t, err)
			c := testConfig()
			c.Location, c.DedupWindow = loc, 1000*24*time.Hour
			s := newTestStore(t, newDatabase(t, SQLite), c)
			date, err := time.ParseInLocation(time.DateTime, tt.day+" 12:00:00", loc)
			require.NoError(t, err)
			z := zone{loc}
			start, end := z.start(z.dayOf(date)), z.start(z.dayOf(date)+1)
			n := 0
			for at := start.Add(-10 * time.Minute); at.Before(end.Add(20 * time.Minute)); at = at.Add(10 * time.Minute) {
				require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", at)))
				n++
			}
			day, err := s.Report(t.Context(), Query{From: date, To: date})
			require.NoError(t, err)
			assert.Equal(t, int64(n-3), day.Total.Scans, "those of the day itself")
			assert.Equal(t, int64(1), day.Total.UniqueUsers)
			hours, err := s.Report(t.Context(), Query{From: date, To: date, Interval: Hour})
			require.NoError(t, err)
			assert.Len(t, hours.Buckets, tt.hours)
			var sum int64
			for _, b := range hours.Buckets {
				sum += b.Scans
				assert.Equal(t, int64(1), b.UniqueUsers, b.Start)
			}
			assert.Equal(t, day.Total.Scans, sum)
		})
	}
}

func TestStore_ReportFilters(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			s := newTestStore(t, d, testConfig())
			for i, scene := range []string{"poster-1", "poster-2", "shop-1", "shop-1 ", "SHOP-1"} {
				for n := range 5 - i {
					require.NoError(t, s.Record(t.Context(), followed(fmt.Sprint("o-", n), scene, now)))
				}
			}
			for scene, label := range map[string]Label{
				"poster-1": {"南京路店", "上海"}, "shop-1": {"Jing'an 静安", "上海"}, "poster-2": {"王府井", "北京"}, "planned": {"Not yet hung", ""},
			} {
				require.NoError(t, s.Label(t.Context(), scene, label))
			}
			list := func(q Query) (scenes []string) {
				r, err := s.Report(t.Context(), q)
				require.NoError(t, err)
				assert.Equal(t, []string{"上海", "北京"}, r.Groups)
				for _, scene := range r.Scenes {
					scenes = append(scenes, scene.Scene)
				}
				return scenes
			}
			assert.Equal(t, []string{"poster-1", "poster-2", "shop-1", "shop-1 ", "SHOP-1", "planned"}, list(Query{}), "most scans first; labelled ones always")
			assert.Equal(t, []string{"poster-1", "shop-1"}, list(Query{Group: "上海"}))
			assert.Equal(t, []string{"shop-1"}, list(Query{Group: "上海", Search: "静安"}))
			assert.Equal(t, []string{"shop-1", "shop-1 ", "SHOP-1"}, list(Query{Search: "shop"}))
			assert.Equal(t, []string{"poster-2"}, list(Query{Search: "北京"}))
			assert.Equal(t, []string{"shop-1 "}, list(Query{Scenes: []string{"shop-1 ", "nowhere"}}))
			assert.Empty(t, list(Query{Search: "nowhere"}))
			assert.Equal(t, []string{"poster-1", "poster-2"}, list(Query{Limit: 2}))

			r, err := s.Report(t.Context(), Query{Limit: 2})
			require.NoError(t, err)
			assert.Equal(t, 4, r.OmittedScenes)
			assert.Equal(t, withDerived(Counts{Scans: 15, NewFollowers: 15, UniqueUsers: 5, Unfollows: 10, Retention: emptyRetention()}), r.Total, "of all scenes")
			r, err = s.Report(t.Context(), Query{Group: "上海"})
			require.NoError(t, err)
			assert.Equal(t, int64(8), r.Total.NewFollowers)
			assert.Equal(t, int64(8), r.Total.UniqueUsers, "once for each scene")
			assert.Zero(t, r.OmittedScenes)

			require.NoError(t, s.Label(t.Context(), "planned", Label{}))
			assert.NotContains(t, list(Query{}), "planned", "a label can be taken away")
		})
	}
}

func TestStore_LabelRejectsInvalidLabels(t *testing.T) {
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	for name, tt := range map[string]struct {
		scene string
		label Label
	}{
		"no scene":     {"", Label{Name: "A"}},
		"a long name":  {"poster", Label{Name: strings.Repeat("a", maxLabel+1)}},
		"a long group": {"poster", Label{Group: strings.Repeat("a", maxLabel+1)}},
		"no text":      {"poster", Label{Name: "\xff"}},
		"a NUL":        {"poster", Label{Group: "a\x00"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, s.Label(t.Context(), tt.scene, tt.label), ErrInvalidLabel)
		})
	}
	require.NoError(t, s.Label(t.Context(), "poster", Label{strings.Repeat("a", maxLabel), strings.Repeat("b", maxLabel)}))
}

// anyTexts are some that somebody could have put into a code.
var anyTexts = []string{
	`'; DROP TABLE scanstats_scene; --`, `" OR 1=1`, "`", `\`, `%_`, "?", "$1", `<script>window.pwned = 1</script>`, `=HYPERLINK("http://evil")`,
	"a", "A", "a ", "ä", "a\u0308", "\x00", "a\x00b", "x\xff\xfe", "\u202egnp.exe", "😀", "中文", "\n", "\u2028", "null", "0", "login-*",
	strings.Repeat("长", 200), strings.Repeat("长", 200) + "1", strings.Repeat("\x00", 600), strings.Repeat("\xffa", 300),
}

func TestStore_AcceptsAnyScene(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			s := newTestStore(t, d, testConfig())
			for i, scene := range anyTexts {
				for n := range i + 1 {
					require.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", n), scene, now)), "%q", scene)
				}
				require.NoError(t, s.Label(t.Context(), scene, Label{Name: "the name of it"}), "%q", scene)
			}
			r, err := s.Report(t.Context(), Query{})
			require.NoError(t, err)
			require.Len(t, r.Scenes, len(anyTexts), "each is another one")
			for i, scene := range slices.Backward(anyTexts) {
				got := r.Scenes[len(anyTexts)-1-i]
				assert.Equal(t, int64(i+1), got.Scans)
				assert.Equal(t, normalizeScene(scene), got.Scene)
				assert.True(t, utf8.ValidString(got.Scene))
				assert.LessOrEqual(t, len(got.Scene), maxScene)
				one, err := s.Report(t.Context(), Query{Scenes: []string{scene}})
				require.NoError(t, err)
				require.Len(t, one.Scenes, 1)
				assert.Equal(t, int64(i+1), one.Total.Scans)
			}
		})
	}
}

func TestFoldRandom(t *testing.T) {
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	for i := range 100 {
		require.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", i), wxqrcode.RandomScene("login-").Key(), now)))
		require.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", i), wxqrcode.RandomScene("").Key(), now)))
	}
	r, err := s.Report(t.Context(), Query{})
	require.NoError(t, err)
	require.Len(t, r.Scenes, 2)
	assert.Equal(t, "*", r.Scenes[0].Scene)
	assert.Equal(t, "login-*", r.Scenes[1].Scene)
	assert.Equal(t, int64(100), r.Scenes[1].Scans)

	for scene, want := range map[string]string{
		"":                             "",
		"poster":                       "poster",
		strings.Repeat("A", 26):        "*",
		strings.Repeat("A", 25) + "1":  strings.Repeat("A", 25) + "1", // 1 is none of base32
		strings.Repeat("A", 25):        strings.Repeat("A", 25),
		"a" + strings.Repeat("7", 26):  "a*",
		"门店" + strings.Repeat("Z", 26): "门店*",
	} {
		assert.Equal(t, want, FoldRandom(scene))
	}
}

func TestStore_SceneName(t *testing.T) {
	c := testConfig()
	c.SceneName = func(key string) string {
		shop, rest, _ := strings.Cut(key, "/")
		if rest == "secret" {
			return ""
		}
		return shop
	}
	s := newTestStore(t, newDatabase(t, SQLite), c)
	for i, scene := range []string{"shop/1", "shop/2", "shop/secret"} {
		require.NoError(t, s.Record(t.Context(), followed(fmt.Sprint("o-", i), scene, now)))
		require.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", i), scene, now)))
	}
	r, err := s.Report(t.Context(), Query{})
	require.NoError(t, err)
	require.Len(t, r.Scenes, 1)
	assert.Equal(t, withDerived(Counts{Scans: 4, NewFollowers: 2, UniqueUsers: 2, Retention: emptyRetention()}), r.Scenes[0].Counts)
	assert.Equal(t, int64(1), r.Unattributed.NewFollowers)
}

func TestStore_ReportLimit(t *testing.T) {
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	var entries []entry
	for i := range 1400 {
		e, _, err := s.entry(scanned("o-1", fmt.Sprint("poster-", i), now))
		require.NoError(t, err)
		entries = append(entries, e)
	}
	require.NoError(t, s.apply(t.Context(), entries))
	r, err := s.Report(t.Context(), Query{})
	require.NoError(t, err)
	assert.Len(t, r.Scenes, 1000)
	assert.Equal(t, 400, r.OmittedScenes)
	r, err = s.Report(t.Context(), Query{Limit: -1, Search: "poster"})
	require.NoError(t, err)
	assert.Len(t, r.Scenes, 1400)
	assert.Equal(t, int64(1400), r.Buckets[29].Scans, "in more scenes than one statement takes")
	_, err = s.Report(t.Context(), Query{Limit: -1, PerScene: true, From: now.AddDate(0, 0, -1499)})
	require.ErrorIs(t, err, ErrInvalidQuery)
	require.ErrorContains(t, err, "1400 scenes with 1500 buckets each are 2100000; at most 400000 are allowed")
}
