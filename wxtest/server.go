// Package wxtest is a WeChat in a process: a real HTTP server on loopback that
// hands out access tokens, makes QR codes, serves their pictures and pushes the
// events of scans, the way the real servers do, traps included. Use it in tests
// of programs that use package wxqrcode, and to try things out without an
// account.
//
//	srv := wxtest.NewServer()
//	defer srv.Close()
//	srv.SetCallback(myCallbackURL, wxtest.CallbackConfig{Token: "token"})
//
//	code, err := srv.Client().Create(ctx, wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), time.Hour))
//	// …
//	delivery, err := srv.Scan(ctx, code.Ticket, "o-visitor") // your handler has had the event
//
// # What is imitated
//
// GET /cgi-bin/token and POST /cgi-bin/stable_token, two families of tokens that
// are independent of each other; POST /cgi-bin/qrcode/create with its checks and
// with what it wrongly lets pass; GET /cgi-bin/showqrcode; the check of the
// account's callback URL; and pushes of events and texts to it in plain, compatible
// and secure mode, repeated as WeChat repeats them. Where WeChat documents nothing, the server does what public reports
// tell; comments in the code name what had to be chosen because nobody tells.
//
// qrcode/create gives a code that looks good, and an event that does not, for a
// scene_id directly under action_info ("0"), a scene_id above 32 bits
// ("4294967295", or "0" above 64) and a \uXXXX escape in a scene_str (the six
// characters). With a permanent code and expire_seconds it gives a ticket without a
// picture. Without expire_seconds a temporary code dies after 60 s.
//
// Quotas of calls (a day's, a minute's) are not imitated: make a call fail with
// 45009 or 45011 by [Server.Fail]. The limit of 100,000 permanent codes is, and so
// is that of 20 forced refreshes of a token a day.
//
// # Time
//
// Everything the server dates or lets expire goes by the clock of [WithNow], so
// that a test can jump ahead. A [Failure]'s Delay and the time-out of a push
// ([WithPushTimeout]) are real time. The server has real sockets, which
// [testing/synctest] cannot wait for: do not start one inside a bubble.
package wxtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// maxBody bounds what the server reads: the body of a call, and of a callback's
// answer.
const maxBody = 1 << 20

// A Server is a WeChat with one account. Make one with [NewServer] and [Server.Close]
// it. Its methods are safe for concurrent use.
type Server struct {
	config
	appID, appSecret string
	account          string // the gh_… that pushes are addressed to

	http    *httptest.Server
	client  *http.Client // for those who call the server
	pusher  *http.Client // for what the server calls
	closing context.Context
	close   context.CancelFunc

	tokens  *tokens
	codes   *codes
	traffic traffic

	mu        sync.Mutex // guards what follows
	closed    bool
	pushes    sync.WaitGroup // pushes under way; Add only under mu and before closed
	callback  callback
	followers map[string]bool
}

// NewServer starts a server with an account of its own, whose AppID, AppSecret
// and name are random. It panics if no port can be had on loopback, as
// [httptest.NewServer] does.
func NewServer(opts ...Option) *Server {
	s := &Server{
		config:    defaultConfig(),
		appID:     "wx" + randomHex(16),
		appSecret: randomHex(32),
		account:   "gh_" + randomHex(12),
		client:    &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		codes:     newCodes(),
		followers: make(map[string]bool),
	}
	for _, o := range opts {
		if o != nil {
			o(&s.config)
		}
	}
	s.pusher = newPusher(s.pushTimeout)
	s.tokens = newTokens(s.tokenLifetime)
	s.closing, s.close = context.WithCancel(context.Background())
	s.http = httptest.NewServer(s)
	return s
}

// Close stops the server: delays ordered with [Server.Fail] and pushes under way
// end at once, a [Server.Scan] among them with an error that wraps
// [http.ErrServerClosed]. It waits until all calls have returned and leaves no
// goroutine behind. Further calls to Close do nothing.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()

	s.close()
	s.pushes.Wait()
	s.http.Close()
	s.client.CloseIdleConnections()
}

// URL returns the server's scheme and host, such as "http://127.0.0.1:41234". It
// is both the API's and the images'.
func (s *Server) URL() string { return s.http.URL }

// AppID returns the account's AppID: "wx" and 16 hexadecimal digits.
func (s *Server) AppID() string { return s.appID }

// AppSecret returns the account's secret: 32 hexadecimal digits.
func (s *Server) AppSecret() string { return s.appSecret }

// ClientOptions returns what makes a [wxqrcode.Client] talk to this server: its
// URL for the API and for images, and an HTTP client whose connections end with
// the server.
func (s *Server) ClientOptions() []wxqrcode.ClientOption {
	return []wxqrcode.ClientOption{
		wxqrcode.WithAPIURL(s.URL()),
		wxqrcode.WithImageURL(s.URL()),
		wxqrcode.WithHTTPClient(s.client),
	}
}

// TokenOptions returns what makes a [wxqrcode.TokenSource] talk to this server.
// Give it the server's AppID and AppSecret too.
func (s *Server) TokenOptions() []wxqrcode.TokenOption {
	return []wxqrcode.TokenOption{
		wxqrcode.WithAPIURL(s.URL()),
		wxqrcode.WithHTTPClient(s.client),
	}
}

// Client returns a new client of this server, with a token source of its own.
func (s *Server) Client() *wxqrcode.Client {
	tokens, err := wxqrcode.NewTokenSource(s.appID, s.appSecret, s.TokenOptions()...)
	if err != nil {
		panic("wxtest: token source: " + err.Error()) // our own options are always good
	}
	client, err := wxqrcode.NewClient(tokens, s.ClientOptions()...)
	if err != nil {
		panic("wxtest: client: " + err.Error())
	}
	return client
}

// Format prints the server without its secret and its tokens.
func (s *Server) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "wxtest.Server(%s %s)", s.appID, s.URL())
}

// ServeHTTP answers one call: as ordered with [Server.Fail], else as WeChat would. A
// program may so serve the same WeChat at an address of its own, beside [Server.URL].
// A [Failure] that cuts the connection is a panic with [http.ErrAbortHandler] where
// the connection cannot be taken over, as in HTTP/2.
//
// [Server.Close] ends the delays of such calls, and does not wait for them: that is
// for the server which they came by.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	failure, cutAhead := s.traffic.arrive(r.URL.Path)
	if cutAhead {
		w.Header().Set("Connection", "close") // see Fail
	}
	// The whole body at once: only then does net/http notice a client that leaves.
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || !s.wait(r.Context(), failure.Delay) {
		cut(w, nil)
		return
	}
	if s.fail(w, failure) {
		return
	}
	switch r.URL.Path {
	case "/cgi-bin/token":
		s.api(w, r, body, s.legacyToken)
	case "/cgi-bin/stable_token":
		s.api(w, r, body, s.stableToken)
	case "/cgi-bin/qrcode/create":
		s.api(w, r, body, s.create)
	case "/cgi-bin/showqrcode":
		s.showQRCode(w, r)
	default:
		page(w, http.StatusNotFound)
	}
}

// wait returns after d of real time. It reports false, at once, if the client
// leaves or the server closes.
func (s *Server) wait(client context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-client.Done():
	case <-s.closing.Done():
	}
	return false
}
