package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// newSheet writes a sheet of n permanent codes, whose images cycle through exts.
func newSheet(t *testing.T, n int, exts ...string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("scene,kind,lifetime,file,shop\n")
	for i := range n {
		fmt.Fprintf(&b, "poster-%d,permanent,,p%d/%d%s,shop %d\n", i, i%10, i, exts[i%len(exts)], i)
	}
	return writeFileOf(t, b.String())
}

// runBatch runs a batch and reads its report.
func runBatch(t *testing.T, args ...string) (code int, r batchReport, stderr string) {
	t.Helper()
	code, out, stderr := wxqr(t, append([]string{"batch", "--json"}, args...)...)
	if out != "" {
		require.NoError(t, json.Unmarshal([]byte(out), &r))
	}
	return code, r, stderr
}

// readResult returns the rows of result.csv as maps by column.
func readResult(t *testing.T, folder string) (rows []map[string]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, resultFile))
	require.NoError(t, err)
	text, ok := bytes.CutPrefix(text, []byte("\ufeff"))
	require.True(t, ok, "Excel needs the mark")
	lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	require.NoError(t, err)
	for _, line := range lines[1:] {
		row := make(map[string]string)
		for i, name := range lines[0] {
			row[name] = line[i]
		}
		rows = append(rows, row)
	}
	return rows
}

// assertWhole asserts that all images in the folder are complete, and returns their number.
func assertWhole(t *testing.T, folder string) (pictures int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && d.Name() == stateFolder {
				return fs.SkipDir
			}
			return err
		}
		if d.Name() == resultFile {
			return nil
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		end, ok := map[string]string{".jpg": "\xff\xd9", ".png": "IEND\xaeB`\x82", ".svg": "</svg>"}[filepath.Ext(path)]
		assert.True(t, ok, "leftover: %s", path)
		assert.True(t, bytes.HasSuffix(bytes.TrimSpace(data), []byte(end)), "incomplete file: %s", path)
		pictures++
		return nil
	}))
	return pictures
}

func TestBatch_SavesImagesAndResult(t *testing.T) {
	server := newServer(t)
	sheet := writeFileOf(t, "shop,scene,kind,lifetime,file,note\n"+
		"南京路,poster-1,permanent,,a.jpg,x\n"+
		"静安,poster-2,temporary,7d,sub/b.png,\"y, z\"\n"+
		"徐汇,poster-3,permanent,,c.svg,\n"+
		",poster-3,permanent,,,\n")
	folder := filepath.Join(t.TempDir(), "new", "posters")
	code, r, errs := runBatch(t, sheet, "--out", folder, "--format", "png")
	require.Zero(t, code, errs)
	assert.Equal(t, batchReport{Rows: 4, Encoding: "utf-8", Created: 4, Images: 4, Result: filepath.Join(folder, resultFile)}, r)
	assert.Equal(t, 4, assertWhole(t, folder))
	rows := readResult(t, folder)
	require.Len(t, rows, 4)
	assert.Equal(t, "南京路", rows[0]["shop"])
	assert.Equal(t, "y, z", rows[1]["note"])
	assert.Equal(t, "sub/b.png", rows[1]["file"])
	assert.Equal(t, "poster-3.png", rows[3]["file"])
	for i, row := range rows {
		assert.Empty(t, row["error"])
		info, err := wxqrcode.Ticket(row["ticket"]).Inspect()
		require.NoError(t, err)
		assert.Equal(t, info.URL, row["url"])
		assert.Equal(t, i == 1, row["expires_at"] != "")
	}
	assert.Equal(t, rows[2]["ticket"], rows[3]["ticket"], "equal permanent scenes have one code")

	// A second run has nothing to do. The result can be the sheet.
	calls := server.Calls("qrcode/create")
	for _, input := range []string{sheet, filepath.Join(folder, resultFile)} {
		code, r, errs = runBatch(t, input, "--out", folder, "--format", "png")
		require.Zero(t, code, errs)
		assert.Equal(t, batchReport{Rows: 4, Encoding: "utf-8", Existing: 4, Result: filepath.Join(folder, resultFile)}, r)
	}
	assert.Equal(t, calls, server.Calls("qrcode/create"))
	assert.Equal(t, rows, readResult(t, folder))

	require.NoError(t, os.Remove(filepath.Join(folder, "c.svg")))
	code, r, errs = runBatch(t, sheet, "--out", folder, "--format", "png")
	require.Zero(t, code, errs)
	assert.Equal(t, 1, r.Images, "a deleted image")
	assert.Equal(t, calls, server.Calls("qrcode/create"))
}

func TestBatch_PrintsText(t *testing.T) {
	newServer(t)
	folder := t.TempDir()
	code, out, errs := wxqr(t, "batch", newSheet(t, 3, ".svg"), "--out", folder)
	require.Zero(t, code, errs)
	assert.Equal(t, "3 rows in UTF-8: 3 codes created, 0 existing, 3 images, 0 failed, 0 not attempted; see "+filepath.Join(folder, resultFile)+"\n", out)
	code, out, _ = wxqr(t, "batch", newSheet(t, 3, ".svg"), "--check")
	assert.Zero(t, code)
	assert.Equal(t, "3 rows in UTF-8, all valid: 3 permanent codes, 0 temporary codes\nFirst scenes:\n  poster-0\n  poster-1\n  poster-2\n", out)
	code, out, _ = wxqr(t, "batch", writeFileOf(t, "scene,kind,lifetime\na,temporary,10\nb,temporary,7d\nc,permanent,\n"), "--check")
	assert.Zero(t, code)
	assert.Equal(t, "3 rows in UTF-8, all valid: 1 permanent codes, 2 temporary codes, lifetime 10s to 7d\nFirst scenes:\n  a\n  b\n  c\n", out)
	code, _, errs = wxqr(t, "batch", writeFileOf(t, "scene,kind,file\na,permanent,a.jpg\na,permanent,b.svg\n"), "--check", "--size", "500")
	assert.Zero(t, code)
	assert.Contains(t, errs, `warning: lines 2 and 3 have the same scene "a"`)
	assert.Contains(t, errs, "warning: no effect on the 1 .jpg images, which come from WeChat: --size")
	code, _, errs = wxqr(t, "batch", writeFileOf(t, "scene,kind\n\u200ba,permanent\n"), "--check")
	assert.Zero(t, code)
	assert.Contains(t, errs, "warning: removed invisible characters at the start or end of 1 scenes")
}

func TestBatch_RejectsInvalidInput(t *testing.T) {
	server := newServer(t)
	folder := filepath.Join(t.TempDir(), "posters")
	for _, test := range []struct {
		says string
		args []string
	}{
		{"line 2, column kind", []string{writeFileOf(t, "scene,kind\na,b\n"), "--out", folder}},
		{"no such file", []string{"/nonexistent.csv", "--out", folder}},
		{"batch requires --out FOLDER", []string{newSheet(t, 1, ".svg")}},
		{"--concurrency must be 1 to 1000, got 0", []string{newSheet(t, 1, ".svg"), "--out", folder, "--concurrency", "0"}},
		{"--rate must be 0 or positive, got NaN", []string{newSheet(t, 1, ".svg"), "--out", folder, "--rate", "NaN"}},
		{"--rate must be 0 or positive, got +Inf", []string{newSheet(t, 1, ".svg"), "--out", folder, "--rate", "Inf"}},
		{"--rate must be 0 or positive, got -1", []string{newSheet(t, 1, ".svg"), "--out", folder, "--rate", "-1"}},
		{`--encoding must be utf-8 or gb18030, got "gbk"`, []string{newSheet(t, 1, ".svg"), "--out", folder, "--encoding", "gbk"}},
		{`set --encoding utf-8 or --encoding gb18030`, []string{writeFileOf(t, "scene,kind\n\xd4\xa4\xd4\xbc,permanent\n"), "--out", folder}},
		{`--format must be jpg, png or svg, got "gif"`, []string{newSheet(t, 1, ".svg"), "--out", folder, "--format", "gif"}},
		{"is a file", []string{newSheet(t, 1, ".svg"), "--out", writeFileOf(t, "")}},
		{"--size is 10", []string{newSheet(t, 1, ".png"), "--out", folder, "--size", "10"}},
	} {
		code, out, errs := wxqr(t, append([]string{"batch"}, test.args...)...)
		assert.Equal(t, exitUsage, code, test.says)
		assert.Contains(t, errs, test.says)
		assert.Empty(t, out)
	}
	assert.Zero(t, server.Calls("stable_token"))
	assert.NoDirExists(t, folder)
}

func TestBatch_RetriesFailedRows(t *testing.T) {
	server := newServer(t)
	folder, sheet := t.TempDir(), newSheet(t, 20, ".jpg")
	server.Fail("qrcode/create", 2, wxtest.Failure{})
	server.Fail("qrcode/create", 1, wxtest.Failure{Code: 40053})
	server.Fail("showqrcode", 2, wxtest.Failure{Status: 404})
	code, r, errs := runBatch(t, sheet, "--out", folder)
	assert.Equal(t, exitIncomplete, code)
	assert.Contains(t, errs, "3 of 20 rows failed, first in the file: line ")
	assert.Contains(t, errs, "run the same command again")
	assert.Equal(t, 3, r.Failed)
	assert.Equal(t, 17, r.Images)
	failed := 0
	for _, row := range readResult(t, folder) {
		if row["error"] != "" {
			failed++
		}
	}
	assert.Equal(t, 3, failed)
	assert.Equal(t, 17, assertWhole(t, folder))

	calls := server.Calls("qrcode/create")
	code, r, errs = runBatch(t, sheet, "--out", folder)
	require.Zero(t, code, errs)
	assert.Equal(t, batchReport{Rows: 20, Encoding: "utf-8", Created: 1, Existing: 19, Images: 3, Result: r.Result}, r)
	assert.Equal(t, calls+1, server.Calls("qrcode/create"))
	assert.Equal(t, 20, assertWhole(t, folder))
}

func TestBatch_RedrawsWithNewOptions(t *testing.T) {
	server := newServer(t)
	folder, sheet := t.TempDir(), newSheet(t, 3, ".svg", ".png", ".jpg")
	for _, run := range []struct {
		args     []string
		pictures int
	}{{nil, 3}, {nil, 0}, {[]string{"--dark", "#07305a"}, 2}, {[]string{"--dark", "#07305a"}, 0}, {[]string{"--size", "500"}, 2}} {
		code, r, errs := runBatch(t, append([]string{sheet, "--out", folder}, run.args...)...)
		require.Zero(t, code, errs)
		assert.Equal(t, run.pictures, r.Images, "%v", run.args)
	}
	assert.Equal(t, 3, server.Calls("qrcode/create"))
}

func TestBatch_StopsAfterConsecutiveFailures(t *testing.T) {
	server := newServer(t)
	server.Fail("qrcode/create", 10, wxtest.Failure{})
	server.Fail("qrcode/create", 1000, wxtest.Failure{Body: "<html>"})
	code, r, errs := runBatch(t, newSheet(t, 300, ".svg"), "--out", t.TempDir(), "--concurrency", "4")
	assert.Equal(t, exitIncomplete, code)
	assert.Contains(t, errs, "warning: line ")
	// The text depends on when the images of the first 10 were saved.
	assert.Regexp(t, `2\d (of 300 rows failed, first in the file:|rows failed in a row, the last is) line `, errs)
	assert.Contains(t, errs, "run the same command again to resume")
	assert.Equal(t, 10, r.Created)
	assert.Less(t, r.Failed, 100)
	assert.Equal(t, 300, r.Created+r.Failed+r.NotAttempted)
}

func TestBatch_ContinuesAfterInvalidRows(t *testing.T) {
	server := newServer(t)
	for range 4 {
		server.Fail("qrcode/create", 15, wxtest.Failure{Code: 40053})
		server.Fail("qrcode/create", 1, wxtest.Failure{})
	}
	code, r, errs := runBatch(t, newSheet(t, 160, ".svg"), "--out", t.TempDir(), "--concurrency", "1")
	assert.Equal(t, exitIncomplete, code, errs)
	assert.Equal(t, 60, r.Failed)
	assert.Equal(t, 100, r.Images)
}

func TestBatch_CreatesExistingPermanentCodesWithoutQuota(t *testing.T) {
	server := newServer(t)
	folder := t.TempDir()
	first := writeFileOf(t, "scene,kind,file\na,permanent,a.svg\nb,permanent,b.svg\n")
	code, _, errs := runBatch(t, first, "--out", folder)
	require.Zero(t, code, errs)
	for name, test := range map[string]struct{ sheet, folder string }{
		"in the state": {writeFileOf(t, "scene,kind,file\nnew-1,permanent,1.svg\nnew-2,permanent,2.svg\na,permanent,3.svg\na,permanent,4.svg\nb,permanent,5.svg\nb,permanent,6.svg\n"), folder},
		"in result.csv": {writeFileOf(t, "scene,kind,file,ticket,url,expires_at,error\nnew-1,permanent,1.svg,,,,\nnew-2,permanent,2.svg,,,,\n"+
			"a,permanent,3.svg,gQa,,,\na,permanent,4.svg,gQa,,,\nb,permanent,5.svg,gQb,,,\nb,permanent,6.svg,gQb,,,\n"), t.TempDir()},
	} {
		t.Run(name, func(t *testing.T) {
			server.Fail("qrcode/create", 1, wxtest.Failure{Code: 45029})
			code, r, errs := runBatch(t, test.sheet, "--out", test.folder, "--concurrency", "1")
			assert.Equal(t, exitQuota, code, errs)
			assert.Equal(t, []int{1, 1, 4}, []int{r.Failed, r.NotAttempted, r.Created + r.Existing})
			assert.Equal(t, 4, r.Images)
			rows := readResult(t, test.folder)
			assert.Contains(t, rows[0]["error"], "45029")
			assert.Contains(t, rows[1]["error"], "not attempted: ")
			for _, row := range rows[2:] {
				assert.Empty(t, row["error"])
			}
		})
	}
}

func TestBatch_CreatesTemporaryCodesWithoutPermanentQuota(t *testing.T) {
	server := newServer(t)
	sheet := writeFileOf(t, "scene,kind,lifetime\np1,permanent,\np2,permanent,\nt1,temporary,7d\nt2,temporary,7d\n")
	server.Fail("qrcode/create", 1, wxtest.Failure{Code: 45029})
	code, r, errs := runBatch(t, sheet, "--out", t.TempDir(), "--concurrency", "1", "--format", "svg")
	assert.Equal(t, exitQuota, code)
	assert.Contains(t, errs, "45029")
	r.Result = ""
	assert.Equal(t, batchReport{Rows: 4, Encoding: "utf-8", Created: 2, Images: 2, Failed: 1, NotAttempted: 1}, r)
}

func TestBatch_ExitCodes(t *testing.T) {
	for code, exit := range map[int]int{40013: exitAccount, 40164: exitAccount, 48001: exitAccount, 45009: exitQuota, 45029: exitQuota} {
		server := newServer(t)
		server.Fail("qrcode/create", 3, wxtest.Failure{Code: code})
		got, _, _ := runBatch(t, newSheet(t, 3, ".svg"), "--out", t.TempDir())
		assert.Equal(t, exit, got, "%d", code)
	}
}

func TestBatch_CopiesOtherColumns(t *testing.T) {
	newServer(t)
	folder := t.TempDir()
	sheet := writeFileOf(t, "url,scene,kind,file,error\nhttp://shop/1,a,permanent,a.svg,mine\n")
	for range 2 {
		code, _, errs := runBatch(t, sheet, "--out", folder)
		require.Zero(t, code, errs)
		text, err := os.ReadFile(filepath.Join(folder, resultFile))
		require.NoError(t, err)
		assert.Contains(t, string(text), "\ufeffurl,scene,kind,file,error,ticket,url,expires_at,error\nhttp://shop/1,a,permanent,a.svg,mine,gQ")
		sheet = filepath.Join(folder, resultFile) // its result columns are replaced
	}
}

func TestBatch_ResultHasNoFormulas(t *testing.T) {
	server := newServer(t)
	folder := t.TempDir()
	scenes := []string{"=1+1", "+86", "-5", "@a", "＝1", "＋1", "－1", "＠1", "a;=1", "'=1", "''=1", "'a", "a=b-c", "a;'=1;+2;b"}
	escaped := []string{"'=1+1", "'+86", "'-5", "'@a", "'＝1", "'＋1", "'－1", "'＠1", "a;'=1", "''=1", "'''=1", "'a", "a=b-c", "a;''=1;'+2;b"}
	shops := []string{"=cmd|' /C calc'!A0", "\a1", "a\t=1", "\u202e", "'"}
	var sheet strings.Builder
	out := csv.NewWriter(&sheet)
	require.NoError(t, out.Write([]string{"scene", "kind", "file", "=shop"}))
	for i, scene := range scenes {
		require.NoError(t, out.Write([]string{scene, "permanent", fmt.Sprint(i, ".svg"), shops[i%len(shops)]}))
	}
	out.Flush()
	input := writeFileOf(t, sheet.String())
	for range 2 {
		code, r, errs := runBatch(t, input, "--out", folder)
		require.Zero(t, code, errs)
		assert.Equal(t, len(scenes), r.Created+r.Existing)
		assert.Equal(t, len(scenes), server.Calls("qrcode/create"), "the scenes of result.csv are those of the sheet")
		for i, row := range readResult(t, folder) {
			assert.Equal(t, escaped[i], row["scene"])
			assert.Equal(t, []string{"'=cmd|' /C calc'!A0", "'\a1", "a\t'=1", "\u202e", "'"}[i%len(shops)], row["'=shop"])
		}
		input = filepath.Join(folder, resultFile)
	}
	// Apostrophes are removed from a result only.
	s, err := readSheet(writeFileOf(t, "scene,kind\n'=1,permanent\n"), "svg", "")
	require.NoError(t, err)
	assert.Equal(t, "'=1", s.rows[0].request.Scene().Key())
}

func FuzzEscapeCells(f *testing.F) {
	for _, cell := range []string{"=1", "'=1", "\t=1", ";;''=", "a;\t'@", "＝"} {
		f.Add(cell)
	}
	f.Fuzz(func(t *testing.T, cell string) {
		cell = strings.ToValidUTF8(cell, "")
		escaped := escapeCells([]string{cell})
		for _, part := range strings.FieldsFunc(escaped[0], func(r rune) bool { return r == ';' || r == '\t' }) {
			require.NotContains(t, "=+-@＝＋－＠\r\n", string([]rune(part)[0]))
		}
		unescapeCells(escaped)
		require.Equal(t, cell, escaped[0])
	})
}

func TestBatch_InterruptedWhenComplete(t *testing.T) {
	newServer(t)
	folder, sheet := t.TempDir(), newSheet(t, 3, ".svg")
	code, _, errs := runBatch(t, sheet, "--out", folder)
	require.Zero(t, code, errs)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, _, errs = wxqrUntil(ctx, "batch", sheet, "--out", folder)
	assert.Zero(t, code, errs)
	require.NoError(t, os.Remove(filepath.Join(folder, "p1", "1.svg")))
	code, out, _ := wxqrUntil(ctx, "batch", sheet, "--out", folder)
	assert.Equal(t, exitInterrupted, code)
	assert.Contains(t, out, "1 not attempted")
	assert.Equal(t, "not attempted", readResult(t, folder)[1]["error"])
}

func TestBatch_ResumesAfterQuota(t *testing.T) {
	server := newServer(t)
	folder, sheet := t.TempDir(), newSheet(t, 50, ".svg")
	server.Fail("qrcode/create", 10, wxtest.Failure{})
	server.Fail("qrcode/create", 1, wxtest.Failure{Code: 45009})
	code, r, errs := runBatch(t, sheet, "--out", folder, "--concurrency", "2")
	assert.Equal(t, exitQuota, code)
	assert.Contains(t, errs, "45009")
	assert.Contains(t, errs, "run the same command again to resume")
	assert.Equal(t, 50, r.Created+r.Failed+r.NotAttempted)
	assert.Greater(t, r.NotAttempted, 30)
	assert.Equal(t, r.Created, assertWhole(t, folder))
	for _, row := range readResult(t, folder) {
		assert.Equal(t, row["ticket"] == "", row["error"] != "", "%v", row)
	}
	code, r, errs = runBatch(t, sheet, "--out", folder)
	require.Zero(t, code, errs)
	assert.Equal(t, 50, r.Created+r.Existing)
	assert.Equal(t, 50, assertWhole(t, folder))
}

func TestBatch_RecreatesExpiredCodes(t *testing.T) {
	server := newServer(t)
	folder := t.TempDir()
	sheet := writeFileOf(t, "scene,kind,lifetime,file\na,temporary,1,a.svg\n")
	code, _, errs := runBatch(t, sheet, "--out", folder)
	require.Zero(t, code, errs)
	time.Sleep(1100 * time.Millisecond)
	code, r, errs := runBatch(t, sheet, "--out", folder)
	require.Zero(t, code, errs)
	assert.Equal(t, 1, r.Created)
	assert.Equal(t, 1, r.Images)
	assert.Equal(t, 2, server.Calls("qrcode/create"))
}

func TestBatch_LocksFolder(t *testing.T) {
	newServer(t)
	folder := t.TempDir()
	s, err := openState(folder, os.Getenv(envAppID))
	require.NoError(t, err)
	code, out, errs := wxqr(t, "batch", newSheet(t, 1, ".svg"), "--out", folder)
	assert.Equal(t, exitFailure, code)
	assert.Empty(t, out)
	assert.Contains(t, errs, "another batch is running in this folder")
	require.NoError(t, s.close())
	code, _, errs = wxqr(t, "batch", newSheet(t, 1, ".svg"), "--out", folder)
	assert.Zero(t, code, errs)
}

func TestBatch_ResumesInSandbox(t *testing.T) {
	folder, sheet := t.TempDir(), newSheet(t, 3, ".jpg")
	for _, want := range []batchReport{{Created: 3, Images: 3}, {Existing: 3}, {Created: 1, Existing: 2, Images: 1}} {
		want.Rows, want.Encoding = 3, "utf-8"
		code, r, errs := runBatch(t, sheet, "--out", folder, "--sandbox")
		require.Zero(t, code, errs)
		assert.True(t, r.Sandbox)
		r.Result, r.Sandbox = "", false
		assert.Equal(t, want, r)
		if want.Created == 0 { // the simulator with this image has ended
			require.NoError(t, os.Remove(filepath.Join(folder, "p1", "1.jpg")))
		}
	}
}

func TestBatch_RejectsFolderOfAnotherAccount(t *testing.T) {
	newServer(t)
	folder := t.TempDir()
	code, _, errs := runBatch(t, newSheet(t, 1, ".svg"), "--out", folder)
	require.Zero(t, code, errs)
	newServer(t)
	code, _, errs = runBatch(t, newSheet(t, 1, ".svg"), "--out", folder)
	assert.Equal(t, exitFailure, code)
	assert.Contains(t, errs, "has codes of another account")
}

func TestBatchState_ReadsTruncatedFile(t *testing.T) {
	server := newServer(t)
	folder, sheet := t.TempDir(), newSheet(t, 5, ".svg")
	code, _, errs := runBatch(t, sheet, "--out", folder)
	require.Zero(t, code, errs)
	path := filepath.Join(folder, stateFolder, "codes.jsonl")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, cut := range []int{1, 10, len(text) / 2} {
		require.NoError(t, os.WriteFile(path, text[:len(text)-cut], 0o600))
		code, _, errs = runBatch(t, sheet, "--out", folder)
		require.Zero(t, code, errs)
		code, r, _ := runBatch(t, sheet, "--out", folder)
		require.Zero(t, code)
		assert.Equal(t, 5, r.Existing)
	}
	require.NoError(t, os.WriteFile(path, []byte("nonsense\n"), 0o600))
	before := server.Calls("qrcode/create")
	code, _, errs = runBatch(t, sheet, "--out", folder)
	assert.Equal(t, exitFailure, code)
	assert.Contains(t, errs, "line 1 is malformed; move the file away")
	assert.Equal(t, before, server.Calls("qrcode/create"))
}

func TestBatchState_LongLines(t *testing.T) {
	folder := t.TempDir()
	key := codeKey{scene: "a"}
	code := wxqrcode.QRCode{Ticket: "gQ", URL: "http://weixin.qq.com/q/" + strings.Repeat("x", 1<<20)}
	s, err := openState(folder, "wx1")
	require.NoError(t, err)
	require.NoError(t, s.recordCode(key, &code))
	require.NoError(t, s.close())
	s, err = openState(folder, "wx1")
	require.NoError(t, err)
	assert.Equal(t, &code, s.code(key))
	require.NoError(t, s.close())
}

func TestBatch_InterruptRecordsRequestsInFlight(t *testing.T) {
	server := newServer(t)
	folder, sheet := t.TempDir(), newSheet(t, 200, ".svg")
	server.Fail("qrcode/create", 200, wxtest.Failure{Delay: 100 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 450*time.Millisecond)
	defer cancel()
	code, out, errs := wxqrUntil(ctx, "batch", sheet, "--out", folder, "--json")
	assert.Equal(t, exitInterrupted, code)
	assert.Contains(t, errs, "interrupted; run the same command again to resume")
	var r batchReport
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	assert.Positive(t, r.Created)
	assert.Zero(t, r.Failed)
	assert.Equal(t, 200, r.Created+r.NotAttempted)
	assert.Equal(t, server.Calls("qrcode/create"), r.Created, "all created codes are recorded")
	code, _, errs = runBatch(t, sheet, "--out", folder)
	require.Zero(t, code, errs)
	assert.Equal(t, 200, server.Calls("qrcode/create"))
}

// startProgram starts the program in its own process.
func startProgram(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "WXQRCODE_TEST_AS_PROGRAM=1")
	cmd.Stdout, cmd.Stderr = new(bytes.Buffer), new(bytes.Buffer)
	require.NoError(t, cmd.Start())
	return cmd
}

func TestBatch_ResumesAfterSignals(t *testing.T) {
	const rows, concurrency = 400, 8
	server := newServer(t)
	folder, sheet := t.TempDir(), newSheet(t, rows, ".jpg", ".svg", ".png")
	server.Fail("qrcode/create", 1_000_000, wxtest.Failure{Delay: 5 * time.Millisecond})
	signals := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGINT, syscall.SIGKILL, syscall.SIGQUIT, syscall.SIGHUP}
	kills := 0
	for ; ; kills++ {
		cmd := startProgram(t, "batch", sheet, "--out", folder, "--concurrency", fmt.Sprint(concurrency))
		killed := killAfter(cmd, signals[kills%len(signals)], func() bool { return server.Calls("qrcode/create") >= (kills+1)*rows/12 })
		err := cmd.Wait()
		assertWhole(t, folder)
		if err == nil {
			break
		}
		require.True(t, killed(), "%v: %s", err, cmd.Stderr)
		require.Less(t, kills, 30, "no progress")
	}
	t.Logf("%d kills, %d codes made for %d rows", kills, server.Calls("qrcode/create"), rows)
	assert.Greater(t, kills, 5)
	assert.Equal(t, rows, assertWhole(t, folder))
	assert.LessOrEqual(t, server.Calls("qrcode/create"), rows+kills*concurrency, "recorded codes are not created again")
	for _, row := range readResult(t, folder) {
		assert.NotEmpty(t, row["ticket"])
		assert.Empty(t, row["error"])
	}
	left, err := os.ReadDir(filepath.Join(folder, stateFolder))
	require.NoError(t, err)
	assert.Len(t, left, 2, "the log file and the lock")
}

// killAfter signals the process some milliseconds after the condition holds. After the
// process has ended, the returned function reports whether the signal was sent.
func killAfter(cmd *exec.Cmd, signal syscall.Signal, condition func() bool) (did func() bool) {
	result := make(chan bool, 1)
	go func() {
		for !condition() {
			if cmd.Process.Signal(syscall.Signal(0)) != nil {
				result <- false
				return
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(rand.N(20 * time.Millisecond))
		result <- cmd.Process.Signal(signal) == nil
	}()
	return func() bool { return <-result }
}

// A limit of the file size simulates a full disk.
func TestBatch_FullDiskPrintsUnrecordedTickets(t *testing.T) {
	const rows = 300
	server := newServer(t)
	folder, sheet := t.TempDir(), newSheet(t, rows, ".svg")
	cmd := exec.Command("sh", "-c", `ulimit -f 64; exec "$0" "$@"`, os.Args[0], "batch", sheet, "--out", folder)
	cmd.Env = append(os.Environ(), "WXQRCODE_TEST_AS_PROGRAM=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	assert.Equal(t, exitFailure, cmd.ProcessState.ExitCode())
	assert.Contains(t, string(out), "record progress: ")
	assert.Contains(t, string(out), "file too large")
	assert.Contains(t, string(out), "run the same command again to resume")
	made := server.Calls("qrcode/create")
	assert.Less(t, made, rows, "it stops")

	code, r, errs := runBatch(t, sheet, "--out", folder)
	require.Zero(t, code, errs)
	assert.Equal(t, rows, r.Created+r.Existing)
	assert.Greater(t, r.Existing, 50)
	assert.Equal(t, made, r.Existing+len(regexp.MustCompile(`line \d+: gQ\S+`).FindAll(out, -1)), "each is recorded or printed: %s", out)
	assert.Equal(t, rows, assertWhole(t, folder))
	assert.LessOrEqual(t, server.Calls("qrcode/create"), rows+8+1)
}

func TestBatch_LargeWithFailures(t *testing.T) {
	rows := 10_000
	if testing.Short() {
		rows = 2000
	}
	server := newServer(t)
	exts := make([]string, 100)
	for i := range exts {
		exts[i] = ".svg"
	}
	exts[0], exts[50] = ".jpg", ".png"
	folder, sheet := t.TempDir(), newSheet(t, rows, exts...)
	for _, f := range []wxtest.Failure{{Code: -1}, {Status: 503}, {Cut: true}, {Body: `{"ticket":`, Cut: true}, {Code: 40001}, {Code: 40053}, {Body: "<html>"}} {
		server.Fail("qrcode/create", 300, wxtest.Failure{})
		server.Fail("qrcode/create", 20, f)
	}
	server.Fail("showqrcode", 10, wxtest.Failure{})
	server.Fail("showqrcode", 20, wxtest.Failure{Status: 502})
	runs, failed := 0, 0
	start := time.Now()
	for code := -1; code != exitOK; runs++ {
		require.Less(t, runs, 20)
		var r batchReport
		var errs string
		code, r, errs = runBatch(t, sheet, "--out", folder, "--concurrency", "64")
		require.Contains(t, []int{exitOK, exitIncomplete, exitAccount}, code, errs)
		failed += r.Failed
	}
	t.Logf("%d rows in %v and %d runs; %d failures on the way", rows, time.Since(start), runs, failed)
	assert.Equal(t, rows, assertWhole(t, folder))
	assert.Positive(t, failed)
	for _, row := range readResult(t, folder) {
		require.Empty(t, row["error"])
		require.NotEmpty(t, row["ticket"])
	}
}

func TestRateLimitWatcher_ReportsEachMinuteOnce(t *testing.T) {
	responses := []string{`{"ticket":"gQ"}`, `{"errcode":45011,"errmsg":"api minute-quota reach limit"}`, `{"errcode":45011,"errmsg":""}`}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, responses[0])
		responses = responses[1:]
	}))
	defer server.Close()
	var out bytes.Buffer
	watcher := &rateLimitWatcher{next: http.DefaultTransport, out: &out, until: time.Now().Add(-time.Hour)}
	client := &http.Client{Transport: watcher}
	for _, want := range responses {
		res, err := client.Post(server.URL, "", nil)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		assert.Equal(t, want, string(body))
	}
	assert.LessOrEqual(t, strings.Count(out.String(), "\n"), 2, "the minute may end during the test")
	assert.Regexp(t, `^rate limited, waiting until \d\d:\d\d:00\n`, out.String())
}
