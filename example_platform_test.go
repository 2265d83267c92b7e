package wxqrcode_test

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// An authorizer is an account that has authorized a third-party platform
// (第三方平台). Its token, the authorizer_access_token, comes from
// api_authorizer_token. That call needs the refresh token of the account and may
// return another one: store it before you use the access token. Instances share
// both tokens, for instance in a database.
//
// See https://developers.weixin.qq.com/doc/oplatform/openApi/ticket-token/api_getauthorizeraccesstoken.html.
type authorizer struct {
	fetch func(ctx context.Context) (token string, lifetime time.Duration, err error)

	mu        sync.Mutex // held during a fetch, so that there is one at a time
	token     string
	expiresAt time.Time
}

// AccessToken implements [wxqrcode.TokenProvider].
func (a *authorizer) AccessToken(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	const refreshMargin = 5 * time.Minute
	if a.token != "" && time.Until(a.expiresAt) > refreshMargin {
		return a.token, nil
	}
	token, lifetime, err := a.fetch(ctx)
	if err != nil {
		return "", err
	}
	a.token, a.expiresAt = token, time.Now().Add(lifetime)
	return token, nil
}

// InvalidateToken implements [wxqrcode.TokenInvalidator].
func (a *authorizer) InvalidateToken(_ context.Context, token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == token {
		a.token = ""
	}
}

// A third-party platform creates codes for an account that has authorized it.
func Example_thirdPartyPlatform() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	fetched := 0
	account := &authorizer{fetch: func(ctx context.Context) (string, time.Duration, error) {
		fetched++ // in your program: POST api_authorizer_token
		tokens, err := wxqrcode.NewTokenSource(wechat.AppID(), wechat.AppSecret(), wechat.Options()...)
		if err != nil {
			return "", 0, err
		}
		token, err := tokens.AccessToken(ctx)
		return token, 2 * time.Hour, err
	}}

	client, err := wxqrcode.NewClient(account, wechat.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	for i := range 4 {
		if i == 2 {
			wechat.RevokeTokens() // WeChat rejects the token: the client invalidates it and retries
		}
		if _, err := client.Create(context.Background(), wxqrcode.Permanent(wxqrcode.SceneID(7))); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("tokens fetched:", fetched)
	// Output:
	// tokens fetched: 2
}
