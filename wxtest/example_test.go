package wxtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// Start a WeChat, make a code, let somebody scan it and see the event.
func Example() {
	srv := wxtest.NewServer()
	defer srv.Close()

	// The program under test. A real one checks the signature first.
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		event, err := wxqrcode.ParseEvent(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		scene, _ := event.Scene()
		fmt.Println(event.Type, "by", event.OpenID, "at", scene)
		io.WriteString(w, "success")
	}))
	defer program.Close()
	srv.SetCallback(program.URL, wxtest.CallbackConfig{Token: "token"})

	ctx := context.Background()
	code, err := srv.Client().Create(ctx, wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		delivery, err := srv.Scan(ctx, code.Ticket, "o-visitor")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("answered", delivery.Status, string(delivery.Body))
	}
	// Output:
	// subscribe by o-visitor at desk-7
	// answered 200 success
	// SCAN by o-visitor at desk-7
	// answered 200 success
}

// A program meets what WeChat does on a bad day.
func ExampleServer_Fail() {
	srv := wxtest.NewServer()
	defer srv.Close()
	srv.Fail("qrcode/create", 1, wxtest.Failure{Code: 45009})

	client := srv.Client()
	request := wxqrcode.Permanent(wxqrcode.SceneStr("poster"))
	_, err := client.Create(context.Background(), request)
	fmt.Println("quota used up:", errors.Is(err, wxqrcode.ErrQuotaExceeded))
	_, err = client.Create(context.Background(), request)
	fmt.Println("the next day:", err)
	fmt.Println("calls:", srv.Calls("qrcode/create"))
	// Output:
	// quota used up: true
	// the next day: <nil>
	// calls: 2
}

// A test jumps ahead to the end of a code.
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
