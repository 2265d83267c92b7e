package main

import (
	"encoding/csv"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seed-0142d113/wxqrcode"
)

const resultFile = "result.csv"

// writeResult writes result.csv.
func (b *batchCommand) writeResult() error {
	path := filepath.Join(b.folder, resultFile)
	err := writeFileAtomicVia(b.state.tempDir, path, func(w io.Writer) error {
		if _, err := io.WriteString(w, "\ufeff"); err != nil { // or Excel reads it as GBK
			return err
		}
		out := csv.NewWriter(w)
		header, keep := b.resultHeader()
		_ = out.Write(escapeCells(header)) // see Error
		for _, i := range b.items {
			_ = out.Write(escapeCells(i.result(header, keep)))
		}
		out.Flush()
		return out.Error()
	})
	if err == nil {
		b.report.Result = path
	}
	return err
}

// resultHeader returns the columns of the result, and the indexes of those of the sheet.
func (b *batchCommand) resultHeader() (header []string, keep []int) {
	header = b.sheet.header[:b.sheet.ownColumns()]
	for n := range header {
		keep = append(keep, n)
	}
	header = slices.Clone(header)
	if fileColumn(header) < 0 {
		header = append(header, columnFile)
	}
	return append(header, resultColumns...), keep
}

// ownColumns returns the number of columns of the user, without those that an earlier
// run appended.
func (s *sheet) ownColumns() int {
	n := len(s.header) - len(resultColumns)
	if n >= 0 && slices.Equal(s.header[n:], resultColumns) {
		return n
	}
	return len(s.header)
}

// isResult reports whether the sheet is the result of an earlier run.
func (s *sheet) isResult() bool { return s.ownColumns() < len(s.header) }

// hasTicket reports whether an earlier result has the ticket of the row.
func (s *sheet) hasTicket(r row) bool { return s.isResult() && r.cells[s.ownColumns()] != "" }

func fileColumn(header []string) int {
	return slices.IndexFunc(header, func(name string) bool { return columnNames[strings.ToLower(name)] == columnFile })
}

func (i *item) result(header []string, keep []int) []string {
	cells := make([]string, 0, len(header))
	for _, n := range keep {
		cells = append(cells, i.cells[n])
	}
	if file := fileColumn(header); file < len(cells) {
		cells[file] = filepath.ToSlash(i.file)
	} else {
		cells = append(cells, filepath.ToSlash(i.file))
	}
	ticket, url, expires, failure := "", "", "", ""
	if i.code != nil {
		ticket, url = string(i.code.Ticket), i.code.URL
		if !i.code.ExpiresAt.IsZero() {
			expires = i.code.ExpiresAt.Format(time.RFC3339)
		}
	}
	switch {
	case i.err != nil:
		failure = plain(i.err)
	case !i.saved:
		failure = plain(wxqrcode.ErrNotAttempted)
	}
	return append(cells, ticket, url, expires, failure)
}

// escapeCells returns cells that a spreadsheet does not read as formulas: an apostrophe is put
// before what could begin one. See https://owasp.org/www-community/attacks/CSV_Injection.
func escapeCells(cells []string) []string {
	escaped := make([]string, len(cells))
	for i, cell := range cells {
		var b strings.Builder
		starts := true
		for at, r := range cell {
			if starts && startsFormula(cell[at:]) {
				b.WriteByte('\'')
			}
			b.WriteRune(r)
			starts = endsCell(r)
		}
		escaped[i] = b.String()
	}
	return escaped
}

// unescapeCells undoes escapeCells, in place.
func unescapeCells(cells []string) {
	for i, cell := range cells {
		var b strings.Builder
		starts := true
		for at, r := range cell {
			if starts && r == '\'' && startsFormula(cell[at:]) {
				starts = false
				continue
			}
			b.WriteRune(r)
			starts = endsCell(r)
		}
		cells[i] = b.String()
	}
}

// endsCell reports whether r may separate cells, which depends on the locale of the
// spreadsheet.
func endsCell(r rune) bool { return r == ';' || r == '\t' }

// startsFormula reports whether s could be a formula, ignoring leading apostrophes, so
// that unescapeCells is unambiguous.
func startsFormula(s string) bool {
	r, size := utf8.DecodeRuneInString(strings.TrimLeft(s, "'"))
	return size > 0 && (unicode.IsControl(r) || strings.ContainsRune("=+-@＝＋－＠", r))
}
