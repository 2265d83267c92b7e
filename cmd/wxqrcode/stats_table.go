package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/seed-0142d113/wxqrcode/scanstats"
)

// printReport prints a report for people.
func printReport(w io.Writer, r *scanstats.Report) error {
	var b strings.Builder
	last := r.To.AddDate(0, 0, -1)
	fmt.Fprintf(&b, "%s to %s by %s, %s\n\n", r.From.Format(time.DateOnly), last.Format(time.DateOnly), r.Interval, printable(r.Zone))
	b.WriteString(totals(r.Total) + "\n" + sceneTable(r))
	if r.OmittedScenes > 0 {
		fmt.Fprintf(&b, "… and %s more; --limit shows more of them\n", count(int64(r.OmittedScenes)))
	}
	b.WriteString("\n" + intervalTable(r))
	_, err := io.WriteString(w, b.String())
	return err
}

func totals(t scanstats.Counts) string {
	lines := [][3]string{
		{"scans", count(t.Scans), "by " + people(t.UniqueUsers)}, {"new followers", count(t.NewFollowers)}, {"lost", count(t.Unfollows)},
	}
	for _, stay := range t.Retention {
		days := "days"
		if stay.Days == 1 {
			days = "day"
		}
		of := ""
		switch {
		case stay.Cohort > 0:
			of = count(stay.Retained) + " of " + count(stay.Cohort)
		case t.NewFollowers > 0:
			of = "all came too recently to tell"
		}
		lines = append(lines, [3]string{fmt.Sprintf("stayed %d %s", stay.Days, days), share(stay), of})
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-14s %9s  %s", l[0], l[1], l[2]), " ") + "\n")
	}
	return b.String()
}

// intervalTable has a bar for each bucket.
func intervalTable(r *scanstats.Report) string {
	t := barTable{header: []string{strings.ToUpper(string(r.Interval)), "SCANS", "NEW", "PEOPLE", "LOST"}}
	for _, bucket := range r.Buckets {
		t.add(bucket.Scans, startOf(bucket.Start, r.Interval), count(bucket.Scans), count(bucket.NewFollowers), count(bucket.UniqueUsers), count(bucket.Unfollows))
	}
	return t.String()
}

func startOf(start time.Time, by scanstats.Interval) string {
	switch by {
	case scanstats.Hour:
		return start.Format("2006-01-02 15:04 Mon")
	case scanstats.Day:
		return start.Format("2006-01-02 Mon")
	}
	return start.Format(time.DateOnly)
}

// How much of a text is shown, in columns of the terminal.
const (
	maxSceneWidth = 40
	maxGroupWidth = 10
)

// sceneTable has a bar for each scene.
func sceneTable(r *scanstats.Report) string {
	if len(r.Scenes) == 0 && r.Unattributed.NewFollowers == 0 && r.Unattributed.Unfollows == 0 {
		return "no scene was scanned, or none is as asked for\n"
	}
	t := barTable{header: []string{"SCENE", "GROUP", "SCANS", "NEW", "PEOPLE", "LOST", "1 D", "7 D", "30 D"}, texts: 1}
	for _, s := range r.Scenes {
		t.add(s.Scans, sceneCells(s)...)
	}
	if o := r.Unattributed; o.NewFollowers > 0 || o.Unfollows > 0 {
		t.add(0, sceneCells(scanstats.SceneReport{Scene: "(no code)", Counts: o})...)
	}
	return t.String()
}

func sceneCells(s scanstats.SceneReport) []string {
	name := printable(s.Scene)
	if s.Name != "" {
		name = printable(s.Name) + " (" + name + ")"
	}
	cells := []string{
		text.Snip(name, maxSceneWidth, "…"), text.Snip(printable(s.Group), maxGroupWidth, "…"),
		count(s.Scans), count(s.NewFollowers), count(s.UniqueUsers), count(s.Unfollows),
	}
	for _, stay := range s.Retention {
		cells = append(cells, share(stay))
	}
	return cells
}

// A barTable has texts in its first columns, numbers in those that follow, and a bar at the
// end of each row.
type barTable struct {
	header []string
	texts  int // columns after the first that are texts
	rows   [][]string
	values []int64 // of the bars
}

func (t *barTable) add(value int64, cells ...string) {
	t.rows = append(t.rows, cells)
	t.values = append(t.values, value)
}

// The width of a table, in columns of the terminal.
const (
	tableWidth  = 100
	minBarWidth = 10
	maxBarWidth = 40
	minWidth    = 12 // of the first column, which gives way to bars
)

func (t *barTable) String() string {
	rows := append([][]string{t.header}, t.rows...)
	widths := make([]int, len(t.header))
	left := tableWidth
	for i := range widths {
		for _, row := range rows {
			widths[i] = max(widths[i], text.StringWidth(row[i]))
		}
		left -= widths[i] + 2
	}
	if left < minBarWidth {
		widths[0] = min(widths[0], max(minWidth, widths[0]+left-minBarWidth))
	}
	left = min(max(left, minBarWidth), maxBarWidth)
	var most int64
	for _, v := range t.values {
		most = max(most, v)
	}
	var b strings.Builder
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			cell = text.Snip(cell, widths[i], "…")
			space := strings.Repeat(" ", widths[i]-text.StringWidth(cell))
			if i <= t.texts {
				cell += space
			} else {
				cell = space + cell
			}
			line.WriteString(cell + "  ")
		}
		if n > 0 {
			line.WriteString(drawBar(t.values[n-1], most, left))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// drawBar draws a value in eighths of a character; any that is not 0 can be seen.
func drawBar(value, most int64, width int) string {
	if value <= 0 || most <= 0 {
		return ""
	}
	const eighths = "▏▎▍▌▋▊▉" // one to seven
	n := max(1, int(math.Round(float64(value)/float64(most)*float64(8*width))))
	b := strings.Repeat("█", n/8)
	if rest := n % 8; rest > 0 {
		b += string([]rune(eighths)[rest-1])
	}
	return b
}

// count groups the digits of a number.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func people(n int64) string {
	if n == 1 {
		return "1 person"
	}
	return count(n) + " people"
}

// share is a percentage; there is none of nobody. 100 % are all of them, and 0 % is nobody.
func share(s scanstats.Retention) string {
	if s.Cohort <= 0 {
		return "–"
	}
	percent := int64(math.Round(100 * float64(s.Retained) / float64(s.Cohort)))
	if s.Retained < s.Cohort {
		percent = min(percent, 99)
	}
	if s.Retained > 0 {
		percent = max(percent, 1)
	}
	return strconv.FormatInt(percent, 10) + "%"
}
