package callback_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// Which poster brought this follower?
func Example() {
	wechat := wxtest.NewServer()
	defer wechat.Close()

	cfg := wechat.CallbackConfig(wxtest.Secure) // Token, AppID and EncodingAESKey of your account
	cfg.OnEvent = func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		scene, scanned := e.SceneKey()
		switch {
		case e.Type == wxqrcode.EventUnsubscribe:
			fmt.Println(e.OpenID, "unfollows: delete the user's data")
		case e.Type == wxqrcode.EventSubscribe && scanned:
			fmt.Println(e.OpenID, "follows after scanning", scene)
			return callback.Text("Welcome!"), nil
		case scanned:
			fmt.Println(e.OpenID, "scans", scene)
		}
		return nil, nil // no reply
	}
	handler, err := callback.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	if err := wechat.Connect(handler); err != nil { // or http.Handle("/wechat", handler)
		log.Fatal(err)
	}

	ctx := context.Background()
	code, err := wechat.Client().Create(ctx, wxqrcode.Permanent(wxqrcode.SceneStr("poster-7")))
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		if _, err := wechat.Scan(ctx, code.Ticket, "o-ann"); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := wechat.Unfollow(ctx, "o-ann"); err != nil {
		log.Fatal(err)
	}
	// Output:
	// o-ann follows after scanning poster-7
	// o-ann scans poster-7
	// o-ann unfollows: delete the user's data
}

// Who is in front of the page? The page shows a code that no other page has and
// waits for its scan. examples/scanlogin is a whole program.
func ExampleWaiter() {
	wechat := wxtest.NewServer()
	defer wechat.Close()

	var waiter callback.Waiter
	cfg := wechat.CallbackConfig(wxtest.Secure)
	cfg.OnEvent = func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		waiter.Notify(e)
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
	scene := wxqrcode.RandomScene("login-")
	scan := waiter.Expect(scene, 5*time.Minute) // before the code is shown
	defer scan.Cancel()
	code, err := wechat.Client().Create(ctx, wxqrcode.Temporary(scene, 5*time.Minute))
	if err != nil {
		log.Fatal(err)
	}

	go func() { _, _ = wechat.Scan(ctx, code.Ticket, "o-ann") }() // a user takes out the phone

	event, err := scan.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("hello,", event.OpenID)
	// Output:
	// hello, o-ann
}

// Echo what a user writes or says. The OpenID is a field of Message; what the
// user sent is read with Field.
func ExampleMessage_Field() {
	echo := func(_ context.Context, m callback.Message) (callback.Reply, error) {
		switch m.MsgType {
		case "text":
			return callback.Text(m.OpenID + " writes: " + m.Field("Content")), nil
		case "voice":
			return callback.Text(m.OpenID + " says: " + m.Field("Recognition")), nil
		}
		return nil, nil // no reply to anything else
	}

	wechat := wxtest.NewServer()
	defer wechat.Close()
	cfg := wechat.CallbackConfig(wxtest.Plain)
	cfg.OnEvent = func(context.Context, *wxqrcode.Event) (callback.Reply, error) { return nil, nil }
	cfg.OnMessage = echo
	handler, err := callback.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	if err := wechat.Connect(handler); err != nil {
		log.Fatal(err)
	}
	wechat.Follow("o-ann")
	ctx := context.Background()
	delivery, err := wechat.SendText(ctx, "o-ann", "if (a[b[0]]>c) …")
	if err != nil {
		log.Fatal(err)
	}
	reply, err := delivery.Reply()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(callback.Message{Raw: reply}.Field("Content"))

	for _, msgType := range []string{"voice", "image"} {
		reply, err := echo(ctx, callback.Message{MsgType: msgType, OpenID: "o-ann", Raw: []byte(
			"<xml><MsgType>" + msgType + "</MsgType><Recognition><![CDATA[hello]]></Recognition></xml>")})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(reply)
	}
	// Output:
	// o-ann writes: if (a[b[0]]>c) …
	// o-ann says: hello
	// <nil>
}

// Another SDK handles everything but scans at the same URL: it receives the
// decrypted message, and its reply is encrypted if needed.
func Example_anotherSDK() {
	wechat := wxtest.NewServer()
	defer wechat.Close()

	// The other SDK: a message in, a reply out.
	answer := func(message []byte) []byte {
		var m struct{ ToUserName, FromUserName string }
		if xml.Unmarshal(message, &m) != nil {
			return nil
		}
		return fmt.Appendf(nil, "<xml><ToUserName>%s</ToUserName><FromUserName>%s</FromUserName><CreateTime>%d</CreateTime>"+
			"<MsgType>text</MsgType><Content>We open at nine.</Content></xml>", m.FromUserName, m.ToUserName, time.Now().Unix())
	}

	cfg := wechat.CallbackConfig(wxtest.Secure)
	cfg.OnEvent = func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		fmt.Println("event:", e.Type)
		return nil, nil
	}
	cfg.OnMessage = func(_ context.Context, m callback.Message) (callback.Reply, error) {
		return callback.Raw(answer(m.Raw)), nil
	}
	handler, err := callback.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	if err := wechat.Connect(handler); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	code, err := wechat.Client().Create(ctx, wxqrcode.Permanent(wxqrcode.SceneStr("shop-7")))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := wechat.Scan(ctx, code.Ticket, "o-ann"); err != nil {
		log.Fatal(err)
	}
	delivery, err := wechat.SendText(ctx, "o-ann", "When do you open?")
	if err != nil {
		log.Fatal(err)
	}
	reply, err := delivery.Reply() // decrypted, as the user receives it
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("replied:", strings.Contains(string(reply), "We open at nine."))
	// Output:
	// event: subscribe
	// replied: true
}
