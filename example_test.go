package wxqrcode_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A program needs one client. The options of this one connect it to a
// simulator; a real program usually has none.
func Example() {
	wechat := wxtest.NewServer()
	defer wechat.Close()

	client, err := wxqrcode.New(wechat.AppID(), wechat.AppSecret(), wechat.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	code, err := client.Create(ctx, wxqrcode.Permanent(wxqrcode.SceneStr("poster-7")))
	if err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(os.TempDir(), "poster-7.jpg")
	if err := client.SaveImage(ctx, path, code.Ticket); err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.Remove(path) }()

	fmt.Println("has a ticket:", code.Ticket != "")
	fmt.Println("never expires:", code.ExpiresAt.IsZero())
	fmt.Println("text in the code:", code.URL[:len("http://weixin.qq.com/q/")])
	// Output:
	// has a ticket: true
	// never expires: true
	// text in the code: http://weixin.qq.com/q/
}

// The four actions: temporary and permanent, with a number or a text.
func ExampleRequest() {
	for _, request := range []wxqrcode.Request{
		wxqrcode.Temporary(wxqrcode.SceneID(123), 7*24*time.Hour),
		wxqrcode.Temporary(wxqrcode.SceneStr("a=1&b=<2>"), time.Minute),
		wxqrcode.Permanent(wxqrcode.SceneID(123)),
		wxqrcode.Permanent(wxqrcode.SceneStr("地铁站")),
	} {
		fmt.Println(request.Action(), request.Scene().Key(), request.Lifetime())
	}
	// Output:
	// QR_SCENE 123 168h0m0s
	// QR_STR_SCENE a=1&b=<2> 1m0s
	// QR_LIMIT_SCENE 123 0s
	// QR_LIMIT_STR_SCENE 地铁站 0s
}

// A Request is JSON, so it can wait in a queue. Decoding validates it.
func ExampleRequest_queue() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	client := wechat.Client() // in your program: wxqrcode.New

	queue := make(chan []byte, 1) // in your program: Kafka, Redis or a table
	message, err := json.Marshal(wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	queue <- message

	var request wxqrcode.Request
	if err := json.Unmarshal(<-queue, &request); err != nil {
		log.Fatal(err) // not JSON, or a *ValidationError
	}
	code, err := client.Create(context.Background(), request)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n%s %v\n", message, request.Scene().Key(), code.Lifetime)
	// Output:
	// {"expire_seconds":3600,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"desk-7"}}}
	// desk-7 1h0m0s
}

// Validate checks the limits without a request. Create does so too.
func ExampleRequest_Validate() {
	for _, request := range []wxqrcode.Request{
		{},
		wxqrcode.Permanent(wxqrcode.SceneID(100_001)),
		wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), 300),
		wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), 300*time.Second),
	} {
		fmt.Println(request.Validate())
	}
	// Output:
	// wxqrcode: invalid request: must not be the zero Request; use Temporary or Permanent
	// wxqrcode: invalid scene_id: must be 1 to 100000 in a permanent code; a scene_str has no such limit, got "100001"
	// wxqrcode: invalid lifetime: must be 1s to 720h0m0s (30 days), got "300ns"
	// <nil>
}

// A login needs a scene that cannot be guessed. The key of the scene is what
// [wxqrcode.Event.SceneKey] returns after the scan, so store the login under it.
func ExampleRandomScene() {
	scene := wxqrcode.RandomScene("login-")
	logins := map[string]bool{scene.Key(): true}

	event := &wxqrcode.Event{Type: wxqrcode.EventScan, EventKey: scene.Key()} // of the scan
	key, _ := event.SceneKey()
	fmt.Println(len(key), key[:len("login-")], logins[key])
	// Output:
	// 32 login- true
}

// SaveImage writes a file; Image returns the image, for instance to send it on.
func ExampleClient_SaveImage() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	client := wechat.Client() // in your program: wxqrcode.New
	ctx := context.Background()
	code, err := client.Create(ctx, wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), time.Hour))
	if err != nil {
		log.Fatal(err)
	}

	path := filepath.Join(os.TempDir(), "desk-7.jpg")
	if err := client.SaveImage(ctx, path, code.Ticket); err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.Remove(path) }()

	image, err := client.Image(ctx, code.Ticket)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(image.ContentType)
	// Output:
	// image/jpeg
}

// The URL of an image needs no access token, so a page can show it.
func ExampleTicket_ImageURL() {
	ticket := wxqrcode.Ticket("gQH+/DwAAAA=")
	fmt.Println(ticket.ImageURL())
	// Output:
	// https://mp.weixin.qq.com/cgi-bin/showqrcode?ticket=gQH%2B%2FDwAAAA%3D
}

// Inspect helps support: when was this code created, and has it expired?
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
