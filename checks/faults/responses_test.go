package faults

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/seed-0142d113/wxqrcode"
)

// page writes an error page like that of a proxy, with the URL.
func page(w http.ResponseWriter, r *http.Request, status int) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<h1>%d</h1> %s", status, strings.TrimPrefix(r.URL.RequestURI(), r.URL.Path))
}

// responseFaults are faults in the response of a server.
func responseFaults() []fault {
	unexpected := []error{wxqrcode.ErrUnexpectedResponse}
	cut := []error{wxqrcode.ErrUnexpectedResponse, io.ErrUnexpectedEOF}
	return []fault{
		{name: "status 503", wantErrors: unexpected, inject: respondWith(func(w http.ResponseWriter, r *http.Request) { page(w, r, http.StatusServiceUnavailable) })},
		{name: "status 429", wantErrors: []error{wxqrcode.ErrRateLimited}, inject: respondWith(func(w http.ResponseWriter, r *http.Request) { page(w, r, http.StatusTooManyRequests) })},
		{name: "HTML with status 200", attempts: 1, wantErrors: unexpected, inject: respondWith(func(w http.ResponseWriter, r *http.Request) { page(w, r, http.StatusOK) })},
		{name: "empty response", attempts: 1, wantErrors: unexpected, inject: respondWith(func(http.ResponseWriter, *http.Request) {})},
		{name: "invalid gzip", wantErrors: []error{gzip.ErrHeader}, inject: respondWith(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, strings.Repeat("no gzip", 10))
		})},
		{name: "truncated gzip", wantErrors: cut, inject: respondWith(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			b := compressed(strings.NewReader(responses[r.URL.Path]))
			w.Write(b[:len(b)/2])
		})},
		{name: "not HTTP", matches: func(err error) bool { return strings.Contains(err.Error(), "malformed HTTP response") }, inject: respondWith(func(w http.ResponseWriter, _ *http.Request) {
			sendRaw(w, "SSH-2.0-OpenSSH_9.2\r\n").Close()
		})},
		{name: "redirect to another host", attempts: 1, wantErrors: unexpected, inject: redirecting},
		{name: "truncated body", wantErrors: cut, inject: respondWith(func(w http.ResponseWriter, r *http.Request) {
			answer := responses[r.URL.Path]
			sendRaw(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer[:20]).Close()
		})},
		{name: "truncated chunked body", wantErrors: cut, inject: respondWith(func(w http.ResponseWriter, r *http.Request) {
			sendRaw(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n%s\r\n", responses[r.URL.Path][:20]).Close()
		})},
		{name: "Content-Length too large", attemptsOf: map[*call]int{writeImage: 1}, wantErrors: cut, inject: respondWith(func(w http.ResponseWriter, r *http.Request) {
			answer := responses[r.URL.Path]
			sendRaw(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer)+1, answer).Close()
		})},
		// The rest stays on the connection, like an unsolicited response.
		{name: "Content-Length too small", calls: apiCalls, attempts: 1, wantErrors: unexpected, inject: respondWith(tooShort)},
		// Without a retry, which could use the connection before net/http logs the rest.
		{name: "Content-Length too small, page with the URL", calls: []*call{create}, leaks: "the token, in the log of net/http", attempts: 1, wantErrors: unexpected, inject: respondWith(tooShortPage)},
		{name: "Content-Length too small, image", calls: imageCalls, attempts: 1, inject: respondWith(tooShort)},
		{name: "response of 1 GiB", attempts: 1, wantErrors: unexpected, inject: hugeResponse(false)},
		{name: "response of 1 GiB, 1 MiB compressed", attempts: 1, wantErrors: unexpected, inject: hugeResponse(true)},
	}
}

func respondWith(f http.HandlerFunc) func(*env) {
	return func(e *env) { e.wechat.inject(f) }
}

func tooShort(w http.ResponseWriter, r *http.Request) {
	sendMore(w, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n%s", responses[r.URL.Path])
}

func tooShortPage(w http.ResponseWriter, r *http.Request) {
	sendMore(w, "HTTP/1.1 403 Forbidden\r\nContent-Length: 12\r\n\r\n<h1>403</h1> %s", r.URL.RequestURI())
}

// sendMore sends more bytes than the Content-Length.
func sendMore(w http.ResponseWriter, format, text string) {
	conn := sendRaw(w, format, text)
	_, _ = io.Copy(io.Discard, conn) // until the client closes
	conn.Close()
}

// redirecting redirects to another server, which must not get a request.
func redirecting(e *env) {
	var visited atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		visited.Add(1)
		io.WriteString(w, responses[r.URL.Path])
	}))
	e.closers = append(e.closers, elsewhere.Close)
	e.replaced = append(e.replaced, strings.TrimPrefix(elsewhere.URL, "http://"), "elsewhere")
	e.wechat.inject(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", elsewhere.URL+r.URL.RequestURI())
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	e.checkAfter = func() error {
		if n := visited.Load(); n != 0 {
			return fmt.Errorf("the redirect was followed %d times", n)
		}
		return nil
	}
}

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

// hugeResponse responds with 1 GiB: the start of a response and spaces. The library must
// not read more than one byte above its limit, also of a decompressed response.
func hugeResponse(packs bool) func(*env) {
	return func(e *env) {
		beginning, limit := "x", int64(mebibyte)
		if e.call.path == showPath {
			beginning, limit = imageData, 4*mebibyte
		}
		var taken atomic.Int64
		e.tap(func(_, n int, _ error) { taken.Add(int64(n)) })
		var small []byte // before the call, which has a timeout
		if packs {
			small = compressedGibibyte(beginning)
		}
		e.wechat.inject(func(w http.ResponseWriter, _ *http.Request) {
			whole := io.MultiReader(strings.NewReader(beginning), io.LimitReader(spaces{}, gibibyte-int64(len(beginning))))
			if packs {
				w.Header().Set("Content-Encoding", "gzip")
				whole = bytes.NewReader(small)
			} else {
				w.Header().Set("Content-Length", fmt.Sprint(gibibyte))
			}
			_, _ = io.Copy(w, whole) // until the client closes
		})
		e.checkAfter = func() error {
			if n := taken.Load(); n != limit+1 {
				return fmt.Errorf("%d bytes were read", n)
			}
			return nil
		}
	}
}

type spaces struct{}

var manySpaces = bytes.Repeat([]byte(" "), 32<<10)

func (spaces) Read(p []byte) (int, error) {
	return copy(p, manySpaces), nil
}

func compressed(r io.Reader) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.Copy(w, r); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// compressedGibibyte returns gzip of 1 GiB. It repeats the member of 1 MiB.
func compressedGibibyte(beginning string) []byte {
	first := compressed(io.MultiReader(strings.NewReader(beginning), io.LimitReader(spaces{}, mebibyte-int64(len(beginning)))))
	return append(first, bytes.Repeat(compressedMebibyte(), gibibyte/mebibyte-1)...)
}

var compressedMebibyte = sync.OnceValue(func() []byte { return compressed(io.LimitReader(spaces{}, mebibyte)) })
