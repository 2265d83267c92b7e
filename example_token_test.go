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

// A program that gets its tokens from elsewhere: here, from a token server of the
// company's own.
func ExampleTokenProviderFunc() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	company, err := wxqrcode.NewTokenSource(wechat.AppID(), wechat.AppSecret(), wechat.TokenOptions()...)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := company.AccessToken(r.Context())
		if err != nil {
			http.Error(w, "no token", http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
	}))
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
		var answer struct{ Token string }
		err = json.NewDecoder(res.Body).Decode(&answer)
		return answer.Token, err
	})
	client, err := wxqrcode.NewClient(tokens, wechat.ClientOptions()...)
	if err != nil {
		log.Fatal(err)
	}
	code, err := client.Create(context.Background(), wxqrcode.Temporary(wxqrcode.SceneID(1), time.Hour))
	fmt.Println(code != nil, err)
	// Output:
	// true <nil>
}
