package faults

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
)

// Response codes of DNS.
const (
	noError       = 0
	serverFailure = 2
	nameError     = 3 // NXDOMAIN
)

// A nameServer is a DNS server on loopback. It responds to every query with a code, and
// with 127.0.0.1 if that is noError.
type nameServer struct {
	conn net.PacketConn
	code atomic.Int32
}

func newNameServer(code int32) *nameServer {
	s := &nameServer{conn: must(net.ListenPacket("udp", "127.0.0.1:0"))}
	s.code.Store(code)
	go s.serve()
	return s
}

func (s *nameServer) serve() {
	buf := make([]byte, 512)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = s.conn.WriteTo(s.answer(buf[:n]), from)
	}
}

// answer returns a response; see RFC 1035, section 4.
func (s *nameServer) answer(query []byte) []byte {
	end := 12
	for query[end] != 0 { // the labels of the name
		end += int(query[end]) + 1
	}
	question := query[12 : end+5]
	kind := binary.BigEndian.Uint16(query[end+1:])
	code := byte(s.code.Load())
	answers := byte(0)
	if code == noError && kind == 1 {
		answers = 1
	}
	b := append([]byte{query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0}, question...)
	if answers == 1 {
		b = append(b, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
	}
	return b
}

// failingDNS resolves the host with a nameServer that responds with code.
func failingDNS(code int32) func(*env) {
	return func(e *env) {
		s := newNameServer(code)
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", s.conn.LocalAddr().String())
		}}
		var dials atomic.Int32
		t := e.ownTransport()
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return (&net.Dialer{Resolver: resolver}).DialContext(ctx, network, address)
		}
		e.http = &http.Client{Transport: t}
		e.hosts = []string{strings.Replace(e.wechat.URL, "127.0.0.1", "wechat.test", 1)}
		e.replaced = append(e.replaced, "wechat.test: no such host", "wechat.test: no such host")
		e.unit, e.attempts = "dial", func() int { return int(dials.Load()) }
		e.endFault = func() { s.code.Store(noError) }
		e.closers = append(e.closers, func() { s.conn.Close() })
	}
}
