package wxqrcode_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/jarcoal/httpmock"
	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// wxtest simulates WeChat with real HTTP: it creates codes, and users scan them.
func Example_testingWithWxtest() {
	wechat := wxtest.NewServer()
	defer wechat.Close()

	// The program under test counts the new followers of each poster.
	followers := map[string]int{}
	cfg := wechat.CallbackConfig(wxtest.Secure)
	cfg.OnEvent = func(_ context.Context, event *wxqrcode.Event) (callback.Reply, error) {
		if scene, ok := event.SceneKey(); ok && event.Type == wxqrcode.EventSubscribe {
			followers[scene]++
		}
		return nil, nil
	}
	handler, err := callback.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	if err := wechat.Connect(handler); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	code, err := wechat.Client().Create(ctx, wxqrcode.Permanent(wxqrcode.SceneStr("poster-7")))
	if err != nil {
		log.Fatal(err)
	}
	for _, openID := range []string{"o-ann", "o-bob", "o-ann"} { // Ann scans twice
		if _, err := wechat.Scan(ctx, code.Ticket, openID); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(followers)
	// Output:
	// map[poster-7:2]
}

// httpmock returns one prepared response, for instance an error.
func Example_testingWithHttpmock() {
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder(http.MethodPost, "https://api.weixin.qq.com/cgi-bin/qrcode/create",
		httpmock.NewStringResponder(http.StatusOK, `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`))
	client, err := wxqrcode.NewClient(wxqrcode.StaticToken("token"),
		wxqrcode.WithHTTPClient(&http.Client{Transport: mock}))
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Create(context.Background(), wxqrcode.Permanent(wxqrcode.SceneID(7)))
	fmt.Println(errors.Is(err, wxqrcode.ErrQuotaExceeded), mock.GetTotalCallCount())
	// Output:
	// true 1
}
