package scanstats

import (
	"encoding/csv"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// WriteCSV writes the scenes of the report as CSV in UTF-8, with a byte order mark,
// which Excel needs to detect the encoding. The columns of the header are the JSON
// names of [SceneReport], and for 1, 7 and 30 days cohort_N and retained_N; see
// [Retention].
//
// There is one row per scene or, with [Query.PerScene], one per scene and bucket.
// These begin with a column start: the first day of the bucket, or its time in
// RFC 3339 if Report.Interval is [Hour].
//
// Scenes, names and groups may contain anything. Where a spreadsheet could interpret
// text as a formula, an apostrophe is inserted: before a cell that begins with =, +,
// -, @ (ASCII or full-width), a tab or a line break, and before =, +, -, @ after a
// character that may separate cells.
//
// The file does not contain the report's Total and Unattributed, nor the scenes
// beyond [Query.Limit].
func (r *Report) WriteCSV(w io.Writer) error {
	// A report that was decoded from JSON has no perScene.
	perScene := r.perScene || slices.ContainsFunc(r.Scenes, func(s SceneReport) bool { return len(s.Buckets) > 0 })
	rows := newCSVRows(w)
	header := []string{
		"scene", "name", "group", "scans", "scans_by_followers", "unique_users", "new_followers", "unfollows", "net_followers",
		"cohort_1", "retained_1", "cohort_7", "retained_7", "cohort_30", "retained_30",
	}
	if perScene {
		header = append([]string{"start"}, header...)
	}
	rows.write(header)
	for _, s := range r.Scenes {
		if !perScene {
			rows.write(csvRow(s, s.Counts))
		}
		for _, b := range s.Buckets {
			rows.write(append([]string{csvStart(b.Start, r.Interval)}, csvRow(s, b.Counts)...))
		}
	}
	return rows.end()
}

func csvStart(start time.Time, interval Interval) string {
	if interval == Hour {
		return start.Format(time.RFC3339)
	}
	return start.Format(time.DateOnly)
}

func csvRow(s SceneReport, c Counts) []string {
	row := []string{
		csvText(s.Scene), csvText(s.Name), csvText(s.Group),
		csvNumber(c.Scans), csvNumber(c.ScansByFollowers), csvNumber(c.UniqueUsers),
		csvNumber(c.NewFollowers), csvNumber(c.Unfollows), csvNumber(c.NetFollowers),
	}
	for _, r := range c.Retention {
		row = append(row, csvNumber(r.Cohort), csvNumber(r.Retained))
	}
	return row
}

func csvNumber(n int64) string { return strconv.FormatInt(n, 10) }

// csvText escapes a text that looks like a formula. See https://owasp.org/www-community/attacks/CSV_Injection.
func csvText(s string) string {
	s = innerFormula.ReplaceAllString(s, "$1'$2")
	if first, _ := utf8.DecodeRuneInString(s); strings.ContainsRune("=+-@＝＋－＠\t\r\n", first) {
		return "'" + s
	}
	return s
}

// innerFormula matches what begins a formula if another separator is used.
var innerFormula = regexp.MustCompile("([;,|\t\r\n])([=+\\-@＝＋－＠])")

// csvRows writes rows; end returns the first error.
type csvRows struct {
	w   *csv.Writer
	err error
}

func newCSVRows(w io.Writer) *csvRows {
	_, err := io.WriteString(w, "\ufeff")
	return &csvRows{csv.NewWriter(w), err}
}

func (c *csvRows) write(row []string) {
	if c.err == nil {
		c.err = c.w.Write(row)
	}
}

func (c *csvRows) end() error {
	if c.err == nil {
		c.w.Flush()
		c.err = c.w.Error()
	}
	if c.err != nil {
		return fmt.Errorf("scanstats: write the report as CSV: %w", c.err)
	}
	return nil
}
