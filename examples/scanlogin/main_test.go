package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var testAccount = map[string]string{
	"WXQRCODE_APPID":   "wx0123456789abcdef",
	"WXQRCODE_SECRET":  "a secret",
	"WXQRCODE_TOKEN":   "a token",
	"WXQRCODE_AES_KEY": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
}

// start runs the program and returns the URL of the page and a function that
// stops the program.
func start(t *testing.T, environment map[string]string) (pageURL string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	out, stdout := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"-addr", "127.0.0.1:0"}, func(name string) string { return environment[name] }, stdout)
		stdout.CloseWithError(err)
		done <- err
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	pageURL = regexp.MustCompile(`^http://\S+/`).FindString(line)
	require.NotEmpty(t, pageURL, line)
	return pageURL, func() error {
		cancel()
		return <-done
	}
}

func TestRun_Sandbox(t *testing.T) {
	checkLeak(t)
	page, stop := start(t, nil)
	s := &site{url: strings.TrimSuffix(page, "/"), client: &http.Client{Transport: &http.Transport{}}, login: &login{codeTTL: codeTTL}}
	defer s.client.CloseIdleConnections()
	for _, who := range []string{"new", "follower"} {
		b := s.browser(t)
		_, body := b.call(t, http.MethodGet, "/")
		assert.Contains(t, body, `data-who="`+who+`"`)
		ticket := b.begin(t)
		status, _ := b.call(t, http.MethodPost, "/sandbox/scan?"+url.Values{"who": {who}, "ticket": {string(ticket)}}.Encode())
		assert.Equal(t, http.StatusNoContent, status)
		status, body = b.call(t, http.MethodPost, "/login/finish")
		assert.Equal(t, http.StatusOK, status)
		if who == "follower" {
			assert.JSONEq(t, `{"greeting": "Welcome, follower …ower"}`, body)
		}
	}
	status, _ := s.browser(t).call(t, http.MethodPost, "/sandbox/scan?who=new&ticket=none")
	assert.Equal(t, http.StatusBadRequest, status)

	b := s.browser(t)
	b.begin(t)
	events := b.listen(t)
	assert.NoError(t, stop(), "an open stream does not delay the stop")
	assert.Empty(t, events.next())
}

func TestRun_Account(t *testing.T) {
	checkLeak(t)
	page, stop := start(t, testAccount)
	s := &site{url: strings.TrimSuffix(page, "/"), client: &http.Client{Transport: &http.Transport{}}}
	defer s.client.CloseIdleConnections()
	b := s.browser(t)
	response := b.do(t.Context(), t, http.MethodGet, "/", http.Header{})
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.NotContains(t, string(body), "data-who")
	assert.Contains(t, response.Header.Get("Content-Security-Policy"), "; img-src https://mp.weixin.qq.com;")
	status, _ := b.call(t, http.MethodPost, "/sandbox/scan?who=new&ticket=any")
	assert.Equal(t, http.StatusNotFound, status)
	status, _ = b.call(t, http.MethodGet, "/wechat?echostr=1")
	assert.Equal(t, http.StatusForbidden, status, "the callback verifies signatures")
	assert.NoError(t, stop())
}

func TestRun_InvalidConfiguration(t *testing.T) {
	taken := httptest.NewServer(nil)
	defer taken.Close()
	with := func(name, value string) map[string]string {
		m := map[string]string{name: value}
		for k, v := range testAccount {
			if k != name {
				m[k] = v
			}
		}
		return m
	}
	for name, test := range map[string]struct {
		args        []string
		environment map[string]string
		want        string
	}{
		"a missing variable": {nil, with("WXQRCODE_TOKEN", ""), "WXQRCODE_TOKEN"},
		"a bad key":          {nil, with("WXQRCODE_AES_KEY", "short"), "EncodingAESKey"},
		"a public sandbox":   {[]string{"-addr", "0.0.0.0:0"}, nil, "loopback"},
		"an address in use": {
			[]string{"-addr", strings.TrimPrefix(taken.URL, "http://")}, nil, "address already in use",
		},
	} {
		t.Run(name, func(t *testing.T) {
			checkLeak(t)
			args := append([]string{"-addr", "127.0.0.1:0"}, test.args...)
			err := run(t.Context(), args, func(name string) string { return test.environment[name] }, io.Discard)
			require.ErrorContains(t, err, test.want)
			assert.NotContains(t, err.Error(), "a secret")
		})
	}
}
