package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
)

// scenePrefix distinguishes the scenes of logins from other scenes of the
// account.
const scenePrefix = "login-"

const (
	codeTTL    = 5 * time.Minute
	grace      = time.Minute // for a browser to fetch the login after the scan
	sessionTTL = 12 * time.Hour
	heartbeat  = 15 * time.Second // proxies close a connection that is idle for a minute or less
	streamTTL  = 5 * time.Minute  // after which the browser connects again
	writeLimit = 10 * time.Second // for sending an event to a browser

	maxPending  = 10_000
	maxSessions = 100_000
)

// A login is an [http.Handler] for a page on which visitors log in by scanning
// a code: the page, codes, events and sessions. Close it when the server shuts
// down.
//
// Each visitor gets a new code with a random scene, and a cookie that
// identifies the code. The scan alone logs in no browser: only the browser with
// the cookie can exchange the scan for a session. A code is valid for one
// login.
//
// This does not prevent QRJacking: an attacker requests a code, shows it to a
// victim as something else ("scan for a coupon") and is logged in as the
// victim. The victim does not see which browser is logged in. The reply to the
// scan (see newOnEvent) says that it was a login, which is a warning after the
// fact. If more is at stake, let the visitor confirm the login on the phone, on
// a page that shows the location of the browser.
//
// Each code takes one request of the daily quota of the account. If the page is
// public, limit the codes per IP address.
type login struct {
	client  *wxqrcode.Client
	waiter  *callback.Waiter
	handler http.Handler

	// Set before the first request.
	codeTTL, grace       time.Duration // cookies are valid for both together
	heartbeat, streamTTL time.Duration
	secure               bool // cookies require https, also if a proxy terminates TLS
	sandbox              bool // the page has buttons that simulate a phone

	images   string // the origin of the images
	pending  *store[*callback.PendingScan]
	sessions *store[session]
	closing  context.Context
	close    context.CancelFunc
}

// A session is a login of a follower.
type session struct{ openID string }

//go:embed index.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// newLogin returns a login that creates codes with client and receives scans
// from waiter.
func newLogin(client *wxqrcode.Client, waiter *callback.Waiter) (*login, error) {
	image, err := url.Parse(client.ImageURL(""))
	if err != nil {
		return nil, fmt.Errorf("parse the URL of the images: %w", err)
	}
	l := &login{
		client: client, waiter: waiter,
		codeTTL: codeTTL, grace: grace, heartbeat: heartbeat, streamTTL: streamTTL,
		images:   image.Scheme + "://" + image.Host,
		pending:  newStore[*callback.PendingScan](maxPending),
		sessions: newStore[session](maxSessions),
	}
	l.closing, l.close = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", l.servePage)
	mux.HandleFunc("POST /login", l.begin)
	mux.HandleFunc("GET /login/events", l.streamEvents)
	mux.HandleFunc("POST /login/finish", l.finish)
	mux.HandleFunc("POST /logout", l.logout)
	l.handler = http.NewCrossOriginProtection().Handler(mux) // rejects requests from other sites
	return l, nil
}

func (l *login) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.handler.ServeHTTP(w, r) }

// Close ends the event streams, which [http.Server.Shutdown] waits for.
func (l *login) Close() { l.close() }

// deleteFollower ends all logins of a follower: WeChat requires that personal
// data are deleted after an unfollow.
func (l *login) deleteFollower(ctx context.Context, openID string) {
	l.pending.removeIf(func(scan *callback.PendingScan) bool {
		select {
		case <-scan.Done():
			event, err := scan.Wait(ctx) // at once
			return err == nil && event.OpenID == openID
		default:
			return false
		}
	})
	l.sessions.removeIf(func(s session) bool { return s.openID == openID })
}

func (l *login) servePage(w http.ResponseWriter, r *http.Request) {
	data := struct {
		Nonce, Greeting string
		Sandbox         bool
	}{Nonce: rand.Text(), Sandbox: l.sandbox}
	if s, ok := l.sessions.get(l.cookie(r, sessionCookie)); ok {
		data.Greeting = s.greeting()
	}
	var b bytes.Buffer
	if err := page.Execute(&b, data); err != nil {
		slog.ErrorContext(r.Context(), "render the page", "error", err)
		http.Error(w, "the page cannot be rendered", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; img-src "+l.images+"; connect-src 'self'; "+
		"script-src 'nonce-"+data.Nonce+"'; style-src 'nonce-"+data.Nonce+"'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	w.Write(b.Bytes())
}

// greeting has the end of the OpenID: the OpenIDs of an account begin alike.
func (s session) greeting() string {
	const length = 4
	return "Welcome, follower …" + s.openID[max(0, len(s.openID)-length):]
}

// begin creates a code for a browser.
func (l *login) begin(w http.ResponseWriter, r *http.Request) {
	if scan, ok := l.pending.take(l.cookie(r, pendingCookie)); ok {
		scan.Cancel() // one code per browser
	}
	scene := wxqrcode.RandomScene(scenePrefix)
	scan := l.waiter.Expect(scene, l.codeTTL) // before the code exists
	id, ok := l.pending.put(scan, l.codeTTL+l.grace)
	if !ok {
		scan.Cancel()
		w.Header().Set("Retry-After", "60")
		http.Error(w, "too many logins are pending; try again later", http.StatusServiceUnavailable)
		return
	}
	code, err := l.client.Create(r.Context(), wxqrcode.Temporary(scene, l.codeTTL))
	if err != nil {
		l.pending.take(id)
		scan.Cancel()
		slog.ErrorContext(r.Context(), "create a code for a login", "error", err)
		http.Error(w, "no code from WeChat; try again", http.StatusBadGateway)
		return
	}
	l.setCookie(w, r, pendingCookie, id, l.codeTTL+l.grace)
	writeJSON(w, struct {
		Image     string    `json:"image"`
		ExpiresAt time.Time `json:"expires_at"`
	}{l.client.ImageURL(code.Ticket), code.ExpiresAt})
}

// streamEvents sends a server-sent event to the browser when its code was
// scanned or has expired.
func (l *login) streamEvents(w http.ResponseWriter, r *http.Request) {
	scan, ok := l.pending.get(l.cookie(r, pendingCookie))
	if !ok {
		http.Error(w, "this browser has no code", http.StatusUnauthorized)
		return
	}
	stream, cancel := context.WithTimeout(r.Context(), l.streamTTL)
	defer cancel()
	defer context.AfterFunc(l.closing, cancel)()

	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the ReadTimeout of the server would end the stream
	send := func(text string) error {
		_ = control.SetWriteDeadline(time.Now().Add(writeLimit))
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		return control.Flush()
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx must not buffer the events
	if send("retry: 1000\n\n") != nil {
		return
	}
	beat := time.NewTicker(l.heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-scan.Done():
			event := "scanned"
			if _, err := scan.Wait(stream); err != nil {
				event = "expired"
			}
			_ = send("event: " + event + "\ndata: {}\n\n") // after an error the browser reconnects
			return
		case <-stream.Done():
			return
		case <-beat.C:
			if send(": heartbeat\n\n") != nil {
				return
			}
		}
	}
}

// finish turns a scan into a session.
func (l *login) finish(w http.ResponseWriter, r *http.Request) {
	id := l.cookie(r, pendingCookie)
	scan, ok := l.pending.get(id)
	if !ok {
		http.Error(w, "this browser has no code", http.StatusUnauthorized)
		return
	}
	select {
	case <-scan.Done():
	default:
		http.Error(w, "the code has not been scanned", http.StatusConflict)
		return
	}
	event, err := scan.Wait(r.Context()) // at once
	if err != nil {
		http.Error(w, "the code has expired", http.StatusGone)
		return
	}
	if _, ok := l.pending.take(id); !ok { // another request was first
		http.Error(w, "this browser has no code", http.StatusUnauthorized)
		return
	}
	// A new ID, against session fixation.
	l.sessions.take(l.cookie(r, sessionCookie))
	s := session{event.OpenID}
	sessionID, ok := l.sessions.put(s, sessionTTL)
	if !ok {
		http.Error(w, "too many sessions; try again later", http.StatusServiceUnavailable)
		return
	}
	l.setCookie(w, r, pendingCookie, "", 0)
	l.setCookie(w, r, sessionCookie, sessionID, sessionTTL)
	writeJSON(w, struct {
		Greeting string `json:"greeting"`
	}{s.greeting()})
}

func (l *login) logout(w http.ResponseWriter, r *http.Request) {
	l.sessions.take(l.cookie(r, sessionCookie))
	l.setCookie(w, r, sessionCookie, "", 0)
	w.WriteHeader(http.StatusNoContent)
}

const (
	pendingCookie = "login"
	sessionCookie = "session"
)

// cookieName returns the name with the prefix __Host-, so that other hosts of
// the domain cannot set the cookie. Browsers accept the prefix over https only.
func (l *login) cookieName(r *http.Request, name string) (full string, secure bool) {
	if l.secure || r.TLS != nil {
		return "__Host-" + name, true
	}
	return name, false
}

// cookie returns the value of a cookie, or "".
func (l *login) cookie(r *http.Request, name string) string {
	name, _ = l.cookieName(r, name)
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// setCookie sets a cookie, or deletes it if ttl is 0.
func (l *login) setCookie(w http.ResponseWriter, r *http.Request, name, value string, ttl time.Duration) {
	name, secure := l.cookieName(r, name)
	maxAge := int(ttl.Seconds())
	if ttl == 0 {
		maxAge = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode,
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the browser may have disconnected
}
