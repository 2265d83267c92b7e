package main

import (
	"bytes"
	"context"
	"encoding/json"
	"image/png"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// TestMain runs the program instead of the tests in the process of startProgram.
func TestMain(m *testing.M) {
	if os.Getenv("WXQRCODE_TEST_AS_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

// noInput is an empty stdin.
var noInput = strings.NewReader("")

// wxqr runs the program in this process.
func wxqr(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return wxqrUntil(t.Context(), args...)
}

func wxqrUntil(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, noInput, &out, &errs)
	return code, out.String(), errs.String()
}

// useServer sets the environment for a running simulator.
func useServer(t *testing.T, s *wxtest.Server) {
	t.Helper()
	t.Setenv(envAPIURL, s.URL())
	t.Setenv(envAppID, s.AppID())
	t.Setenv(envSecret, s.AppSecret())
	t.Setenv(envCredentials, "")
}

func newServer(t *testing.T, opts ...wxtest.Option) *wxtest.Server {
	t.Helper()
	s := wxtest.NewServer(opts...)
	t.Cleanup(s.Close)
	useServer(t, s)
	return s
}

func TestCreate_SavesImage(t *testing.T) {
	newServer(t)
	for _, test := range []struct {
		args   []string
		action wxqrcode.Action
		scene  string
	}{
		{[]string{"poster-7", "--permanent"}, wxqrcode.ActionPermanentStr, "poster-7"},
		{[]string{"1001", "--number", "--permanent"}, wxqrcode.ActionPermanentID, "1001"},
		{[]string{"1001", "--lifetime", "7d"}, wxqrcode.ActionTemporaryStr, "1001"},
		{[]string{"4294967295", "--number", "--lifetime", "60"}, wxqrcode.ActionTemporaryID, "4294967295"},
		{[]string{"--random", "login-", "--lifetime", "5m"}, wxqrcode.ActionTemporaryStr, "login-"},
	} {
		for _, ext := range []string{".jpg", ".PNG", ".svg"} {
			file := filepath.Join(t.TempDir(), "code"+ext)
			code, out, errs := wxqr(t, append([]string{"create", "--json", "--out", file}, test.args...)...)
			require.Zero(t, code, errs)
			var got createOutput
			require.NoError(t, json.Unmarshal([]byte(out), &got))
			assert.Equal(t, test.action, got.Action)
			assert.Contains(t, got.Scene, test.scene)
			assert.Equal(t, file, got.File)
			assert.NotEmpty(t, got.Code.Ticket)
			assert.FileExists(t, file)
		}
	}
}

func TestCreate_PrintsText(t *testing.T) {
	code, out, errs := wxqr(t, "create", "poster-7", "--permanent", "--sandbox")
	require.Zero(t, code, errs)
	assert.Empty(t, errs)
	for _, line := range []string{"action    QR_LIMIT_STR_SCENE\n", "scene     poster-7\n", "ticket    gQ", "url       http://weixin.qq.com/q/", "expires   never\n"} {
		assert.Contains(t, out, line)
	}
	assert.NotContains(t, out, "\x1b", "no colors")
	assert.NotContains(t, out, "image")
}

func TestRun_WrongArguments(t *testing.T) {
	server := newServer(t)
	for _, test := range []struct {
		args string
		says string
	}{
		{"create", "create requires SCENE or --random"},
		{"create a --random b --permanent", "SCENE cannot be combined with --random"},
		{"create --random b --number --permanent", "--number cannot be combined with --random"},
		{"create --permanent --random " + strings.Repeat("x", 39), "--random must be at most 38 bytes long, is 39"},
		{"create a", "create requires --permanent or --lifetime"},
		{"create a --permanent --lifetime 7d", "--permanent cannot be combined with --lifetime"},
		{"create a b --permanent", "accepts at most 1 arg"},
		{"create a --number --permanent", `SCENE must be a number from 1 to 4294967295, got "a"`},
		{"create 4294967296 --number --lifetime 1h", `SCENE must be a number from 1 to 4294967295, got "4294967296"`},
		{"create 0 --number --lifetime 1h", "the scene must be 1 to 4294967295"},
		{"create 100001 --number --permanent", "the scene must be 1 to 100000 in a permanent code; without --number it is a text"},
		{"create a --lifetime soon", `--lifetime must be a duration such as 30m, 720h, 7d or 604800 (seconds), got "soon"`},
		{"create a --lifetime 31d", `--lifetime must be 1s to 720h0m0s (30 days), got "31d"`},
		{"create a --lifetime 45d", `--lifetime must be 1s to 720h0m0s (30 days), got "45d"`},
		{"create a --lifetime 0s", `got "0s"`},
		{"create a --lifetime 99999999999999999999d", "--lifetime must be a duration"},
		{"create a --lifetime 4294967295d", "(30 days)"},
		{"create a --lifetime 0", "(30 days)"},
		{"create a --lifetime -5m", "(30 days)"},
		{"create " + strings.Repeat("x", 65) + " --permanent", "the scene must be 1 to 64 bytes long, is 65"},
		{"create a --permanent --out code.gif", "must end in .jpg, .png or .svg"},
		{"create a --permanent --out code.png --size 10", "--size is 10"},
		{"create a --permanent --out code.png --size 0", "--size and --quiet-zone must be at least 1, got 0 and 4"},
		{"create a --permanent --out code.png --size 100000", "--size is 100000"},
		{"create a --permanent --out code.png --level X", `--level must be L, M, Q or H, got "X"`},
		{"create a --permanent --out code.png --dark red", `--dark must be a color such as #1a2b3c, got "red"`},
		{"create a --permanent --out code.png --dark #eeeeee", "use a darker --dark or a lighter --light"},
		{"create a --permanent --out code.png --logo /nonexistent.png", "read the logo"},
		{"create a --permanent --out a.jpg --logo x.png --size 5", "read the logo"},
		{"create a --permanent --out a.jpg --size 500", "--size requires --out with a .png or .svg file"},
		{"create a --permanent --out /nonexistent/a.svg", "--out /nonexistent/a.svg: folder /nonexistent does not exist"},
		{"create a --permanent --nonsense", "unknown flag: --nonsense; see wxqrcode create --help\n"},
		{"image", `accepts 1 arg(s), received 0; usage: wxqrcode image TICKET`},
		{"image gQH", "image requires --out FILE"},
		{"image gQH --out - --json", "--json cannot be combined with --out -"},
		{"image gQH --out x.jpg --sandbox", "--sandbox cannot be combined with image"},
		{"image gQH%3D%3D --out x.jpg", "the ticket must be as WeChat returned it, but it is URL-escaped"},
		{"image https://mp.weixin.qq.com/cgi-bin/showqrcode?ticket=gQH --out x.jpg", "the ticket must be as WeChat returned it, but it is a URL"},
		{"create a --permanent --api-url ftp://host", "--api-url must be http or https"},
		{"image gQH --out x.jpg --api-url ftp://host", "--api-url must be http or https"},
		{"inspect foo", `"foo": it is not a ticket: `},
		{"inspect gQH%3D%3D", "it is URL-escaped"},
		{"create a --permanent --size 500", "--size requires --out with a .png or .svg file"},
		{"image gQH --out x.png", `--out must end in .jpg or .jpeg, got "x.png"; for PNG and SVG, use wxqrcode render`},
		{"render --out x.png", "render requires URL or --ticket"},
		{"render u --ticket t --out x.png", "URL cannot be combined with --ticket"},
		{"render u", "render requires --out FILE"},
		{"render u --out x.gif", "must end in"},
		{"render --ticket foo --out x.png", `"foo": it is not a ticket: `},
		{"nonsense", "unknown command"},
		{"creat a --permanent --sandbox", "Did you mean this? create\n"},
		{"batc", "Did you mean this? batch\n"},
		{"create a --permnent", "unknown flag: --permnent; see wxqrcode create --help. Did you mean this? --permanent\n"},
		{"create a --sandbx", "Did you mean this? --sandbox\n"},
		{"listen --stat-addr x", "Did you mean this? --stats-addr\n"},
	} {
		t.Run(test.args, func(t *testing.T) {
			code, out, errs := wxqr(t, strings.Fields(test.args)...)
			assert.Equal(t, exitUsage, code)
			assert.Empty(t, out)
			assert.Contains(t, errs, test.says)
			assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
			assert.NotRegexp(t, goIdentifier, errs)
		})
	}
	assert.Zero(t, server.Calls("qrcode/create"))
	assert.Zero(t, server.Calls("stable_token"))
}

func TestCompletion_Values(t *testing.T) {
	for args, want := range map[string]string{
		"batch --format ": "jpg\npng\nsvg\n", "create --level ": "L\nM\nQ\nH\n", "render --level ": "L\nM\nQ\nH\n", "sandbox --mode ": "plain\ncompatible\nsecure\n", "sandbox --push ": "xml\njson\n", "batch ": "csv\n", "stats --by ": "hour\nday\nweek\nmonth\n",
	} {
		_, out, _ := wxqr(t, append([]string{"__complete"}, strings.Split(args, " ")...)...)
		assert.True(t, strings.HasPrefix(out, want), "%q: %s", args, out)
	}
	code, out, _ := wxqr(t, "--version")
	assert.Zero(t, code)
	assert.Contains(t, out, "wxqrcode version ")
}

func TestRun_ExitCodes(t *testing.T) {
	for _, test := range []struct {
		name     string
		endpoint string
		failure  wxtest.Failure
		code     int
	}{
		{"a wrong secret", "stable_token", wxtest.Failure{Code: 40125}, exitAccount},
		{"an IP address", "stable_token", wxtest.Failure{Code: 40164}, exitAccount},
		{"the account", "qrcode/create", wxtest.Failure{Code: 48001}, exitAccount},
		{"the day", "qrcode/create", wxtest.Failure{Code: 45009}, exitQuota},
		{"the minute", "qrcode/create", wxtest.Failure{Code: 45011}, exitQuota},
		{"the permanent codes", "qrcode/create", wxtest.Failure{Code: 45029}, exitQuota},
		{"a page", "qrcode/create", wxtest.Failure{Body: "<html>"}, exitFailure},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := newServer(t)
			server.Fail(test.endpoint, 1, test.failure)
			code, out, errs := wxqr(t, "create", "a", "--permanent")
			assert.Equal(t, test.code, code, errs)
			assert.Empty(t, out)
			assert.NotContains(t, errs, server.AppSecret())
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		newServer(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		code, _, _ := wxqrUntil(ctx, "create", "a", "--permanent")
		assert.Equal(t, exitInterrupted, code)
	})
	help, _, _ := wxqr(t, "--help")
	assert.Zero(t, help)
	_, out, _ := wxqr(t, "--help")
	for _, line := range []string{"    0    success\n", "    3    no credentials", "    130  interrupted"} {
		assert.Contains(t, out, line)
	}
}

func TestCreate_PrintsTicketIfImageFails(t *testing.T) {
	server := newServer(t)
	server.Fail("showqrcode", 1, wxtest.Failure{Status: 404})
	code, _, errs := wxqr(t, "create", "a", "--permanent", "--out", filepath.Join(t.TempDir(), "a.jpg"))
	assert.Equal(t, exitFailure, code)
	assert.Contains(t, errs, "code created (ticket gQ")
}

func TestImageInspectRender_SameCode(t *testing.T) {
	newServer(t)
	_, out, _ := wxqr(t, "create", "a", "--lifetime", "1h", "--json")
	var made createOutput
	require.NoError(t, json.Unmarshal([]byte(out), &made))
	ticket := string(made.Code.Ticket)

	file := filepath.Join(t.TempDir(), "a.jpg")
	code, out, errs := wxqr(t, "image", ticket, "--out", file)
	require.Zero(t, code, errs)
	assert.Contains(t, out, file+": ")
	img, err := os.ReadFile(file)
	require.NoError(t, err)
	code, out, errs = wxqr(t, "image", ticket, "--out", "-")
	require.Zero(t, code, errs)
	assert.Equal(t, string(img), out)
	code, out, _ = wxqr(t, "image", ticket, "--out", file, "--json")
	require.Zero(t, code)
	var saved imageOutput
	require.NoError(t, json.Unmarshal([]byte(out), &saved))
	assert.Equal(t, imageOutput{file, int64(len(img))}, saved)

	code, out, errs = wxqr(t, "inspect", ticket)
	require.Zero(t, code, errs)
	assert.Contains(t, out, made.Code.URL)
	assert.Contains(t, out, "lifetime  1h\n")
	code, out, _ = wxqr(t, "inspect", ticket, "--json")
	require.Zero(t, code)
	var info inspectOutput
	require.NoError(t, json.Unmarshal([]byte(out), &info))
	assert.Equal(t, made.Code.URL, info.URL)
	assert.EqualValues(t, 3600, info.Lifetime)
	assert.Equal(t, os.Getenv(envAPIURL)+"/cgi-bin/showqrcode?ticket="+url.QueryEscape(ticket), info.ImageURL)
	assert.False(t, info.Expired)

	drawn := filepath.Join(t.TempDir(), "a.png")
	code, _, errs = wxqr(t, "render", "--ticket", ticket, "--out", drawn, "--size", "600")
	require.Zero(t, code, errs)
	f, err := os.Open(drawn)
	require.NoError(t, err)
	defer f.Close()
	config, err := png.DecodeConfig(f)
	require.NoError(t, err)
	assert.Equal(t, 600, config.Width)
	left, err := os.ReadDir(filepath.Dir(drawn))
	require.NoError(t, err)
	assert.Len(t, left, 1, "no leftover file")

	code, _, _ = wxqr(t, "inspect", "gQFK8DoAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL3kweXE0T3JscWY3UTltc3ZPMklvAAIEG9jUUgMECAcAAA==")
	assert.Zero(t, code)
	_, out, _ = wxqr(t, "inspect", "gQFK8DoAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL3kweXE0T3JscWY3UTltc3ZPMklvAAIEG9jUUgMECAcAAA==")
	assert.Contains(t, out, "(expired)")
}

func TestCredentials_RequirePrivateFile(t *testing.T) {
	server := newServer(t)
	t.Setenv(envAppID, "")
	t.Setenv(envSecret, "")
	file := filepath.Join(t.TempDir(), "account.json")
	write := func(text string, mode os.FileMode) {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		require.NoError(t, os.Chmod(file, mode))
	}
	good := `{"appid":"` + server.AppID() + `","secret":"` + server.AppSecret() + `"}`
	for _, test := range []struct {
		name, text string
		mode       os.FileMode
		says       string
	}{
		{"good", good, 0o600, ""},
		{"read-only", good, 0o400, ""},
		{"others may read it", good, 0o644, "chmod 600 " + file},
		{"the group may read it", good, 0o640, "mode 0640"},
		{"no JSON", `{"secret": "sesame`, 0o600, "must be JSON"},
		{"no secret", `{"appid":"wx1"}`, 0o600, "must contain appid and secret"},
	} {
		t.Run(test.name, func(t *testing.T) {
			write(test.text, test.mode)
			code, _, errs := wxqr(t, "create", "a", "--permanent", "--credentials", file)
			assert.NotContains(t, errs, "sesame")
			assert.NotContains(t, errs, server.AppSecret())
			if test.says == "" {
				assert.Zero(t, code, errs)
				return
			}
			assert.Equal(t, exitAccount, code)
			assert.Contains(t, errs, test.says)
		})
	}
	code, _, errs := wxqr(t, "create", "a", "--permanent", "--credentials", file+".none")
	assert.Equal(t, exitAccount, code)
	assert.Contains(t, errs, "no such file")
	code, _, errs = wxqr(t, "create", "a", "--permanent")
	assert.Equal(t, exitAccount, code)
	assert.Contains(t, errs, envAppID)

	write(good, 0o600)
	t.Setenv(envCredentials, file)
	t.Setenv(envAppID, server.AppID())
	code, _, errs = wxqr(t, "create", "a", "--permanent")
	assert.Zero(t, code, errs)
	_, out, _ := wxqr(t, "create", "--help")
	assert.NotContains(t, out, file, "no value of the environment")
}

func TestRun_NamesAllMissingCredentials(t *testing.T) {
	clearCallbackEnv(t)
	for _, test := range []struct{ appID, secret, says string }{
		{"", "", "set " + envAppID + " (the account's AppID) and " + envSecret + " (the account's AppSecret), or"},
		{"", "secret", "set " + envAppID + " (the account's AppID), or"},
		{"wx1", "", "set " + envSecret + " (the account's AppSecret), or"},
	} {
		t.Setenv(envAppID, test.appID)
		t.Setenv(envSecret, test.secret)
		code, _, errs := wxqr(t, "create", "a", "--permanent")
		assert.Equal(t, exitAccount, code)
		assert.Contains(t, errs, test.says)
	}
}

func TestRender_WarnsAboutOtherContent(t *testing.T) {
	for content, warns := range map[string]bool{
		"http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI":  false,
		"HTTPS://Weixin.QQ.com/q/02d4osPG52zESDf-iUu_": false,
		"http://weixin.qq.com/q/":                      true,
		"http://weixin.qq.com/r/kZgfwMTm72WWPkovabbI":  true,
		"http://weixin.qq.com.evil.example/q/x":        true,
		"poster-7":                                     true,
	} {
		code, out, errs := wxqr(t, "render", content, "--out", filepath.Join(t.TempDir(), "a.svg"))
		assert.Zero(t, code)
		assert.Contains(t, out, "a.svg: ")
		assert.Equal(t, warns, strings.Contains(errs, "warning: \""+content+"\" is not the URL of a WeChat code"), "%s: %s", content, errs)
	}
}
