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

// page is an error page as a proxy makes it: it tells the whole address.
func page(w http.ResponseWriter, r *http.Request, status int) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<h1>%d</h1> %s", status, strings.TrimPrefix(r.URL.RequestURI(), r.URL.Path))
}

// answerFaults are the faults of a server that can be reached.
func answerFaults() []fault {
	unexpected := []error{wxqrcode.ErrUnexpectedResponse}
	cut := []error{wxqrcode.ErrUnexpectedResponse, io.ErrUnexpectedEOF}
	return []fault{
		{name: "status 503", is: unexpected, begin: answering(func(w http.ResponseWriter, r *http.Request) { page(w, r, http.StatusServiceUnavailable) })},
		{name: "status 429", is: []error{wxqrcode.ErrRateLimited}, begin: answering(func(w http.ResponseWriter, r *http.Request) { page(w, r, http.StatusTooManyRequests) })},
		{name: "HTML with status 200", want: 1, is: unexpected, begin: answering(func(w http.ResponseWriter, r *http.Request) { page(w, r, http.StatusOK) })},
		{name: "an empty answer", want: 1, is: unexpected, begin: answering(func(http.ResponseWriter, *http.Request) {})},
		{name: "gzip that is none", is: []error{gzip.ErrHeader}, begin: answering(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, strings.Repeat("no gzip", 10))
		})},
		{name: "gzip that is cut off", is: cut, begin: answering(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			b := packed(strings.NewReader(answers[r.URL.Path]))
			w.Write(b[:len(b)/2])
		})},
		{name: "what is no HTTP", as: func(err error) bool { return strings.Contains(err.Error(), "malformed HTTP response") }, begin: answering(func(w http.ResponseWriter, _ *http.Request) {
			send(w, "SSH-2.0-OpenSSH_9.2\r\n").Close()
		})},
		{name: "a redirect to elsewhere", want: 1, is: unexpected, begin: redirecting},
		{name: "a body that is cut off", is: cut, begin: answering(func(w http.ResponseWriter, r *http.Request) {
			answer := answers[r.URL.Path]
			send(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer[:20]).Close()
		})},
		{name: "a body in chunks that is cut off", is: cut, begin: answering(func(w http.ResponseWriter, r *http.Request) {
			send(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n%s\r\n", answers[r.URL.Path][:20]).Close()
		})},
		{name: "a Content-Length that is too large", tries: map[*call]int{writeImage: 1}, is: cut, begin: answering(func(w http.ResponseWriter, r *http.Request) {
			answer := answers[r.URL.Path]
			send(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer)+1, answer).Close()
		})},
		// What is past the length stays on the connection, as if it were an answer that nobody asked for.
		{name: "a Content-Length that is too small", calls: apiCalls, want: 1, is: unexpected, begin: answering(tooShort)},
		// Not tried again: that might take the connection before net/http has looked at it.
		{name: "the same, of a page that tells the address", calls: []*call{create}, leaks: "the token, by net/http's log", want: 1, is: unexpected, begin: answering(tooShortPage)},
		{name: "a Content-Length that is too small for a picture", calls: imageCalls, want: 1, begin: answering(tooShort)},
		{name: "an answer of 1 GiB", want: 1, is: unexpected, begin: endless(false)},
		{name: "1 GiB, packed into 1 MiB of gzip", want: 1, is: unexpected, begin: endless(true)},
	}
}

func answering(f http.HandlerFunc) func(*env) {
	return func(e *env) { e.wechat.breaks(f) }
}

func tooShort(w http.ResponseWriter, r *http.Request) {
	sendMore(w, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n%s", answers[r.URL.Path])
}

func tooShortPage(w http.ResponseWriter, r *http.Request) {
	sendMore(w, "HTTP/1.1 403 Forbidden\r\nContent-Length: 12\r\n\r\n<h1>403</h1> %s", r.URL.RequestURI())
}

// sendMore sends more than the length that it tells.
func sendMore(w http.ResponseWriter, format, text string) {
	conn := send(w, format, text)
	_, _ = io.Copy(io.Discard, conn) // until the client closes
	conn.Close()
}

// redirecting sends the client to another server, which must not hear of it.
func redirecting(e *env) {
	var visited atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		visited.Add(1)
		io.WriteString(w, answers[r.URL.Path])
	}))
	e.closers = append(e.closers, elsewhere.Close)
	e.shown = append(e.shown, strings.TrimPrefix(elsewhere.URL, "http://"), "elsewhere")
	e.wechat.breaks(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", elsewhere.URL+r.URL.RequestURI())
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	e.extra = func() error {
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

// endless answers with the beginning of an answer and then blanks, 1 GiB in all, of which
// the library must read no more than shows that it is too long: also when net/http has
// unpacked it.
func endless(packs bool) func(*env) {
	return func(e *env) {
		beginning, limit := "x", int64(mebibyte)
		if e.call.path == showPath {
			beginning, limit = picture, 4*mebibyte
		}
		var taken atomic.Int64
		e.tap(func(_, n int, _ error) { taken.Add(int64(n)) })
		var small []byte // made before the call, whose time is limited
		if packs {
			small = packedGibibyte(beginning)
		}
		e.wechat.breaks(func(w http.ResponseWriter, _ *http.Request) {
			whole := io.MultiReader(strings.NewReader(beginning), io.LimitReader(blanks{}, gibibyte-int64(len(beginning))))
			if packs {
				w.Header().Set("Content-Encoding", "gzip")
				whole = bytes.NewReader(small)
			} else {
				w.Header().Set("Content-Length", fmt.Sprint(gibibyte))
			}
			_, _ = io.Copy(w, whole) // until the client closes
		})
		e.extra = func() error {
			if n := taken.Load(); n != limit+1 {
				return fmt.Errorf("%d bytes were read", n)
			}
			return nil
		}
	}
}

type blanks struct{}

var manyBlanks = bytes.Repeat([]byte(" "), 32<<10)

func (blanks) Read(p []byte) (int, error) {
	return copy(p, manyBlanks), nil
}

func packed(r io.Reader) []byte {
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

// packedGibibyte returns gzip that unpacks to 1 GiB. A stream of gzip may have several
// members, so that one MiB need be packed only once.
func packedGibibyte(beginning string) []byte {
	first := packed(io.MultiReader(strings.NewReader(beginning), io.LimitReader(blanks{}, mebibyte-int64(len(beginning)))))
	return append(first, bytes.Repeat(packedMebibyte(), gibibyte/mebibyte-1)...)
}

var packedMebibyte = sync.OnceValue(func() []byte { return packed(io.LimitReader(blanks{}, mebibyte)) })
