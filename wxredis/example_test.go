package wxredis_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxredis"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// Two instances of a program share the token, the deduplication and the scans: a
// browser waits on one of them, and the push reaches the other.
func Example() {
	server := miniredis.NewMiniRedis() // in place of your Redis
	if err := server.Start(); err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: 1, DialerRetries: 1})
	defer rdb.Close()

	wechat := wxtest.NewServer()
	defer wechat.Close()
	cfg := wechat.CallbackConfig(wxtest.Secure)

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	type instance struct {
		client  *wxqrcode.Client
		waiter  *callback.Waiter
		handler *callback.Handler
	}
	start := func() (i instance) {
		var err error
		if i.client, err = wxqrcode.New(wechat.AppID(), wechat.AppSecret(),
			append(wechat.Options(), wxqrcode.WithTokenStore(wxredis.NewTokenStore(rdb)))...); err != nil {
			log.Fatal(err)
		}
		i.waiter = new(callback.Waiter)
		bus := wxredis.NewBus(rdb, wechat.AppID())
		go func() { _ = bus.Listen(ctx, i.waiter.Notify) }()
		cfg.Dedup = wxredis.NewDedup(rdb)
		cfg.OnEvent = func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
			i.waiter.Notify(e) // a request that waits here need not wait for Redis
			return nil, bus.Publish(ctx, e)
		}
		if i.handler, err = callback.New(cfg); err != nil {
			log.Fatal(err)
		}
		return i
	}
	first, second := start(), start()

	if err := wechat.Connect(first.handler); err != nil { // the push reaches this one
		log.Fatal(err)
	}

	scene := wxqrcode.RandomScene("login-") // and the browser waits on the other
	scan := second.waiter.Expect(scene, 5*time.Minute)
	code, err := second.client.Create(ctx, wxqrcode.Temporary(scene, 5*time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := wechat.Scan(ctx, code.Ticket, "o-ann"); err != nil {
		log.Fatal(err)
	}
	event, err := scan.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := first.client.Create(ctx, wxqrcode.Permanent(wxqrcode.SceneStr("poster-7"))); err != nil {
		log.Fatal(err)
	}
	fmt.Println("hello,", event.OpenID)
	fmt.Println("requests for a token:", wechat.Calls("stable_token"))
	// Output:
	// hello, o-ann
	// requests for a token: 1
}
