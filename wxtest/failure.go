package wxtest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A Failure says how a call fails. The Delay comes first; then the first that is
// set of Cut, Code, Status and Body decides. With none of them, the call is
// answered as usual.
type Failure struct {
	// Code is answered as WeChat refuses: JSON with this errcode and the text that
	// WeChat has for it. Body is not used with it.
	Code int
	// Status is the HTTP status of the answer, 200 to 999; any other counts as none,
	// which is 200. Without Code it is answered with Body, or with a small HTML page
	// if there is none.
	Status int
	// Delay is how long the call waits, in real time. The wait ends early, without
	// an answer, if the client leaves or the server closes.
	Delay time.Duration
	// Cut closes the connection: without an answer, or, with Body, after a header
	// that promises more than Body and all of Body.
	Cut bool
	// Body is answered as it is, with status 200 if no other is given.
	Body string
}

// Fail makes the next n calls of an endpoint fail; n <= 0 does nothing. Orders for
// one endpoint queue up: the next one counts when the one before it is used up. An
// order that is the zero Failure lets n calls through.
//
// An endpoint is the end of its path, at a slash: "token", "stable_token",
// "qrcode/create", "showqrcode", or more of it, such as "/cgi-bin/qrcode/create".
// Any other path may be named too; without an order it is answered 404.
//
// Two refusals of a token in a row (40001) make a [wxqrcode.TokenSource] replace the
// token by force, which it does only every 30 s of real time: order one, unless that
// is what is tested.
//
// While a Cut is in the queue, the server keeps no connections alive: Go's
// [http.Transport] quietly repeats a GET that was cut on a connection it had used
// before, and the caller would never see the failure.
func (s *Server) Fail(endpoint string, n int, f Failure) {
	if n <= 0 {
		return
	}
	s.traffic.order(endpoint, n, f)
	if f.Cut {
		s.client.CloseIdleConnections()
	}
}

// Calls returns how many calls of an endpoint have arrived, those that failed
// included. They count before their Delay. For the endpoint's name see
// [Server.Fail].
func (s *Server) Calls(endpoint string) int { return s.traffic.count(endpoint) }

// traffic counts the calls and knows which are to fail.
type traffic struct {
	mu    sync.Mutex // guards what follows
	calls map[string]int
	queue []*order // in the order they were given
}

type order struct {
	Failure
	endpoint string
	left     int
}

func (t *traffic) order(endpoint string, n int, f Failure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = append(t.queue, &order{Failure: f, endpoint: endpoint, left: n})
}

// arrive counts a call and returns how it is to fail, and whether any call after
// it is to be cut.
func (t *traffic) arrive(path string) (f Failure, cutAhead bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calls == nil {
		t.calls = make(map[string]int)
	}
	t.calls[path]++
	queue, taken := t.queue[:0], false
	for _, o := range t.queue {
		if !taken && names(o.endpoint, path) {
			taken, f = true, o.Failure
			o.left--
		}
		if o.left > 0 {
			queue = append(queue, o)
			cutAhead = cutAhead || o.Cut
		}
	}
	clear(t.queue[len(queue):])
	t.queue = queue
	return f, cutAhead
}

func (t *traffic) count(endpoint string) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for path, calls := range t.calls {
		if names(endpoint, path) {
			n += calls
		}
	}
	return n
}

// names reports whether endpoint is the end of path, at a slash.
func names(endpoint, path string) bool {
	endpoint = strings.Trim(endpoint, "/")
	return endpoint != "" && strings.HasSuffix(path, "/"+endpoint)
}

// fail answers as f says. It reports false if f leaves the answer to the server.
func (s *Server) fail(w http.ResponseWriter, f Failure) bool {
	if f.Status < 200 || f.Status > 999 {
		f.Status = 0
	}
	status := f.Status
	if status == 0 {
		status = http.StatusOK
	}
	switch {
	case f.Cut && f.Body == "":
		cut(w, nil)
	case f.Cut:
		cut(w, fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			status, http.StatusText(status), http.DetectContentType([]byte(f.Body)), 2*len(f.Body)+1, f.Body))
	case f.Code != 0:
		s.refuse(w, status, f.Code)
	case f.Body != "":
		w.WriteHeader(status)
		io.WriteString(w, f.Body)
	case f.Status != 0:
		page(w, status)
	default:
		return false
	}
	return true
}

// cut closes the connection of a call, after sending a part of an answer.
func cut(w http.ResponseWriter, part []byte) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		return // it is gone already
	}
	if len(part) > 0 {
		_, _ = conn.Write(part)
	}
	_ = conn.Close()
}
