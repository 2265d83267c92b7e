package wxtest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

func TestFail_Responses(t *testing.T) {
	srv := newServer(t)
	for name, test := range map[string]struct {
		failure     wxtest.Failure
		wantStatus  int
		wantErrcode int
		wantBody    string // what the body begins with
	}{
		"a code":                       {wxtest.Failure{Code: 45009}, 200, 45009, `{"errcode":45009,"errmsg":"reach max api daily quota limit rid: `},
		"busy":                         {wxtest.Failure{Code: -1}, 200, -1, `{"errcode":-1,"errmsg":"system error rid: `},
		"a code that has no text":      {wxtest.Failure{Code: 99999}, 200, 99999, `{"errcode":99999,"errmsg":"unknown error rid: `},
		"a code with a status":         {wxtest.Failure{Code: 45011, Status: 429}, 429, 45011, `{"errcode":45011,`},
		"a code and a body":            {wxtest.Failure{Code: 48001, Body: "x"}, 200, 48001, `{"errcode":48001,`},
		"a status":                     {wxtest.Failure{Status: 502}, 502, 0, "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1>"},
		"a status with a body":         {wxtest.Failure{Status: 502, Body: "oh"}, 502, 0, "oh"},
		"a body":                       {wxtest.Failure{Body: "<html>proxy</html>"}, 200, 0, "<html>proxy</html>"},
		"the highest status":           {wxtest.Failure{Status: 999}, 999, 0, "<html>"},
		"an invalid status":            {wxtest.Failure{Status: 1000, Body: "oh"}, 200, 0, "oh"},
		"an informational status":      {wxtest.Failure{Status: 199, Body: "oh"}, 200, 0, "oh"},
		"a status that allows no body": {wxtest.Failure{Status: 204, Body: "oh"}, 204, 0, ""},
		"zero":                         {wxtest.Failure{}, 200, 0, `{"access_token":"`},
		"only an invalid status":       {wxtest.Failure{Status: 42}, 200, 0, `{"access_token":"`},
	} {
		t.Run(name, func(t *testing.T) {
			srv.Fail("token", 1, test.failure)
			r := send(t, http.MethodGet, legacyURL(srv), "")
			assert.Equal(t, test.wantStatus, r.status)
			assert.Equal(t, test.wantErrcode, r.Errcode)
			assert.True(t, strings.HasPrefix(r.body, test.wantBody), r.body)
			legacyToken(t, srv) // the next request succeeds
		})
	}
}

func TestFail_QueuesByEndpoint(t *testing.T) {
	srv := newServer(t)
	srv.Fail(wxtest.EndpointToken, 2, wxtest.Failure{Code: 45009})
	srv.Fail(wxtest.EndpointStableToken, 1, wxtest.Failure{Code: 50004})
	srv.Fail("cgi-bin/token", 1, wxtest.Failure{}) // lets one request succeed
	srv.Fail("token/", 1, wxtest.Failure{Code: -1})
	srv.Fail("token", 0, wxtest.Failure{Code: 48001})
	srv.Fail("token", -1, wxtest.Failure{Code: 48001})
	srv.Fail("en", 9, wxtest.Failure{Code: 48001})      // not a suffix at a slash
	srv.Fail("", 9, wxtest.Failure{Code: 48001})        // not a path
	srv.Fail("/", 9, wxtest.Failure{Code: 48001})       // not a path
	srv.Fail("x/token", 9, wxtest.Failure{Code: 48001}) // another path

	var got []int
	for range 5 {
		got = append(got, send(t, http.MethodGet, legacyURL(srv), "").Errcode)
	}
	assert.Equal(t, []int{45009, 45009, 0, -1, 0}, got)
	srv.Fail("user/info", 1, wxtest.Failure{Code: 48001})
	info := srv.URL() + "/cgi-bin/user/info"
	assert.Equal(t, 48001, send(t, http.MethodGet, info, "").Errcode, "another path")
	assert.Equal(t, 404, send(t, http.MethodGet, info, "").status)
	stable := srv.URL() + wxtest.EndpointStableToken
	assert.Equal(t, 50004, send(t, http.MethodPost, stable, "").Errcode)
	assert.Equal(t, 44002, send(t, http.MethodPost, stable, "").Errcode)
}

func TestServer_Calls(t *testing.T) {
	srv := newServer(t)
	assert.Zero(t, srv.Calls("token"))
	srv.Fail("token", 1, wxtest.Failure{Status: 500})
	send(t, http.MethodGet, legacyURL(srv), "")
	send(t, http.MethodPost, legacyURL(srv), "")
	legacyToken(t, srv)
	stableToken(t, srv, false)
	create(t, srv, someCode)
	send(t, http.MethodGet, srv.URL()+"/cgi-bin/user/info", "")
	imageStatus(t, srv, "x")

	for endpoint, want := range map[string]int{
		wxtest.EndpointToken: 3, wxtest.EndpointStableToken: 2, wxtest.EndpointCreate: 1, wxtest.EndpointImage: 1,
		"token": 3, "stable_token": 2, "create": 1, "qrcode/create": 1, "showqrcode": 1, "user/info": 1, "": 0, "cgi-bin": 0,
	} {
		assert.Equal(t, want, srv.Calls(endpoint), endpoint)
	}
}

func TestFail_CutWithoutBody(t *testing.T) {
	srv := newServer(t)
	for _, failure := range []wxtest.Failure{
		{Cut: true},
		{Cut: true, Code: 45009, Status: 500},
		{Cut: true, Delay: time.Millisecond},
	} {
		srv.Fail("token", 1, failure)
		_, err := trySend(t.Context(), http.MethodGet, legacyURL(srv), "")
		assert.ErrorIs(t, err, io.EOF)
	}
	legacyToken(t, srv)
}

func TestFail_CutWithBody(t *testing.T) {
	srv := newServer(t)
	srv.Fail("token", 1, wxtest.Failure{Cut: true, Body: `{"access_token":"`})
	srv.Fail("token", 1, wxtest.Failure{Cut: true, Body: "x", Status: 503})
	r, err := trySend(t.Context(), http.MethodGet, legacyURL(srv), "")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, 200, r.status)
	assert.Equal(t, `{"access_token":"`, r.body)

	r, err = trySend(t.Context(), http.MethodGet, legacyURL(srv), "")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, 503, r.status)
}

func TestFail_CutIsNotRetriedByTransport(t *testing.T) {
	srv := newServer(t)
	once := wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: 1})
	client, err := wxqrcode.New(srv.AppID(), srv.AppSecret(), append(srv.Options(), once)...)
	require.NoError(t, err)
	code, err := client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneID(1)))
	require.NoError(t, err)

	srv.Fail("showqrcode", 1, wxtest.Failure{Cut: true})
	_, err = client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneID(2)))
	require.NoError(t, err)
	_, err = client.Image(t.Context(), code.Ticket)
	require.Error(t, err)
	assert.Equal(t, 1, srv.Calls("showqrcode"))
	_, err = client.Image(t.Context(), code.Ticket)
	require.NoError(t, err)
}

// waitForCall returns after a request to the endpoint.
func waitForCall(t *testing.T, srv *wxtest.Server, endpoint string) {
	t.Helper()
	require.Eventually(t, func() bool { return srv.Calls(endpoint) > 0 }, 10*time.Second, time.Millisecond)
}

func TestFail_DelayEndsWithClient(t *testing.T) {
	for endpoint, call := range map[string]func(context.Context, *wxtest.Server) (reply, error){
		"token": func(ctx context.Context, srv *wxtest.Server) (reply, error) {
			return trySend(ctx, http.MethodGet, legacyURL(srv), "")
		},
		"qrcode/create": func(ctx context.Context, srv *wxtest.Server) (reply, error) {
			return trySend(ctx, http.MethodPost, createURL(srv, "x"), someCode)
		},
	} {
		t.Run(endpoint, func(t *testing.T) {
			srv := newServer(t)
			srv.Fail(endpoint, 1, wxtest.Failure{Delay: time.Hour})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				_, err := call(ctx, srv)
				done <- err
			}()
			waitForCall(t, srv, endpoint)
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
			srv.Close() // would wait for the delay of an hour
		})
	}
}

func TestFail_Delay(t *testing.T) {
	srv := newServer(t)
	const delay = 30 * time.Millisecond
	srv.Fail("token", 1, wxtest.Failure{Delay: delay, Code: -1})
	start := time.Now()
	r := send(t, http.MethodGet, legacyURL(srv), "")
	assert.Equal(t, -1, r.Errcode)
	assert.GreaterOrEqual(t, time.Since(start), delay)
}

func TestClient_Failures(t *testing.T) {
	request := wxqrcode.Temporary(wxqrcode.SceneStr("door"), time.Hour)
	for name, test := range map[string]struct {
		failure wxtest.Failure
		want    error
	}{
		"quota exceeded": {wxtest.Failure{Code: 45009}, wxqrcode.ErrQuotaExceeded},
		"rate limited":   {wxtest.Failure{Code: 45011}, wxqrcode.ErrRateLimited},
		"not verified":   {wxtest.Failure{Code: 48001}, wxqrcode.ErrUnauthorized},
		"a proxy":        {wxtest.Failure{Body: "<html>log in</html>"}, wxqrcode.ErrUnexpectedResponse},
		"a wrong IP":     {wxtest.Failure{Code: 40164}, wxqrcode.ErrIPNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t)
			srv.Fail("qrcode/create", 1, test.failure)
			_, err := srv.Client().Create(t.Context(), request)
			require.ErrorIs(t, err, test.want)
			var apiErr *wxqrcode.APIError
			if errors.As(err, &apiErr) && test.failure.Code != 0 {
				assert.Equal(t, test.failure.Code, apiErr.Code)
				assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$`, apiErr.RequestID)
			}
		})
	}

	srv := newServer(t)
	srv.Fail("qrcode/create", 1, wxtest.Failure{Cut: true})
	_, err := srv.Client().Create(t.Context(), request)
	require.NoError(t, err, "the client retries")
	assert.Equal(t, 2, srv.Calls("qrcode/create"))
}

func TestFail_CutWithoutHijacker(t *testing.T) {
	srv := newServer(t)
	srv.Fail("token", 1, wxtest.Failure{Cut: true})
	r := httptest.NewRequest(http.MethodGet, "/cgi-bin/token", nil)
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { srv.ServeHTTP(httptest.NewRecorder(), r) })
}
