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
	mux.HandleFunc("GET /{$}", s.servePage("sandbox"))
	mux.HandleFunc("GET /parts", s.servePage("parts")) // parts of the page that change
	mux.HandleFunc("POST /scan", s.handleScan)
	protected := http.NewCrossOriginProtection().Handler(mux) // reject forms of other sites
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.page.allowsHost(r.Host) {
			http.Error(w, fmt.Sprintf("the host name %q is not allowed; open %s/", r.Host, s.page.url()), http.StatusForbidden)
			return
		}
		protected.ServeHTTP(w, r)
	})
}

// Limits of the page. stdout has all scans.
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

// servePage serves a template: the page, or the parts that it fetches again.
func (s *sandbox) servePage(name string) http.HandlerFunc {
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
		h.Set("Referrer-Policy", "same-origin") // older browsers send an origin with a referrer only
		h.Set("X-Content-Type-Options", "nosniff")
		w.Write(b.Bytes())
	}
}

type sandboxPageData struct {
	Nonce, AppID, URL, Callback, Mode string
	Codes                             []wxtest.Code
	Scans                             []scanOutput
	Older                             int // number of codes that are not shown
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

// codeKind returns a description of an action.
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
	// sandboxFollower is the initial follower. An OpenID has 28 characters.
	sandboxFollower = "oSandboxFollower000000000001"

	maxForm = 16 << 10
)

// handleScan scans a code and redirects to the page, which shows the result.
func (s *sandbox) handleScan(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	result := scanOutput{Time: time.Now(), Ticket: wxqrcode.Ticket(r.PostFormValue("ticket"))}
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
	// The push continues if the browser leaves the page.
	s.scan(context.WithoutCancel(r.Context()), &result)
	s.mu.Lock()
	s.scans = slices.Insert(s.scans, 0, result)
	s.scans = s.scans[:min(maxScans, len(s.scans))]
	s.mu.Unlock()
	if s.onScan != nil {
		_ = s.onScan(result) // if it fails, the command ends
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// A scanOutput is the JSON output for a scan.
type scanOutput struct {
	Time      time.Time          `json:"time"`
	Event     wxqrcode.EventType `json:"event"`
	Scene     string             `json:"scene"`
	OpenID    string             `json:"openid"` // generated
	Ticket    wxqrcode.Ticket    `json:"ticket"`
	Status    int                `json:"status,omitempty"` // of the response of the callback
	Tries     int                `json:"tries,omitempty"`
	ReplyType string             `json:"reply_type,omitempty"`
	Reply     string             `json:"reply,omitempty"` // the text of a text reply
	Error     string             `json:"error,omitempty"`
}

// scan scans a code and sets the fields of result.
func (s *sandbox) scan(ctx context.Context, result *scanOutput) {
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

// String returns a description that is safe for a terminal.
func (s scanOutput) String() string {
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
