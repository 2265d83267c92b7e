package callback_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
)

// Whatever comes, the answer is one that the documentation names, and nobody who does
// not know token and key is heard. What is signed well is taken or is a bad request.
func FuzzServeHTTP(f *testing.F) {
	for _, l := range []*letter{plain(scanOf("7")), sealed(scanOf("7")), (&letter{message: scanJSON("7"), key: aesKey, json: true}).sign(), plain(textXML("hi"))} {
		f.Add("POST", l.query.Encode(), []byte(l.body))
	}
	f.Add("GET", verification("echo").Encode(), []byte{})
	f.Add("POST", "timestamp=1&nonce=2&signature=%zz;&&=&a", []byte("<xml><Encrypt></Encrypt>"))
	f.Add("POST", "timestamp=1&nonce=2&msg_signature=", []byte(`{"Encrypt":["a"]}`))

	f.Fuzz(func(t *testing.T, method, query string, body []byte) {
		forged := func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
			t.Errorf("taken: %q %q", query, body)
			return nil, nil
		}
		for _, cfg := range []callback.Config{plainConfig, secureConfig} {
			cfg.MaxAge = -1
			cfg.Token = "a token that the corpus does not know"
			w := serve(newHandler(t, cfg, forged), request(method, query, body))
			assert.Contains(t, []int{http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge}, w.Code)
			assert.Equal(t, http.StatusText(w.Code)+"\n", w.Body.String())
		}

		for _, l := range []*letter{plain(string(body)), sealed(string(body))} {
			cfg := callback.Config{Token: token, AppID: appID, EncodingAESKey: l.key, Logger: plainConfig.Logger}
			var heard heard
			w := send(newHandler(t, cfg, heard.on), l)
			e, err := wxqrcode.ParseEvent(body)
			if w.Code == http.StatusOK && err != nil { // a text with characters that XML forbids
				assert.Empty(t, heard.events)
				continue
			}
			switch {
			case len(l.body) > 64<<10:
				assert.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
			case err != nil:
				assert.Equal(t, http.StatusBadRequest, w.Code)
				assert.Empty(t, heard.events)
			default:
				assert.Equal(t, http.StatusOK, w.Code)
				if len(heard.events) > 0 {
					assert.Equal(t, e, heard.events[0])
				}
			}
		}
	})
}

// request makes a request of anything, as no client would.
func request(method, query string, body []byte) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/wechat", strings.NewReader(string(body)))
	r.Method, r.URL.RawQuery = method, query
	return r
}
