// Package wxtest is a WeChat simulator: a real HTTP server on loopback that
// issues access tokens, creates QR codes, serves their images and pushes the
// events of scans, as the real servers do, traps included. Use it in tests of
// programs that use package wxqrcode, and to try things out without an account.
//
//	srv := wxtest.NewServer()
//	defer srv.Close()
//	cfg := srv.CallbackConfig(wxtest.Secure) // a callback.Config with new secrets
//	cfg.OnEvent = onEvent                    // under test
//	handler, err := callback.New(cfg)
//	// …
//	err = srv.Connect(handler) // verifies the URL, as WeChat does
//	// …
//	code, err := srv.Client().Create(ctx, wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), time.Hour))
//	// …
//	delivery, err := srv.Scan(ctx, code.Ticket, "o-visitor") // onEvent has returned
//	// …
//	reply, err := delivery.Reply() // what the user receives, decrypted
//
// # What is simulated
//
//   - GET /cgi-bin/token and POST /cgi-bin/stable_token, whose tokens are
//     independent of each other.
//   - POST /cgi-bin/qrcode/create with its checks, and with the mistakes that it
//     accepts.
//   - GET /cgi-bin/showqrcode.
//   - Verification of the callback URL, and pushes of events and texts in plain,
//     compatible and secure mode ([Mode]), with redeliveries.
//   - Pushes of WeChat cloud hosting (微信云托管), in the mode [CloudHosting].
//   - Pushes of a third-party platform (第三方平台), such as
//     component_verify_ticket, with [Server.PushInfo].
//
// Where WeChat documents nothing, the server does what public reports describe.
// Comments in the code name what had to be chosen.
//
// qrcode/create returns a code that looks good, and whose events do not carry
// the requested scene, for a scene_id directly under action_info ("0"), a
// scene_id above 32 bits ("4294967295", or "0" above 64) and a \uXXXX escape in
// a scene_str (the six characters). For a permanent action with expire_seconds
// it returns a ticket without an image. Without expire_seconds a temporary code
// expires after 60 s.
//
// A ticket contains "+" and "/" on purpose, although 42 public tickets since
// 2017 contain neither: a program that does not escape tickets fails at once.
// See [WithRealisticTickets].
//
// The limits of requests by day and by minute are not simulated: use
// [Server.Fail] with 45009 or 45011. The limit of 100,000 permanent codes is,
// and that of 20 force refreshes of a token a day too.
//
// # Time
//
// The clock of [WithNow] dates everything and decides what has expired, so that
// a test can move ahead. The Delay of a [Failure] and the timeout of a push
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

// maxBody is the limit of what the server reads, in bytes: the body of a
// request, and of a response to a push.
const maxBody = 1 << 20

// A Server simulates WeChat with one account. Make one with [NewServer] and
// close it with [Server.Close]. Its methods are safe for concurrent use. fmt
// prints it redacted.
type Server struct {
	config
	appSecret string
	account   string // ToUserName of pushes: gh_…

	http    *httptest.Server
	client  *http.Client // for clients of the server
	pusher  *http.Client // for pushes
	closing context.Context
	close   context.CancelFunc

	tokens *tokens
	codes  *codes
	faults faultInjector

	mu        sync.Mutex // guards the fields below
	closed    bool
	pushes    sync.WaitGroup // pushes in flight; Add only under mu and before closed
	callback  accountCallback
	pending   *pendingCallback   // of CallbackConfig, for Connect
	served    []*httptest.Server // by Connect
	followers map[string]bool
}

// NewServer starts a server with a new account, whose AppID, AppSecret and name
// are random. It panics if it cannot listen on loopback, as
// [httptest.NewServer] does.
func NewServer(opts ...Option) *Server {
	s := &Server{
		config:    defaultConfig(),
		appSecret: randomHex(32),
		account:   "gh_" + randomHex(12),
		client:    &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		followers: make(map[string]bool),
	}
	for _, o := range opts {
		if o != nil {
			o(&s.config)
		}
	}
	s.pusher = newPusher(s.pushTimeout)
	s.tokens = newTokens(s.tokenLifetime)
	s.codes = newCodes(s.realTickets)
	s.closing, s.close = context.WithCancel(context.Background())
	s.http = httptest.NewServer(s)
	return s
}

// Close stops the server and the handlers of [Server.Connect]. Delays of
// [Server.Fail] and pushes in flight end at once; the error of the pushes wraps
// [http.ErrServerClosed]. Close waits until all requests have ended and leaves
// no goroutine behind. Further calls of Close have no effect.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()

	s.close()
	s.pushes.Wait()
	for _, served := range s.served {
		served.Close()
	}
	s.http.Close()
	s.client.CloseIdleConnections()
}

// URL returns the scheme and host of the server, such as
// "http://127.0.0.1:41234", for the API and for images.
func (s *Server) URL() string { return s.http.URL }

// AppID returns the AppID of the account: "wx" and 16 hexadecimal digits, or the
// one of [WithAppID].
func (s *Server) AppID() string { return s.appID }

// AppSecret returns the secret of the account: 32 hexadecimal digits.
func (s *Server) AppSecret() string { return s.appSecret }

// Options returns the options of a [wxqrcode.Client] or [wxqrcode.TokenSource]
// of this server: its URL for the API and for images, and an HTTP client whose
// connections end with the server. The constructors also need [Server.AppID]
// and [Server.AppSecret].
func (s *Server) Options() []wxqrcode.Option {
	return []wxqrcode.Option{
		wxqrcode.WithAPIURL(s.URL()),
		wxqrcode.WithImageURL(s.URL()),
		wxqrcode.WithHTTPClient(s.client),
	}
}

// Client returns a new client of this server, with its own token source.
func (s *Server) Client() *wxqrcode.Client {
	client, err := wxqrcode.New(s.appID, s.appSecret, s.Options()...)
	if err != nil {
		panic("wxtest: client: " + err.Error()) // the options of this package are valid
	}
	return client
}

// Format prints the server redacted, for every verb of fmt.
func (s *Server) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "wxtest.Server(%s %s)", s.appID, s.URL())
}

// ServeHTTP handles a request: with a failure of [Server.Fail], or as WeChat
// does. A program can serve the simulator at another address than [Server.URL]
// with it. Where the connection cannot be hijacked, as in HTTP/2, a [Failure]
// with Cut panics with [http.ErrAbortHandler].
//
// [Server.Close] ends the delays of such requests and does not wait for the
// requests.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	failure, cutQueued := s.faults.next(r.URL.Path)
	if cutQueued {
		w.Header().Set("Connection", "close") // see Fail
	}
	// net/http notices that a client disconnects only after the whole body is
	// read.
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || !s.wait(r.Context(), failure.Delay) {
		cutConnection(w, nil)
		return
	}
	if s.fail(w, failure) {
		return
	}
	switch r.URL.Path {
	case EndpointToken:
		s.serveAPI(w, r, body, s.legacyToken)
	case EndpointStableToken:
		s.serveAPI(w, r, body, s.stableToken)
	case EndpointCreate:
		s.serveAPI(w, r, body, s.create)
	case EndpointImage:
		s.showQRCode(w, r)
	default:
		writePage(w, http.StatusNotFound)
	}
}

// wait returns after d of real time. It reports false, at once, if the client
// disconnects or the server closes.
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
