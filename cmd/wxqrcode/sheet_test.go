package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/simplifiedchinese"
	textunicode "golang.org/x/text/encoding/unicode"

	"github.com/seed-0142d113/wxqrcode"
)

func writeFileOf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "codes.csv")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestSheet_ReadsExcelFiles(t *testing.T) {
	const plain = "scene,kind,lifetime,file,shop\n海报-7,permanent,,a.jpg,\"南京, 路\"\nlogin,temporary,7d,b.svg,\n"
	gbk, err := simplifiedchinese.GBK.NewEncoder().String(plain)
	require.NoError(t, err)
	tabs := "scene\tkind\tlifetime\tfile\tshop\n海报-7\tpermanent\t\ta.jpg\t南京, 路\nlogin\ttemporary\t7d\tb.svg\t\n"
	little, err := textunicode.UTF16(textunicode.LittleEndian, textunicode.UseBOM).NewEncoder().String(tabs)
	require.NoError(t, err)
	big, err := textunicode.UTF16(textunicode.BigEndian, textunicode.UseBOM).NewEncoder().String(tabs)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"plain":                    plain,
		"with a BOM":               "\ufeff" + plain,
		"with CRLF":                strings.ReplaceAll(plain, "\n", "\r\n"),
		"without the last newline": strings.TrimSuffix(plain, "\n"),
		"with semicolons":          "scene;kind;lifetime;file;shop\n海报-7;permanent;;a.jpg;南京, 路\nlogin;temporary;7d;b.svg;\n",
		"with sep=":                "sep=;\r\nscene;kind;lifetime;file;shop\n海报-7;permanent;;a.jpg;南京, 路\nlogin;temporary;7d;b.svg;\n",
		"with tabs":                tabs,
		"with sep= and tabs":       "sep=\t\r\n" + tabs,
		"of an old Macintosh":      strings.ReplaceAll(plain, "\n", "\r"),
		"in GBK":                   gbk,
		"in UTF-16":                little,
		"in UTF-16, big-endian":    big,
		"with empty lines":         strings.ReplaceAll(plain, "\n", "\n,,,,\n\n"),
		"with blanks":              strings.ReplaceAll(plain, "login", " login\u00a0"),
		"with invisible headers":   "\ufeff" + strings.Replace(plain, "scene,kind", "\u200bscene\ufeff,\u2060kind", 1),
		"with invisible ends":      strings.ReplaceAll(plain, "login,temporary,7d,b.svg", "\u202a\u200b login\u00ad\u2069,temporary\u200b,\u200e7d,b.svg\ufeff"),
		"with short rows":          strings.ReplaceAll(plain, "b.svg,\n", "b.svg\n"),
		"with long rows":           strings.ReplaceAll(plain, "b.svg,\n", "b.svg,,,\n"),
		"with other capitals":      strings.ReplaceAll(strings.ReplaceAll(plain, "scene,kind", " Scene ,KIND"), "permanent", "Permanent"),
		"with Chinese columns":     strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(plain, "scene,kind,lifetime,file", "场景,类型,有效期,文件"), "permanent", "永久"), "temporary,7d", "临时,7天"),
		"with Chinese synonyms":    strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(plain, "scene,kind,lifetime,file", "场景值,二维码类型,有效时间,文件名"), "permanent", "永久码"), "temporary,7d", "临时码,168小时"),
		"in GB18030 with its mark": "\x84\x31\x95\x33" + gbk,
		"with Chinese kinds":       strings.ReplaceAll(strings.ReplaceAll(plain, "permanent", "永久"), "temporary", "临时"),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := readSheet(writeFileOf(t, text), "jpg", "")
			require.NoError(t, err)
			require.Len(t, s.rows, 2)
			assert.Equal(t, wxqrcode.Permanent(wxqrcode.SceneStr("海报-7")), s.rows[0].request)
			assert.Equal(t, wxqrcode.Temporary(wxqrcode.SceneStr("login"), 7*24*time.Hour), s.rows[1].request)
			assert.Equal(t, "a.jpg", s.rows[0].file)
			assert.Equal(t, "b.svg", s.rows[1].file)
			assert.Equal(t, "南京, 路", s.rows[0].cells[4])
			assert.Empty(t, s.rows[1].cells[4])
		})
	}
}

func TestSheet_InvisibleCharacters(t *testing.T) {
	s, err := readSheet(writeFileOf(t, "scene,kind,shop\n\u200ba\ufeff,permanent,\u200bx\nb,permanent,y\n\u2066c\u2069,permanent,z\n"), "jpg", "")
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "permanent", "\u200bx"}, s.rows[0].cells, "other columns are unchanged")
	assert.Equal(t, []string{`removed invisible characters at the start or end of 2 scenes, first in line 2: "\u200ba\ufeff"`}, s.warnings)

	for _, scene := range []string{"👨\u200d👩\u200d👧", "❤\ufe0f", "3e8", "1E5", "2E-", "v1.2-e+5"} {
		s, err := readSheet(writeFileOf(t, "scene,kind\n"+scene+",permanent\n"), "jpg", "")
		require.NoError(t, err)
		assert.Equal(t, scene, s.rows[0].request.Scene().Key())
		assert.Empty(t, s.warnings)
	}
}

func TestSheet_DetectsEncoding(t *testing.T) {
	const header = "scene,kind\n"
	for _, test := range []struct {
		name, text, asked string
		encoding, scene   string
		refused           string
	}{
		{name: "ASCII", text: "abc", encoding: "utf-8", scene: "abc"},
		{name: "Han in UTF-8", text: "预约", encoding: "utf-8", scene: "预约"},
		{name: "emoji in UTF-8", text: "🎉", encoding: "utf-8", scene: "🎉"},
		{name: "Latin with kana in UTF-8", text: "éス", encoding: "utf-8", scene: "éス"},
		{name: "not UTF-8", text: "\xba\xa3\xb1\xa8", encoding: "gb18030", scene: "海报"},
		{name: "four bytes of GB18030", text: "\x95\x32\x82\x36", encoding: "gb18030", scene: "𠀀"},
		{name: "GBK that is UTF-8, too", text: "\xd4\xa4\xd4\xbc", refused: `the encoding is ambiguous, UTF-8 ("ԤԼ") or GBK ("预约"); set --encoding`},
		{name: "Latin in UTF-8", text: "Café", refused: `the encoding is ambiguous, UTF-8 ("é") or GBK ("茅")`},
		{name: "asked for GBK", text: "\xd4\xa4\xd4\xbc", asked: "gb18030", encoding: "gb18030", scene: "预约"},
		{name: "asked for UTF-8", text: "ԤԼ", asked: "utf-8", encoding: "utf-8", scene: "ԤԼ"},
		{name: "asked for UTF-8, which it is not", text: "\xba\xa3", asked: "utf-8", refused: "the file is not valid utf-8"},
		{name: "asked for GBK, which it is not", text: "\xff", asked: "gb18030", refused: "the file is not valid gb18030"},
		{name: "neither", text: "\xff", refused: "not valid UTF-8, GBK or UTF-16"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := readSheet(writeFileOf(t, header+test.text+",permanent\n"), "jpg", test.asked)
			if test.refused != "" {
				require.ErrorContains(t, err, test.refused)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.encoding, s.encoding)
			assert.Equal(t, test.scene, s.rows[0].request.Scene().Key())
		})
	}
	for mark, encoding := range map[string]string{"\ufeff": "utf-8", "\x84\x31\x95\x33": "gb18030"} {
		s, err := readSheet(writeFileOf(t, mark+header+"\xd4\xa4,permanent\n"), "jpg", "")
		require.NoError(t, err)
		assert.Equal(t, encoding, s.encoding, "a byte order mark decides")
	}
	_, err := readSheet(writeFileOf(t, "\ufeff"+header+"a,permanent\n"), "jpg", "gb18030")
	require.ErrorContains(t, err, "--encoding is gb18030, but the file begins with the byte order mark of utf-8")
}

// GBK has the 3,755 common characters, level 1 of GB 2312, at B0A1 to D7F9.
func TestSheet_GBKIsNeverMisread(t *testing.T) {
	var chars []string // in GBK
	for hi := 0xB0; hi <= 0xD7; hi++ {
		for lo := 0xA1; lo <= 0xFE; lo++ {
			if hi < 0xD7 || lo <= 0xF9 {
				chars = append(chars, string([]byte{byte(hi), byte(lo)}))
			}
		}
	}
	require.Len(t, chars, 3755)
	decoded := make(map[string]string)
	for _, c := range chars {
		utf8, err := simplifiedchinese.GBK.NewDecoder().String(c)
		require.NoError(t, err)
		decoded[c] = utf8
	}
	firsts := chars
	if testing.Short() {
		firsts = chars[:100]
	}
	read, refused, wrong := 0, 0, 0
	for _, first := range firsts {
		for _, second := range chars {
			text, _, err := decodeSheet([]byte("\n"+first+second), "")
			switch {
			case err != nil:
				refused++
			case string(text) == "\n"+decoded[first]+decoded[second]:
				read++
			default:
				wrong++
				assert.Less(t, wrong, 10, "%x is read as %q", first+second, text)
			}
		}
	}
	t.Logf("%d pairs read, %d rejected, %d wrong", read, refused, wrong)
	assert.Zero(t, wrong)
}

func TestParseLifetime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"60": time.Minute, "7d": 7 * 24 * time.Hour, "30d": wxqrcode.MaxLifetime, "720h": wxqrcode.MaxLifetime, "1h30m": 90 * time.Minute, "30天": wxqrcode.MaxLifetime, "12小时": 12 * time.Hour, "1小时30分钟": 90 * time.Minute, "60秒": time.Minute,
		"2592000": wxqrcode.MaxLifetime,
	} {
		got, err := parseLifetime(text)
		require.NoError(t, err)
		assert.Equal(t, want, got, text)
	}
}

func TestSheet_ReportsAllProblems(t *testing.T) {
	const header = "scene,kind,lifetime,file\n"
	for _, test := range []struct {
		name, text, says string
	}{
		{"nothing", "", "the file is empty"},
		{"no rows", header, "no rows below the header"},
		{"no scene", "kind\npermanent\n", "line 1, column scene: is missing"},
		{"no kind", "scene\na\n", "line 1, column kind: is missing"},
		{"a column twice, in two languages", "类型,scene,kind\n", `line 1, column 类型: is duplicated: "类型" and "kind"`},
		{"a Chinese column", "场景,类型\na,b\n", "line 2, column 类型: "},
		{"a result with a column behind it", "scene,kind,file,ticket,url,expires_at,error,shop\n'=y,permanent,a.jpg,t,u,,,x\n", "line 1, column ticket: is a column of a result"},
		{"a column twice", "scene,kind,Scene\n", "line 1, column scene: is duplicated"},
		{"an empty scene", header + ",permanent,,a.jpg\n", "line 2, column scene: \"\""},
		{"a long scene", header + strings.Repeat("海", 22) + ",permanent,,a.jpg\n", "line 2, column scene: "},
		{"a rounded scene", header + "1.23E+10,permanent,,a.jpg\n", "was rounded by a spreadsheet"},
		{"a rounded scene of another program", header + "1.2345678901234568e+18,permanent,,a.jpg\n", "was rounded by a spreadsheet"},
		{"a rounded scene with a sign", header + "-1.2E+10,permanent,,a.jpg\n", "was rounded by a spreadsheet"},
		{"a rounded small scene", header + "\"1,2E-05\",permanent,,a.jpg\n", "was rounded by a spreadsheet"},
		{"an invisible character", header + "a\u200bb,permanent,,a.jpg\n", `line 2, column scene: "a\u200bb" contains the invisible character U+200B; remove it`},
		{"a byte order mark", header + "a\ufeffb,permanent,,a.jpg\n", "contains the invisible character U+FEFF"},
		{"a soft hyphen", header + "a\u00ad海,permanent,,a.jpg\n", "contains the invisible character U+00AD"},
		{"a joiner after a letter", header + "a\u200d💻,permanent,,a.jpg\n", "contains the invisible character U+200D"},
		{"a joiner before a letter", header + "💻\u200db,permanent,,a.jpg\n", "contains the invisible character U+200D"},
		{"a bidirectional control", header + "a\u202eb,permanent,,a.jpg\n", "contains the invisible character U+202E"},
		{"a kind", header + "a,forever,,a.jpg\n", `line 2, column kind: must be permanent or temporary, got "forever"`},
		{"no lifetime", header + "a,temporary,,a.jpg\n", "line 2, column lifetime: is required for a temporary code"},
		{"a lifetime too much", header + "a,permanent,7d,a.jpg\n", `line 2, column lifetime: must be empty for a permanent code, got "7d"`},
		{"a long lifetime", header + "a,temporary,31d,a.jpg\n", `line 2, column lifetime: "31d"`},
		{"no lifetime at all", header + "a,temporary,soon,a.jpg\n", `line 2, column lifetime: must be a duration such as 30m, 720h, 7d or 604800 (seconds), got "soon"`},
		{"another format", header + "a,permanent,,a.gif\n", `line 2, column file: must end in .jpg, .png or .svg, got "a.gif"`},
		{"a file elsewhere", header + "a,permanent,,../a.jpg\n", "must be inside the folder"},
		{"an absolute file", header + "a,permanent,,/a.jpg\n", "must be inside the folder"},
		{"our own file", header + "a,permanent,,.wxqrcode/a.jpg\n", "is reserved for the state of the batch"},
		{"a file twice", header + "a,permanent,,a.jpg\nb,permanent,,x/../A.jpg\n", "line 3, column file: \"x/../A.jpg\" is already the image of line 2"},
		{"a folder that is an image", header + "a,permanent,,a.png\nb,permanent,,A.PNG/b.png\n", `line 3, column file: "A.PNG/b.png" is in a folder that is the image of line 2`},
		{"a folder that is a later image", header + "b,permanent,,a.png/x/b.png\na,permanent,,a.png\n", `line 2, column file: "a.png/x/b.png" is in a folder that is the image of line 3`},
		{"a long name", header + "a,permanent,," + strings.Repeat("x", 197) + ".svg\n", "must be at most 200 bytes long"},
		{"a scene twice", "scene,kind\na,permanent\na,permanent\n", "is already the image of line 2"},
		{"too many cells", header + "a,permanent,,a.jpg,more\n", `line 2, column 5: exceeds the 4 columns of the first line: "more"`},
		{"a quote", header + "a,permanent,,a.jpg\n\"b,permanent,,b.jpg\n", "line 3"},
		{"after sep=", "sep=,\n" + header + "a,forever,,a.jpg\n", "line 3, column kind"},
		{"no text", "\xff\xfe\x00\xd8\x00\xd8", "save it as \"CSV UTF-8\""},
		{"an image", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "save it as \"CSV UTF-8\""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := readSheet(writeFileOf(t, test.text), "jpg", "")
			require.ErrorContains(t, err, test.says)
		})
	}
	_, err := readSheet(writeFileOf(t, header+strings.Repeat("a,forever,,a.jpg\n", 30)), "jpg", "")
	require.ErrorContains(t, err, "line 21, column kind")
	require.ErrorContains(t, err, "and 10 more")
	assert.NotContains(t, err.Error(), "line 22,")
}

func TestSheet_DefaultFileName(t *testing.T) {
	s, err := readSheet(writeFileOf(t, "scene,kind\na/b:c*?,permanent\n海报.,permanent\n"), "svg", "")
	require.NoError(t, err)
	assert.Equal(t, "a_b_c__.svg", s.rows[0].file)
	assert.Equal(t, "海报.svg", s.rows[1].file)
}

func FuzzReadSheet(f *testing.F) {
	f.Add([]byte("scene,kind,lifetime,file\na,permanent,,a.jpg\n"))
	f.Add([]byte("sep=;\nscene;kind\n\"a\";temporary\n"))
	f.Add([]byte("\xff\xfes\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		text, _, err := decodeSheet(raw, "")
		if err != nil {
			return
		}
		s, err := parseSheet(text, "png")
		if err != nil {
			return
		}
		seen := make(map[string]bool)
		for _, r := range s.rows {
			require.NoError(t, r.request.Validate())
			require.True(t, filepath.IsLocal(r.file), r.file)
			require.False(t, seen[r.file], "each its own file")
			seen[r.file] = true
			require.Len(t, r.cells, len(s.header))
		}
	})
}
