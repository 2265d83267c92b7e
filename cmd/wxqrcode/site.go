package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// A site is a server with its socket.
type site struct {
	server   *http.Server
	listener net.Listener
}

// openSite opens the socket, so that it is known where the server will be. The flag is
// the one that the address came by; "" if it came by none.
func openSite(flag, addr string, handler http.Handler) (*site, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, usageError{fmt.Errorf("%s %q must be a host and a port, such as 127.0.0.1:8090 or :8080", flag, addr)}
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil && flag != "" {
		err = fmt.Errorf("%w; give another address by %s", err, flag)
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
