package routers

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

const (
	token = "a token of the settings page"
	key   = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG" // the EncodingAESKey
)

// tryOut registers the router's /wechat with a WeChat, as one does on the account's
// settings page, and lets somebody scan a code.
func tryOut(mount func(pushes http.Handler) http.Handler) {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	pushes, err := callback.New(callback.Config{Token: token, AppID: wechat.AppID(), EncodingAESKey: key},
		func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
			scene, _ := e.Scene()
			fmt.Println("event:", e.Type, "by", e.OpenID, "at", scene)
			return callback.Text("Welcome!"), nil
		})
	if err != nil {
		log.Fatal(err)
	}
	site := httptest.NewServer(mount(pushes))
	defer site.Close()
	wechat.SetCallback(site.URL+"/wechat", wxtest.CallbackConfig{Token: token, EncodingAESKey: key, Mode: wxtest.Secure})

	ctx := context.Background()
	fmt.Println("the URL is tried out:", wechat.VerifyCallback(ctx))
	code, err := wechat.Client().Create(ctx, wxqrcode.Permanent(wxqrcode.SceneStr("poster-7")))
	if err != nil {
		log.Fatal(err)
	}
	delivery, err := wechat.Scan(ctx, code.Ticket, "o-ann")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("answered:", delivery.Status, "at try", delivery.Tries)
}

// The handler limits how long a request may take to come in, by
// [http.ResponseController.SetReadDeadline], which not every wrapped writer has.
func TestEachRouterHandsOverBothMethodsAndAWriterWithADeadline(t *testing.T) {
	for name, mount := range map[string]func(http.Handler) http.Handler{
		"net/http": withNetHTTP,
		"chi":      withChi,
		"gin":      withGin,
		"echo":     withEcho,
	} {
		t.Run(name, func(t *testing.T) {
			var methods, queries []string
			site := httptest.NewServer(mount(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				methods, queries = append(methods, r.Method), append(queries, r.URL.RawQuery)
				assert.NoError(t, http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Minute)))
			})))
			defer site.Close()
			const query = "signature=a%2Bb&nonce=;&timestamp=1"
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				request, err := http.NewRequestWithContext(t.Context(), method, site.URL+"/wechat?"+query, nil)
				require.NoError(t, err)
				response, err := site.Client().Do(request)
				require.NoError(t, err)
				response.Body.Close()
				assert.Equal(t, http.StatusOK, response.StatusCode)
			}
			assert.Equal(t, []string{http.MethodGet, http.MethodPost}, methods)
			assert.Equal(t, []string{query, query}, queries, "as they came, to the byte")
		})
	}
}
