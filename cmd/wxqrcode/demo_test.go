package main

import (
	"bytes"
	"context"
	"encoding/json"
	"image/jpeg"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runDemo runs the demo command.
func runDemo(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return wxqr(t, append([]string{"demo"}, args...)...)
}

func TestDemo_PrintsText(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	code, out, errs := runDemo(t, "--out", dir)
	require.Zero(t, code, errs)
	assert.Empty(t, errs)
	for _, text := range []string{
		"QR_SCENE ", "QR_STR_SCENE ", "QR_LIMIT_SCENE ", "QR_LIMIT_STR_SCENE ",
		"20261120", "login-", "99999", "海报-地铁站&展位=7", "never", "new follower", "│ follower", "subscribe", "SCAN",
		"Done. The images are in the folder " + dir,
	} {
		assert.Contains(t, out, text)
	}
	assertTableIsEven(t, out)
}

// assertTableIsEven asserts that the rows of a table have equal width. A Chinese character
// has two columns.
func assertTableIsEven(t *testing.T, out string) {
	t.Helper()
	width := 0
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "│") && !strings.HasPrefix(line, "┌") {
			width = 0
			continue
		}
		columns := 0
		for _, r := range strings.TrimSuffix(line, "\n") {
			columns++
			if r >= 0x4E00 && r <= 0x9FFF {
				columns++
			}
		}
		if width != 0 && strings.HasPrefix(line, "│") {
			assert.Equal(t, width, columns, line)
		}
		width = columns
	}
}

func TestDemo_JSONAndReadableImages(t *testing.T) {
	dir := t.TempDir()
	code, out, errs := runDemo(t, "--out", dir, "--json")
	require.Zero(t, code, errs)
	var r demoOutput
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	assertCodes(t, r, dir)
	assert.False(t, r.Live)
	require.Len(t, r.Scans, 2)
	assert.Equal(t, demoScan{"new follower", r.Codes[3].File, wxqrcode.EventSubscribe, "qrscene_海报-地铁站&展位=7", "海报-地铁站&展位=7"}, r.Scans[0])
	assert.Equal(t, demoScan{"follower", r.Codes[1].File, wxqrcode.EventScan, r.Codes[1].Scene, r.Codes[1].Scene}, r.Scans[1])
}

// assertCodes decodes the images with an independent decoder.
func assertCodes(t *testing.T, r demoOutput, dir string) {
	t.Helper()
	require.Len(t, r.Codes, 4)
	urls := map[string]bool{}
	for i, action := range []wxqrcode.Action{
		wxqrcode.ActionTemporaryID, wxqrcode.ActionTemporaryStr, wxqrcode.ActionPermanentID, wxqrcode.ActionPermanentStr,
	} {
		c := r.Codes[i]
		assert.Equal(t, action, c.Action)
		assert.Equal(t, i >= 2, c.Code.ExpiresAt.IsZero())
		assert.Equal(t, dir, filepath.Dir(c.File))
		data, err := os.ReadFile(c.File)
		require.NoError(t, err)
		img, err := jpeg.Decode(bytes.NewReader(data))
		require.NoError(t, err)
		assert.Equal(t, 430, img.Bounds().Dx())
		assert.Equal(t, 430, img.Bounds().Dy())
		bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
		require.NoError(t, err)
		result, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
		require.NoError(t, err)
		assert.Equal(t, c.Code.URL, result.GetText())
		urls[result.GetText()] = true
	}
	assert.Len(t, urls, 4, "four codes")
}

func TestDemo_LiveUsesAccount(t *testing.T) {
	server := wxtest.NewServer() // in place of WeChat
	defer server.Close()
	useServer(t, server)
	dir := t.TempDir()
	code, out, errs := runDemo(t, "--live", "--json", "--out", dir)
	require.Zero(t, code, errs)
	var r demoOutput
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	assert.True(t, r.Live)
	assert.Empty(t, r.Scans)
	assertCodes(t, r, dir)
	assert.Equal(t, 1, server.Calls("stable_token"))
	assert.Equal(t, 4, server.Calls("qrcode/create"))
	assert.Equal(t, 4, server.Calls("showqrcode"))
}

func TestDemo_NamesFailedStep(t *testing.T) {
	for _, test := range []struct {
		name, endpoint, step string
		failure              wxtest.Failure
		code                 int
	}{
		{"no token", "stable_token", "fetch an access token", wxtest.Failure{Code: 40164}, exitAccount},
		{"no code", "qrcode/create", "create the code QR_SCENE", wxtest.Failure{Code: 48001}, exitAccount},
		{"no image", "showqrcode", "save the image of QR_SCENE", wxtest.Failure{Status: 404}, exitFailure},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := wxtest.NewServer()
			defer server.Close()
			server.Fail(test.endpoint, 1, test.failure)
			useServer(t, server)
			code, out, errs := runDemo(t, "--live", "--out", t.TempDir())
			assert.Equal(t, test.code, code)
			assert.Contains(t, errs, `demo failed at step "`+test.step+`": `)
			assert.NotContains(t, errs, server.AppSecret())
			assert.NotContains(t, out, "Done.")
		})
	}
}

func TestDemo_InvalidInput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	t.Setenv(envAppID, "")
	t.Setenv(envSecret, "")
	for _, test := range []struct {
		name, says string
		code       int
		args       []string
	}{
		{"a folder that cannot be made", `step "create the folder"`, exitFailure, []string{"--out", filepath.Join(file, "folder")}},
		{"no folder", "--out must name a folder", exitUsage, []string{"--out", ""}},
		{"--live without an AppID", envAppID, exitAccount, []string{"--live"}},
		{"an unknown flag", "unknown flag", exitUsage, []string{"--nonsense"}},
		{"an argument", "unknown command", exitUsage, []string{"nonsense"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, _, errs := runDemo(t, test.args...)
			assert.Equal(t, test.code, code)
			assert.Contains(t, errs, test.says)
			assert.Equal(t, 1, strings.Count(errs, "\n"), "one line: %s", errs)
		})
	}
}

func TestDemo_LiveNamesMissingCredential(t *testing.T) {
	t.Setenv(envAppID, "wx1")
	t.Setenv(envSecret, "")
	code, _, errs := runDemo(t, "--live")
	assert.Equal(t, exitAccount, code)
	assert.Contains(t, errs, envSecret)
	assert.NotContains(t, errs, envAppID)
}

func TestDemo_StopsOnInterruptOrBrokenPipe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := demoCommand{globalFlags: new(globalFlags), dir: t.TempDir(), stdin: noInput, stdout: &bytes.Buffer{}, stderr: io.Discard}
	require.ErrorIs(t, d.run(ctx), context.Canceled)

	for _, json := range []bool{false, true} {
		d := demoCommand{globalFlags: &globalFlags{json: json}, dir: t.TempDir(), stdin: noInput, stdout: brokenPipe{}, stderr: io.Discard}
		require.ErrorContains(t, d.run(t.Context()), `step "print"`)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, os.ErrClosed }
