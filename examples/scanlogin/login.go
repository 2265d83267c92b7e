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

// scenePrefix tells the scenes of logins from the account's others.
const scenePrefix = "login-"

const (
	codeLife    = 5 * time.Minute
	grace       = time.Minute // for a browser to fetch the login after the scan
	sessionLife = 12 * time.Hour
	heartbeat   = 15 * time.Second // proxies cut what is silent for a minute or less
	streamLife  = 5 * time.Minute  // after which the browser connects again
	writeLimit  = 10 * time.Second // for a browser to take an event

	maxPending  = 10_000
	maxSessions = 100_000
)

// A login is a page on which visitors log in by scanning a code, and an
// [http.Handler] for all of its site: page, code, events, session. Close it when
// the server shuts down.
//
// Each visitor gets a code of their own, whose scene nobody can guess, and a cookie
// that says which code it is. The scan alone logs nobody in: only the browser with
// the cookie can turn it into a session. A code is good for one login.
//
// What that does not stop is QRJacking: somebody asks for a code, shows it to a victim as
// something else ("scan for a coupon") and is logged in as the victim. Whoever scans
// cannot see whose browser they let in. The reply to the scan (see receive) tells them
// what it was they scanned, which is a warning after the fact. If more is at stake, let
// the scan only name the visitor, and log them in when they have confirmed it on the
// phone, on a page that shows where the browser is.
//
// A new code costs one of the account's calls to WeChat, of which a day has a limited
// number. Where strangers can reach the page, limit how many one address can ask for.
type login struct {
	client  *wxqrcode.Client
	waiter  *callback.Waiter
	handler http.Handler

	// Set before the first request.
	codeLife, grace       time.Duration // cookies live for both together
	heartbeat, streamLife time.Duration
	secure                bool // cookies are for https alone, also if TLS ends before this server
	sandbox               bool // the page has the buttons that play a phone

	images   string // the origin of the pictures
	pending  *store[*callback.PendingScan]
	sessions *store[session]
	closing  context.Context
	close    context.CancelFunc
}

// A session is somebody who is logged in.
type session struct{ openID string }

//go:embed index.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// newLogin returns a login that makes codes with client and hears of scans by
// waiter.
func newLogin(client *wxqrcode.Client, waiter *callback.Waiter) (*login, error) {
	image, err := url.Parse(client.ImageURL(""))
	if err != nil {
		return nil, fmt.Errorf("find where the pictures come from: %w", err)
	}
	l := &login{
		client: client, waiter: waiter,
		codeLife: codeLife, grace: grace, heartbeat: heartbeat, streamLife: streamLife,
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
	l.handler = http.NewCrossOriginProtection().Handler(mux) // no other site can press our buttons
	return l, nil
}

func (l *login) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.handler.ServeHTTP(w, r) }

// Close ends the streams of events, for which [http.Server.Shutdown] would wait.
func (l *login) Close() { l.close() }

// forget ends all logins of a follower: WeChat requires that the personal data of
// those who leave are deleted.
func (l *login) forget(ctx context.Context, openID string) {
	l.pending.dropIf(func(scan *callback.PendingScan) bool {
		select {
		case <-scan.Done():
			event, err := scan.Wait(ctx) // at once
			return err == nil && event.OpenID == openID
		default:
			return false
		}
	})
	l.sessions.dropIf(func(s session) bool { return s.openID == openID })
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
		slog.ErrorContext(r.Context(), "make the page", "error", err)
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
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

// greeting shows the end of the OpenID: followers of one account share the beginning.
func (s session) greeting() string {
	const shown = 4
	return "Welcome, follower …" + s.openID[max(0, len(s.openID)-shown):]
}

// begin makes a code for the browser that asks.
func (l *login) begin(w http.ResponseWriter, r *http.Request) {
	if scan, ok := l.pending.take(l.cookie(r, pendingCookie)); ok {
		scan.Cancel() // one code a browser
	}
	scene := wxqrcode.RandomScene(scenePrefix)
	scan := l.waiter.Expect(scene, l.codeLife) // before there is a code that could be scanned
	id, ok := l.pending.put(scan, l.codeLife+l.grace)
	if !ok {
		scan.Cancel()
		w.Header().Set("Retry-After", "60")
		http.Error(w, "too many people are logging in", http.StatusServiceUnavailable)
		return
	}
	code, err := l.client.Create(r.Context(), wxqrcode.Temporary(scene, l.codeLife))
	if err != nil {
		l.pending.take(id)
		scan.Cancel()
		slog.ErrorContext(r.Context(), "make a code for a login", "error", err)
		http.Error(w, "WeChat gave no code; try again", http.StatusBadGateway)
		return
	}
	l.setCookie(w, r, pendingCookie, id, l.codeLife+l.grace)
	writeJSON(w, struct {
		Image     string    `json:"image"`
		ExpiresAt time.Time `json:"expires_at"`
	}{l.client.ImageURL(code.Ticket), code.ExpiresAt})
}

// streamEvents tells the browser, by server-sent events, when its code was scanned
// or has expired.
func (l *login) streamEvents(w http.ResponseWriter, r *http.Request) {
	scan, ok := l.pending.get(l.cookie(r, pendingCookie))
	if !ok {
		http.Error(w, "this browser has no code", http.StatusUnauthorized)
		return
	}
	stream, cancel := context.WithTimeout(r.Context(), l.streamLife)
	defer cancel()
	defer context.AfterFunc(l.closing, cancel)()

	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the server's ReadTimeout would end the stream; a writer without it does no harm
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
	h.Set("X-Accel-Buffering", "no") // or nginx would collect the events
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
			_ = send("event: " + event + "\ndata: {}\n\n") // or the browser asks again
			return
		case <-stream.Done():
			return
		case <-beat.C:
			if send(": still here\n\n") != nil {
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
		http.Error(w, "nobody has scanned the code yet", http.StatusConflict)
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
	// A new id, whatever the browser came with: whoever planted or saw an old one must
	// not share the session.
	l.sessions.take(l.cookie(r, sessionCookie))
	s := session{event.OpenID}
	sessionID, ok := l.sessions.put(s, sessionLife)
	if !ok {
		http.Error(w, "too many people are logged in", http.StatusServiceUnavailable)
		return
	}
	l.setCookie(w, r, pendingCookie, "", 0)
	l.setCookie(w, r, sessionCookie, sessionID, sessionLife)
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

// cookieName has the prefix that keeps other hosts of the domain from planting a
// cookie, which browsers take over https only.
func (l *login) cookieName(r *http.Request, name string) (full string, secure bool) {
	if l.secure || r.TLS != nil {
		return "__Host-" + name, true
	}
	return name, false
}

// cookie returns the value of a cookie, or nothing.
func (l *login) cookie(r *http.Request, name string) string {
	name, _ = l.cookieName(r, name)
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// setCookie sets a cookie, or takes it away if life is 0.
func (l *login) setCookie(w http.ResponseWriter, r *http.Request, name, value string, life time.Duration) {
	name, secure := l.cookieName(r, name)
	maxAge := int(life.Seconds())
	if life == 0 {
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
	_ = json.NewEncoder(w).Encode(v) // the browser may have gone
}
