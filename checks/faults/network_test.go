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
	runFaultTests(t, b, slices.Concat(networkFaults(), certificateFaults(), responseFaults(), hostFaults()))
}

// networkFaults are faults between client and server.
func networkFaults() []fault {
	reset := []error{syscall.ECONNRESET}
	return []fault{
		{name: "no such host", matches: as[*net.DNSError], inject: failingDNS(nameError)},
		{name: "DNS server failure", matches: as[*net.DNSError], inject: failingDNS(serverFailure)},
		{name: "connection refused", wantErrors: []error{syscall.ECONNREFUSED}, inject: refusedDial},
		{name: "connection closed before the response", wantErrors: []error{io.EOF}, inject: respondWith(func(w http.ResponseWriter, _ *http.Request) { hijack(w).Close() })},
		{name: "connection reset before the response", wantErrors: reset, inject: toxic(`{"type":"reset_peer","attributes":{"timeout":0}}`)},
		{name: "response header truncated", wantErrors: []error{io.ErrUnexpectedEOF}, inject: toxic(`{"type":"limit_data","attributes":{"bytes":12}}`)},
		{name: "connection reset within the response", wantErrors: append(reset, wxqrcode.ErrUnexpectedResponse), inject: respondWith(func(w http.ResponseWriter, r *http.Request) {
			answer := responses[r.URL.Path]
			reset20(w, len(answer), answer)
		})},
		{name: "connection reset after the response", attempts: 1, inject: resetAfter},
		{name: "response arrives byte by byte", attempts: 1, inject: toxic(`{"type":"slicer","attributes":{"average_size":1,"size_variation":0,"delay":0}}`)},
	}
}

func reset20(w http.ResponseWriter, length int, answer string) {
	reset(sendRaw(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", length, answer[:20]))
}

// slowCalls are faults that wait for a timeout, of the http.Client or of the library.
func slowCalls() []fault {
	const limit = 3 * time.Second
	deadline := []error{errDeadline}
	silent := func(e *env) {
		e.wechat.inject(func(_ http.ResponseWriter, r *http.Request) { e.wechat.waitForClose(r) })
	}
	return []fault{
		{name: "no response; client timeout 3 s", wantErrors: deadline, inject: func(e *env) {
			silent(e)
			e.ownTransport()
			e.http.Timeout = limit
		}},
		{name: "partial response; client timeout 3 s", wantErrors: deadline, inject: func(e *env) {
			e.wechat.inject(stallInBody(e.wechat))
			e.ownTransport()
			e.http.Timeout = limit
		}},
		{name: "no response; default timeout 10 s per attempt", wantErrors: deadline, calls: []*call{create}, inject: silent},
		{name: "no response; default timeout 15 s for a token", wantErrors: deadline, calls: tokenCalls, attempts: 2, inject: func(e *env) {
			silent(e)
			// The attempt and the call time out together. Either error may be returned.
			where := " " + e.wechat.URL + e.call.path + ":"
			e.replaced = append(e.replaced, " POST"+where, "", " GET"+where, "")
		}},
		{name: "no response of the first host; client timeout 3 s", calls: apiCalls, attempts: 1, inject: func(e *env) {
			e.wechat.inject(func(_ http.ResponseWriter, r *http.Request) { e.wechat.waitForClose(r) })
			spare := newWeChat()
			e.closers = append(e.closers, spare.close)
			e.hosts = append(e.hosts, spare.URL)
			e.ownTransport()
			e.http.Timeout = limit
			e.unit, e.attempts = "request to each host", func() int {
				if n := e.wechat.requests(); n != spare.requests() {
					return -1
				}
				return spare.requests()
			}
		}},
	}
}

// stallInBody sends a part of the body, then nothing.
func stallInBody(s *wechat) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer := responses[r.URL.Path]
		w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
		io.WriteString(w, answer[:20])
		w.(http.Flusher).Flush()
		s.waitForClose(r)
	}
}

// refusedDial redirects dials to a closed port.
func refusedDial(e *env) {
	closed := closedPort()
	var up atomic.Bool
	e.dialTo(func(address string) string {
		if up.Load() {
			return address
		}
		return closed
	})
	e.replaced = append(e.replaced, closed, "host")
	e.endFault = func() { up.Store(true) }
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

// toxic puts Toxiproxy between client and server, with one toxic.
func toxic(attributes string) func(*env) {
	return func(e *env) {
		server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
		proxy := toxiproxy.NewProxy(server, "wechat", "127.0.0.1:0", strings.TrimPrefix(e.wechat.URL, "http://"))
		if err := proxy.Start(); err != nil {
			panic(err)
		}
		must(proxy.Toxics.AddToxicJson(strings.NewReader(attributes)))
		e.hosts = []string{"http://" + proxy.Listen}
		e.endFault = func() { proxy.Toxics.ResetToxics(e.ctx) }
		e.closers = append(e.closers, proxy.Stop)
	}
}

// resetAfter resets the connection after the response.
func resetAfter(e *env) {
	conns := make(chan *net.TCPConn, 1)
	e.wechat.inject(func(w http.ResponseWriter, r *http.Request) {
		answer := responses[r.URL.Path]
		conns <- sendRaw(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
	})
	e.endFault = func() {
		reset(<-conns)
		e.wechat.reset()
	}
}
