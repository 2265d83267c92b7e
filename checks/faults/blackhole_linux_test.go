package faults

import (
	"context"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
)

// unansweredDials are dials of a host that drops packets, like one behind a firewall. The
// default client of the library has a dial timeout of 3 s.
func unansweredDials() []fault {
	dials := countDials()
	return []fault{
		{name: "dial not answered; default timeout 3 s", wantErrors: []error{errDeadline}, inject: func(e *env) {
			s := newBlackhole()
			e.closers = append(e.closers, s.close)
			e.hosts = []string{"http://" + s.address}
			e.unit, e.attempts = "dial", func() int { return dials(s.address) }
			e.endFault = func() { s.serve(e.wechat) }
		}},
		{name: "dial not answered by the first host", calls: apiCalls, attempts: 1, inject: func(e *env) {
			s := newBlackhole()
			e.closers = append(e.closers, s.close)
			e.hosts = []string{"http://" + s.address, e.wechat.URL}
			e.unit = "request to the fallback"
		}},
	}
}

// countDials counts the dials of http.DefaultTransport and of the default clients of the
// library, which copy it. The function it returns has the count of an address.
func countDials() func(address string) int {
	var mu sync.Mutex
	dials := make(map[string]int)
	transport := http.DefaultTransport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		dials[address]++
		mu.Unlock()
		return dial(ctx, network, address)
	}
	return func(address string) int {
		mu.Lock()
		defer mu.Unlock()
		return dials[address]
	}
}

// A blackhole is a listener with a full queue. Linux drops further connections silently.
type blackhole struct {
	address string
	file    *os.File
	filler  net.Conn
	server  net.Listener
}

func newBlackhole() *blackhole {
	fd := must(syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0))
	check(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(syscall.Listen(fd, 0)) // room for one
	s := &blackhole{file: os.NewFile(uintptr(fd), "silence")}
	name := must(syscall.Getsockname(fd)).(*syscall.SockaddrInet4)
	s.address = (&net.TCPAddr{IP: name.Addr[:], Port: name.Port}).String()
	s.filler = must(new(net.Dialer).DialContext(context.Background(), "tcp", s.address))
	return s
}

// serve accepts connections from now on.
func (s *blackhole) serve(w *wechat) {
	s.server = must(net.FileListener(s.file))
	must(s.server.Accept()).Close()              // free the queue: Linux retries a dropped SYN after 1 s
	go func() { _ = w.Config.Serve(s.server) }() // until it is closed
}

func (s *blackhole) close() {
	s.filler.Close()
	s.file.Close()
	if s.server != nil {
		s.server.Close()
	}
}
