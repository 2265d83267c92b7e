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

// echo answers as a callback must.
func echo(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Query().Get("echostr")) }

// newVerified returns a server with a callback to verify.
func newVerified(t *testing.T, handle http.HandlerFunc, opts ...wxtest.Option) (*wxtest.Server, *callback) {
	t.Helper()
	srv := newServer(t, opts...)
	c := newCallback(t, handle)
	srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token"})
	return srv, c
}

func TestACallbackThatEchoesIsVerified(t *testing.T) {
	for name, cfg := range map[string]wxtest.CallbackConfig{
		"plain":        {Token: "some token"},
		"compatible":   {Token: "some token", EncodingAESKey: aesKey, Mode: wxtest.Compatible},
		"secure":       {Token: "some token", EncodingAESKey: aesKey, Mode: wxtest.Secure},
		"secure, JSON": {Token: "some token", EncodingAESKey: aesKey, Mode: wxtest.Secure, JSON: true},
	} {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			srv, c := newVerified(t, echo, wxtest.WithNow(clock.now))
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
				assert.Len(t, q, 5, "no openid, nothing of encryption")
				assert.Equal(t, "a", q.Get("channel"), "the URL's own query stays")
				assert.Equal(t, strconv.FormatInt(clock.now().Unix(), 10), q.Get("timestamp"))
				assert.Equal(t, wxcrypt.Signature("some token", q.Get("timestamp"), q.Get("nonce")), q.Get("signature"))
				assert.Regexp(t, `^[0-9]{19}$`, q.Get("echostr"))
				nonces[q.Get("nonce")], echoes[q.Get("echostr")] = true, true
			}
			assert.Len(t, nonces, 2)
			assert.Len(t, echoes, 2)
		})
	}
}

func TestAnotherAnswerThanTheEchoFailsTheVerificationAtOnce(t *testing.T) {
	echoWith := func(status int, before, after string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, before)
			echo(w, r)
			io.WriteString(w, after)
		}
	}
	answer := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }
	}
	for name, test := range map[string]struct {
		handle http.HandlerFunc
		want   string
	}{
		"nothing":                     {answer(""), `status 200 and body ""; it must have status 200 and the echostr `},
		"the answer of a push":        {answer("success"), `status 200 and body "success"`},
		"a line break after the echo": {echoWith(200, "", "\n"), `\n";`},
		"a byte order mark before it": {echoWith(200, "\ufeff", ""), `status 200 and body "\ufeff`},
		"quotes around it":            {echoWith(200, `"`, `"`), `status 200 and body "\"`},
		"a part of it": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, r.URL.Query().Get("echostr")[:18])
		}, "status 200"},
		"the echo with status 201": {echoWith(201, "", ""), "status 201"},
		"the echo with status 403": {echoWith(403, "", ""), "status 403"},
		"the echo with status 500": {echoWith(500, "", ""), "status 500"},
		"a redirect to the echo": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/echo" {
				echo(w, r)
				return
			}
			w.Header().Set("Location", "/echo?"+r.URL.RawQuery)
			w.WriteHeader(http.StatusFound)
		}, `status 302 and body ""`},
		"a body of 200 bytes":      {answer(strings.Repeat("x", 200)), `body "` + strings.Repeat("x", 200) + `";`},
		"a body of 201 bytes":      {answer(strings.Repeat("x", 200) + "y"), `body "` + strings.Repeat("x", 200) + `"…;`},
		"a body above 1 MiB":       {echoWith(200, "", strings.Repeat("x", 1<<20)), `x"…;`},
		"a connection that is cut": {func(w http.ResponseWriter, _ *http.Request) { cutConnection(w) }, "no answer: "},
		"a body that is not complete": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			echo(w, r)
		}, "no answer: "},
	} {
		t.Run(name, func(t *testing.T) {
			srv, c := newVerified(t, test.handle, wxtest.WithRetryStatus(), wxtest.WithFreshRetries())
			err := srv.VerifyCallback(t.Context())
			require.ErrorContains(t, err, test.want)
			assert.True(t, strings.HasPrefix(err.Error(), "wxtest: verify callback: token verification failed: "), err)
			assert.NotContains(t, err.Error(), "signature", "no long URL")
			assert.Less(t, len(err.Error()), 500)
			assert.Len(t, c.pushes(), 1, "it is not repeated")
		})
	}
}

func TestAFailedVerificationSaysWhichEchoWasMissed(t *testing.T) {
	srv, c := newVerified(t, nil)
	err := srv.VerifyCallback(t.Context())
	require.Len(t, c.pushes(), 1)
	assert.ErrorContains(t, err, "the echostr "+c.pushes()[0].query.Get("echostr")+" alone")
}

func TestACallbackThatIsTooSlowIsNotVerified(t *testing.T) {
	for name, handle := range map[string]http.HandlerFunc{
		"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"the echo, but no end": func(w http.ResponseWriter, r *http.Request) {
			echo(w, r)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv, _ := newVerified(t, handle, wxtest.WithPushTimeout(20*time.Millisecond))
			err := srv.VerifyCallback(t.Context())
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorContains(t, err, "token verification failed: no answer: not within 20ms")
		})
	}
}

func TestVerifyCallbackNeedsAGoodCallback(t *testing.T) {
	const place = "http://127.0.0.1:1/"
	for name, test := range map[string]struct {
		url  string
		cfg  wxtest.CallbackConfig
		want string
	}{
		"no callback":           {"", wxtest.CallbackConfig{}, "no callback is set"},
		"a URL without a host":  {"http:///hook", wxtest.CallbackConfig{}, "must begin with http"},
		"no key in secure mode": {place, wxtest.CallbackConfig{Mode: wxtest.Secure}, "EncodingAESKey"},
		"an unknown mode":       {place, wxtest.CallbackConfig{EncodingAESKey: aesKey, Mode: 3}, "unknown mode 3"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t)
			srv.SetCallback(test.url, test.cfg)
			err := srv.VerifyCallback(t.Context())
			require.ErrorContains(t, err, test.want)
			assert.True(t, strings.HasPrefix(err.Error(), "wxtest: verify callback: "), err)
			assert.NotContains(t, err.Error(), "token verification failed", "nobody was asked")
		})
	}
}

func TestContextEndsAVerification(t *testing.T) {
	entered := make(chan struct{})
	srv, c := newVerified(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}, wxtest.WithPushTimeout(time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	err := srv.VerifyCallback(ctx)
	require.ErrorIs(t, err, context.Canceled)
	assert.NotContains(t, err.Error(), "token verification failed", "the callback may be all right")
	require.ErrorIs(t, srv.VerifyCallback(ctx), context.Canceled)
	assert.Len(t, c.pushes(), 1, "nothing is sent any more")
}

func TestCloseEndsAVerification(t *testing.T) {
	leak.Check(t)
	entered := make(chan struct{})
	srv, c := newVerified(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}, wxtest.WithPushTimeout(time.Hour))
	done := make(chan error)
	go func() { done <- srv.VerifyCallback(t.Context()) }()
	<-entered
	srv.Close()
	err := <-done
	require.ErrorIs(t, err, http.ErrServerClosed)
	assert.NotContains(t, err.Error(), "token verification failed")
	c.Close()
}
