package wxqrcode_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/jarcoal/httpmock"
	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// posterHandler is what the examples below test: it counts the followers that each
// poster brought. (A real one checks the signature too.)
func posterHandler(followers map[string]int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil {
			http.Error(w, "too long", http.StatusRequestEntityTooLarge)
			return
		}
		event, err := wxqrcode.ParseEvent(body)
		if err != nil {
			http.Error(w, "malformed", http.StatusBadRequest)
			return
		}
		if scene, ok := event.Scene(); ok && event.Type == wxqrcode.EventSubscribe {
			followers[scene]++
		}
		_, _ = io.WriteString(w, "success")
	}
}

// Testing with wxtest: real HTTP, real tickets, people who scan.
func Example_testingWithWxtest() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	followers := map[string]int{}
	program := httptest.NewServer(posterHandler(followers))
	defer program.Close()
	wechat.SetCallback(program.URL, wxtest.CallbackConfig{Token: "token"})

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

// Testing with httpmock: one call, one canned answer.
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
