package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An httpServer is a server and its listener.
type httpServer struct {
	server   *http.Server
	listener net.Listener
	host     string // as given
}

// listenHTTP listens on addr, the value of flag. The flag is "" if addr is fixed.
func listenHTTP(flag, addr string, handler http.Handler) (*httpServer, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s %q must be a host and a port, such as 127.0.0.1:8090 or :8080", flag, addr)}
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil && flag != "" {
		err = fmt.Errorf("%w; set another address with %s", err, flag)
	}
	if err != nil {
		return nil, err
	}
	return &httpServer{
		server: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      30 * time.Second, // a push with three attempts takes 15 s
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    64 << 10,
		},
		listener: l,
		host:     host,
	}, nil
}

// url returns the base URL of the server on this machine.
func (s *httpServer) url() string {
	addr := s.listener.Addr().(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

func (s *httpServer) isLoopback() bool { return s.listener.Addr().(*net.TCPAddr).IP.IsLoopback() }

// allowsHost reports whether the Host header of a request is allowed. On a loopback
// address, it must be a loopback name: a web page could let its own name resolve to
// loopback (DNS rebinding).
func (s *httpServer) allowsHost(host string) bool {
	if !s.isLoopback() {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || strings.EqualFold(host, "localhost") || strings.EqualFold(host, s.host)
}

func (s *httpServer) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownLimit)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		s.close()
	}
}

// close closes the server immediately, even if it never served.
func (s *httpServer) close() {
	_ = s.server.Close()
	_ = s.listener.Close()
}
