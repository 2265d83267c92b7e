package faults

import (
	"context"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
)

// silentFaults are those of a host that drops what is sent to it, as one behind a firewall
// does: nobody says no. The calls use the library's own client, which gives up a dial
// after 3 s.
func silentFaults() []fault {
	dials := countDials()
	return []fault{
		{name: "no answer to a dial; the library allows 3 s", is: []error{errDeadline}, begin: func(e *env) {
			s := newSilence()
			e.closers = append(e.closers, s.close)
			e.hosts = []string{"http://" + s.address}
			e.unit, e.tries = "dial", func() int { return dials(s.address) }
			e.end = func() { s.serve(e.wechat) }
		}},
		{name: "no answer to a dial of the first host", calls: apiCalls, want: 1, begin: func(e *env) {
			s := newSilence()
			e.closers = append(e.closers, s.close)
			e.hosts = []string{"http://" + s.address, e.wechat.URL}
			e.unit = "request of the spare"
		}},
	}
}

// countDials lets http.DefaultTransport count its dials, and with it the library's own
// clients, which have copies of it. It returns how often an address was dialled.
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

// A silence is a listener whose queue is full and which accepts nothing: Linux then drops
// further connections without a word.
type silence struct {
	address string
	file    *os.File
	filler  net.Conn
	server  net.Listener
}

func newSilence() *silence {
	fd := must(syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0))
	check(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(syscall.Listen(fd, 0)) // room for one
	s := &silence{file: os.NewFile(uintptr(fd), "silence")}
	name := must(syscall.Getsockname(fd)).(*syscall.SockaddrInet4)
	s.address = (&net.TCPAddr{IP: name.Addr[:], Port: name.Port}).String()
	s.filler = must(new(net.Dialer).DialContext(context.Background(), "tcp", s.address))
	return s
}

// serve ends the silence.
func (s *silence) serve(w *wechat) {
	s.server = must(net.FileListener(s.file))
	must(s.server.Accept()).Close()              // else the next dial might still find the queue full, and Linux tries again after 1 s
	go func() { _ = w.Config.Serve(s.server) }() // until it is closed
}

func (s *silence) close() {
	s.filler.Close()
	s.file.Close()
	if s.server != nil {
		s.server.Close()
	}
}
