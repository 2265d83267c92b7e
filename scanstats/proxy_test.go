package scanstats

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// A proxy forwards connections to a server until it is disconnected.
type proxy struct {
	listener net.Listener

	mu           sync.Mutex // guards the fields below
	target       string
	disconnected bool
	conns        map[net.Conn]bool
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener, conns: make(map[net.Conn]bool)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.disconnect()
		serving.Wait()
	})
	return p
}

// route returns the database as reached through the proxy.
func (p *proxy) route(t *testing.T, d database) database {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	host, port, err := net.SplitHostPort(p.listener.Addr().String())
	require.NoError(t, err)
	if d.dialect == MySQL {
		config, err := mysql.ParseDSN(d.dsn)
		require.NoError(t, err)
		require.Equal(t, "tcp", config.Net, "the tests need TCP")
		p.target, config.Addr = config.Addr, p.listener.Addr().String()
		d.dsn = config.FormatDSN()
		return d
	}
	config, err := pgx.ParseConfig(fromEnv(envPostgres, defaultPostgres))
	require.NoError(t, err)
	db := d.open(t)
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT current_database()").Scan(&config.Database))
	p.target = net.JoinHostPort(config.Host, fmt.Sprint(config.Port))
	config.Host = host
	_, err = fmt.Sscan(port, &config.Port)
	require.NoError(t, err)
	config.Fallbacks = nil
	d.dsn = stdlib.RegisterConnConfig(config)
	return d
}

func (p *proxy) serve(conn net.Conn) {
	defer conn.Close()
	target := p.register(conn)
	if target == "" {
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	if p.register(server) == "" {
		return
	}
	var copying sync.WaitGroup
	copying.Go(func() {
		_, _ = io.Copy(server, conn) // until a connection is closed
		server.Close()
	})
	_, _ = io.Copy(conn, server)
	conn.Close()
	copying.Wait()
}

// register adds a connection and returns the address of the server, or "" if the
// proxy is disconnected.
func (p *proxy) register(conn net.Conn) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = true
	if p.disconnected {
		return ""
	}
	return p.target
}

func (p *proxy) disconnect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.disconnected = true
	for conn := range p.conns {
		conn.Close()
	}
	clear(p.conns)
}

func (p *proxy) reconnect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.disconnected = false
}
