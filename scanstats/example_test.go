package scanstats_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/scanstats"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A callback that counts scans, tested with the simulator.
func Example() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "scanstats")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	key := make([]byte, 32) // store yours: a different key makes every user look new
	rand.Read(key)

	stats, err := scanstats.OpenSQLite(ctx, filepath.Join(folder, "scans.db"), scanstats.Config{Key: key})
	if err != nil {
		log.Fatal(err)
	}
	defer stats.Close()

	wechat := wxtest.NewServer()
	defer wechat.Close()
	cfg := wechat.CallbackConfig(wxtest.Secure)
	cfg.OnEvent = func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		if err := stats.Record(ctx, e); err != nil {
			return nil, err // not recorded: WeChat redelivers the push
		}
		return callback.Text("Welcome!"), nil
	}
	handler, err := callback.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	if err := wechat.Connect(handler); err != nil {
		log.Fatal(err)
	}

	poster, err := wechat.Client().Create(ctx, wxqrcode.Permanent(wxqrcode.SceneStr("poster-7")))
	if err != nil {
		log.Fatal(err)
	}
	for _, openID := range []string{"o-ann", "o-bob", "o-ann"} {
		if _, err := wechat.Scan(ctx, poster.Ticket, openID); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := wechat.Unfollow(ctx, "o-bob"); err != nil {
		log.Fatal(err)
	}
	if err := stats.Label(ctx, "poster-7", scanstats.Label{Name: "南京路店", Group: "上海"}); err != nil {
		log.Fatal(err)
	}

	report, err := stats.Report(ctx, scanstats.Query{}) // of the last 30 days
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range report.Scenes {
		fmt.Printf("%s (%s): %d scans by %d users, %d new followers, %d unfollows\n", s.Name, s.Scene, s.Scans, s.UniqueUsers, s.NewFollowers, s.Unfollows)
	}
	// Output:
	// 南京路店 (poster-7): 3 scans by 2 users, 2 new followers, 1 unfollows
}

// The page behind a login.
func ExampleStore_Handler() {
	folder, err := os.MkdirTemp("", "scanstats")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	stats, err := scanstats.OpenSQLite(context.Background(), filepath.Join(folder, "scans.db"), scanstats.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer stats.Close()

	requireLogin := func(next http.Handler) http.Handler { // use that of your program
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if name, password, _ := r.BasicAuth(); name != "ann" || password != "correct horse battery staple" {
				w.Header().Set("WWW-Authenticate", `Basic realm="statistics"`)
				http.Error(w, "log in", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	mux := http.NewServeMux()
	mux.Handle("/stats/", http.StripPrefix("/stats", stats.Handler(requireLogin)))

	request := httptest.NewRequest(http.MethodGet, "/stats/", nil)
	response := httptest.NewRecorder()
	mux.ServeHTTP(response, request)
	fmt.Println(response.Code)

	request.SetBasicAuth("ann", "correct horse battery staple")
	response = httptest.NewRecorder()
	mux.ServeHTTP(response, request)
	fmt.Println(response.Code)
	// Output:
	// 401
	// 200
}
