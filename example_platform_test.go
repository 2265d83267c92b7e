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

// An authorizer is an account that a third-party platform (第三方平台) serves. Its token,
// the authorizer_access_token, comes from the platform's api_authorizer_token call,
// which needs the account's refresh token. A platform of several instances keeps
// both where all of them see them.
//
// See https://developers.weixin.qq.com/doc/oplatform/openApi/ticket-token/api_getauthorizeraccesstoken.html.
type authorizer struct {
	refresh func(ctx context.Context) (token string, life time.Duration, err error)

	mu    sync.Mutex // held while a token is fetched: one at a time
	token string
	dies  time.Time
}

// AccessToken implements [wxqrcode.TokenProvider].
func (a *authorizer) AccessToken(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	const margin = 5 * time.Minute
	if a.token != "" && time.Until(a.dies) > margin {
		return a.token, nil
	}
	token, life, err := a.refresh(ctx)
	if err != nil {
		return "", err
	}
	a.token, a.dies = token, time.Now().Add(life)
	return token, nil
}

// InvalidateToken implements [wxqrcode.TokenInvalidator]: WeChat has refused the token.
func (a *authorizer) InvalidateToken(_ context.Context, token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == token {
		a.token = ""
	}
}

// A third-party platform makes codes for an account that it serves.
func Example_thirdPartyPlatform() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	refreshed := 0
	account := &authorizer{refresh: func(ctx context.Context) (string, time.Duration, error) {
		refreshed++ // stands for the call of api_authorizer_token
		source, err := wxqrcode.NewTokenSource(wechat.AppID(), wechat.AppSecret(), wechat.TokenOptions()...)
		if err != nil {
			return "", 0, err
		}
		token, err := source.AccessToken(ctx)
		return token, 2 * time.Hour, err
	}}
	client, err := wxqrcode.NewClient(account, wechat.ClientOptions()...)
	if err != nil {
		log.Fatal(err)
	}
	for i := range 4 {
		if i == 2 {
			wechat.RevokeTokens() // somebody fetched another: WeChat refuses ours
		}
		if _, err := client.Create(context.Background(), wxqrcode.Permanent(wxqrcode.SceneID(7))); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("tokens fetched:", refreshed)
	// Output:
	// tokens fetched: 2
}
