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
// company's own. Where that server can be told that WeChat has refused a token, give
// the provider an InvalidateToken method too: see [wxqrcode.TokenInvalidator].
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

// mapStore is a TokenStore for the instances of one process. One for several
// processes does the same with a lock that all of them see.
type mapStore struct {
	lock   chan struct{} // of one; a mutex could not be given up when a context ends
	tokens map[string]wxqrcode.Token
}

func (s *mapStore) take(ctx context.Context) error {
	select {
	case s.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *mapStore) Load(ctx context.Context, key string) (wxqrcode.Token, error) {
	if err := s.take(ctx); err != nil {
		return wxqrcode.Token{}, err
	}
	defer func() { <-s.lock }()
	token, ok := s.tokens[key]
	if !ok {
		return wxqrcode.Token{}, wxqrcode.ErrNoToken
	}
	return token, nil
}

func (s *mapStore) Renew(ctx context.Context, key, refused string, fetch func(context.Context, wxqrcode.Token) (wxqrcode.Token, error)) (wxqrcode.Token, error) {
	if err := s.take(ctx); err != nil {
		return wxqrcode.Token{}, err
	}
	defer func() { <-s.lock }() // held while a token is fetched: one at a time
	kept := s.tokens[key]
	if kept.Value != "" && kept.Value != refused && time.Now().Before(kept.ExpiresAt) {
		return kept, nil
	}
	token, err := fetch(ctx, kept)
	if err == nil {
		s.tokens[key] = token
	}
	return token, err
}

// Two instances share one token, here the legacy one, which they would otherwise take
// from each other.
func ExampleWithTokenStore() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	store := &mapStore{lock: make(chan struct{}, 1), tokens: map[string]wxqrcode.Token{}}

	opts := append(wechat.TokenOptions(), wxqrcode.WithLegacyToken(), wxqrcode.WithTokenStore(store))
	for range 2 {
		tokens, err := wxqrcode.NewTokenSource(wechat.AppID(), wechat.AppSecret(), opts...)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := tokens.AccessToken(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("tokens fetched:", wechat.Calls("token"))
	// Output:
	// tokens fetched: 1
}
