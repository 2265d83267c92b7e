package wxtest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// Start a simulator, connect the handler under test, create a code and scan it.
func Example() {
	srv := wxtest.NewServer()
	defer srv.Close()

	cfg := srv.CallbackConfig(wxtest.Secure)
	cfg.OnEvent = func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		scene, _ := e.SceneKey()
		fmt.Println(e.Type, "of", e.OpenID, "with", scene)
		return callback.Text("Welcome"), nil
	}
	handler, err := callback.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	if err := srv.Connect(handler); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	code, err := srv.Client().Create(ctx, wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	delivery, err := srv.Scan(ctx, code.Ticket, "o-visitor")
	if err != nil {
		log.Fatal(err)
	}
	reply, err := delivery.Reply()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(callback.Message{Raw: reply}.Field("Content"))
	// Output:
	// subscribe of o-visitor with desk-7
	// Welcome
}

// Inject an error response.
func ExampleServer_Fail() {
	srv := wxtest.NewServer()
	defer srv.Close()
	srv.Fail(wxtest.EndpointCreate, 1, wxtest.Failure{Code: 45009})

	client := srv.Client()
	request := wxqrcode.Permanent(wxqrcode.SceneStr("poster"))
	_, err := client.Create(context.Background(), request)
	fmt.Println("quota exceeded:", errors.Is(err, wxqrcode.ErrQuotaExceeded))
	_, err = client.Create(context.Background(), request)
	fmt.Println("the next day:", err)
	fmt.Println("requests:", srv.Calls(wxtest.EndpointCreate))
	// Output:
	// quota exceeded: true
	// the next day: <nil>
	// requests: 2
}

// Move the clock ahead, until a code has expired.
func ExampleWithNow() {
	var ahead atomic.Int64 // the clock is read by several goroutines
	srv := wxtest.NewServer(wxtest.WithNow(func() time.Time {
		return time.Now().Add(time.Duration(ahead.Load()))
	}))
	defer srv.Close()

	ctx := context.Background()
	client := srv.Client()
	code, err := client.Create(ctx, wxqrcode.Temporary(wxqrcode.SceneStr("login"), 5*time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Image(ctx, code.Ticket)
	fmt.Println("now:", err)

	ahead.Store(int64(5 * time.Minute))
	_, err = client.Image(ctx, code.Ticket)
	fmt.Println("5 minutes later:", errors.Is(err, wxqrcode.ErrTicketNotFound))
	// Output:
	// now: <nil>
	// 5 minutes later: true
}
