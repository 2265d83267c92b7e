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

// A site is a server with its socket.
type site struct {
	server   *http.Server
	listener net.Listener
	host     string // as it was asked for
}

// openSite opens the socket, so that it is known where the server will be. The flag is
// the one that the address came by; "" if it came by none.
func openSite(flag, addr string, handler http.Handler) (*site, error) {
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
	return &site{
		server: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      30 * time.Second, // a push that is tried three times takes 15
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    64 << 10,
		},
		listener: l,
		host:     host,
	}, nil
}

// url returns scheme, host and port by which this machine reaches the site.
func (s *site) url() string {
	addr := s.listener.Addr().(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

func (s *site) isLoopback() bool { return s.listener.Addr().(*net.TCPAddr).IP.IsLoopback() }

// answersTo reports whether a request may name the site so. A web page can make its own name
// lead to loopback, and be of the same origin as what is there (DNS rebinding).
func (s *site) answersTo(host string) bool {
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

func (s *site) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownLimit)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		s.close()
	}
}

// close closes a site at once, also one that was never served.
func (s *site) close() {
	_ = s.server.Close()
	_ = s.listener.Close()
}
