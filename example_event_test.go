package wxqrcode_test

import (
	"context"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// From a push to the scene of the code that was scanned.
func ExampleParseEvent() {
	const push = `<xml><ToUserName><![CDATA[gh_45072270791c]]></ToUserName>
<FromUserName><![CDATA[o7Lp5t6n59DeX3U0C7Kric9qEx-Q]]></FromUserName>
<CreateTime>1389684286</CreateTime><MsgType><![CDATA[event]]></MsgType>
<Event><![CDATA[subscribe]]></Event><EventKey><![CDATA[qrscene_poster-7]]></EventKey>
<Ticket><![CDATA[gQHi8DoAAAA=]]></Ticket></xml>`

	event, err := wxqrcode.ParseEvent([]byte(push))
	if err != nil {
		log.Fatal(err)
	}
	scene, fromCode := event.Scene()
	switch {
	case event.Type == wxqrcode.EventSubscribe && fromCode:
		fmt.Println(event.OpenID, "is a new follower by", scene)
	case event.Type == wxqrcode.EventSubscribe:
		fmt.Println(event.OpenID, "is a new follower")
	case event.Type == wxqrcode.EventScan:
		fmt.Println(event.OpenID, "scanned", scene)
	case event.Type == wxqrcode.EventUnsubscribe:
		fmt.Println(event.OpenID, "must be forgotten")
	}
	// Output:
	// o7Lp5t6n59DeX3U0C7Kric9qEx-Q is a new follower by poster-7
}

// signed reports whether a push comes from somebody who knows the token of the
// callback: WeChat, if nobody else does. In plain mode it does not cover the body.
func signed(token string, query url.Values) bool {
	parts := []string{token, query.Get("timestamp"), query.Get("nonce")}
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, "")))
	return subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(query.Get("signature"))) == 1
}

// scans is a callback URL in plain mode: it proves itself to WeChat, then hears of
// scans.
type scans struct {
	token string
	on    func(*wxqrcode.Event)

	mu   sync.Mutex
	seen map[string]bool // guarded by mu; a real program forgets after some minutes
}

func (s *scans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !signed(s.token, r.URL.Query()) {
		http.Error(w, "wrong signature", http.StatusForbidden)
		return
	}
	if r.Method == http.MethodGet { // WeChat tries the URL out before it takes it
		_, _ = io.WriteString(w, r.URL.Query().Get("echostr"))
		return
	}
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = make(map[string]bool)
	}
	if !s.seen[event.DedupKey()] {
		s.on(event)
		s.seen[event.DedupKey()] = true
	}
	_, _ = io.WriteString(w, "success")
}

// An event that is not answered within 5 s is pushed again, twice at most. Here, the
// first answer is lost on the way.
func ExampleEvent_DedupKey() {
	handler := &scans{token: "callback-token", on: func(event *wxqrcode.Event) {
		scene, _ := event.Scene()
		fmt.Println(event.Type, scene)
	}}
	var pushes atomic.Int32
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r)
		if pushes.Add(1) == 1 {
			panic(http.ErrAbortHandler) // closes the connection
		}
	}))
	defer program.Close()
	wechat := wxtest.NewServer()
	defer wechat.Close()
	wechat.SetCallback(program.URL, wxtest.CallbackConfig{Token: "callback-token"})

	ctx := context.Background()
	code, err := wechat.Client().Create(ctx, wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	delivery, err := wechat.Scan(ctx, code.Ticket, "o-visitor")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("answered at try", delivery.Tries)
	// Output:
	// subscribe desk-7
	// answered at try 2
}
