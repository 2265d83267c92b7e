package wxqrcode_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A code for each shop, several at a time. The codes of an earlier batch still
// exist, so they do not stop when the account has no permanent codes left.
func ExampleClient_CreateAll() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	client := wechat.Client() // in your program: wxqrcode.New

	shops := []string{"shop-1", "shop-2", "shop-3"}
	created := map[string]wxqrcode.Ticket{"shop-1": "gQH4…"} // of an earlier run, in your database
	requests := func(yield func(wxqrcode.Request) bool) {
		for _, shop := range shops {
			if !yield(wxqrcode.Permanent(wxqrcode.SceneStr(shop))) {
				return
			}
		}
	}
	options := wxqrcode.BatchOptions{
		Rate:     10, // requests per second
		Existing: func(r wxqrcode.Request) bool { return created[r.Scene().Key()] != "" },
	}

	var done []string
	for result, err := range client.CreateAll(context.Background(), requests, options) {
		shop := result.Request.Scene().Key()
		switch {
		case errors.Is(err, wxqrcode.ErrNotAttempted):
			log.Printf("%s: the batch stopped, run it again: %v", shop, err)
		case err != nil:
			log.Printf("%s: %v", shop, err)
		default:
			created[shop] = result.QRCode.Ticket
			done = append(done, shop)
		}
	}
	slices.Sort(done) // results come in order of completion
	fmt.Println(done)
	// Output:
	// [shop-1 shop-2 shop-3]
}
