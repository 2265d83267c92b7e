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

// A code for each of many shops, several at a time.
func ExampleClient_CreateAll() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	client := wechat.Client() // yours is made by NewClient

	shops := []string{"shop-1", "shop-2", "shop-3"}
	requests := func(yield func(wxqrcode.Request) bool) {
		for _, shop := range shops {
			if !yield(wxqrcode.Permanent(wxqrcode.SceneStr(shop))) {
				return
			}
		}
	}
	var made []string
	for result := range client.CreateAll(context.Background(), requests, wxqrcode.BatchOptions{}) {
		switch {
		case errors.Is(result.Err, wxqrcode.ErrNotTried):
			log.Printf("%s: not tried; run it again: %v", shops[result.Index], result.Err)
		case result.Err != nil:
			log.Printf("%s: %v", shops[result.Index], result.Err)
		default:
			made = append(made, shops[result.Index]) // result.Code is its code
		}
	}
	slices.Sort(made) // they come in the order in which they are done
	fmt.Println(made)
	// Output:
	// [shop-1 shop-2 shop-3]
}
