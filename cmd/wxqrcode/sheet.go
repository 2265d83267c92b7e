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

// Columns with a meaning. All others are copied to the result.
const (
	columnScene    = "scene"
	columnKind     = "kind"
	columnLifetime = "lifetime"
	columnFile     = "file"
)

// columnNames maps the names in a header, in lower case, to columns.
var columnNames = map[string]string{
	columnScene: columnScene, "场景": columnScene, "场景值": columnScene,
	columnKind: columnKind, "类型": columnKind, "码类型": columnKind, "二维码类型": columnKind,
	columnLifetime: columnLifetime, "有效期": columnLifetime, "有效时间": columnLifetime, "有效时长": columnLifetime,
	columnFile: columnFile, "文件": columnFile, "文件名": columnFile,
}

// resultColumns are appended to the result. If a sheet is the result of an earlier run,
// they are replaced.
var resultColumns = []string{"ticket", "url", "expires_at", "error"}

// A sheet is a valid CSV file.
type sheet struct {
	encoding string
	header   []string
	rows     []row
	warnings []string
}

// A row is a code to create.
type row struct {
	line    int // in the file, from 1
	cells   []string
	request wxqrcode.Request
	file    string // path of the image in the folder
}

const maxSheet = 256 << 20

// readSheet reads and validates a sheet. The format applies to images without a file
// name. The encoding is detected if it is "".
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

// Encodings of a sheet.
const (
	encodingUTF8    = "utf-8"
	encodingGB18030 = "gb18030" // includes GBK and GB2312
	encodingUTF16   = "utf-16"
)

// byteOrderMarks maps the start of a sheet to its encoding.
var byteOrderMarks = []struct{ mark, encoding string }{
	{"\ufeff", encodingUTF8}, {"\xff\xfe", encodingUTF16}, {"\xfe\xff", encodingUTF16}, {"\x84\x31\x95\x33", encodingGB18030},
}

// decodeSheet returns the text as UTF-8 and its encoding, which must be requested
// unless that is "".
func decodeSheet(raw []byte, requested string) (text []byte, encoding string, err error) {
	if encoding, err = sheetEncoding(raw, requested); err != nil {
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
	if err != nil || bytes.ContainsRune(text, utf8.RuneError) || bytes.IndexByte(text, 0) >= 0 { // RuneError is also in invalid UTF-8
		if requested != "" {
			return nil, "", fmt.Errorf("the file is not valid %s", requested)
		}
		return nil, "", errors.New("the file is not valid UTF-8, GBK or UTF-16; save it as \"CSV UTF-8\"")
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if bytes.IndexByte(text, '\n') < 0 { // "CSV (Macintosh)"
		text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	}
	return text, encoding, nil
}

// sheetEncoding detects the encoding of a sheet. Excel writes a byte order mark with
// "CSV UTF-8" and "Unicode Text" (UTF-16); a Chinese Excel writes plain CSV in GBK. GBK
// text of common characters is never valid UTF-8 with three-byte characters, but may be
// valid with two-byte ones: the GBK bytes of 预约 are ԤԼ in UTF-8.
func sheetEncoding(raw []byte, requested string) (string, error) {
	for _, b := range byteOrderMarks {
		if !bytes.HasPrefix(raw, []byte(b.mark)) {
			continue
		}
		if requested != "" && requested != b.encoding {
			return "", fmt.Errorf("--encoding is %s, but the file begins with the byte order mark of %s", requested, b.encoding)
		}
		return b.encoding, nil
	}
	switch {
	case requested != "":
		return requested, nil
	case !utf8.Valid(raw):
		return encodingGB18030, nil
	case bytes.ContainsFunc(raw, func(r rune) bool { return r > 0x7FF }): // three bytes or more
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

// parseSheet parses the rows. Its error lists all problems with line and column.
func parseSheet(text []byte, format string) (*sheet, error) {
	rest, comma := separator(text)
	firstLine := bytes.Count(text[:len(text)-len(rest)], []byte("\n"))
	r := csv.NewReader(bytes.NewReader(rest))
	r.Comma = comma
	r.FieldsPerRecord = -1 // checked below, with a better error
	r.TrimLeadingSpace = comma != '\t'
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty; " + headerHint)
	}
	if err != nil {
		return nil, csvError(err, firstLine)
	}
	p := sheetParser{format: format, fileLines: make(map[string]int), columns: make(map[string]int)}
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
	if len(p.problems) == 0 && len(p.sheet.rows) == 0 {
		return nil, errors.New("the file has no rows below the header")
	}
	p.checkFileConflicts()
	if n := len(p.trimmed); n > 0 {
		p.sheet.warnings = append(p.sheet.warnings, fmt.Sprintf("removed invisible characters at the start or end of %d scenes, first in %s", n, p.trimmed[0]))
	}
	return &p.sheet, p.err()
}

// separator returns the text without a "sep=;" line of Excel, and the separator: Excel
// writes semicolons in locales with a decimal comma, and tabs in Unicode text.
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

// A sheetParser validates rows and collects their problems.
type sheetParser struct {
	format    string
	sheet     sheet
	columns   map[string]int // index of each column
	fileLines map[string]int // line of each file name, in lower case
	problems  []string

	trimmed []string // scenes with invisible characters at the start or end
}

const headerHint = "the first line must name the columns: scene,kind,lifetime,file or 场景,类型,有效期,文件"

func (p *sheetParser) readHeader(cells []string) {
	for i, name := range cells {
		name = trimInvisible(name)
		p.sheet.header = append(p.sheet.header, name)
		column, known := columnNames[strings.ToLower(name)]
		if !known {
			continue
		}
		if first, twice := p.columns[column]; twice {
			p.addProblem(1, column, fmt.Sprintf("is duplicated: %q and %q", p.sheet.header[first], name))
			continue
		}
		p.columns[column] = i
	}
	if p.sheet.isResult() {
		unescapeCells(p.sheet.header)
	} else if i := slices.Index(p.sheet.header, resultColumns[0]); i >= 0 && slices.Contains(p.sheet.header, resultColumns[1]) {
		p.addProblem(1, p.sheet.header[i], fmt.Sprintf("is a column of a result; %s must be the last columns: move others before them", strings.Join(resultColumns, ", ")))
	}
	for _, name := range []string{columnScene, columnKind} {
		if _, ok := p.columns[name]; !ok {
			p.addProblem(1, name, "is missing; "+headerHint)
		}
	}
}

func (p *sheetParser) readRow(line int, cells []string) {
	for i, cell := range cells {
		cells[i] = strings.TrimFunc(cell, unicode.IsSpace) // including no-break spaces
		if i >= len(p.sheet.header) && cells[i] != "" {
			p.addProblem(line, fmt.Sprint(i+1), fmt.Sprintf("exceeds the %d columns of the first line: %q", len(p.sheet.header), cells[i]))
			return
		}
	}
	if !slices.ContainsFunc(cells, func(cell string) bool { return cell != "" }) {
		return // Excel writes lines of commas only
	}
	for len(cells) < len(p.sheet.header) {
		cells = append(cells, "")
	}
	r := row{line: line, cells: cells[:len(p.sheet.header)]}
	if p.sheet.isResult() {
		unescapeCells(r.cells)
	}
	for column, i := range p.columns {
		trimmed := trimInvisible(r.cells[i])
		if column == columnScene && trimmed != r.cells[i] {
			p.trimmed = append(p.trimmed, fmt.Sprintf("line %d: %q", line, r.cells[i]))
		}
		r.cells[i] = trimmed
	}
	request, column, err := p.request(r)
	if err != nil {
		p.addProblem(line, column, err.Error())
		return
	}
	r.request = request
	if r.file, err = p.file(r); err != nil {
		p.addProblem(line, columnFile, err.Error())
		return
	}
	p.sheet.rows = append(p.sheet.rows, r)
}

func (p *sheetParser) cell(r row, column string) string {
	if i, ok := p.columns[column]; ok {
		return r.cells[i]
	}
	return ""
}

// scientificNotation matches numbers that a spreadsheet has rounded.
var scientificNotation = regexp.MustCompile(`^[+-]?[0-9]+([.,][0-9]+)?[Ee][+-][0-9]+$`)

// isInvisible reports whether r is a zero-width space, a byte order mark, a soft hyphen
// or a bidirectional control. Copied text contains them, and they make different scenes
// look equal.
func isInvisible(r rune) bool {
	switch r {
	case 0x00AD, 0x061C, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF:
		return true
	}
	return 0x202A <= r && r <= 0x202E || 0x2066 <= r && r <= 0x2069
}

// joiner joins emoji; elsewhere it is only invisible.
const joiner = 0x200D

// isEmojiPart reports whether r may stand beside a joiner: a symbol, such as an emoji or
// its skin tone, or a variation selector.
func isEmojiPart(r rune) bool { return unicode.IsSymbol(r) || r == 0xFE0F }

func trimInvisible(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return isInvisible(r) || r == joiner || unicode.IsSpace(r) })
}

// request returns the request of a row. With an error, it returns the column.
func (p *sheetParser) request(r row) (request wxqrcode.Request, column string, err error) {
	scene, lifetime := p.cell(r, columnScene), p.cell(r, columnLifetime)
	if scientificNotation.MatchString(scene) {
		return request, columnScene, fmt.Errorf("%q was rounded by a spreadsheet; format the column as text", scene)
	}
	previous := ' '
	for _, r := range scene {
		if isInvisible(r) || previous == joiner && !isEmojiPart(r) || r == joiner && !isEmojiPart(previous) {
			if !isInvisible(r) {
				r = joiner
			}
			return request, columnScene, fmt.Errorf("%q contains the invisible character %U; remove it", scene, r)
		}
		previous = r
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

// file returns the path of the image of a row.
func (p *sheetParser) file(r row) (string, error) {
	name := p.cell(r, columnFile)
	if name == "" {
		name = fileName(p.cell(r, columnScene)) + "." + p.format
	}
	name = filepath.FromSlash(name)
	switch {
	case imageFormat(name) == "":
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
	if line, twice := p.fileLines[key]; twice {
		return "", fmt.Errorf("%q is already the image of line %d", name, line)
	}
	p.fileLines[key] = r.line
	return filepath.Clean(name), nil
}

// checkFileConflicts finds images whose folder is the path of another image.
func (p *sheetParser) checkFileConflicts() {
	for _, r := range p.sheet.rows {
		for dir := filepath.Dir(strings.ToLower(r.file)); dir != "."; dir = filepath.Dir(dir) {
			if line, ok := p.fileLines[dir]; ok {
				p.addProblem(r.line, columnFile, fmt.Sprintf("%q is in a folder that is the image of line %d", r.file, line))
			}
		}
	}
}

// maxFileName is below the limit of most file systems, 255 bytes.
const maxFileName = 200

// fileName returns a file name for a scene, without characters that some file systems
// forbid.
func fileName(scene string) string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, scene)
	return strings.Trim(name, ". ")
}

const maxProblems = 20

// addProblem adds a problem, with the name of the column in the header.
func (p *sheetParser) addProblem(line int, column, what string) {
	if i, ok := p.columns[column]; ok {
		column = p.sheet.header[i]
	}
	p.problems = append(p.problems, fmt.Sprintf("line %d, column %s: %s", line, column, what))
}

func (p *sheetParser) err() error {
	if len(p.problems) == 0 {
		return nil
	}
	faults, more := p.problems, ""
	if len(faults) > maxProblems {
		more = fmt.Sprintf("\n  and %d more", len(faults)-maxProblems)
		faults = faults[:maxProblems]
	}
	return fmt.Errorf("invalid rows, nothing was sent:\n  %s%s", strings.Join(faults, "\n  "), more)
}
