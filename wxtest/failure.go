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

// The endpoints of the server, for [Server.Fail] and [Server.Calls].
const (
	EndpointToken       = "/cgi-bin/token"
	EndpointStableToken = "/cgi-bin/stable_token"
	EndpointCreate      = "/cgi-bin/qrcode/create"
	EndpointImage       = "/cgi-bin/showqrcode"
)

// A Failure says how a request fails. The Delay comes first. Then the first
// field that is set of Cut, Code, Status and Body decides. If none is set, the
// request is handled as usual.
type Failure struct {
	// Code is the errcode of an error response, which is JSON with this code
	// and the text that WeChat has for it. Body is ignored then.
	Code int

	// Status is the HTTP status of the response, 200 to 999. Any other value
	// means 200. Without Code the response has Body, or a small HTML page if
	// Body is empty.
	Status int

	// Delay is how long the request waits, in real time. The wait ends early,
	// without a response, if the client disconnects or the server closes.
	Delay time.Duration

	// Cut closes the connection: without a response, or, with Body, after a
	// header with a Content-Length greater than the length of Body, and Body.
	Cut bool

	// Body is the body of the response. Its status is 200 unless Status is set.
	Body string
}

// Fail injects a failure: the next n requests to an endpoint fail. If n is not
// positive, Fail has no effect. The failures of an endpoint are queued: the
// second takes effect after the n requests of the first. A zero Failure lets n
// requests succeed.
//
// An endpoint is [EndpointToken], [EndpointStableToken], [EndpointCreate],
// [EndpointImage], or the path of any other request, which is otherwise
// answered 404. A suffix of a path that begins at a slash, such as
// "qrcode/create" or "token", works too.
//
// Two rejected tokens in a row (40001) make a [wxqrcode.TokenSource] force a
// refresh, which it does at most every 30 s of real time. Inject one, unless
// that is what the test is about.
//
// While a Cut is queued, the server closes each connection after the response:
// [http.Transport] silently retries a GET on a reused connection that is
// closed, and the client would never see the failure.
func (s *Server) Fail(endpoint string, n int, f Failure) {
	if n <= 0 {
		return
	}
	s.faults.inject(endpoint, n, f)
	if f.Cut {
		s.client.CloseIdleConnections()
	}
}

// Calls returns the number of requests to an endpoint, the failed ones
// included. A request counts before its Delay. See [Server.Fail] for the names
// of endpoints.
func (s *Server) Calls(endpoint string) int { return s.faults.count(endpoint) }

// A faultInjector counts requests and chooses those that fail.
type faultInjector struct {
	mu       sync.Mutex // guards the fields below
	requests map[string]int
	queue    []*fault // in the order of inject
}

// A fault is a failure of the next requests to an endpoint.
type fault struct {
	Failure
	endpoint string
	left     int // requests
}

func (i *faultInjector) inject(endpoint string, n int, f Failure) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.queue = append(i.queue, &fault{Failure: f, endpoint: endpoint, left: n})
}

// next counts a request and returns its failure. cutQueued reports whether the
// queue still has a cut.
func (i *faultInjector) next(path string) (f Failure, cutQueued bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.requests == nil {
		i.requests = make(map[string]int)
	}
	i.requests[path]++
	queue, found := i.queue[:0], false
	for _, q := range i.queue {
		if !found && matchEndpoint(q.endpoint, path) {
			found, f = true, q.Failure
			q.left--
		}
		if q.left > 0 {
			queue = append(queue, q)
			cutQueued = cutQueued || q.Cut
		}
	}
	clear(i.queue[len(queue):])
	i.queue = queue
	return f, cutQueued
}

func (i *faultInjector) count(endpoint string) (n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for path, requests := range i.requests {
		if matchEndpoint(endpoint, path) {
			n += requests
		}
	}
	return n
}

// matchEndpoint reports whether endpoint is path or a suffix of it that begins
// at a slash.
func matchEndpoint(endpoint, path string) bool {
	endpoint = strings.Trim(endpoint, "/")
	return endpoint != "" && strings.HasSuffix(path, "/"+endpoint)
}

// fail sends the response of a failure. It reports false if the request is to
// be handled as usual.
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
		cutConnection(w, nil)
	case f.Cut:
		cutConnection(w, fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			status, http.StatusText(status), http.DetectContentType([]byte(f.Body)), 2*len(f.Body)+1, f.Body))
	case f.Code != 0:
		s.writeError(w, status, f.Code)
	case f.Body != "":
		w.WriteHeader(status)
		io.WriteString(w, f.Body)
	case f.Status != 0:
		writePage(w, status)
	default:
		return false
	}
	return true
}

// cutConnection closes the connection of a request, after it has sent a part of
// a response.
func cutConnection(w http.ResponseWriter, part []byte) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		return // it is closed already
	}
	if len(part) > 0 {
		_, _ = conn.Write(part)
	}
	_ = conn.Close()
}
