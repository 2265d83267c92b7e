package callback_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// settings are what an account's settings page says, for WeChat and for the handler.
func settings(wechat *wxtest.Server) (pushes wxtest.CallbackConfig, cfg callback.Config) {
	pushes = wxtest.RandomCallbackConfig(wxtest.Secure)
	return pushes, callback.Config{Token: pushes.Token, AppID: wechat.AppID(), EncodingAESKey: pushes.EncodingAESKey}
}

// Which poster brought this follower? The handler is mounted with net/http.
func Example() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	pushes, cfg := settings(wechat)

	handler, err := callback.New(cfg, func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		scene, fromCode := e.Scene()
		switch {
		case e.Type == wxqrcode.EventUnsubscribe:
			fmt.Println(e.OpenID, "left: delete what you know of them")
		case e.Type == wxqrcode.EventSubscribe && fromCode:
			fmt.Println(e.OpenID, "came by", scene)
			return callback.Text("Welcome!"), nil
		case fromCode:
			fmt.Println(e.OpenID, "scanned", scene)
		}
		return nil, nil // nothing to say
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/wechat", handler)
	server := httptest.NewServer(mux)
	defer server.Close()
	wechat.SetCallback(server.URL+"/wechat", pushes)

	ctx := context.Background()
	if err := wechat.VerifyCallback(ctx); err != nil { // as WeChat does when you enter the URL
		log.Fatal(err)
	}
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
	// o-ann came by poster-7
	// o-ann scanned poster-7
	// o-ann left: delete what you know of them
}

// Who is in front of the page? The page shows a code that nobody else has, and waits
// for its scan. examples/scanlogin is the whole of it, with a page.
func ExampleWaiter() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	pushes, cfg := settings(wechat)
	client := wechat.Client()

	waiter := callback.NewWaiter()
	handler, err := callback.New(cfg, func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		waiter.Notify(e)
		return nil, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	wechat.SetCallback(server.URL, pushes)

	ctx := context.Background()
	scene := wxqrcode.RandomScene("login-")
	scan := waiter.Expect(scene, 5*time.Minute) // before the code is shown
	defer scan.Cancel()
	code, err := client.Create(ctx, wxqrcode.Temporary(scene, 5*time.Minute))
	if err != nil {
		log.Fatal(err)
	}

	go func() { _, _ = wechat.Scan(ctx, code.Ticket, "o-ann") }() // somebody takes out their phone

	event, err := scan.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("hello,", event.OpenID)
	// Output:
	// hello, o-ann
}

// A second SDK serves everything that is no scan, at the same URL: it gets the
// decrypted message, and its reply is encrypted if need be.
func Example_anotherSDK() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	pushes, cfg := settings(wechat)

	// Stands for the other SDK: a message in, a reply out.
	answerText := func(message []byte) []byte {
		var m struct{ ToUserName, FromUserName, Content string }
		if xml.Unmarshal(message, &m) != nil {
			return nil
		}
		fmt.Println("asked:", m.Content)
		return fmt.Appendf(nil, "<xml><ToUserName>%s</ToUserName><FromUserName>%s</FromUserName><CreateTime>%d</CreateTime>"+
			"<MsgType>text</MsgType><Content>We open at nine.</Content></xml>", m.FromUserName, m.ToUserName, time.Now().Unix())
	}

	cfg.OnMessage = func(_ context.Context, m callback.Message) (callback.Reply, error) {
		if m.MsgType != "text" {
			return nil, nil
		}
		return callback.Raw(answerText(m.Raw)), nil
	}
	handler, err := callback.New(cfg, func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		fmt.Println("event:", e.Type)
		return nil, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	wechat.SetCallback(server.URL, pushes)

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
	reply, err := wechat.Reply(delivery) // decrypted, as the follower gets it
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("answered:", strings.Contains(string(reply), "We open at nine."))
	// Output:
	// event: subscribe
	// asked: When do you open?
	// answered: true
}
