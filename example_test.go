package wxqrcode_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// One client serves a whole program. In place of the options that wxtest gives, a
// real program has none.
func Example() {
	wechat := wxtest.NewServer()
	defer wechat.Close()

	tokens, err := wxqrcode.NewTokenSource(wechat.AppID(), wechat.AppSecret(), wechat.TokenOptions()...)
	if err != nil {
		log.Fatal(err)
	}
	client, err := wxqrcode.NewClient(tokens, wechat.ClientOptions()...)
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	code, err := client.Create(ctx, wxqrcode.Permanent(wxqrcode.SceneStr("poster-7")))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("a ticket:", code.Ticket != "")
	fmt.Println("for ever:", code.ExpiresAt.IsZero())
	fmt.Println("text in the code:", code.URL[:len("http://weixin.qq.com/q/")])
	// Output:
	// a ticket: true
	// for ever: true
	// text in the code: http://weixin.qq.com/q/
}

// The four kinds of codes, and what goes to WeChat for each.
func ExampleRequest() {
	for _, request := range []wxqrcode.Request{
		wxqrcode.Temporary(wxqrcode.SceneID(123), 7*24*time.Hour),
		wxqrcode.Temporary(wxqrcode.SceneStr("a=1&b=<2>"), time.Minute),
		wxqrcode.Permanent(wxqrcode.SceneID(123)),
		wxqrcode.Permanent(wxqrcode.SceneStr("地铁站")),
	} {
		body, err := request.Body()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", body)
	}
	// Output:
	// {"expire_seconds":604800,"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":123}}}
	// {"expire_seconds":60,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"a=1&b=<2>"}}}
	// {"action_name":"QR_LIMIT_SCENE","action_info":{"scene":{"scene_id":123}}}
	// {"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"地铁站"}}}
}

// Limits are checked before anything is sent.
func ExampleRequest_Validate() {
	for _, request := range []wxqrcode.Request{
		{},
		wxqrcode.Permanent(wxqrcode.SceneID(100_001)),
		wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), 0),
		wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), time.Until(time.Now().AddDate(0, 0, 7))),
	} {
		fmt.Println(request.Validate())
	}
	// Output:
	// wxqrcode: invalid request: request is the zero Request; make one with Temporary or Permanent
	// wxqrcode: invalid request: scene_id "100001" must be 1 to 100000 for a permanent code; use SceneStr for more
	// wxqrcode: invalid request: lifetime "0s" must be 1s to 720h0m0s (30 days)
	// <nil>
}

// A login code carries a scene that nobody can guess.
func ExampleRandomScene() {
	scene := wxqrcode.RandomScene("login-")
	fmt.Println(len(scene.Key()), scene.Key()[:len("login-")])
	fmt.Println(wxqrcode.Temporary(scene, 5*time.Minute).Validate())
	// Output:
	// 32 login-
	// <nil>
}

// Download the picture of a code: into a file, or show the page its address.
func ExampleClient_SaveImage() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	client := wechat.Client()
	ctx := context.Background()
	code, err := client.Create(ctx, wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), time.Hour))
	if err != nil {
		log.Fatal(err)
	}

	dir, err := os.MkdirTemp("", "codes")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "desk-7.jpg")
	if err := client.SaveImage(ctx, path, code.Ticket); err != nil {
		log.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("saved:", info.Size() > 10_000)

	image, err := client.Image(ctx, code.Ticket)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("fetched:", image.ContentType)
	// Output:
	// saved: true
	// fetched: image/jpeg
}

// The address of a picture needs no token and may stand in a page.
func ExampleTicket_ImageURL() {
	ticket := wxqrcode.Ticket("gQH+/DwAAAA=")
	fmt.Println(ticket.ImageURL())
	// Output:
	// https://mp.weixin.qq.com/cgi-bin/showqrcode?ticket=gQH%2B%2FDwAAAA%3D
}

// What a ticket holds, for support work.
func ExampleTicket_Inspect() {
	ticket := wxqrcode.Ticket("gQFK8DoAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL3kweXE0T3JscWY3UTltc3ZPMklvAAIEG9jUUgMECAcAAA==")
	info, err := ticket.Inspect()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.URL)
	fmt.Println(info.CreatedAt.UTC(), info.Lifetime)
	// Output:
	// http://weixin.qq.com/q/y0yq4Orlqf7Q9msvO2Io
	// 2014-01-14 06:24:27 +0000 UTC 30m0s
}
