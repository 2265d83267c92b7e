package faults

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/seed-0142d113/wxqrcode"
)

func runCalls(t *testing.T, b *table) {
	t.Helper()
	meet(t, b, slices.Concat(networkFaults(), certificateFaults(), answerFaults(), hostFaults()))
}

// networkFaults are those of the way to the server.
func networkFaults() []fault {
	reset := []error{syscall.ECONNRESET}
	return []fault{
		{name: "the host has no address", as: as[*net.DNSError], begin: unresolved(nameError)},
		{name: "the resolver fails", as: as[*net.DNSError], begin: unresolved(serverFailure)},
		{name: "the connection is refused", is: []error{syscall.ECONNREFUSED}, begin: refused},
		{name: "the connection is closed before the answer", is: []error{io.EOF}, begin: answering(func(w http.ResponseWriter, _ *http.Request) { takeOver(w).Close() })},
		{name: "it is reset before the answer", is: reset, begin: toxic(`{"type":"reset_peer","attributes":{"timeout":0}}`)},
		{name: "the answer ends within its header", is: []error{io.ErrUnexpectedEOF}, begin: toxic(`{"type":"limit_data","attributes":{"bytes":12}}`)},
		{name: "it is reset while the answer comes", is: append(reset, wxqrcode.ErrUnexpectedResponse), begin: answering(func(w http.ResponseWriter, r *http.Request) {
			answer := answers[r.URL.Path]
			reset20(w, len(answer), answer)
		})},
		{name: "it is reset after the answer", want: 1, begin: resetAfter},
		{name: "the answer comes byte by byte", want: 1, begin: toxic(`{"type":"slicer","attributes":{"average_size":1,"size_variation":0,"delay":0}}`)},
	}
}

func reset20(w http.ResponseWriter, length int, answer string) {
	reset(send(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", length, answer[:20]))
}

// slowCalls are the faults that wait for a time limit: the client's own, which these
// calls are given, and the library's.
func slowCalls() []fault {
	const limit = 3 * time.Second
	deadline := []error{errDeadline}
	silent := func(e *env) {
		e.wechat.breaks(func(_ http.ResponseWriter, r *http.Request) { e.wechat.wait(r) })
	}
	return []fault{
		{name: "no answer; the program allows 3 s", is: deadline, begin: func(e *env) {
			silent(e)
			e.ownTransport()
			e.http.Timeout = limit
		}},
		{name: "half an answer; the program allows 3 s", is: deadline, begin: func(e *env) {
			e.wechat.breaks(stallInBody(e.wechat))
			e.ownTransport()
			e.http.Timeout = limit
		}},
		{name: "no answer; the library allows 10 s a try, 30 s in all", is: deadline, calls: []*call{create}, begin: silent},
		{name: "no answer; the library allows 15 s for a token, in all", is: deadline, calls: tokenCalls, want: 2, begin: func(e *env) {
			silent(e)
			// The try ends at the same time as the whole, and it is chance whose error comes.
			where := " " + e.wechat.URL + e.call.path + ":"
			e.shown = append(e.shown, " POST"+where, "", " GET"+where, "")
		}},
		{name: "no answer of the first host; the program allows 3 s", calls: apiCalls, want: 1, begin: func(e *env) {
			e.wechat.breaks(func(_ http.ResponseWriter, r *http.Request) { e.wechat.wait(r) })
			spare := newWeChat()
			e.closers = append(e.closers, spare.close)
			e.hosts = append(e.hosts, spare.URL)
			e.ownTransport()
			e.http.Timeout = limit
			e.unit, e.tries = "request of each", func() int {
				if n := e.wechat.requests(); n != spare.requests() {
					return -1
				}
				return spare.requests()
			}
		}},
	}
}

// stallInBody answers with half a body and keeps the rest.
func stallInBody(s *wechat) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer := answers[r.URL.Path]
		w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
		io.WriteString(w, answer[:20])
		w.(http.Flusher).Flush()
		s.wait(r)
	}
}

// refused leads the calls to a port where nobody listens.
func refused(e *env) {
	closed := closedPort()
	var up atomic.Bool
	e.dialTo(func(address string) string {
		if up.Load() {
			return address
		}
		return closed
	})
	e.shown = append(e.shown, closed, "host")
	e.end = func() { up.Store(true) }
}

func closedPort() string {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	return l.Addr().String()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// toxic puts a Toxiproxy between client and server, with one toxic.
func toxic(attributes string) func(*env) {
	return func(e *env) {
		server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
		proxy := toxiproxy.NewProxy(server, "wechat", "127.0.0.1:0", strings.TrimPrefix(e.wechat.URL, "http://"))
		if err := proxy.Start(); err != nil {
			panic(err)
		}
		must(proxy.Toxics.AddToxicJson(strings.NewReader(attributes)))
		e.hosts = []string{"http://" + proxy.Listen}
		e.end = func() { proxy.Toxics.ResetToxics(e.ctx) }
		e.closers = append(e.closers, proxy.Stop)
	}
}

// resetAfter lets the answer through, and resets the connection when the call is over.
func resetAfter(e *env) {
	conns := make(chan *net.TCPConn, 1)
	e.wechat.breaks(func(w http.ResponseWriter, r *http.Request) {
		answer := answers[r.URL.Path]
		conns <- send(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
	})
	e.end = func() {
		reset(<-conns)
		e.wechat.mend()
	}
}
