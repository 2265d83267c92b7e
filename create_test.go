package wxqrcode_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

const (
	createURL = "https://api.weixin.qq.com/cgi-bin/qrcode/create"
	goodCode  = `{"ticket":"gQH47joAAAA==","expire_seconds":60,"url":"http:\/\/weixin.qq.com\/q\/kZgfwMTm72WWPkovabbI"}`
)

// newMockClient returns a client whose requests the mock handles.
func newMockClient(t *testing.T, tokens wxqrcode.TokenProvider, opts ...wxqrcode.Option) (*wxqrcode.Client, *httpmock.MockTransport) {
	t.Helper()
	mock := httpmock.NewMockTransport()
	opts = append([]wxqrcode.Option{wxqrcode.WithHTTPClient(&http.Client{Transport: mock}), quiet}, opts...)
	client, err := wxqrcode.NewClient(tokens, opts...)
	require.NoError(t, err)
	return client, mock
}

func responses(bodies ...string) httpmock.Responder {
	next := 0
	return func(r *http.Request) (*http.Response, error) {
		body := bodies[min(next, len(bodies)-1)]
		next++
		return httpmock.NewStringResponder(http.StatusOK, body)(r)
	}
}

var aCode = wxqrcode.Temporary(wxqrcode.SceneID(123), 5*time.Minute)

func TestClient_CreateRequest(t *testing.T) {
	client, mock := newMockClient(t, wxqrcode.StaticToken("a+b/c=&d e"))
	mock.RegisterResponder(http.MethodPost, createURL, func(r *http.Request) (*http.Response, error) {
		assert.Equal(t, "access_token=a%2Bb%2Fc%3D%26d+e", r.URL.RawQuery)
		assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.JSONEq(t, `{"expire_seconds":300,"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":123}}}`, string(body))
		return httpmock.NewStringResponse(http.StatusOK, goodCode), nil
	})
	_, err := client.Create(t.Context(), aCode)
	require.NoError(t, err)
}

func TestClient_CreateResult(t *testing.T) {
	requested := wxqrcode.Temporary(wxqrcode.SceneStr("x"), 90*time.Second+time.Millisecond)
	for _, test := range []struct {
		name     string
		request  wxqrcode.Request
		response string
		lifetime time.Duration
		url      string
	}{
		{"granted lifetime, URL with escaped slashes", requested, goodCode, time.Minute, "http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI"},
		{"no granted lifetime: requested one in whole seconds", requested, `{"ticket":"t"}`, 90 * time.Second, ""},
		{"granted 0", requested, `{"ticket":"t","expire_seconds":0}`, 90 * time.Second, ""},
		{"granted a negative lifetime", requested, `{"ticket":"t","expire_seconds":-5}`, 90 * time.Second, ""},
		{"granted 1 s", requested, `{"ticket":"t","expire_seconds":1}`, time.Second, ""},
		{"granted 30 days", requested, `{"ticket":"t","expire_seconds":2592000}`, wxqrcode.MaxLifetime, ""},
		{"granted more than 30 days", requested, `{"ticket":"t","expire_seconds":2592001}`, 90 * time.Second, ""},
		{"granted lifetime overflows", requested, `{"ticket":"t","expire_seconds":99999999999999999999}`, 90 * time.Second, ""},
		{"granted lifetime is a string", requested, `{"ticket":"t","expire_seconds":"60"}`, 90 * time.Second, ""},
		{"permanent code", wxqrcode.Permanent(wxqrcode.SceneID(1)), goodCode, 0, "http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI"},
		{"no lifetime for a permanent text code", wxqrcode.Permanent(wxqrcode.SceneStr("x")), `{"ticket":"t","expire_seconds":1800}`, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, mock := newMockClient(t, wxqrcode.StaticToken("token"))
			mock.RegisterResponder(http.MethodPost, createURL, responses(test.response))
			before := time.Now()
			code, err := client.Create(t.Context(), test.request)
			require.NoError(t, err)
			assert.NotEmpty(t, code.Ticket)
			assert.Equal(t, test.url, code.URL)
			assert.Equal(t, test.lifetime, code.Lifetime)
			if test.lifetime == 0 {
				assert.Zero(t, code.ExpiresAt)
				return
			}
			assert.False(t, code.ExpiresAt.Before(before.Add(test.lifetime).Round(0)))
			assert.False(t, code.ExpiresAt.After(time.Now().Add(test.lifetime)))
		})
	}
}

func TestClient_CreateUnexpectedResponse(t *testing.T) {
	for _, test := range []struct{ name, response, text string }{
		{"no ticket", `{"url":"http://weixin.qq.com/q/x"}`, "no ticket"},
		{"an empty ticket", `{"ticket":""}`, "no ticket"},
		{"an empty object", `{}`, "no ticket"},
		{"errcode 0 alone", `{"errcode":0,"errmsg":"ok"}`, "no ticket"},
		{"an empty body", ``, "not the JSON"},
		{"a truncated body", `{"ticket":"gQH4`, "not the JSON"},
		{"a ticket that is a number", `{"ticket":5}`, "not the JSON"},
		{"a page", `<html>captive portal</html>`, "proxy"},
		{"an errmsg that is a number", `{"errcode":40013,"errmsg":5}`, "not the JSON"},
		{"null", `null`, "no ticket"},
		{"an array", `[]`, "not the JSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, mock := newMockClient(t, wxqrcode.StaticToken("token"))
			mock.RegisterResponder(http.MethodPost, createURL, responses(test.response))
			code, err := client.Create(t.Context(), aCode)
			require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
			assert.Nil(t, code)
			assert.ErrorContains(t, err, "wxqrcode: create: ")
			assert.ErrorContains(t, err, test.text)
			assert.NotContains(t, err.Error(), "gQH4", "a body is never quoted")
			assert.NotContains(t, err.Error(), "<html>")
			assert.Equal(t, 1, mock.GetTotalCallCount(), "no retry")
		})
	}
}

func TestClient_CreateInvalidRequest(t *testing.T) {
	client, mock := newMockClient(t, wxqrcode.TokenProviderFunc(func(context.Context) (string, error) {
		t.Error("a token was requested")
		return "token", nil
	}))
	code, err := client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneID(wxqrcode.MaxPermanentID+1)))
	require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
	assert.Nil(t, code)
	assert.Zero(t, mock.GetTotalCallCount())
}

func TestClient_CreateAPIError(t *testing.T) {
	for _, test := range []struct {
		name, response string
		want           wxqrcode.APIError
	}{
		{
			"with a rid", `{"errcode":40013,"errmsg":"invalid appid rid: 5f69b2e4-53f3fc1f-093ca3a3"}`,
			wxqrcode.APIError{Op: "create", Code: 40013, Message: "invalid appid", RequestID: "5f69b2e4-53f3fc1f-093ca3a3", HTTPStatus: 200},
		},
		{
			"with a comma before the rid", `{"errcode":48001,"errmsg":"api unauthorized, rid: 5f69b2e4-53f3fc1f-093ca3a3"}`,
			wxqrcode.APIError{Op: "create", Code: 48001, Message: "api unauthorized,", RequestID: "5f69b2e4-53f3fc1f-093ca3a3", HTTPStatus: 200},
		},
		{
			"with a hint", `{"errcode":40053,"errmsg":"invalid action info hint: [KJZfAa0644e575]"}`,
			wxqrcode.APIError{Op: "create", Code: 40053, Message: "invalid action info", RequestID: "KJZfAa0644e575", HTTPStatus: 200},
		},
		{
			"with a hint in the middle", `{"errcode":40164,"errmsg":"invalid ip 1.2.3.4 hint: [Kf], not in whitelist"}`,
			wxqrcode.APIError{Op: "create", Code: 40164, Message: "invalid ip 1.2.3.4, not in whitelist", RequestID: "Kf", HTTPStatus: 200},
		},
		{
			"with hints", `{"errcode":40001,"errmsg":"invalid credential hints: [ req_id: dIaOLa0186s154 ]"}`,
			wxqrcode.APIError{Op: "create", Code: 40001, Message: "invalid credential", RequestID: "dIaOLa0186s154", HTTPStatus: 200},
		},
		{
			"with neither", `{"errcode":45029,"errmsg":"reach max limit, hybrid: no"}`,
			wxqrcode.APIError{Op: "create", Code: 45029, Message: "reach max limit, hybrid: no", HTTPStatus: 200},
		},
		{
			"with control characters", `{"errcode":45029,"errmsg":"a\nb\u0000c"}`,
			wxqrcode.APIError{Op: "create", Code: 45029, Message: "a b c", HTTPStatus: 200},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, mock := newMockClient(t, wxqrcode.StaticToken("token"))
			mock.RegisterResponder(http.MethodPost, createURL, responses(test.response))
			_, err := client.Create(t.Context(), aCode)
			got, ok := errors.AsType[*wxqrcode.APIError](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, test.want, *got)
			assert.Equal(t, 1, mock.GetTotalCallCount(), "no retry")
		})
	}
}

// A tokenList provides its tokens in order and then the last one, and records
// which were rejected.
type tokenList struct {
	tokens   []string
	rejected []string
	err      error // in place of a token after the last
	requests int
}

func (l *tokenList) AccessToken(context.Context) (string, error) {
	l.requests++
	if l.requests > len(l.tokens) {
		if l.err != nil {
			return "", l.err
		}
		return l.tokens[len(l.tokens)-1], nil
	}
	return l.tokens[l.requests-1], nil
}

func (l *tokenList) InvalidateToken(_ context.Context, token string) {
	l.rejected = append(l.rejected, token)
}

func TestClient_CreateRetriesOnceWithAnotherToken(t *testing.T) {
	const (
		rejected    = `{"errcode":40001,"errmsg":"invalid credential rid: 1"}`
		malformed   = `{"errcode":40014,"errmsg":"invalid access_token"}`
		expired     = `{"errcode":42001,"errmsg":"access_token expired"}`
		missing     = `{"errcode":41001,"errmsg":"access_token missing"}`
		unsupported = `{"errcode":48001,"errmsg":"api unauthorized"}`
	)
	unavailable := errors.New("no token server")
	for _, test := range []struct {
		name      string
		tokens    tokenList
		responses []string
		is        []error
		sent      []string
		rejected  []string
	}{
		{"invalid, then good", tokenList{tokens: []string{"one", "two"}}, []string{rejected, goodCode}, nil, []string{"one", "two"}, []string{"one"}},
		{"malformed, then good", tokenList{tokens: []string{"one", "two"}}, []string{malformed, goodCode}, nil, []string{"one", "two"}, []string{"one"}},
		{"expired, then good", tokenList{tokens: []string{"one", "two"}}, []string{expired, goodCode}, nil, []string{"one", "two"}, []string{"one"}},
		{"rejected twice", tokenList{tokens: []string{"one", "two", "three"}}, []string{rejected, expired, goodCode}, []error{wxqrcode.ErrInvalidToken}, []string{"one", "two"}, []string{"one", "two"}},
		{"another error with the second token", tokenList{tokens: []string{"one", "two"}}, []string{rejected, unsupported}, []error{wxqrcode.ErrUnauthorized}, []string{"one", "two"}, []string{"one"}},
		{"the same token: no retry", tokenList{tokens: []string{"one"}}, []string{rejected}, []error{wxqrcode.ErrInvalidToken}, []string{"one"}, []string{"one"}},
		{"no second token: both errors", tokenList{tokens: []string{"one"}, err: unavailable}, []string{rejected}, []error{wxqrcode.ErrInvalidToken, unavailable}, []string{"one"}, []string{"one"}},
		{"missing token: no retry", tokenList{tokens: []string{"one", "two"}}, []string{missing}, []error{wxqrcode.ErrInvalidToken}, []string{"one"}, nil},
		{"any other error", tokenList{tokens: []string{"one", "two"}}, []string{unsupported}, []error{wxqrcode.ErrUnauthorized}, []string{"one"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, mock := newMockClient(t, &test.tokens)
			var sent []string
			response := responses(test.responses...)
			mock.RegisterResponder(http.MethodPost, createURL, func(r *http.Request) (*http.Response, error) {
				sent = append(sent, r.URL.Query().Get("access_token"))
				return response(r)
			})
			code, err := client.Create(t.Context(), aCode)
			for _, is := range test.is {
				require.ErrorIs(t, err, is)
			}
			if len(test.is) == 0 {
				require.NoError(t, err)
				assert.NotEmpty(t, code.Ticket)
			}
			assert.Equal(t, test.sent, sent)
			assert.Equal(t, test.rejected, test.tokens.rejected)
		})
	}
}

func TestClient_CreateWithoutTokenInvalidator(t *testing.T) {
	next := "one"
	client, mock := newMockClient(t, wxqrcode.TokenProviderFunc(func(context.Context) (string, error) {
		token := next
		next = "two"
		return token, nil
	}))
	mock.RegisterResponder(http.MethodPost, createURL, responses(`{"errcode":42001,"errmsg":"expired"}`, goodCode))
	_, err := client.Create(t.Context(), aCode)
	require.NoError(t, err)
	assert.Equal(t, 2, mock.GetTotalCallCount())
}

func TestClient_CreateWithoutToken(t *testing.T) {
	unavailable := errors.New("no token server")
	for _, test := range []struct {
		name   string
		tokens wxqrcode.TokenProvider
		is     error
	}{
		{"an error of the provider", &tokenList{err: unavailable}, unavailable},
		{"an empty token", wxqrcode.StaticToken(""), wxqrcode.ErrInvalidToken},
		{"a nil function", wxqrcode.TokenProviderFunc(nil), wxqrcode.ErrInvalidConfig},
		{"a nil TokenSource", (*wxqrcode.TokenSource)(nil), wxqrcode.ErrInvalidConfig},
		{"a zero TokenSource", new(wxqrcode.TokenSource), wxqrcode.ErrInvalidConfig},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, mock := newMockClient(t, test.tokens)
			_, err := client.Create(t.Context(), aCode)
			require.ErrorIs(t, err, test.is)
			assert.ErrorContains(t, err, "wxqrcode: create: ")
			assert.Zero(t, mock.GetTotalCallCount())
		})
	}
}

func TestClient_Zero(t *testing.T) {
	var client wxqrcode.Client
	_, err := client.Create(t.Context(), aCode)
	require.ErrorIs(t, err, wxqrcode.ErrInvalidConfig)
	_, err = client.Image(t.Context(), "ticket")
	require.ErrorIs(t, err, wxqrcode.ErrInvalidConfig)
	assert.Nil(t, client.TokenSource())
	assert.Equal(t, wxqrcode.Ticket("a+").ImageURL(), client.ImageURL("a+"))
}

func TestNewClient_RejectsInvalidOptions(t *testing.T) {
	_, err := wxqrcode.NewClient(nil)
	require.ErrorIs(t, err, wxqrcode.ErrInvalidConfig)

	_, err = wxqrcode.NewClient(wxqrcode.StaticToken("token"), nil, wxqrcode.WithHTTPClient(nil), wxqrcode.WithLogger(nil))
	require.NoError(t, err, "nil options mean the default")
	_, err = wxqrcode.NewClient(wxqrcode.StaticToken("token"), nil, wxqrcode.WithAPIURL("x"))
	require.ErrorIs(t, err, wxqrcode.ErrInvalidConfig, "options after a nil one")

	for _, test := range []struct {
		name string
		opt  wxqrcode.Option
	}{
		{"an empty API URL", wxqrcode.WithAPIURL("")},
		{"an API URL without a scheme", wxqrcode.WithAPIURL("api.weixin.qq.com")},
		{"an API URL with another scheme", wxqrcode.WithAPIURL("ftp://api.weixin.qq.com")},
		{"an API URL without a host", wxqrcode.WithAPIURL("https://")},
		{"an API URL with a query", wxqrcode.WithAPIURL("https://api.weixin.qq.com?access_token=hidden-value")},
		{"an API URL that is a query alone", wxqrcode.WithAPIURL("?access_token=hidden-value")},
		{"an API URL with an empty query", wxqrcode.WithAPIURL("https://api.weixin.qq.com?")},
		{"an API URL with a fragment", wxqrcode.WithAPIURL("https://api.weixin.qq.com#x")},
		{"an API URL with a password", wxqrcode.WithAPIURL("https://me:hidden-value@api.weixin.qq.com")},
		{"an invalid API URL with a password", wxqrcode.WithAPIURL("https://me:hidden-value@api weixin.qq.com?x=hidden-value")},
		{"an API URL with a control character", wxqrcode.WithAPIURL("https://api\n.weixin.qq.com")},
		{"an API URL with a password with an @", wxqrcode.WithAPIURL("ftp://me:hidden-value@hidden-value@api.weixin.qq.com")},
		{"a bad second API URL", wxqrcode.WithAPIURL("https://api.weixin.qq.com", "x")},
		{"a bad image URL", wxqrcode.WithImageURL("mp.weixin.qq.com")},
		{"a User-Agent with a line break", wxqrcode.WithUserAgent("a\nb")},
		{"a User-Agent that is not ASCII", wxqrcode.WithUserAgent("店")},
		{"a token store", wxqrcode.WithTokenStore(wxqrcode.NewMemoryStore())},
		{"the legacy token", wxqrcode.WithLegacyToken()},
		{"negative attempts", wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxAttempts: -1})},
		{"a negative base", wxqrcode.WithRetry(wxqrcode.RetryPolicy{BaseDelay: -1})},
		{"a negative maximum", wxqrcode.WithRetry(wxqrcode.RetryPolicy{MaxDelay: -1})},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, err := wxqrcode.NewClient(wxqrcode.StaticToken("token"), test.opt)
			require.ErrorIs(t, err, wxqrcode.ErrInvalidConfig)
			assert.Nil(t, client)
			assert.NotContains(t, err.Error(), "hidden-value")
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestOptions_URLs(t *testing.T) {
	client, mock := newMockClient(t, wxqrcode.StaticToken("t"),
		wxqrcode.WithAPIURL("http://ignored.example"), wxqrcode.WithAPIURL("http://sh.example:8080/"), wxqrcode.WithImageURL("https://images.example/"))
	mock.RegisterResponder(http.MethodPost, "http://sh.example:8080/cgi-bin/qrcode/create", responses(goodCode))
	mock.RegisterResponder(http.MethodGet, "https://images.example/cgi-bin/showqrcode", responses("\xff\xd8\xff\xe0"))
	_, err := client.Create(t.Context(), aCode)
	require.NoError(t, err)
	_, err = client.Image(t.Context(), "a+b")
	require.NoError(t, err)
	assert.Equal(t, "https://images.example/cgi-bin/showqrcode?ticket="+url.QueryEscape("a+b"), client.ImageURL("a+b"))
}

func TestOptions_URLsWithAPath(t *testing.T) {
	client, mock := newMockClient(t, wxqrcode.StaticToken("t"), wxqrcode.WithAPIURL("https://proxy.example/wechat/api/"), wxqrcode.WithImageURL("https://proxy.example/a%2Fb"))
	mock.RegisterResponder(http.MethodPost, "https://proxy.example/wechat/api/cgi-bin/qrcode/create", responses(goodCode))
	mock.RegisterResponder(http.MethodGet, "https://proxy.example/a%2Fb/cgi-bin/showqrcode", responses("\xff\xd8\xff\xe0"))
	_, err := client.Create(t.Context(), aCode)
	require.NoError(t, err)
	_, err = client.Image(t.Context(), "x")
	require.NoError(t, err)
	assert.Equal(t, "https://proxy.example/a%2Fb/cgi-bin/showqrcode?ticket=x", client.ImageURL("x"))
}

func TestNewCloudHosting_SendsNoToken(t *testing.T) {
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder(http.MethodPost, "http://api.weixin.qq.com/cgi-bin/qrcode/create", func(r *http.Request) (*http.Response, error) {
		assert.Empty(t, r.URL.RawQuery, "no access token")
		return respond(200, goodCode)
	})
	client, err := wxqrcode.NewCloudHosting(wxqrcode.WithHTTPClient(&http.Client{Transport: mock}), quiet)
	require.NoError(t, err)
	assert.Nil(t, client.TokenSource())
	_, err = client.Create(t.Context(), aCode)
	require.NoError(t, err)

	// There is no fallback host and no token to invalidate.
	mock.RegisterResponder(http.MethodPost, "http://api.weixin.qq.com/cgi-bin/qrcode/create", responses(`{"errcode":40001,"errmsg":"x"}`))
	_, err = client.Create(t.Context(), aCode)
	require.ErrorIs(t, err, wxqrcode.ErrInvalidToken)
	assert.Equal(t, 2, mock.GetTotalCallCount())

	for _, opt := range []wxqrcode.Option{wxqrcode.WithLegacyToken(), wxqrcode.WithTokenStore(wxqrcode.NewMemoryStore()), wxqrcode.WithAPIURL("x")} {
		_, err := wxqrcode.NewCloudHosting(opt)
		require.ErrorIs(t, err, wxqrcode.ErrInvalidConfig)
	}
}

func TestNew_SharesItsTokenSource(t *testing.T) {
	server := &tokenServer{handle: numbered}
	client, err := wxqrcode.New(testAppID, testSecret, quiet, wxqrcode.WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/cgi-bin/qrcode/create" {
			assert.Equal(t, "token-1", r.URL.Query().Get("access_token"))
			return respond(200, goodCode)
		}
		return server.RoundTrip(r)
	})}))
	require.NoError(t, err)
	requireToken(t, client.TokenSource(), "token-1")
	_, err = client.Create(t.Context(), aCode)
	require.NoError(t, err)
	assert.Equal(t, 1, server.count())

	_, err = wxqrcode.New(testAppID, testSecret, wxqrcode.WithTokenStore(wxqrcode.NewMemoryStore()), wxqrcode.WithLegacyToken())
	require.NoError(t, err)
	_, err = wxqrcode.New(testAppID, testSecret, wxqrcode.WithAPIURL("x"))
	require.ErrorIs(t, err, wxqrcode.ErrInvalidConfig)
}
