package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// handler serves the API and the page.
func (s *sandbox) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/cgi-bin/", func(w http.ResponseWriter, r *http.Request) { s.wechat.ServeHTTP(w, r) })
	mux.HandleFunc("GET /{$}", s.show("sandbox"))
	mux.HandleFunc("GET /parts", s.show("parts")) // of the page, which change
	mux.HandleFunc("POST /scan", s.pressButton)
	protected := http.NewCrossOriginProtection().Handler(mux) // no other site can press our buttons
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.page.answersTo(r.Host) {
			http.Error(w, fmt.Sprintf("the host name %q is not allowed; open %s/", r.Host, s.page.url()), http.StatusForbidden)
			return
		}
		protected.ServeHTTP(w, r)
	})
}

// What the page shows at most; stdout has all scans.
const (
	maxShown = 100 // codes
	maxScans = 10
)

//go:embed sandbox.html
var sandboxPageText string

var sandboxPage = template.Must(template.New("sandbox").Funcs(template.FuncMap{
	"printable": printable,
	"localTime": localTime,
	"kind":      codeKind,
}).Parse(sandboxPageText))

// show shows a template: the page, or what it fetches to stay up to date.
func (s *sandbox) show(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		data := s.pageData()
		var b bytes.Buffer
		if err := sandboxPage.ExecuteTemplate(&b, name, data); err != nil {
			http.Error(w, "the page cannot be shown: "+err.Error(), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "+
			"script-src 'nonce-"+data.Nonce+"'; style-src 'nonce-"+data.Nonce+"'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "same-origin") // without a referrer, older browsers send no origin that could be checked
		h.Set("X-Content-Type-Options", "nosniff")
		w.Write(b.Bytes())
	}
}

type sandboxPageData struct {
	Nonce, AppID, URL, Callback, Mode string
	Codes                             []wxtest.Code
	Scans                             []scanned
	Older                             int // codes that are not shown
}

func (s *sandbox) pageData() sandboxPageData {
	codes := s.wechat.Codes()
	data := sandboxPageData{
		Nonce: rand.Text(), AppID: s.wechat.AppID(), URL: s.page.url(), Mode: sandboxModes[s.config.Mode],
		Codes: codes[:min(maxShown, len(codes))], Older: max(0, len(codes)-maxShown),
	}
	if u, err := url.Parse(s.callback); err == nil {
		data.Callback = u.Redacted()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data.Scans = slices.Clone(s.scans)
	return data
}

// codeKind says what kind a code is of.
func codeKind(a wxqrcode.Action) string {
	switch a {
	case wxqrcode.ActionTemporaryID:
		return "temporary, number"
	case wxqrcode.ActionTemporaryStr:
		return "temporary, text"
	case wxqrcode.ActionPermanentID:
		return "permanent, number"
	case wxqrcode.ActionPermanentStr:
		return "permanent, text"
	}
	return string(a)
}

const (
	// sandboxFollower follows from the start. It is as long as a real OpenID, 28 characters.
	sandboxFollower = "oSandboxFollower000000000001"

	maxForm = 16 << 10
)

// pressButton plays a phone that scans a code, and shows what came of it.
func (s *sandbox) pressButton(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	result := scanned{Time: time.Now(), Ticket: wxqrcode.Ticket(r.PostFormValue("ticket"))}
	switch who := r.PostFormValue("who"); who {
	case "new":
		result.OpenID, result.Event = "oN"+rand.Text(), wxqrcode.EventSubscribe
	case "follower":
		result.OpenID, result.Event = sandboxFollower, wxqrcode.EventScan
	default:
		http.Error(w, fmt.Sprintf("who must be new or follower, got %q", who), http.StatusBadRequest)
		return
	}
	for _, code := range s.wechat.Codes() {
		if code.Ticket == result.Ticket {
			result.Scene = code.Scene
		}
	}
	// A push goes on if the page is left, as WeChat's does.
	s.scan(context.WithoutCancel(r.Context()), &result)
	s.mu.Lock()
	s.scans = slices.Insert(s.scans, 0, result)
	s.scans = s.scans[:min(maxScans, len(s.scans))]
	s.mu.Unlock()
	if s.tell != nil {
		_ = s.tell(result) // if it fails, the command ends
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// A scanned is what came of a scan.
type scanned struct {
	Time      time.Time          `json:"time"`
	Event     wxqrcode.EventType `json:"event"`
	Scene     string             `json:"scene"`
	OpenID    string             `json:"openid"` // of nobody
	Ticket    wxqrcode.Ticket    `json:"ticket"`
	Status    int                `json:"status,omitempty"` // of the callback's answer
	Tries     int                `json:"tries,omitempty"`
	ReplyType string             `json:"reply_type,omitempty"`
	Reply     string             `json:"reply,omitempty"` // the text of a text
	Error     string             `json:"error,omitempty"`
}

// scan lets somebody scan a code, and fills in the result.
func (s *sandbox) scan(ctx context.Context, result *scanned) {
	if s.callback == "" {
		result.Error = "no callback: start the sandbox with --callback URL to see the reply of your program"
		return
	}
	d, err := s.wechat.Scan(ctx, result.Ticket, result.OpenID)
	if d != nil {
		result.Status, result.Tries = d.Status, d.Tries
	}
	if errors.Is(err, wxqrcode.ErrTicketNotFound) {
		result.Error = "the code is expired or unknown"
		return
	}
	var message []byte
	if err == nil {
		message, err = d.Reply()
	}
	if err != nil {
		result.Error = plain(err)
		if result.Status == http.StatusForbidden {
			result.Error += " (does the program use the printed Token and EncodingAESKey?)"
		}
		return
	}
	reply := callback.Message{Raw: message}
	result.ReplyType, result.Reply = reply.Field("MsgType"), reply.Field("Content")
}

// String tells people what came of the scan, in text that can be shown.
func (s scanned) String() string {
	var b strings.Builder
	scene := printable(s.Scene)
	if scene == "" {
		scene = "of an unknown code"
	}
	fmt.Fprintf(&b, "%s %s by %s: ", s.Event, scene, printable(s.OpenID))
	if s.Status != 0 {
		fmt.Fprintf(&b, "status %d", s.Status)
		if s.Tries > 1 {
			fmt.Fprintf(&b, " after %d attempts", s.Tries)
		}
	}
	switch {
	case s.Error != "" && s.Status != 0:
		b.WriteString(", failed: " + printable(s.Error))
	case s.Error != "":
		b.WriteString(printable(s.Error))
	case s.ReplyType == "text":
		b.WriteString(", text reply " + printable(s.Reply))
	case s.ReplyType != "":
		b.WriteString(", reply of type " + printable(s.ReplyType))
	default:
		b.WriteString(", no reply")
	}
	return b.String()
}
