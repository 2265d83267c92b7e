package scanstats

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// WriteCSV writes the scenes of the report as CSV in UTF-8, with a byte order mark, without
// which Excel takes it for the system's own encoding. The first row names the columns: scene,
// name, group, scans, new_followers, people, lost, and for 1, 7 and 30 days how many new
// followers came long enough ago to tell (stayed_1_of) and how many of these still followed
// (stayed_1).
//
// There is one row for each scene. If the report was asked for with [Query.EachScene], there
// is one for each scene and bucket, with a further first column start: the day on which the
// bucket begins, or its time in RFC 3339 if Report.By is [Hour].
//
// Scenes, names and groups are anybody's text. One that a spreadsheet would take for a formula,
// as it begins with =, +, -, @, a tab or the end of a line, gets an apostrophe in front.
//
// The report's Total and Other are not written, nor the scenes that [Query.Limit] left out.
func (r *Report) WriteCSV(w io.Writer) error {
	// A report that somebody made or read from JSON has nothing but its buckets to tell.
	each := r.eachScene || slices.ContainsFunc(r.Scenes, func(s SceneReport) bool { return len(s.Buckets) > 0 })
	rows := newCSVRows(w)
	header := []string{
		"scene", "name", "group", "scans", "new_followers", "people", "lost",
		"stayed_1_of", "stayed_1", "stayed_7_of", "stayed_7", "stayed_30_of", "stayed_30",
	}
	if each {
		header = append([]string{"start"}, header...)
	}
	rows.write(header)
	for _, s := range r.Scenes {
		if !each {
			rows.write(csvRow(s, s.Counts))
		}
		for _, b := range s.Buckets {
			rows.write(append([]string{csvStart(b.Start, r.By)}, csvRow(s, b.Counts)...))
		}
	}
	return rows.end()
}

func csvStart(start time.Time, by Interval) string {
	if by == Hour {
		return start.Format(time.RFC3339)
	}
	return start.Format(time.DateOnly)
}

func csvRow(s SceneReport, c Counts) []string {
	row := []string{
		csvText(s.Scene), csvText(s.Name), csvText(s.Group),
		csvNumber(c.Scans), csvNumber(c.NewFollowers), csvNumber(c.People), csvNumber(c.Lost),
	}
	for _, stay := range c.Stayed {
		row = append(row, csvNumber(stay.Of), csvNumber(stay.Stayed))
	}
	return row
}

func csvNumber(n int64) string { return strconv.FormatInt(n, 10) }

// csvText makes sure that a text is no formula. See https://owasp.org/www-community/attacks/CSV_Injection.
func csvText(s string) string {
	if s != "" && strings.IndexByte("=+-@\t\r\n", s[0]) >= 0 {
		return "'" + s
	}
	return s
}

// csvRows writes rows, and keeps the first error for the end.
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
