package wxtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/leak"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

func TestNewServer_WithAppID(t *testing.T) {
	const appID = "wx0123456789abcdef"
	srv := newServer(t, wxtest.WithAppID(appID))
	assert.Equal(t, appID, srv.AppID())
	assert.Equal(t, "door", sceneOf(t, srv, create(t, srv, someCode).Ticket), "tokens and pushes are of that account")
	assert.NotEmpty(t, newServer(t, wxtest.WithAppID("")).AppID())
}

func TestNewServer_HasNewAccount(t *testing.T) {
	a, b := newServer(t), newServer(t)
	assert.Regexp(t, `^http://127\.0\.0\.1:\d+$`, a.URL())
	assert.Regexp(t, `^wx[0-9a-f]{16}$`, a.AppID())
	assert.Regexp(t, `^[0-9a-f]{32}$`, a.AppSecret())
	assert.NotEqual(t, a.URL(), b.URL())
	assert.NotEqual(t, a.AppID(), b.AppID())
	assert.NotEqual(t, a.AppSecret(), b.AppSecret())
}

func TestServer_ClientHasNewTokenSource(t *testing.T) {
	srv := newServer(t)
	request := wxqrcode.Permanent(wxqrcode.SceneID(1))
	for range 2 {
		client := srv.Client()
		for range 2 {
			_, err := client.Create(t.Context(), request)
			require.NoError(t, err)
		}
	}
	assert.Equal(t, 2, srv.Calls("stable_token"))
	assert.Equal(t, 4, srv.Calls("qrcode/create"))
}

func TestServer_ConcurrentUse(t *testing.T) {
	srv := newServer(t)
	c := newRecorder(t, nil)
	client := srv.Client()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token", EncodingAESKey: aesKey, Mode: wxtest.Mode(i % 3)})
			srv.Fail("qrcode/create", 1, wxtest.Failure{Code: -1})
			code, err := client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneID(uint32(i%4+1))))
			if err != nil {
				assert.ErrorIs(t, err, wxqrcode.ErrSystemBusy)
				return
			}
			_, err = srv.Scan(t.Context(), code.Ticket, "o-"+strconv.Itoa(i))
			assert.NoError(t, err)
			_, err = srv.SendText(t.Context(), "o-"+strconv.Itoa(i), "hello")
			assert.NoError(t, err)
			assert.ErrorContains(t, srv.VerifyCallback(t.Context()), "status 200")
			_, err = srv.Unfollow(t.Context(), "o-"+strconv.Itoa(i))
			assert.NoError(t, err)
			_, err = client.Image(t.Context(), code.Ticket)
			assert.NoError(t, err)
			srv.Calls("qrcode/create")
		})
	}
	wg.Wait()
}

func TestClose_LeavesNoGoroutine(t *testing.T) {
	leak.Check(t)
	srv := wxtest.NewServer()
	c := newRecorder(t, nil)
	srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token"})
	client := srv.Client()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			code, err := client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneID(uint32(i+1))))
			if assert.NoError(t, err) {
				_, err = srv.Scan(t.Context(), code.Ticket, openID)
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	srv.Close()
	srv.Close() // no effect
	c.Close()
}

func TestClose_EndsDelay(t *testing.T) {
	leak.Check(t)
	srv := wxtest.NewServer()
	srv.Fail("token", 1, wxtest.Failure{Delay: time.Hour, Code: -1})
	done := make(chan error)
	go func() {
		_, err := trySend(t.Context(), http.MethodGet, legacyURL(srv), "")
		done <- err
	}()
	waitForCall(t, srv, "token")
	srv.Close()
	assert.Error(t, <-done, "no response, not even the injected one")
}

func TestClose_EndsPush(t *testing.T) {
	leak.Check(t)
	entered := make(chan struct{})
	srv, c, ticket := newScene(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}, wxtest.WithPushTimeout(time.Hour))
	type result struct {
		delivery *wxtest.Delivery
		err      error
	}
	done := make(chan result)
	go func() {
		d, err := srv.Scan(t.Context(), ticket, openID)
		done <- result{d, err}
	}()
	<-entered
	go srv.Close() // two at once
	srv.Close()
	got := <-done
	require.ErrorIs(t, got.err, http.ErrServerClosed)
	assertDelivery(t, 0, "", 1, got.delivery)
	assert.Len(t, c.pushes(), 1)
	c.Close()
}

func TestClose_InCallback(t *testing.T) {
	leak.Check(t)
	var srv *wxtest.Server
	closed := make(chan struct{})
	var c *recorder
	var ticket wxqrcode.Ticket
	srv, c, ticket = newScene(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("openid") == openID {
			_, err := srv.Scan(r.Context(), ticket, "o-another")
			assert.NoError(t, err)
			srv.Close()
			close(closed)
		}
	})
	_, err := srv.Scan(t.Context(), ticket, openID)
	require.ErrorIs(t, err, http.ErrServerClosed)
	<-closed
	c.Close()
}

func TestClose_EndsService(t *testing.T) {
	srv, _, ticket := newScene(t, nil)
	srv.Close()
	d, err := srv.Scan(t.Context(), ticket, openID)
	require.ErrorIs(t, err, http.ErrServerClosed)
	assert.Nil(t, d)
	_, err = srv.Unfollow(t.Context(), openID)
	require.ErrorIs(t, err, http.ErrServerClosed)
	_, err = srv.SendText(t.Context(), openID, "hello")
	require.ErrorIs(t, err, http.ErrServerClosed)
	require.ErrorIs(t, srv.VerifyCallback(t.Context()), http.ErrServerClosed)
	_, err = trySend(t.Context(), http.MethodGet, legacyURL(srv), "")
	require.Error(t, err)
	srv.SetCallback("http://127.0.0.1:1", wxtest.CallbackConfig{})
	srv.Fail("token", 1, wxtest.Failure{Cut: true})
	srv.RevokeTokens()
	assert.Equal(t, 1, srv.Calls("qrcode/create"))
}

func TestServer_FormatIsRedacted(t *testing.T) {
	srv := wxtest.NewServer()
	defer srv.Close()
	cfg := wxtest.CallbackConfig{Token: "callback-token", EncodingAESKey: "encoding-aes-key", Mode: wxtest.Secure, JSON: true}
	assert.Equal(t, "Mode(4)", wxtest.Mode(4).String())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		assert.Equal(t, "wxtest.Server("+srv.AppID()+" "+srv.URL()+")", fmt.Sprintf(verb, srv))
		assert.Equal(t, "wxtest.CallbackConfig(mode secure, json true)", fmt.Sprintf(verb, cfg))
	}
}

func TestServer_ServeHTTP(t *testing.T) {
	srv := newServer(t)
	elsewhere := httptest.NewServer(srv)
	defer elsewhere.Close()
	client, err := wxqrcode.New(srv.AppID(), srv.AppSecret(), wxqrcode.WithAPIURL(elsewhere.URL), wxqrcode.WithImageURL(elsewhere.URL))
	require.NoError(t, err)
	code, err := client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneStr("poster")))
	require.NoError(t, err)
	_, err = client.Image(t.Context(), code.Ticket)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, imageStatus(t, srv, code.Ticket), "the same codes at its own URL")
	assert.Equal(t, 1, srv.Calls("qrcode/create"))
}

func TestServer_ErrorTexts(t *testing.T) {
	srv, _, ticket := newScene(t, cutConnection, wxtest.WithRetryStatus())
	ctx := t.Context()
	second := func(_ any, err error) error { return err }
	srv.Follow("o-ann")
	for _, tt := range []struct {
		err  error
		want string
	}{
		{second(srv.Scan(ctx, ticket, "")), `wxtest: scan: openid "" must be text that XML allows, and not empty`},
		{second(srv.Scan(ctx, "gQ", "o-ann")), `wxtest: scan: ticket "gQ" has no code on this server: wxqrcode: ticket not found`},
		{second(srv.Scan(ctx, ticket, "o-ann")), "wxtest: scan: no response to the push in 3 tries: EOF"},
		{second(srv.Unfollow(ctx, "o-bob")), `wxtest: unfollow: "o-bob" is not a follower; Scan or Follow makes one`},
		{second(srv.SendText(ctx, "o-ann", "")), "wxtest: send text: content has 0 bytes; it must have 1 to 2048"},
		{second((*wxtest.Delivery)(nil).Reply()), "wxtest: reply: there is no response"},
		{srv.VerifyCallback(ctx), "wxtest: verify callback: token verification failed: no response: EOF"},
		{srv.Connect(nil), "wxtest: connect: the handler is nil"},
		{srv.Connect(http.NotFoundHandler()), "wxtest: connect: call CallbackConfig first; it chooses the mode"},
	} {
		assert.EqualError(t, tt.err, tt.want)
	}
}
