package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
	textunicode "golang.org/x/text/encoding/unicode"

	"github.com/seed-0142d113/wxqrcode"
)

// The columns that a sheet may have for us; all others are carried through.
const (
	columnScene    = "scene"
	columnKind     = "kind"
	columnLifetime = "lifetime"
	columnFile     = "file"
)

// columnNames are the names that a header may have for the columns, in lower case.
var columnNames = map[string]string{
	columnScene: columnScene, "场景": columnScene, "场景值": columnScene,
	columnKind: columnKind, "类型": columnKind, "码类型": columnKind, "二维码类型": columnKind,
	columnLifetime: columnLifetime, "有效期": columnLifetime, "有效时间": columnLifetime, "有效时长": columnLifetime,
	columnFile: columnFile, "文件": columnFile, "文件名": columnFile,
}

// resultColumns are those that a result has more. A sheet may have them too, if it is the
// result of an earlier run; then they are made anew.
var resultColumns = []string{"ticket", "url", "expires_at", "error"}

// A sheet is a CSV file that was found to be without fault.
type sheet struct {
	encoding string
	header   []string
	rows     []row
	warnings []string
}

// A row is a code to make.
type row struct {
	line    int // in the file, from 1
	cells   []string
	request wxqrcode.Request
	file    string // of the picture, in the folder
}

const maxSheet = 256 << 20

// readSheet reads the sheet and checks all of it. Pictures without a name of their own
// become files of that format. The encoding is found if it is "".
func readSheet(path, format, encoding string) (*sheet, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxSheet+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxSheet {
		return nil, fmt.Errorf("%s must be at most %d MiB; split it", path, maxSheet>>20)
	}
	text, encoding, err := decodeSheet(raw, encoding)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s, err := parseSheet(text, format)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s.encoding = encoding
	return s, nil
}

// The encodings of a sheet.
const (
	encodingUTF8    = "utf-8"
	encodingGB18030 = "gb18030" // and GBK and GB2312, which are parts of it
	encodingUTF16   = "utf-16"
)

// byteOrderMarks decide the encoding of a sheet that begins with one.
var byteOrderMarks = []struct{ mark, encoding string }{
	{"\ufeff", encodingUTF8}, {"\xff\xfe", encodingUTF16}, {"\xfe\xff", encodingUTF16}, {"\x84\x31\x95\x33", encodingGB18030},
}

// decodeSheet returns the text as UTF-8, and the encoding that it had, which is asked unless that is "".
func decodeSheet(raw []byte, asked string) (text []byte, encoding string, err error) {
	if encoding, err = sheetEncoding(raw, asked); err != nil {
		return nil, "", err
	}
	switch encoding {
	case encodingUTF16:
		text, err = textunicode.UTF16(textunicode.LittleEndian, textunicode.ExpectBOM).NewDecoder().Bytes(raw)
	case encodingGB18030:
		text, err = simplifiedchinese.GB18030.NewDecoder().Bytes(raw)
	default:
		text = raw
	}
	if err != nil || bytes.ContainsRune(text, utf8.RuneError) || bytes.IndexByte(text, 0) >= 0 { // which invalid UTF-8 contains, too
		if asked != "" {
			return nil, "", fmt.Errorf("the file is not valid %s", asked)
		}
		return nil, "", errors.New("the file is not valid UTF-8, GBK or UTF-16; save it as \"CSV UTF-8\"")
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if bytes.IndexByte(text, '\n') < 0 { // "CSV (Macintosh)"
		text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	}
	return text, encoding, nil
}

// sheetEncoding finds the encoding of a sheet. Excel marks UTF-8, and UTF-16 as "Unicode Text", by
// a byte order mark; as plain CSV, a Chinese Excel writes GBK. No GBK text of common characters is
// also UTF-8 with characters of three bytes, but many are UTF-8 with characters of two: the GBK of
// 预约 is the UTF-8 of ԤԼ.
func sheetEncoding(raw []byte, asked string) (string, error) {
	for _, b := range byteOrderMarks {
		if !bytes.HasPrefix(raw, []byte(b.mark)) {
			continue
		}
		if asked != "" && asked != b.encoding {
			return "", fmt.Errorf("--encoding is %s, but the file begins with the byte order mark of %s", asked, b.encoding)
		}
		return b.encoding, nil
	}
	switch {
	case asked != "":
		return asked, nil
	case !utf8.Valid(raw):
		return encodingGB18030, nil
	case bytes.ContainsFunc(raw, func(r rune) bool { return r > 0x7FF }): // of three bytes or more
		return encodingUTF8, nil
	}
	start := bytes.IndexFunc(raw, func(r rune) bool { return r > 0x7F })
	if start < 0 {
		return encodingUTF8, nil
	}
	gbk, err := simplifiedchinese.GB18030.NewDecoder().Bytes(raw)
	if err != nil || bytes.ContainsRune(gbk, utf8.RuneError) {
		return encodingUTF8, nil
	}
	example := raw[start:]
	if end := bytes.IndexFunc(example, func(r rune) bool { return r <= 0x7F }); end >= 0 {
		example = example[:end]
	}
	example = example[:min(16, len(example))] // eight characters of either encoding
	gbk, _ = simplifiedchinese.GB18030.NewDecoder().Bytes(example)
	return "", fmt.Errorf("the encoding is ambiguous, UTF-8 (%q) or GBK (%q); set --encoding utf-8 or --encoding gb18030", example, gbk)
}

// parseSheet reads the rows. Its error names all faults, each with its line and column.
func parseSheet(text []byte, format string) (*sheet, error) {
	rest, comma := separator(text)
	firstLine := bytes.Count(text[:len(text)-len(rest)], []byte("\n"))
	r := csv.NewReader(bytes.NewReader(rest))
	r.Comma = comma
	r.FieldsPerRecord = -1 // checked below, with better words
	r.TrimLeadingSpace = comma != '\t'
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty; " + wantedHeader)
	}
	if err != nil {
		return nil, csvError(err, firstLine)
	}
	p := sheetParser{format: format, seen: make(map[string]int), at: make(map[string]int)}
	p.readHeader(header)
	if err := p.err(); err != nil {
		return nil, err
	}
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, csvError(err, firstLine)
		}
		line, _ := r.FieldPos(0)
		p.readRow(line+firstLine, cells)
	}
	if len(p.faults) == 0 && len(p.sheet.rows) == 0 {
		return nil, errors.New("the file has no rows below the header")
	}
	p.checkFolders()
	if n := len(p.trimmed); n > 0 {
		p.sheet.warnings = append(p.sheet.warnings, fmt.Sprintf("removed invisible characters at the start or end of %d scenes, first in %s", n, p.trimmed[0]))
	}
	return &p.sheet, p.err()
}

// separator returns the text without the line "sep=;" that Excel reads, and the separator:
// Excel takes the semicolon where the comma is in numbers, and the tab in Unicode text.
func separator(text []byte) (rest []byte, comma rune) {
	line, after, _ := bytes.Cut(text, []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	if sep, ok := bytes.CutPrefix(line, []byte("sep=")); ok && len(sep) == 1 {
		return after, rune(sep[0])
	}
	comma = ','
	for _, other := range []rune{';', '\t'} {
		if bytes.Count(line, []byte(string(other))) > bytes.Count(line, []byte(string(comma))) {
			comma = other
		}
	}
	return text, comma
}

func csvError(err error, firstLine int) error {
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Errorf("line %d, character %d: %w", e.Line+firstLine, e.Column, e.Err)
	}
	return err
}

// A sheetParser checks rows and collects what is wrong with them.
type sheetParser struct {
	format string
	sheet  sheet
	at     map[string]int // the place of each column
	seen   map[string]int // the line of each file, as file systems without case see it
	faults []string

	trimmed []string // scenes that had invisible characters at an end
}

const wantedHeader = "the first line must name the columns: scene,kind,lifetime,file or 场景,类型,有效期,文件"

func (p *sheetParser) readHeader(cells []string) {
	for i, name := range cells {
		name = trimInvisible(name)
		p.sheet.header = append(p.sheet.header, name)
		column, known := columnNames[strings.ToLower(name)]
		if !known {
			continue
		}
		if first, twice := p.at[column]; twice {
			p.fault(1, column, fmt.Sprintf("is duplicated: %q and %q", p.sheet.header[first], name))
			continue
		}
		p.at[column] = i
	}
	if p.sheet.isResult() {
		unescapeCells(p.sheet.header)
	}
	for _, name := range []string{columnScene, columnKind} {
		if _, ok := p.at[name]; !ok {
			p.fault(1, name, "is missing; "+wantedHeader)
		}
	}
}

func (p *sheetParser) readRow(line int, cells []string) {
	for i, cell := range cells {
		cells[i] = strings.TrimFunc(cell, unicode.IsSpace) // and the no-break space of Excel's
		if i >= len(p.sheet.header) && cells[i] != "" {
			p.fault(line, fmt.Sprint(i+1), fmt.Sprintf("exceeds the %d columns of the first line: %q", len(p.sheet.header), cells[i]))
			return
		}
	}
	if !slices.ContainsFunc(cells, func(cell string) bool { return cell != "" }) {
		return // Excel leaves lines of nothing but commas
	}
	for len(cells) < len(p.sheet.header) {
		cells = append(cells, "")
	}
	r := row{line: line, cells: cells[:len(p.sheet.header)]}
	if p.sheet.isResult() {
		unescapeCells(r.cells)
	}
	for column, i := range p.at {
		trimmed := trimInvisible(r.cells[i])
		if column == columnScene && trimmed != r.cells[i] {
			p.trimmed = append(p.trimmed, fmt.Sprintf("line %d: %q", line, r.cells[i]))
		}
		r.cells[i] = trimmed
	}
	request, column, err := p.request(r)
	if err != nil {
		p.fault(line, column, err.Error())
		return
	}
	r.request = request
	if r.file, err = p.file(r); err != nil {
		p.fault(line, columnFile, err.Error())
		return
	}
	p.sheet.rows = append(p.sheet.rows, r)
}

func (p *sheetParser) cell(r row, column string) string {
	if i, ok := p.at[column]; ok {
		return r.cells[i]
	}
	return ""
}

// asExcelRounds matches numbers that Excel, or another program, has shown and saved in short.
var asExcelRounds = regexp.MustCompile(`^[+-]?[0-9]+([.,][0-9]+)?[Ee][+-][0-9]+$`)

// isInvisible reports whether r has no width: zero-width spaces, byte order marks, soft hyphens and
// controls of the direction of writing. They are copied with text from chats and documents, and make
// two scenes of one. U+200D, which joins emoji, is not one of them.
func isInvisible(r rune) bool {
	switch r {
	case 0x00AD, 0x061C, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF:
		return true
	}
	return 0x202A <= r && r <= 0x202E || 0x2066 <= r && r <= 0x2069
}

func trimInvisible(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return isInvisible(r) || unicode.IsSpace(r) })
}

// request reads what code the row wants. If it cannot, it names the column.
func (p *sheetParser) request(r row) (request wxqrcode.Request, column string, err error) {
	scene, lifetime := p.cell(r, columnScene), p.cell(r, columnLifetime)
	if asExcelRounds.MatchString(scene) {
		return request, columnScene, fmt.Errorf("%q was rounded by a spreadsheet; format the column as text", scene)
	}
	for _, r := range scene {
		if isInvisible(r) {
			return request, columnScene, fmt.Errorf("%q contains the invisible character %U; remove it", scene, r)
		}
	}
	switch kind := strings.ToLower(p.cell(r, columnKind)); kind {
	case "permanent", "永久", "永久码":
		if lifetime != "" {
			return request, columnLifetime, fmt.Errorf("must be empty for a permanent code, got %q", lifetime)
		}
		request = wxqrcode.Permanent(wxqrcode.SceneStr(scene))
	case "temporary", "临时", "临时码":
		if lifetime == "" {
			return request, columnLifetime, errors.New("is required for a temporary code, such as 7d, 720h or 604800 (seconds)")
		}
		d, err := parseLifetime(lifetime)
		if err != nil {
			return request, columnLifetime, err
		}
		request = wxqrcode.Temporary(wxqrcode.SceneStr(scene), d)
	default:
		return request, columnKind, fmt.Errorf("must be permanent or temporary, got %q", kind)
	}
	if e, ok := errors.AsType[*wxqrcode.ValidationError](request.Validate()); ok {
		if e.Field == "lifetime" {
			return request, columnLifetime, fmt.Errorf("%q %s", lifetime, e.Reason)
		}
		return request, columnScene, fmt.Errorf("%q %s", scene, e.Reason)
	}
	return request, "", nil
}

// file returns the name of the row's picture.
func (p *sheetParser) file(r row) (string, error) {
	name := p.cell(r, columnFile)
	if name == "" {
		name = fileName(p.cell(r, columnScene)) + "." + p.format
	}
	name = filepath.FromSlash(name)
	switch {
	case pictureKind(name) == "":
		return "", fmt.Errorf("must end in .jpg, .png or .svg, got %q", name)
	case !filepath.IsLocal(name):
		return "", fmt.Errorf("must be inside the folder, got %q", name)
	case strings.EqualFold(strings.Split(filepath.ToSlash(filepath.Clean(name)), "/")[0], stateFolder):
		return "", fmt.Errorf("%q is reserved for the state of the batch", name)
	}
	for part := range strings.SplitSeq(filepath.ToSlash(name), "/") {
		if len(part) > maxFileName {
			return "", fmt.Errorf("must be at most %d bytes long, %q is %d", maxFileName, part, len(part))
		}
	}
	key := strings.ToLower(filepath.Clean(name))
	if line, twice := p.seen[key]; twice {
		return "", fmt.Errorf("%q is already the image of line %d", name, line)
	}
	p.seen[key] = r.line
	return filepath.Clean(name), nil
}

// checkFolders finds pictures that are to be in a folder which is another picture.
func (p *sheetParser) checkFolders() {
	for _, r := range p.sheet.rows {
		for dir := filepath.Dir(strings.ToLower(r.file)); dir != "."; dir = filepath.Dir(dir) {
			if line, ok := p.seen[dir]; ok {
				p.fault(r.line, columnFile, fmt.Sprintf("%q is in a folder that is the image of line %d", r.file, line))
			}
		}
	}
}

// maxFileName is what most file systems allow, in bytes; some room is left.
const maxFileName = 200

// fileName makes a name of a scene, without what some file system forbids.
func fileName(scene string) string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, scene)
	return strings.Trim(name, ". ")
}

const mostFaults = 20

// fault adds a fault, with the name that the sheet has for the column.
func (p *sheetParser) fault(line int, column, what string) {
	if i, ok := p.at[column]; ok {
		column = p.sheet.header[i]
	}
	p.faults = append(p.faults, fmt.Sprintf("line %d, column %s: %s", line, column, what))
}

func (p *sheetParser) err() error {
	if len(p.faults) == 0 {
		return nil
	}
	faults, more := p.faults, ""
	if len(faults) > mostFaults {
		more = fmt.Sprintf("\n  and %d more", len(faults)-mostFaults)
		faults = faults[:mostFaults]
	}
	return fmt.Errorf("invalid rows, nothing was sent:\n  %s%s", strings.Join(faults, "\n  "), more)
}
