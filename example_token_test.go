package wxqrcode_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// Other WeChat code of a program, such as template messages in another SDK,
// uses the token of the client.
func ExampleClient_TokenSource() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	client, err := wxqrcode.New(wechat.AppID(), wechat.AppSecret(), wechat.Options()...)
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	if _, err := client.Create(ctx, wxqrcode.Permanent(wxqrcode.SceneID(7))); err != nil {
		log.Fatal(err)
	}
	token, err := client.TokenSource().AccessToken(ctx) // for the other SDK
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("has a token:", token != "")
	fmt.Println("tokens fetched:", wechat.Calls(wxtest.EndpointStableToken))
	// Output:
	// has a token: true
	// tokens fetched: 1
}

// A token server of the company provides the access token. If it can replace a
// rejected token, give the provider an InvalidateToken method: see
// [wxqrcode.TokenInvalidator].
func ExampleTokenProviderFunc() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	server := newTokenServer(wechat)
	defer server.Close()

	tokens := wxqrcode.TokenProviderFunc(func(ctx context.Context) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			return "", err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return "", errors.New("token server: " + res.Status)
		}
		var body struct{ Token string }
		err = json.NewDecoder(res.Body).Decode(&body)
		return body.Token, err
	})
	client, err := wxqrcode.NewClient(tokens, wechat.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	code, err := client.Create(context.Background(), wxqrcode.Temporary(wxqrcode.SceneID(1), time.Hour))
	fmt.Println(code != nil, err)
	// Output:
	// true <nil>
}

// newTokenServer returns a token server, such as a company may have.
func newTokenServer(wechat *wxtest.Server) *httptest.Server {
	tokens, err := wxqrcode.NewTokenSource(wechat.AppID(), wechat.AppSecret(), wechat.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := tokens.AccessToken(r.Context())
		if err != nil {
			http.Error(w, "no token", http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
	}))
}
