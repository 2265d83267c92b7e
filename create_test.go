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

// newMockClient returns a client whose calls all go to the mock.
func newMockClient(t *testing.T, tokens wxqrcode.TokenProvider, opts ...wxqrcode.ClientOption) (*wxqrcode.Client, *httpmock.MockTransport) {
	t.Helper()
	mock := httpmock.NewMockTransport()
	opts = append([]wxqrcode.ClientOption{wxqrcode.WithHTTPClient(&http.Client{Transport: mock})}, opts...)
	client, err := wxqrcode.NewClient(tokens, opts...)
	require.NoError(t, err)
	return client, mock
}

func answers(bodies ...string) httpmock.Responder {
	next := 0
	return func(r *http.Request) (*http.Response, error) {
		body := bodies[min(next, len(bodies)-1)]
		next++
		return httpmock.NewStringResponder(http.StatusOK, body)(r)
	}
}

var aCode = wxqrcode.Temporary(wxqrcode.SceneID(123), 5*time.Minute)

func TestCreateSendsTheBodyOfTheRequestWithTheTokenEscaped(t *testing.T) {
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

func TestCreateReturnsWhatWasGranted(t *testing.T) {
	asked := wxqrcode.Temporary(wxqrcode.SceneStr("x"), 90*time.Second+time.Millisecond)
	for _, test := range []struct {
		name     string
		request  wxqrcode.Request
		answer   string
		lifetime time.Duration
		url      string
	}{
		{"the granted lifetime and the URL without its backslashes", asked, goodCode, time.Minute, "http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI"},
		{"the asked lifetime in whole seconds where none is granted", asked, `{"ticket":"t"}`, 90 * time.Second, ""},
		{"the asked lifetime where zero is granted", asked, `{"ticket":"t","expire_seconds":0}`, 90 * time.Second, ""},
		{"the asked lifetime where less than nothing is granted", asked, `{"ticket":"t","expire_seconds":-5}`, 90 * time.Second, ""},
		{"the least lifetime that can be granted", asked, `{"ticket":"t","expire_seconds":1}`, time.Second, ""},
		{"the longest lifetime that can be granted", asked, `{"ticket":"t","expire_seconds":2592000}`, wxqrcode.MaxLifetime, ""},
		{"the asked lifetime where more than the longest is granted", asked, `{"ticket":"t","expire_seconds":2592001}`, 90 * time.Second, ""},
		{"the asked lifetime where what is granted overflows", asked, `{"ticket":"t","expire_seconds":99999999999999999999}`, 90 * time.Second, ""},
		{"the asked lifetime where what is granted is no number", asked, `{"ticket":"t","expire_seconds":"60"}`, 90 * time.Second, ""},
		{"no lifetime for a permanent code, whatever the answer says", wxqrcode.Permanent(wxqrcode.SceneID(1)), goodCode, 0, "http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI"},
		{"no lifetime for a permanent text code", wxqrcode.Permanent(wxqrcode.SceneStr("x")), `{"ticket":"t","expire_seconds":1800}`, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, mock := newMockClient(t, wxqrcode.StaticToken("token"))
			mock.RegisterResponder(http.MethodPost, createURL, answers(test.answer))
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

func TestCreateFailsForAnAnswerThatIsNoCode(t *testing.T) {
	for _, test := range []struct{ name, answer, says string }{
		{"no ticket", `{"url":"http://weixin.qq.com/q/x"}`, "no ticket"},
		{"an empty ticket", `{"ticket":""}`, "no ticket"},
		{"an empty object", `{}`, "no ticket"},
		{"errcode 0 alone", `{"errcode":0,"errmsg":"ok"}`, "no ticket"},
		{"an empty body", ``, "HTTP status 200: not the JSON that was expected"},
		{"half a body", `{"ticket":"gQH4`, `{\"ticket\":\"gQH4`},
		{"a ticket that is no string", `{"ticket":5}`, "not the JSON"},
		{"a page", `<html>captive portal</html>`, "<html>captive portal</html>"},
		{"an errmsg that is no string", `{"errcode":40013,"errmsg":5}`, "not the JSON"},
		{"null", `null`, "no ticket"},
		{"an array", `[]`, "not the JSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, mock := newMockClient(t, wxqrcode.StaticToken("token"))
			mock.RegisterResponder(http.MethodPost, createURL, answers(test.answer))
			code, err := client.Create(t.Context(), aCode)
			require.ErrorIs(t, err, wxqrcode.ErrUnexpectedResponse)
			assert.Nil(t, code)
			assert.ErrorContains(t, err, "wxqrcode: create: ")
			assert.ErrorContains(t, err, test.says)
			assert.NotContains(t, err.Error(), `""`, "nothing is not quoted")
			assert.Equal(t, 1, mock.GetTotalCallCount(), "is not tried again")
		})
	}
}

func TestCreateSendsNothingForAnInvalidRequest(t *testing.T) {
	client, mock := newMockClient(t, wxqrcode.TokenProviderFunc(func(context.Context) (string, error) {
		t.Error("asked for a token")
		return "token", nil
	}))
	code, err := client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneID(wxqrcode.MaxPermanentID+1)))
	require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
	assert.Nil(t, code)
	assert.Zero(t, mock.GetTotalCallCount())
}

func TestCreateReturnsAnAPIError(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		want         wxqrcode.APIError
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
			"with neither", `{"errcode":45009,"errmsg":"reach max api daily quota limit, hybrid: no"}`,
			wxqrcode.APIError{Op: "create", Code: 45009, Message: "reach max api daily quota limit, hybrid: no", HTTPStatus: 200},
		},
		{
			"with line breaks, which go", `{"errcode":45009,"errmsg":"a\nb\u0000c"}`,
			wxqrcode.APIError{Op: "create", Code: 45009, Message: "a b c", HTTPStatus: 200},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, mock := newMockClient(t, wxqrcode.StaticToken("token"))
			mock.RegisterResponder(http.MethodPost, createURL, answers(test.answer))
			_, err := client.Create(t.Context(), aCode)
			got, ok := errors.AsType[*wxqrcode.APIError](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, test.want, *got)
			assert.Equal(t, 1, mock.GetTotalCallCount(), "is not tried again")
		})
	}
}

// tokenList gives its tokens one after the other and then the last again, and
// notes which were refused.
type tokenList struct {
	tokens  []string
	refused []string
	err     error // in place of a token after the last
	asked   int
}

func (l *tokenList) AccessToken(context.Context) (string, error) {
	l.asked++
	if l.asked > len(l.tokens) {
		if l.err != nil {
			return "", l.err
		}
		return l.tokens[len(l.tokens)-1], nil
	}
	return l.tokens[l.asked-1], nil
}

func (l *tokenList) InvalidateToken(_ context.Context, token string) {
	l.refused = append(l.refused, token)
}

func TestCreateRepeatsOnceWithAnotherTokenAfterARefusedOne(t *testing.T) {
	const (
		refused     = `{"errcode":40001,"errmsg":"invalid credential, access_token is invalid or not latest rid: 1"}`
		malformed   = `{"errcode":40014,"errmsg":"invalid access_token"}`
		expired     = `{"errcode":42001,"errmsg":"access_token expired"}`
		missing     = `{"errcode":41001,"errmsg":"access_token missing"}`
		unsupported = `{"errcode":48001,"errmsg":"api unauthorized"}`
	)
	lost := errors.New("no token server")
	for _, test := range []struct {
		name    string
		tokens  tokenList
		answers []string
		is      []error
		sent    []string
		refused []string
	}{
		{"invalid, then good", tokenList{tokens: []string{"one", "two"}}, []string{refused, goodCode}, nil, []string{"one", "two"}, []string{"one"}},
		{"malformed, then good", tokenList{tokens: []string{"one", "two"}}, []string{malformed, goodCode}, nil, []string{"one", "two"}, []string{"one"}},
		{"expired, then good", tokenList{tokens: []string{"one", "two"}}, []string{expired, goodCode}, nil, []string{"one", "two"}, []string{"one"}},
		{"refused twice: told twice, and returned", tokenList{tokens: []string{"one", "two", "three"}}, []string{refused, expired, goodCode}, []error{wxqrcode.ErrInvalidToken}, []string{"one", "two"}, []string{"one", "two"}},
		{"another error at the second call", tokenList{tokens: []string{"one", "two"}}, []string{refused, unsupported}, []error{wxqrcode.ErrUnauthorized}, []string{"one", "two"}, []string{"one"}},
		{"the same token again: not repeated", tokenList{tokens: []string{"one"}}, []string{refused}, []error{wxqrcode.ErrInvalidToken}, []string{"one"}, []string{"one"}},
		{"no token again: both errors", tokenList{tokens: []string{"one"}, err: lost}, []string{refused}, []error{wxqrcode.ErrInvalidToken, lost}, []string{"one"}, []string{"one"}},
		{"a missing token is our fault, and another one no help", tokenList{tokens: []string{"one", "two"}}, []string{missing}, []error{wxqrcode.ErrInvalidToken}, []string{"one"}, nil},
		{"any other error", tokenList{tokens: []string{"one", "two"}}, []string{unsupported}, []error{wxqrcode.ErrUnauthorized}, []string{"one"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, mock := newMockClient(t, &test.tokens)
			var sent []string
			answer := answers(test.answers...)
			mock.RegisterResponder(http.MethodPost, createURL, func(r *http.Request) (*http.Response, error) {
				sent = append(sent, r.URL.Query().Get("access_token"))
				return answer(r)
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
			assert.Equal(t, test.refused, test.tokens.refused)
		})
	}
}

func TestCreateWorksWithAProviderThatCannotBeTold(t *testing.T) {
	next := "one"
	client, mock := newMockClient(t, wxqrcode.TokenProviderFunc(func(context.Context) (string, error) {
		token := next
		next = "two"
		return token, nil
	}))
	mock.RegisterResponder(http.MethodPost, createURL, answers(`{"errcode":42001,"errmsg":"expired"}`, goodCode))
	_, err := client.Create(t.Context(), aCode)
	require.NoError(t, err)
	assert.Equal(t, 2, mock.GetTotalCallCount())
}

func TestCreateFailsWithoutAToken(t *testing.T) {
	lost := errors.New("no token server")
	for _, test := range []struct {
		name   string
		tokens wxqrcode.TokenProvider
		is     error
	}{
		{"the provider's own error", &tokenList{err: lost}, lost},
		{"an empty token", wxqrcode.StaticToken(""), wxqrcode.ErrInvalidToken},
		{"a nil function", wxqrcode.TokenProviderFunc(nil), wxqrcode.ErrInvalidRequest},
		{"a zero TokenSource", new(wxqrcode.TokenSource), wxqrcode.ErrInvalidRequest},
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

func TestTheZeroClientIsRefused(t *testing.T) {
	var client wxqrcode.Client
	_, err := client.Create(t.Context(), aCode)
	require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
	_, err = client.Image(t.Context(), "ticket")
	require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
	assert.Equal(t, wxqrcode.Ticket("a+").ImageURL(), client.ImageURL("a+"))
}

func TestNewClientRefusesWhatItCannotUse(t *testing.T) {
	_, err := wxqrcode.NewClient(nil)
	require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
	assert.ErrorContains(t, err, "TokenProvider is nil")
	var source *wxqrcode.TokenSource // whose error was not looked at
	_, err = wxqrcode.NewClient(source)
	require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)

	_, err = wxqrcode.NewClient(wxqrcode.StaticToken("token"), nil, wxqrcode.WithHTTPClient(nil), wxqrcode.WithLogger(nil))
	require.NoError(t, err, "nil options mean the default")
	_, err = wxqrcode.NewClient(wxqrcode.StaticToken("token"), nil, wxqrcode.WithAPIURL("x"))
	require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest, "those behind a nil one count")

	for _, test := range []struct {
		name string
		opt  wxqrcode.ClientOption
	}{
		{"an empty API URL", wxqrcode.WithAPIURL("")},
		{"an API URL without a scheme", wxqrcode.WithAPIURL("api.weixin.qq.com")},
		{"an API URL with another scheme", wxqrcode.WithAPIURL("ftp://api.weixin.qq.com")},
		{"an API URL without a host", wxqrcode.WithAPIURL("https://")},
		{"an API URL with a path", wxqrcode.WithAPIURL("https://api.weixin.qq.com/cgi-bin")},
		{"an API URL with a query", wxqrcode.WithAPIURL("https://api.weixin.qq.com?access_token=hidden-value")},
		{"an API URL that is a query alone", wxqrcode.WithAPIURL("?access_token=hidden-value")},
		{"an API URL with an empty query", wxqrcode.WithAPIURL("https://api.weixin.qq.com?")},
		{"an API URL with a fragment", wxqrcode.WithAPIURL("https://api.weixin.qq.com#x")},
		{"an API URL with a password", wxqrcode.WithAPIURL("https://me:hidden-value@api.weixin.qq.com")},
		{"an API URL that is none, with a password", wxqrcode.WithAPIURL("https://me:hidden-value@api weixin.qq.com?x=hidden-value")},
		{"an API URL with a control character", wxqrcode.WithAPIURL("https://api\n.weixin.qq.com")},
		{"an API URL with a password with an @", wxqrcode.WithAPIURL("ftp://me:hidden-value@hidden-value@api.weixin.qq.com")},
		{"a bad second API URL", wxqrcode.WithAPIURL("https://api.weixin.qq.com", "x")},
		{"a bad image URL", wxqrcode.WithImageURL("mp.weixin.qq.com")},
		{"negative attempts", wxqrcode.WithRetry(wxqrcode.Retry{Attempts: -1})},
		{"a negative base", wxqrcode.WithRetry(wxqrcode.Retry{Base: -1})},
		{"a negative maximum", wxqrcode.WithRetry(wxqrcode.Retry{Max: -1})},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, err := wxqrcode.NewClient(wxqrcode.StaticToken("token"), test.opt)
			require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
			assert.Nil(t, client)
			assert.NotContains(t, err.Error(), "hidden-value")
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestOptionsChooseTheHosts(t *testing.T) {
	client, mock := newMockClient(t, wxqrcode.StaticToken("t"),
		wxqrcode.WithAPIURL("http://ignored.example"), wxqrcode.WithAPIURL("http://sh.example:8080/"), wxqrcode.WithImageURL("https://pictures.example/"))
	mock.RegisterResponder(http.MethodPost, "http://sh.example:8080/cgi-bin/qrcode/create", answers(goodCode))
	mock.RegisterResponder(http.MethodGet, "https://pictures.example/cgi-bin/showqrcode", answers("\xff\xd8\xff\xe0"))
	_, err := client.Create(t.Context(), aCode)
	require.NoError(t, err)
	_, err = client.Image(t.Context(), "a+b")
	require.NoError(t, err)
	assert.Equal(t, "https://pictures.example/cgi-bin/showqrcode?ticket="+url.QueryEscape("a+b"), client.ImageURL("a+b"))
}
