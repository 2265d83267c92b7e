package main

import (
	"context"
	"encoding/json"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// export sets the printed environment variables, and returns the URL of the page.
func (p *program) export(t *testing.T) (page string) {
	t.Helper()
	page = strings.TrimSuffix(p.stdout.await(t, `# The page is (\S+)\n`), "/")
	for _, m := range regexp.MustCompile(`(?m)^export (\w+)='(.*)'$`).FindAllStringSubmatch(p.stdout.String(), -1) {
		t.Setenv(m[1], strings.ReplaceAll(m[2], `'\''`, "'"))
	}
	return page
}

func getPage(t *testing.T, page string) string {
	t.Helper()
	status, body := call(t, http.MethodGet, page+"/", nil)
	require.Equal(t, http.StatusOK, status, body)
	return body
}

// ticketsOn returns the tickets in the forms of the page.
func ticketsOn(t *testing.T, page string) (tickets []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`name="ticket" value="([^"]*)"`).FindAllStringSubmatch(getPage(t, page), -1) {
		tickets = append(tickets, html.UnescapeString(m[1]))
	}
	require.NotEmpty(t, tickets)
	return tickets
}

// press submits the form of a code.
func press(t *testing.T, page, ticket, who string) {
	t.Helper()
	status, body := call(t, http.MethodPost, page+"/scan", form(url.Values{"ticket": {ticket}, "who": {who}}, page))
	require.Equal(t, http.StatusSeeOther, status, body)
}

func form(values url.Values, origin string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", origin)
		r.Body = io.NopCloser(strings.NewReader(values.Encode()))
	}
}

// newCallback starts a server whose handler is set later.
func newCallback(t *testing.T) (address string, handler *atomic.Pointer[http.Handler]) {
	t.Helper()
	handler = new(atomic.Pointer[http.Handler])
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*handler.Load()).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, handler
}

func TestSandbox_PushesInEveryMode(t *testing.T) {
	for _, mode := range []string{"plain", "compatible", "secure"} {
		for _, pushFormat := range []string{"xml", "json"} {
			t.Run(mode+" "+pushFormat, func(t *testing.T) {
				clearCallbackEnv(t)
				address, handler := newCallback(t)
				p := startCommand(t, "sandbox", "--addr", "127.0.0.1:0", "--callback", address, "--mode", mode, "--push", pushFormat)
				page := p.export(t)
				assert.Equal(t, mode == "plain", os.Getenv(envAESKey) == "")

				events := make(chan *wxqrcode.Event, 2)
				h, err := callback.New(callback.Config{
					Token: os.Getenv(envToken), AppID: os.Getenv(envAppID), EncodingAESKey: os.Getenv(envAESKey),
					OnEvent: func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
						events <- e
						if pushFormat == "json" {
							return callback.Raw([]byte(`{"ToUserName":"` + e.OpenID + `","FromUserName":"` + e.ToUserName + `","CreateTime":1,"MsgType":"text","Content":"<b>你好</b>\u001b[2J"}`)), nil
						}
						return callback.Text("<b>你好</b>\n"), nil
					},
				})
				require.NoError(t, err)
				program := http.Handler(h)
				handler.Store(&program)

				code, _, errs := wxqr(t, "create", "desk-7", "--lifetime", "1h")
				require.Zero(t, code, errs)
				for _, who := range []struct {
					button string
					event  wxqrcode.EventType
				}{{"new", wxqrcode.EventSubscribe}, {"follower", wxqrcode.EventScan}} {
					press(t, page, ticketsOn(t, page)[0], who.button)
					e := <-events
					assert.Equal(t, who.event, e.Type)
					assert.Len(t, e.OpenID, 28)
					scene, _ := e.SceneKey()
					assert.Equal(t, "desk-7", scene)
					assert.Contains(t, getPage(t, page), string(who.event)+" desk-7 by "+e.OpenID+": status 200, text reply &#34;&lt;b&gt;你好&lt;/b&gt;\\")
					p.stdout.await(t, regexp.QuoteMeta(string(who.event)+" desk-7 by "+e.OpenID+`: status 200, text reply "<b>你好</b>\`))
				}
				assert.Zero(t, p.stop())
				assert.NotContains(t, p.stdout.String(), "\x1b")
				assert.Empty(t, p.stderr.String())
			})
		}
	}
}

func TestSandbox_PrintsJSON(t *testing.T) {
	clearCallbackEnv(t)
	t.Setenv(envToken, "it's mine")
	const key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	t.Setenv(envAESKey, key)
	address, handler := newCallback(t)
	fails := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }))
	handler.Store(&fails)
	p := startCommand(t, "sandbox", "--addr", "127.0.0.1:0", "--callback", address, "--json", "--retry-status", "--fresh-retries", "--token-lifetime", "1m")
	var account sandboxAccount
	require.NoError(t, json.Unmarshal([]byte(p.stdout.await(t, `(.*)\n`)), &account))
	assert.Equal(t, sandboxAccount{
		APIURL: account.APIURL, AppID: account.AppID, Secret: account.Secret, Token: "it's mine", AESKey: key,
		Callback: address, Mode: "secure", Push: "xml", Page: account.APIURL + "/",
	}, account)
	assert.Contains(t, account.exports(), `export WXQRCODE_TOKEN='it'\''s mine'`)

	client, err := wxqrcode.New(account.AppID, account.Secret, wxqrcode.WithAPIURL(account.APIURL))
	require.NoError(t, err)
	code, err := client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneID(7)))
	require.NoError(t, err)

	press(t, account.APIURL, string(code.Ticket), "follower")
	press(t, account.APIURL, "no ticket", "new")
	p.stdout.await(t, "no ticket")
	assert.Zero(t, p.stop())
	var got []scanOutput
	for line := range strings.Lines(p.stdout.String()) {
		var s scanOutput
		require.NoError(t, json.Unmarshal([]byte(line), &s))
		got = append(got, s)
	}
	require.Len(t, got, 3, "the account and two scans")
	got[1].Time = got[0].Time
	assert.Contains(t, got[1].Error, "status 403")
	assert.Contains(t, got[1].Error, "does the program use the printed Token")
	got[1].Error = ""
	assert.Equal(t, scanOutput{Event: "SCAN", Scene: "7", OpenID: sandboxFollower, Ticket: code.Ticket, Status: 403, Tries: 3}, got[1])
	assert.Equal(t, "the code is expired or unknown", got[2].Error)
}

func TestSandbox_UsesSettingsOfProgram(t *testing.T) {
	for _, mode := range []string{"plain", "compatible", "secure"} {
		t.Run(mode, func(t *testing.T) {
			clearCallbackEnv(t)
			t.Setenv(envToken, "mine")
			t.Setenv(envAppID, "wx0123456789abcdef")
			if mode != "plain" {
				t.Setenv(envAESKey, "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")
			}
			listens := startCommand(t, "listen", "--addr", "127.0.0.1:0")
			address := listens.stderr.await(t, `Listening on (\S+)\.`)
			box := startCommand(t, "sandbox", "--addr", "127.0.0.1:0", "--mode", mode, "--callback", address)
			page := box.export(t)
			assert.Equal(t, "wx0123456789abcdef", os.Getenv(envAppID))
			code, _, errs := wxqr(t, "create", "desk-7", "--lifetime", "1h")
			require.Zero(t, code, errs)
			press(t, page, ticketsOn(t, page)[0], "new")
			box.stdout.await(t, "subscribe desk-7 by .*: status 200")
			listens.stdout.await(t, "subscribe +desk-7")
		})
	}
	t.Run("without a callback", func(t *testing.T) {
		clearCallbackEnv(t)
		t.Setenv(envAppID, "wx0123456789abcdef")
		startCommand(t, "sandbox", "--addr", "127.0.0.1:0").export(t)
		assert.NotEqual(t, "wx0123456789abcdef", os.Getenv(envAppID))
	})
}

func TestSandbox_ScanWithoutCallback(t *testing.T) {
	clearCallbackEnv(t)
	p := startCommand(t, "sandbox", "--addr", "127.0.0.1:0")
	page := p.export(t)
	assert.NotContains(t, p.stdout.String(), envToken)
	assert.Contains(t, getPage(t, page), "No codes yet.")
	code, _, errs := wxqr(t, "create", "desk-7", "--permanent")
	require.Zero(t, code, errs)
	press(t, page, ticketsOn(t, page)[0], "new")
	p.stdout.await(t, "subscribe desk-7 by oN[A-Z2-7]{26}: no callback: start the sandbox with --callback")
	assert.Contains(t, getPage(t, page), "no callback: start the sandbox")
}

func TestSandbox_ReportsUnreachableCallback(t *testing.T) {
	clearCallbackEnv(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	p := startCommand(t, "sandbox", "--addr", "127.0.0.1:0", "--callback", gone.URL)
	page := p.export(t)
	code, _, errs := wxqr(t, "create", "desk-7", "--permanent")
	require.Zero(t, code, errs)
	press(t, page, ticketsOn(t, page)[0], "new")
	p.stdout.await(t, "no response to the push in 3 tries: ")
	text := getPage(t, page)
	assert.Contains(t, text, "no response to the push in 3 tries")
	assert.NotContains(t, text+p.stdout.String(), "wxtest", "no package name")
}

func TestSandbox_EscapesScenes(t *testing.T) {
	clearCallbackEnv(t)
	p := startCommand(t, "sandbox", "--addr", "127.0.0.1:0")
	page := p.export(t)
	tokens, err := wxqrcode.NewTokenSource(os.Getenv(envAppID), os.Getenv(envSecret), wxqrcode.WithAPIURL(page))
	require.NoError(t, err)
	token, err := tokens.AccessToken(t.Context())
	require.NoError(t, err)
	for _, scene := range []string{`<script>alert(1)</script>`, `</a>`, `" onerror="alert(1)`, "\u009b31m", "\u202egnp", "a\nb", `{{.Nonce}}`, `'`} {
		body, err := json.Marshal(map[string]any{
			"action_name": wxqrcode.ActionPermanentStr, "action_info": map[string]any{"scene": map[string]any{"scene_str": scene}},
		})
		require.NoError(t, err)
		for escaped, char := range map[string]string{`\u003c`: "<", `\u003e`: ">", `\u0026`: "&"} {
			body = []byte(strings.ReplaceAll(string(body), escaped, char)) // WeChat does not decode \u escapes
		}
		status, answer := call(t, http.MethodPost, page+"/cgi-bin/qrcode/create?access_token="+url.QueryEscape(token), func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(string(body)))
		})
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, answer, "ticket", scene)

		press(t, page, ticketsOn(t, page)[0], "new")
		shown := printable(scene)
		p.stdout.await(t, regexp.QuoteMeta("subscribe "+shown+" by "))
		text := getPage(t, page)
		assert.Contains(t, text, "<strong><bdi>"+htmlEscape(shown)+"</bdi></strong>")
		assert.Contains(t, text, `aria-label="Scan `+htmlEscape(shown)+` as a new follower"`)
		assert.Contains(t, text, `alt="QR code of `+htmlEscape(shown)+`"`)
		assert.Contains(t, text, "subscribe "+htmlEscape(shown)+" by ")
	}
	text := getPage(t, page)
	assert.Equal(t, 1, strings.Count(text, "<script"))
	assert.NotContains(t, text, "</a>")
	assert.NotContains(t, p.stdout.String()+text, "\u009b")
	assert.NotContains(t, p.stdout.String()+text, "\u202e")
}

// htmlEscape escapes as html/template does.
func htmlEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(s)
}

func TestSandbox_PageHasImagesAndPolicy(t *testing.T) {
	clearCallbackEnv(t)
	p := startCommand(t, "sandbox", "--addr", "127.0.0.1:0")
	page := p.export(t)
	for _, scene := range []string{"first", "second"} {
		code, _, errs := wxqr(t, "create", scene, "--lifetime", "1h")
		require.Zero(t, code, errs)
	}
	text := getPage(t, page)
	assert.Less(t, strings.Index(text, "second"), strings.Index(text, "first"), "newest first")
	assert.Contains(t, text, `<html lang="en">`)
	assert.Contains(t, text, "temporary, text (QR_STR_SCENE)<br>\nexpires: 20")
	assert.NotContains(t, text, os.Getenv(envSecret))
	status, parts := call(t, http.MethodGet, page+"/parts", nil)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, text, parts, "/parts returns the same")
	assert.Contains(t, parts, `id="codes"`)
	assert.NotContains(t, parts, "nonce")
	pictures := regexp.MustCompile(`src="([^"]*)"`).FindAllStringSubmatch(text, -1)
	require.Len(t, pictures, 2)
	for _, m := range pictures {
		status, body := call(t, http.MethodGet, page+html.UnescapeString(m[1]), nil)
		assert.Equal(t, http.StatusOK, status)
		assert.True(t, strings.HasPrefix(body, "\xff\xd8"), "a JPEG")
	}

	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(page + "/")
	require.NoError(t, err)
	defer res.Body.Close()
	policy := res.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "img-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
		assert.Contains(t, policy, part)
	}
	assert.NotContains(t, policy, "unsafe")
	nonce := regexp.MustCompile(`script-src 'nonce-(\w{26})'`).FindStringSubmatch(policy)
	require.NotNil(t, nonce, policy)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(string(body), `nonce="`+nonce[1]+`"`))
	assert.NotContains(t, text, nonce[1], "a new nonce for each page")
}

func TestSandbox_RejectsForeignRequests(t *testing.T) {
	clearCallbackEnv(t)
	p := startCommand(t, "sandbox", "--addr", "127.0.0.1:0")
	page := p.export(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(page, "http://"))
	require.NoError(t, err)
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	for _, test := range []struct {
		name, method, path string
		change             func(*http.Request)
		status             int
	}{
		{"the page", http.MethodGet, "/", nil, http.StatusOK},
		{"localhost", http.MethodGet, "/", host("localhost:" + port), http.StatusOK},
		{"another loopback address and a forwarded port", http.MethodGet, "/", host("[::1]:9000"), http.StatusOK},
		{"without a port", http.MethodGet, "/", host("LOCALHOST"), http.StatusOK},
		{"a foreign name", http.MethodGet, "/", host("evil.example:" + port), http.StatusForbidden},
		{"a similar name", http.MethodGet, "/", host("127.0.0.1.evil.example"), http.StatusForbidden},
		{"a foreign address", http.MethodGet, "/", host("192.0.2.1"), http.StatusForbidden},
		{"the API with a foreign name", http.MethodGet, "/cgi-bin/token", host("evil.example"), http.StatusForbidden},
		{"a button without a form", http.MethodPost, "/scan", nil, http.StatusBadRequest},
		{"a button that does not exist", http.MethodPost, "/scan", form(url.Values{"who": {"me"}}, page), http.StatusBadRequest},
		{"a form of another site", http.MethodPost, "/scan", form(url.Values{"who": {"new"}}, "https://evil.example"), http.StatusForbidden},
		{"a form without an origin", http.MethodPost, "/scan", form(url.Values{"who": {"new"}}, "null"), http.StatusForbidden},
		{"a cross-site form", http.MethodPost, "/scan", header("Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		{"a form of another port", http.MethodPost, "/scan", header("Sec-Fetch-Site", "same-site"), http.StatusForbidden},
		{"a form that is too long", http.MethodPost, "/scan", form(url.Values{"x": {strings.Repeat("x", maxForm)}, "who": {"new"}}, page), http.StatusBadRequest},
		{"a button by GET", http.MethodGet, "/scan?who=new", nil, http.StatusMethodNotAllowed},
		{"the page by POST", http.MethodPost, "/", nil, http.StatusMethodNotAllowed},
		{"another path", http.MethodGet, "/favicon.ico", nil, http.StatusNotFound},
		{"an unknown API path", http.MethodGet, "/cgi-bin/user/get", nil, http.StatusNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, body := call(t, test.method, page+test.path, test.change)
			assert.Equal(t, test.status, status, body)
		})
	}
	assert.Contains(t, getPage(t, page), "No scans yet.")
	assert.Zero(t, p.stop())
	assert.Equal(t, 4, strings.Count(p.stdout.String(), "\n"), "no scan: %s", p.stdout.String())
}

func TestSandbox_WarnsWhenNotOnLoopback(t *testing.T) {
	clearCallbackEnv(t)
	p := startCommand(t, "sandbox", "--addr", ":0")
	page := p.export(t)
	assert.Regexp(t, `^http://localhost:\d+$`, page)
	p.stderr.await(t, "level=WARN .*not on loopback")
	status, _ := call(t, http.MethodGet, page+"/", func(r *http.Request) { r.Host = "sandbox:8090" })
	assert.Equal(t, http.StatusOK, status)
	status, _ = call(t, http.MethodPost, page+"/scan", form(url.Values{"who": {"new"}}, "http://evil.example"))
	assert.Equal(t, http.StatusForbidden, status)
}

func TestSandbox_InvalidInput(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, test := range []struct {
		args string
		code int
		says string
	}{
		{"--callback http://127.0.0.1 --mode open", exitUsage, `--mode must be plain, compatible or secure, got "open"`},
		{"--callback http://127.0.0.1 --push yaml", exitUsage, `--push must be xml or json, got "yaml"`},
		{"--mode plain", exitUsage, "--mode requires --callback"},
		{"--push json", exitUsage, "--push requires --callback"},
		{"--fresh-retries", exitUsage, "--fresh-retries requires --callback"},
		{"--retry-status", exitUsage, "--retry-status requires --callback"},
		{"--token-lifetime 0s", exitUsage, "--token-lifetime must be at least 1s, got 0s"},
		{"--token-lifetime soon", exitUsage, "invalid argument"},
		{"--callback 127.0.0.1:8080", exitUsage, `must be a URL such as http://127.0.0.1:8080/wechat`},
		{"--callback ftp://127.0.0.1", exitUsage, "must be a URL"},
		{"--callback http:///wechat", exitUsage, "must be a URL"},
		{"--addr 8090", exitUsage, `--addr "8090" must be a host and a port`},
		{"--addr " + taken.Addr().String(), exitFailure, "set another address with --addr"},
		{"--addr 127.0.0.1:0 --callback http://127.0.0.1", exitUsage, envAESKey}, // a bad one is set below
		{"http://127.0.0.1", exitUsage, "unknown command"},
	} {
		t.Run(test.args, func(t *testing.T) {
			leaveNoGoroutine(t)
			clearCallbackEnv(t)
			t.Setenv(envAESKey, "sesame")
			code, out, errs := wxqr(t, append([]string{"sandbox"}, strings.Fields(test.args)...)...)
			assert.Equal(t, test.code, code, errs)
			assert.Contains(t, errs, test.says)
			assert.NotContains(t, errs, "sesame")
			assert.Empty(t, out)
			assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
		})
	}
}

func TestSandbox_EndsWithPushInFlight(t *testing.T) {
	leaveNoGoroutine(t)
	clearCallbackEnv(t)
	address, handler := newCallback(t)
	entered := make(chan struct{})
	hangs := http.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // required to notice that the client disconnects
		close(entered)
		<-r.Context().Done()
	}))
	handler.Store(&hangs)
	p := startCommand(t, "sandbox", "--addr", "127.0.0.1:0", "--callback", address)
	page := p.export(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	api, err := wxqrcode.New(os.Getenv(envAppID), os.Getenv(envSecret), wxqrcode.WithAPIURL(page), wxqrcode.WithHTTPClient(client))
	require.NoError(t, err)
	code, err := api.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneID(7)))
	require.NoError(t, err)
	pressed := make(chan error)
	go func() {
		r, err := client.PostForm(page+"/scan", url.Values{"ticket": {string(code.Ticket)}, "who": {"new"}})
		if err == nil {
			err = r.Body.Close()
		}
		pressed <- err
	}()
	<-entered
	assert.Zero(t, p.stop())
	assert.Error(t, <-pressed, "there is no page any more to come back to")
	assert.Contains(t, p.stdout.String(), "the server was closed")
}

func TestSandbox_EndsOnBrokenPipe(t *testing.T) {
	leaveNoGoroutine(t)
	clearCallbackEnv(t)
	for _, args := range [][]string{{"sandbox", "--addr", "127.0.0.1:0"}, {"sandbox", "--addr", "127.0.0.1:0", "--json"}} {
		var stderr transcript
		assert.Equal(t, exitFailure, run(t.Context(), args, noInput, brokenPipe{}, &stderr))
		assert.Contains(t, stderr.String(), "print: ")
	}
}

func TestScanOutput_String(t *testing.T) {
	for _, test := range []struct {
		name string
		scan scanOutput
		want string
	}{
		{"nothing", scanOutput{Status: 200, Tries: 1}, "status 200, no reply"},
		{"an image, second attempt", scanOutput{Status: 200, Tries: 2, ReplyType: "image"}, "status 200 after 2 attempts, reply of type image"},
		{"a text", scanOutput{Status: 200, Tries: 1, ReplyType: "text", Reply: "你好"}, "status 200, text reply 你好"},
		{"a failure", scanOutput{Status: 500, Tries: 1, Error: "why"}, "status 500, failed: why"},
		{"no response", scanOutput{Tries: 3, Error: "why"}, "why"},
	} {
		test.scan.Event, test.scan.OpenID = wxqrcode.EventScan, "o1"
		assert.Equal(t, "SCAN of an unknown code by o1: "+test.want, test.scan.String(), test.name)
	}
	assert.Len(t, sandboxFollower, 28)
	for action, want := range map[wxqrcode.Action]string{
		wxqrcode.ActionTemporaryID: "temporary, number", wxqrcode.ActionPermanentID: "permanent, number",
		wxqrcode.ActionPermanentStr: "permanent, text", "QR_NEW": "QR_NEW",
	} {
		assert.Equal(t, want, codeKind(action))
	}
	assert.Equal(t, []string{"plain", "compatible", "secure"}, sandboxModes)
	assert.Equal(t, "compatible", sandboxModes[wxtest.Compatible])
}

func TestSandbox_PageShowsNewest(t *testing.T) {
	clearCallbackEnv(t)
	p := startCommand(t, "sandbox", "--addr", "127.0.0.1:0")
	page := p.export(t)
	client, err := wxqrcode.New(os.Getenv(envAppID), os.Getenv(envSecret), wxqrcode.WithAPIURL(page))
	require.NoError(t, err)
	for i := range maxShown + 2 {
		_, err := client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneID(uint32(i+1))))
		require.NoError(t, err)
	}
	assert.Len(t, ticketsOn(t, page), maxShown)
	assert.Contains(t, getPage(t, page), "2 older codes are not shown.")
	ticket := ticketsOn(t, page)[0]
	for range maxScans + 2 {
		press(t, page, ticket, "new")
	}
	assert.Equal(t, maxScans, strings.Count(getPage(t, page), "<time "))
	p.stop()
	assert.Equal(t, maxScans+2, strings.Count(p.stdout.String(), "subscribe"))
}
