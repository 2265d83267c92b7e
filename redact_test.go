package wxqrcode_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// The secrets of these tests contain characters that each format escapes in
// another way, and plain letters that no format escapes.
const (
	hiddenToken  = "T0k/+=&%<plainlettersoftoken>"
	hiddenSecret = "S3c/+=&%<plainlettersofsecret>"
	hiddenNew    = "N3w/+=&%<plainlettersofnewtoken>"
)

// hiddenParts must not occur in any output.
var hiddenParts = []string{"plainlettersof", "lettersoftoken", "lettersofsecret", "lettersofnewtoken", "T0k/", "T0k%", "S3c/", "S3c%"}

func assertHidden(t *testing.T, what string, text string) {
	t.Helper()
	for _, part := range hiddenParts {
		assert.NotContains(t, text, part, what)
	}
}

// assertRedacted prints err, and all errors that it wraps, with every verb and
// handler.
func assertRedacted(t *testing.T, err error) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%T"} {
		text := fmt.Sprintf(verb, err)
		assertHidden(t, verb, text)
		for _, secret := range []string{hiddenToken, hiddenSecret, hiddenNew} {
			assert.NotContains(t, strings.ToLower(text), fmt.Sprintf("%x", secret), verb)
		}
	}
	assertHidden(t, "inside a struct", fmt.Sprintf("%+v %#v", struct{ err error }{err}, struct{ Err error }{err}))
	for _, h := range []func(io.Writer) slog.Handler{
		func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
		func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	} {
		var b bytes.Buffer
		slog.New(h(&b)).Error("failed", "err", err)
		assertHidden(t, "slog", b.String())
	}
	switch w := err.(type) { //nolint:errorlint // each error of the chain is tested
	case interface{ Unwrap() error }:
		if next := w.Unwrap(); next != nil {
			assertRedacted(t, next)
		}
	case interface{ Unwrap() []error }:
		for _, next := range w.Unwrap() {
			assertRedacted(t, next)
		}
	}
}

// A urlError contains the whole request, as errors of some transports do, in
// fields that %#v prints.
type urlError struct{ URL, Body string }

func (e urlError) Error() string { return "no route for " + e.URL + " with " + e.Body }

// failures are all ways in which a request can fail. Each echoes the request.
var failures = map[string]roundTripper{
	"the error of the transport has the URL": func(r *http.Request) (*http.Response, error) {
		return nil, urlError{r.URL.String(), sentBody(r)}
	},
	"the error of the transport has the decoded URL": func(r *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("no route: %w", errors.New(strings.Join(r.URL.Query()["access_token"], "")+sentBody(r)))
	},
	"the transport wraps an error of net/http": func(r *http.Request) (*http.Response, error) {
		return nil, &url.Error{Op: "Get", URL: r.URL.String() + sentBody(r), Err: io.ErrUnexpectedEOF}
	},
	"the transport joins errors": func(r *http.Request) (*http.Response, error) {
		return nil, errors.Join(io.EOF, urlError{r.URL.String(), sentBody(r)})
	},
	"the host cannot be dialed": func(r *http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: urlError{r.URL.String(), sentBody(r)}}
	},
	"the context ends": func(r *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("%s %s: %w", r.URL, sentBody(r), context.Canceled)
	},
	"a redirect": func(r *http.Request) (*http.Response, error) {
		res, err := respond(302, `<a href="`+html.EscapeString(r.URL.String())+`">Found</a>`+sentBody(r))
		res.Header.Set("Location", "https://elsewhere.example/"+r.URL.RequestURI())
		return res, err
	},
	"a redirect to an invalid URL with a part of the secret": func(r *http.Request) (*http.Response, error) {
		res, err := respond(302, "")
		s := sentSecret(r)
		res.Header.Set("Location", "https://else where:x/"+s[:len(s)-2])
		return res, err
	},
	"a redirect to what is no URL": func(r *http.Request) (*http.Response, error) {
		res, err := respond(302, "")
		res.Header.Set("Location", "https://else where.example:x/?"+r.URL.RawQuery+sentBody(r))
		return res, err
	},
	"a page": func(r *http.Request) (*http.Response, error) {
		return respond(200, r.URL.String()+sentBody(r))
	},
	"an error page": func(r *http.Request) (*http.Response, error) {
		return respond(503, html.EscapeString(r.URL.RequestURI())+sentBody(r))
	},
	"a page that ends within the secret": func(r *http.Request) (*http.Response, error) {
		s := sentSecret(r)
		return respond(400, s[:len(s)-1])
	},
	"a page that ends within the escaped secret": func(r *http.Request) (*http.Response, error) {
		s := strings.NewReplacer("%2F", "%2f", "%2B", "%2b", "%3D", "%3d", "%3C", "%3c", "%3E", "%3e").Replace(url.QueryEscape(sentSecret(r)))
		return respond(400, s[:len(s)-2])
	},
	"a secret at the truncation limit": func(r *http.Request) (*http.Response, error) {
		return respond(400, strings.Repeat("x", 190)+sentSecret(r))
	},
	"a page with the secret in numeric escapes": func(r *http.Request) (*http.Response, error) {
		return respond(400, numericEscapes("&#x%x;", sentSecret(r))+numericEscapes("%%%02X", sentSecret(r)))
	},
	"a page that wraps the secret": func(r *http.Request) (*http.Response, error) {
		s := sentSecret(r)
		return respond(400, s[:9]+"\n<wbr>"+s[9:])
	},
	"a page whose type is the secret": func(r *http.Request) (*http.Response, error) {
		res, err := respond(400, "x")
		res.Header.Set("Content-Type", sentSecret(r)+"/"+strings.ToLower(sentSecret(r)))
		return res, err
	},
	"an errmsg with numeric escapes": func(r *http.Request) (*http.Response, error) {
		return respond(200, fmt.Sprintf(`{"errcode":40013,"errmsg":%q}`, numericEscapes("&#x%x;", sentSecret(r))+" and "+numericEscapes("%%%02x", sentSecret(r))))
	},
	"a truncated body": func(r *http.Request) (*http.Response, error) {
		res, err := respond(200, "")
		res.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"ticket":"`+newToken(r)+sentSecret(r)),
			errReader{urlError{r.URL.String(), sentBody(r)}}))
		return res, err
	},
	"a truncated token response": func(r *http.Request) (*http.Response, error) {
		return respond(200, `{"access_token":"`+newToken(r))
	},
	"a token response without a lifetime": func(r *http.Request) (*http.Response, error) {
		return respond(200, `{"access_token":"`+newToken(r)+`"}`)
	},
	"a token response with a bad lifetime": func(r *http.Request) (*http.Response, error) {
		return respond(200, `{"access_token":"`+newToken(r)+`","expires_in":"`+newToken(r)+`"}`)
	},
	"a token response with another status": func(r *http.Request) (*http.Response, error) {
		return respond(500, `{"access_token":"`+newToken(r)+`","expires_in":7200}`)
	},
	"an errmsg with all secrets": func(r *http.Request) (*http.Response, error) {
		return respond(200, fmt.Sprintf(`{"errcode":40013,"errmsg":%q,"access_token":%q}`,
			"bad "+sentSecret(r)+" "+newToken(r)+" "+r.URL.RawQuery+" "+url.PathEscape(sentSecret(r))+" rid: "+sentSecret(r), newToken(r)))
	},
	"a hint with the secret": func(r *http.Request) (*http.Response, error) {
		return respond(200, fmt.Sprintf(`{"errcode":40013,"errmsg":"hint: [%s]","ticket":"t"}`, sentSecret(r)))
	},
	"a rejected token in the errmsg": func(r *http.Request) (*http.Response, error) {
		return respond(200, fmt.Sprintf(`{"errcode":40001,"errmsg":"invalid %s"}`, sentSecret(r)))
	},
}

// numericEscapes returns s with each byte in the given format.
func numericEscapes(format, s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

// sentSecret returns the secret of a request.
func sentSecret(r *http.Request) string {
	if strings.HasSuffix(r.URL.Path, "create") {
		return hiddenToken
	}
	return hiddenSecret
}

// newToken returns the token in a token response.
func newToken(r *http.Request) string {
	if strings.HasSuffix(r.URL.Path, "create") {
		return ""
	}
	return hiddenNew
}

func sentBody(r *http.Request) string {
	if r.Body == nil {
		return ""
	}
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

func TestRedactor_ErrorsAndLogs(t *testing.T) {
	calls := map[string]func(*testing.T, roundTripper, wxqrcode.Option) error{
		"create": func(t *testing.T, stub roundTripper, logger wxqrcode.Option) error {
			t.Helper()
			client, err := wxqrcode.NewClient(wxqrcode.StaticToken(hiddenToken),
				wxqrcode.WithHTTPClient(&http.Client{Transport: stub}), fastRetry, logger)
			require.NoError(t, err)
			_, err = client.Create(t.Context(), aCode)
			return err
		},
		"stable_token": func(t *testing.T, stub roundTripper, logger wxqrcode.Option) error {
			t.Helper()
			return fetchHidden(t, stub, logger)
		},
		"token": func(t *testing.T, stub roundTripper, logger wxqrcode.Option) error {
			t.Helper()
			return fetchHidden(t, stub, logger, wxqrcode.WithLegacyToken())
		},
		"create with a TokenSource": func(t *testing.T, stub roundTripper, logger wxqrcode.Option) error {
			t.Helper()
			source, err := wxqrcode.NewTokenSource(testAppID, hiddenSecret, wxqrcode.WithHTTPClient(&http.Client{Transport: stub}), fastRetry, logger)
			require.NoError(t, err)
			client, err := wxqrcode.NewClient(source)
			require.NoError(t, err)
			_, err = client.Create(t.Context(), aCode)
			return err
		},
	}
	for call, run := range calls {
		for failure, stub := range failures {
			t.Run(call+": "+failure, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var log bytes.Buffer
					err := run(t, stub, wxqrcode.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
					require.Error(t, err)
					assertRedacted(t, err)
					synctest.Wait()
					assertHidden(t, "log", log.String())
				})
			})
		}
	}
}

// fetchHidden fetches a token, invalidates it and returns the error of the next
// fetch.
func fetchHidden(t *testing.T, stub roundTripper, opts ...wxqrcode.Option) error {
	t.Helper()
	n := 0
	client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if n++; n == 1 {
			return tokenResponse(hiddenToken, 7200)
		}
		return stub(r)
	})}
	source, err := wxqrcode.NewTokenSource(testAppID, hiddenSecret, append(opts, wxqrcode.WithHTTPClient(client), fastRetry)...)
	require.NoError(t, err)
	requireToken(t, source, hiddenToken)
	source.InvalidateToken(t.Context(), hiddenToken)
	_, err = source.AccessToken(t.Context())
	return err
}

func TestRedactor_ErrorsOfATokenStore(t *testing.T) {
	down := errors.New("connection lost")
	echo := func(texts ...string) error { return fmt.Errorf("SET %s: %w", strings.Join(texts, " "), down) }
	const stored = "5t0red" + hiddenToken
	for _, legacy := range []bool{false, true} {
		for name, update := range map[string]func(key string, fn func() (wxqrcode.Token, error)) (wxqrcode.Token, error){
			"it cannot store the token": func(_ string, fn func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
				token, _ := fn()
				return token, echo(token.Value, hiddenToken, hiddenSecret, stored)
			},
			"it cannot lock the key": func(string, func() (wxqrcode.Token, error)) (wxqrcode.Token, error) {
				return wxqrcode.Token{}, echo(hiddenSecret)
			},
		} {
			t.Run(fmt.Sprintf("%s, legacy %v", name, legacy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var log bytes.Buffer
					opts := []wxqrcode.Option{
						wxqrcode.WithLogger(slog.New(slog.NewJSONHandler(&log, nil))),
						wxqrcode.WithTokenStore(&stubStore{current: wxqrcode.Token{Value: stored}, update: update}),
					}
					if legacy {
						opts = append(opts, wxqrcode.WithLegacyToken())
					}
					requests := 0
					client := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
						requests++
						return tokenResponse([]string{hiddenToken, hiddenNew}[min(requests, 2)-1], 7200)
					})}
					source, err := wxqrcode.NewTokenSource(testAppID, hiddenSecret, append(opts, wxqrcode.WithHTTPClient(client))...)
					require.NoError(t, err)
					for range 2 {
						token, err := source.AccessToken(t.Context())
						if err != nil {
							require.ErrorIs(t, err, down)
							assertRedacted(t, err)
						}
						source.InvalidateToken(t.Context(), token)
					}
					synctest.Wait()
					assert.NotEmpty(t, log.String())
					assertHidden(t, "log", log.String())
				})
			})
		}
	}
}

// The redactor of a TokenSource remembers the AppSecret and the last tokens.
func TestRedactor_RemembersTheLastTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokenN := func(n int) string { return fmt.Sprintf("plainlettersoftoken%02d", n) }
		server := &tokenServer{handle: func(n int, _ bool) (*http.Response, error) {
			if n <= 20 {
				return tokenResponse(tokenN(n), 7200)
			}
			return respond(200, fmt.Sprintf(`{"errcode":40013,"errmsg":"%s %s %s"}`, hiddenSecret, tokenN(20), tokenN(15)))
		}}
		source, err := wxqrcode.NewTokenSource(testAppID, hiddenSecret, wxqrcode.WithHTTPClient(&http.Client{Transport: server}), quiet)
		require.NoError(t, err)
		for n := 1; n <= 20; n++ {
			requireToken(t, source, tokenN(n))
			source.InvalidateToken(t.Context(), tokenN(n))
		}
		_, err = source.AccessToken(t.Context())
		apiErr, ok := errors.AsType[*wxqrcode.APIError](err)
		require.True(t, ok)
		assert.Equal(t, "[redacted] [redacted] [redacted]", apiErr.Message)
	})
}

func TestRedactor_ErrorsOfAProvider(t *testing.T) {
	for name, fail := range map[string]error{
		"the rejected token": fmt.Errorf("nothing newer than %s: %w", hiddenToken, io.ErrUnexpectedEOF),
		"in a URL":           &url.Error{Op: "Get", URL: "http://tokens.example/x?token=" + url.QueryEscape(hiddenToken), Err: io.ErrUnexpectedEOF},
		"in a page":          fmt.Errorf("%s: %w", html.EscapeString(hiddenToken), io.ErrUnexpectedEOF),
	} {
		t.Run(name, func(t *testing.T) {
			client, mock := newMockClient(t, &tokenList{tokens: []string{hiddenToken}, err: fail})
			mock.RegisterResponder(http.MethodPost, createURL, responses(`{"errcode":40001,"errmsg":"invalid"}`))
			_, err := client.Create(t.Context(), aCode)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.ErrorIs(t, err, wxqrcode.ErrInvalidToken)
			assertRedacted(t, err)
		})
	}
	// An error without the token is wrapped unchanged.
	whole := &url.Error{Op: "Get", URL: "http://tokens.example/x", Err: &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}}
	client, _ := newMockClient(t, &tokenList{err: errors.Join(io.ErrNoProgress, whole)})
	_, err := client.Create(t.Context(), aCode)
	got, ok := errors.AsType[*url.Error](err)
	require.True(t, ok)
	assert.Same(t, whole, got)
	assert.NotContains(t, err.Error(), "\n")
}

func TestRedactor_ContentTypeInAnotherCase(t *testing.T) {
	client, err := wxqrcode.NewClient(wxqrcode.StaticToken("77_AbCdEfGh"), quiet, wxqrcode.WithHTTPClient(&http.Client{
		Transport: roundTripper(func(*http.Request) (*http.Response, error) { return respondTyped(400, "text/77_AbCdEfGh", "x") }),
	}))
	require.NoError(t, err)
	_, err = client.Create(t.Context(), aCode)
	assert.NotContains(t, strings.ToLower(err.Error()), "77_abcdefgh")
}

// What came before is known: the token of an earlier request, and the rejected
// one.
func TestRedactor_EarlierTokens(t *testing.T) {
	client, mock := newMockClient(t, &tokenList{tokens: []string{hiddenToken, hiddenNew}, err: fmt.Errorf("%s cannot be refreshed", hiddenToken)})
	mock.RegisterResponder(http.MethodPost, createURL, responses(`{"errcode":40001,"errmsg":"invalid"}`,
		fmt.Sprintf(`{"errcode":40013,"errmsg":%q}`, "in place of "+hiddenToken)))
	_, err := client.Create(t.Context(), aCode)
	require.ErrorIs(t, err, wxqrcode.ErrInvalidCredential)
	assertRedacted(t, err)
	_, err = client.Create(t.Context(), aCode)
	require.ErrorContains(t, err, "cannot be refreshed")
	assertRedacted(t, err)
}

func TestRedactor_WrappedErrorsStayWhole(t *testing.T) {
	server := &tokenServer{handle: func(int, bool) (*http.Response, error) {
		return respond(200, `{"errcode":40164,"errmsg":"invalid ip 203.0.113.9 ipv6 ::ffff:203.0.113.9, not in whitelist rid: 5f69b2e4-53f3fc1f-093ca3a3"}`)
	}}
	client, err := wxqrcode.NewClient(newSource(t, server))
	require.NoError(t, err)
	_, err = client.Create(t.Context(), aCode)
	require.ErrorIs(t, err, wxqrcode.ErrIPNotAllowed)
	assert.ErrorContains(t, err, "rid 5f69b2e4-53f3fc1f-093ca3a3")
}

func TestRedactor_ErrorNamesThePackageOnce(t *testing.T) {
	server := &tokenServer{handle: func(int, bool) (*http.Response, error) {
		return respond(200, `{"errcode":40125,"errmsg":"invalid appsecret rid: 1"}`)
	}}
	source, err := wxqrcode.NewTokenSource(testAppID, testSecret, wxqrcode.WithHTTPClient(&http.Client{Transport: server}))
	require.NoError(t, err)
	client, err := wxqrcode.NewClient(source)
	require.NoError(t, err)
	_, err = client.Create(t.Context(), aCode)
	assert.Equal(t, 1, strings.Count(err.Error(), "wxqrcode: "), err)
	api, ok := errors.AsType[*wxqrcode.APIError](err)
	require.True(t, ok)
	assert.Equal(t, "stable_token", api.Op)
}

func TestRedactor_TokenBeingRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		server := &tokenServer{handle: func(n int, _ bool) (*http.Response, error) {
			if n == 1 {
				return tokenResponse(hiddenToken, 7200)
			}
			return respond(200, fmt.Sprintf(`{"errcode":40013,"errmsg":%q}`, "in place of "+hiddenToken))
		}}
		source, err := wxqrcode.NewTokenSource(testAppID, hiddenSecret, wxqrcode.WithHTTPClient(&http.Client{Transport: server}),
			wxqrcode.WithLogger(slog.New(slog.NewJSONHandler(&log, nil))))
		require.NoError(t, err)
		requireToken(t, source, hiddenToken)
		time.Sleep(2*time.Hour - time.Minute)
		requireToken(t, source, hiddenToken) // is renewed in the background, which fails
		synctest.Wait()
		assert.Contains(t, log.String(), "in place of [redacted]")
		assertHidden(t, "log", log.String())

		source.InvalidateToken(t.Context(), hiddenToken)
		time.Sleep(10 * time.Second)
		_, err = source.AccessToken(t.Context())
		require.ErrorContains(t, err, "in place of [redacted]")
		assertRedacted(t, err)
	})
}

func TestRedactor_ErrmsgWithAnEscapedToken(t *testing.T) {
	const secret = "Ab/cd+ef_gh<ij"
	for _, form := range []string{
		secret, "Ab%2Fcd%2Bef_gh%3Cij", "Ab%2fcd%2bef%5Fgh%3cij", "Ab/cd+ef_gh&lt;ij", "Ab/cd+ef&#x5f;gh&#60;ij", `Ab\/cd+ef_gh<ij`,
	} {
		client, mock := newMockClient(t, wxqrcode.StaticToken(secret))
		text, err := json.Marshal(map[string]any{"errcode": 40013, "errmsg": "bad token (" + form + ")"})
		require.NoError(t, err)
		mock.RegisterResponder(http.MethodPost, createURL, responses(string(text)))
		_, err = client.Create(t.Context(), aCode)
		apiErr, ok := errors.AsType[*wxqrcode.APIError](err)
		require.True(t, ok)
		assert.Equal(t, "bad token ([redacted])", apiErr.Message, form)
	}
}

func TestRedactor_ErrorsIsFindsARedactedCause(t *testing.T) {
	client, err := wxqrcode.NewClient(wxqrcode.StaticToken(hiddenToken), wxqrcode.WithHTTPClient(&http.Client{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("%s: %w", r.URL, io.ErrClosedPipe)
		}),
	}), fastRetry)
	require.NoError(t, err)
	_, err = client.Create(t.Context(), aCode)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	assert.NotErrorIs(t, err, io.EOF)
	assert.ErrorContains(t, err, "[redacted]")
	assert.ErrorContains(t, err, "POST https://api.weixin.qq.com/cgi-bin/qrcode/create: ")
}

func TestRedactor_RealConnection(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere?"+r.URL.RawQuery, http.StatusFound)
	}))
	for name, base := range map[string]string{"redirect": server.URL, "refused": closedServer(), "https to http": strings.Replace(server.URL, "http:", "https:", 1)} {
		t.Run(name, func(t *testing.T) {
			client, err := wxqrcode.NewClient(wxqrcode.StaticToken(hiddenToken), wxqrcode.WithAPIURL(base),
				wxqrcode.WithImageURL(base), wxqrcode.WithHTTPClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}), fastRetry)
			require.NoError(t, err)
			_, err = client.Create(t.Context(), aCode)
			require.Error(t, err)
			assertRedacted(t, err)
			require.Error(t, client.SaveImage(t.Context(), filepath.Join(t.TempDir(), "x"), "t"))

			source, err := wxqrcode.NewTokenSource(testAppID, hiddenSecret, wxqrcode.WithAPIURL(base), wxqrcode.WithLegacyToken(),
				wxqrcode.WithHTTPClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}), fastRetry)
			require.NoError(t, err)
			_, err = source.AccessToken(t.Context())
			require.Error(t, err)
			assertRedacted(t, err)
		})
	}
	server.Close()
}

// closedServer returns the URL of a closed server.
func closedServer() string {
	server := httptest.NewServer(nil)
	server.Close()
	return server.URL
}

func TestRedactor_PrintedValues(t *testing.T) {
	server := &tokenServer{handle: always(hiddenToken, 7200)}
	source, err := wxqrcode.NewTokenSource(testAppID, hiddenSecret, wxqrcode.WithHTTPClient(&http.Client{Transport: server}))
	require.NoError(t, err)
	requireToken(t, source, hiddenToken)
	static := wxqrcode.StaticToken(hiddenToken)
	client, err := wxqrcode.NewClient(static)
	require.NoError(t, err)
	token := wxqrcode.Token{Value: hiddenToken}

	for name, value := range map[string]any{
		"wxqrcode.Token":       token,
		"wxqrcode.Token{":      &token,
		"wxqrcode.TokenSource": source,
		"wxqrcode.StaticToken": static,
		"wxqrcode.Client":      client,
	} {
		t.Run(name, func(t *testing.T) {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				text := fmt.Sprintf(verb, value)
				assertHidden(t, verb, text)
				assert.Contains(t, text, name)
			}
			for _, h := range []func(io.Writer) slog.Handler{
				func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
				func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
			} {
				var b bytes.Buffer
				slog.New(h(&b)).Info("look", "value", value, slog.Group("in", "group", value))
				assertHidden(t, "slog", b.String())
				assert.Equal(t, 2, strings.Count(b.String(), name))
			}
		})
	}
	// fmt does not call methods of unexported fields.
	inside := struct {
		tokens wxqrcode.TokenProvider
		source *wxqrcode.TokenSource
		client *wxqrcode.Client
	}{static, source, client}
	source.InvalidateToken(t.Context(), hiddenToken)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%t", "%p"} {
		assertHidden(t, verb, fmt.Sprintf(verb, inside))
		assertHidden(t, verb, fmt.Sprintf(verb, &inside))
	}
	assert.Contains(t, fmt.Sprint(source), testAppID, "the AppID is no secret")
}
