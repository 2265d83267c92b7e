package wxtest_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/internal/leak"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// echo responds as a callback must.
func echo(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Query().Get("echostr")) }

// respond responds with a body.
func respond(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }
}

func TestVerifyCallback_Request(t *testing.T) {
	for name, cfg := range map[string]wxtest.CallbackConfig{
		"plain":        plain,
		"compatible":   {Token: "token", EncodingAESKey: aesKey, Mode: wxtest.Compatible},
		"secure, JSON": {Token: "token", EncodingAESKey: aesKey, Mode: wxtest.Secure, JSON: true},
	} {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			srv, c, _ := newScene(t, echo, wxtest.WithNow(clock.now))
			srv.SetCallback(c.URL+"/hook?channel=a", cfg)
			require.NoError(t, srv.VerifyCallback(t.Context()))
			require.NoError(t, srv.VerifyCallback(t.Context()))

			require.Len(t, c.pushes(), 2)
			nonces, echoes := map[string]bool{}, map[string]bool{}
			for _, p := range c.pushes() {
				q := p.query
				assert.Equal(t, http.MethodGet, p.method)
				assert.Empty(t, p.body)
				assert.NotContains(t, p.header, "Content-Type")
				assert.Equal(t, "Mozilla/4.0", p.header.Get("User-Agent"))
				assert.Len(t, q, 5)
				assert.Equal(t, "a", q.Get("channel"))
				assert.Equal(t, strconv.FormatInt(clock.now().Unix(), 10), q.Get("timestamp"))
				assert.Equal(t, wxcrypt.Sign("token", q.Get("timestamp"), q.Get("nonce"), nil), q.Get("signature"))
				assert.Regexp(t, `^[0-9]{19}$`, q.Get("echostr"))
				nonces[q.Get("nonce")], echoes[q.Get("echostr")] = true, true
			}
			assert.Len(t, nonces, 2)
			assert.Len(t, echoes, 2)
		})
	}
}

func TestVerifyCallback_CloudHosting(t *testing.T) {
	for _, test := range []struct {
		name, response, err string
		json                bool
		request             string
	}{
		{"XML", "success", "", false, "<xml><action><![CDATA[CheckContainerPath]]></action>\n</xml>"},
		{"JSON", "", "", true, `{"action":"CheckContainerPath"}`},
		{"another response", "ok", `status 200 and body "ok"`, true, `{"action":"CheckContainerPath"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv, c, _ := newScene(t, respond(test.response))
			srv.SetCallback(c.URL, wxtest.CallbackConfig{Mode: wxtest.CloudHosting, JSON: test.json})
			err := srv.VerifyCallback(t.Context())
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
			} else {
				require.NoError(t, err)
			}
			p := c.pushes()[0]
			assert.Equal(t, http.MethodPost, p.method)
			assert.Empty(t, p.query)
			assert.Equal(t, test.request, p.body)
		})
	}
}

func TestVerifyCallback_WrongResponse(t *testing.T) {
	echoWith := func(status int, before, after string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, before)
			echo(w, r)
			io.WriteString(w, after)
		}
	}
	for name, test := range map[string]struct {
		handle http.HandlerFunc
		want   string
	}{
		"empty":                       {respond(""), `status 200 and body ""`},
		"the response to a push":      {respond("success"), `status 200 and body "success"`},
		"a line break after the echo": {echoWith(200, "", "\n"), `\n";`},
		"a byte order mark before it": {echoWith(200, "\ufeff", ""), `status 200 and body "\ufeff`},
		"a part of it": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, r.URL.Query().Get("echostr")[:18])
		}, "status 200"},
		"the echo with status 201": {echoWith(201, "", ""), "status 201"},
		"a redirect to the echo": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/echo" {
				echo(w, r)
				return
			}
			w.Header().Set("Location", "/echo?"+r.URL.RawQuery)
			w.WriteHeader(http.StatusFound)
		}, `status 302 and body ""`},
		"a body of 200 bytes":       {respond(strings.Repeat("x", 200)), `body "` + strings.Repeat("x", 200) + `";`},
		"a body of 201 bytes":       {respond(strings.Repeat("x", 200) + "y"), `body "` + strings.Repeat("x", 200) + `"…;`},
		"a body of more than 1 MiB": {echoWith(200, "", strings.Repeat("x", 1<<20)), `x"…;`},
		"a closed connection":       {cutConnection, "no response"},
		"an incomplete body": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			echo(w, r)
		}, "no response"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, c, _ := newScene(t, test.handle, wxtest.WithRetryStatus(), wxtest.WithFreshRetries())
			err := srv.VerifyCallback(t.Context())
			require.ErrorContains(t, err, test.want)
			assert.True(t, strings.HasPrefix(err.Error(), "wxtest: verify callback: "), err)
			assert.NotContains(t, err.Error(), "signature", "the URL is too long")
			assert.Less(t, len(err.Error()), 500)
			require.Len(t, c.pushes(), 1, "it is not retried")
			if !strings.Contains(test.want, "no response") {
				assert.ErrorContains(t, err, c.pushes()[0].query.Get("echostr"))
			}
		})
	}
}

func TestVerifyCallback_Timeout(t *testing.T) {
	for name, handle := range map[string]http.HandlerFunc{
		"no response": block,
		"the echo in a response that does not end": func(w http.ResponseWriter, r *http.Request) {
			echo(w, r)
			_ = http.NewResponseController(w).Flush()
			block(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv, _, _ := newScene(t, handle, wxtest.WithPushTimeout(20*time.Millisecond))
			err := srv.VerifyCallback(t.Context())
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}

func TestVerifyCallback_Ends(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(srv *wxtest.Server, cancel func())
		want error
	}{
		"with its context": {func(_ *wxtest.Server, cancel func()) { cancel() }, context.Canceled},
		"with the server":  {func(srv *wxtest.Server, _ func()) { srv.Close() }, http.ErrServerClosed},
	} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			entered := make(chan struct{})
			srv, c, _ := newScene(t, func(w http.ResponseWriter, r *http.Request) {
				close(entered)
				block(w, r)
			}, wxtest.WithPushTimeout(time.Hour))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error)
			go func() { done <- srv.VerifyCallback(ctx) }()
			<-entered
			test.end(srv, cancel)
			err := <-done
			require.ErrorIs(t, err, test.want)
			require.ErrorIs(t, srv.VerifyCallback(ctx), test.want)
			assert.Len(t, c.pushes(), 1, "no request after the end")
			srv.Close()
			c.Close()
		})
	}
}
