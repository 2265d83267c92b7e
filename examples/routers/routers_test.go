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

// verifyAndPush connects /wechat of the router to the simulator, which verifies
// the URL, and scans a code.
func verifyAndPush(mount func(pushes http.Handler) http.Handler) {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	cfg := wechat.CallbackConfig(wxtest.Secure) // Token, AppID and EncodingAESKey of the account
	cfg.OnEvent = func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		scene, _ := e.SceneKey()
		fmt.Println("event:", e.Type, "by", e.OpenID, "at", scene)
		return callback.Text("Welcome!"), nil
	}
	pushes, err := callback.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("URL verification:", wechat.Connect(mount(pushes)))

	ctx := context.Background()
	code, err := wechat.Client().Create(ctx, wxqrcode.Permanent(wxqrcode.SceneStr("poster-7")))
	if err != nil {
		log.Fatal(err)
	}
	delivery, err := wechat.Scan(ctx, code.Ticket, "o-ann")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("response:", delivery.Status, "after", delivery.Tries, "try")
}

// The handler limits the time to read a body with
// [http.ResponseController.SetReadDeadline], which not every ResponseWriter
// supports.
func TestRouters_MethodsAndReadDeadline(t *testing.T) {
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
			assert.Equal(t, []string{query, query}, queries, "unchanged")
		})
	}
}
