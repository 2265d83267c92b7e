package scanstats

import (
	"bytes"
	"encoding/csv"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const csvHeader = "scene,name,group,scans,scans_by_followers,unique_users,new_followers,unfollows,net_followers,cohort_1,retained_1,cohort_7,retained_7,cohort_30,retained_30\n"

var csvCounts = Counts{Scans: 1234, ScansByFollowers: 1178, UniqueUsers: 700, NewFollowers: 56, Unfollows: 3, NetFollowers: 53, Retention: [3]Retention{{1, 50, 40}, {7, 30, 20}, {30, 10, 5}}}

func TestReport_WriteCSV(t *testing.T) {
	at := time.Date(2026, time.November, 21, 9, 0, 0, 0, shanghai)
	bucket := func(start time.Time, scans int64) Bucket { return Bucket{Start: start, Counts: Counts{Scans: scans}} }
	for name, test := range map[string]struct {
		report Report
		want   string
	}{
		"a report without scenes has the header alone": {
			Report{Interval: Day}, csvHeader,
		},
		"one that was asked for each scene has the column start also if there is none": {
			Report{Interval: Day, perScene: true}, "start," + csvHeader,
		},
		"a row for each scene": {
			Report{Interval: Day, Scenes: []SceneReport{
				{Scene: "shop-1", Name: "南京路店", Group: "门店", Counts: csvCounts},
				{Scene: "shop-2", Counts: Counts{Scans: 1}},
			}},
			csvHeader + "shop-1,南京路店,门店,1234,1178,700,56,3,53,50,40,30,20,10,5\n" + "shop-2,,,1,0,0,0,0,0,0,0,0,0,0,0\n",
		},
		"a row for each scene and day": {
			Report{Interval: Day, Scenes: []SceneReport{
				{Scene: "a", Counts: csvCounts, Buckets: []Bucket{bucket(at, 1), bucket(at.AddDate(0, 0, 1), 2)}},
				{Scene: "b", Counts: csvCounts, Buckets: []Bucket{bucket(at, 3)}},
			}},
			"start," + csvHeader + "2026-11-21,a,,,1,0,0,0,0,0,0,0,0,0,0,0\n" + "2026-11-22,a,,,2,0,0,0,0,0,0,0,0,0,0,0\n" + "2026-11-21,b,,,3,0,0,0,0,0,0,0,0,0,0,0\n",
		},
		"a row for each scene and hour": {
			Report{Interval: Hour, Scenes: []SceneReport{{Scene: "a", Buckets: []Bucket{bucket(at, 1)}}}},
			"start," + csvHeader + "2026-11-21T09:00:00+08:00,a,,,1,0,0,0,0,0,0,0,0,0,0,0\n",
		},
		"commas, quotes and lines are quoted": {
			Report{Interval: Day, Scenes: []SceneReport{{Scene: `a,"b"`, Name: "two\nlines"}}},
			csvHeader + `"a,""b""","two` + "\n" + `lines",,0,0,0,0,0,0,0,0,0,0,0,0` + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			require.NoError(t, test.report.WriteCSV(&got))
			assert.Equal(t, "\ufeff"+test.want, got.String())
		})
	}
}

func TestReport_WriteCSVEscapesFormulas(t *testing.T) {
	for given, want := range map[string]string{
		"=1+1":           "'=1+1",
		"+86 21":         "'+86 21",
		"-1":             "'-1",
		"@SUM(A1)":       "'@SUM(A1)",
		"\t=1+1":         "'\t'=1+1",
		"\r=1+1":         "'\r'=1+1",
		"\n=1+1":         "'\n'=1+1",
		"\ta":            "'\ta",
		"＝1+1":           "'＝1+1",
		"＋1":             "'＋1",
		"－1":             "'－1",
		"＠SUM(A1)":       "'＠SUM(A1)",
		"a;=1+1":         "a;'=1+1",
		"a;=1;+2|@3":     "a;'=1;'+2|'@3",
		"a\t-1":          "a\t'-1",
		"a,＝1":           "a,'＝1",
		"a\n=1":          "a\n'=1",
		"=1;=2":          "'=1;'=2",
		"a; b":           "a; b",
		"\ufffd=1":       "\ufffd=1",
		"'=1+1":          "'=1+1",
		"a=1":            "a=1",
		" =1":            " =1",
		"<script>":       "<script>",
		"'; DROP TABLE-": "'; DROP TABLE-",
		"":               "",
	} {
		assert.Equal(t, want, csvText(given))

		report := Report{Scenes: []SceneReport{{Scene: given, Name: given, Group: given}}}
		var text bytes.Buffer
		require.NoError(t, report.WriteCSV(&text))
		rows, err := csv.NewReader(&text).ReadAll()
		require.NoError(t, err)
		require.Len(t, rows, 2)
		assert.Equal(t, []string{csvText(given), csvText(given), csvText(given)}, rows[1][:3])
	}
}

// fullDisk takes some bytes, then no more.
type fullDisk struct{ left int }

var errFullDisk = errors.New("no space left")

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.left -= len(p); d.left < 0 {
		return 0, errFullDisk
	}
	return len(p), nil
}

func TestReport_WriteCSVReturnsWriteErrors(t *testing.T) {
	report := Report{Scenes: []SceneReport{{Scene: strings.Repeat("x", 10_000)}, {Scene: "y"}}}
	for _, room := range []int{0, 3, 5000} {
		err := report.WriteCSV(&fullDisk{room})
		require.ErrorIs(t, err, errFullDisk)
		assert.EqualError(t, err, "scanstats: write the report as CSV: no space left")
	}
}
