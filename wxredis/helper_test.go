package wxredis_test

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-0142d113/wxqrcode/wxredis"
)

func TestMain(m *testing.M) {
	redis.SetLogger(discardLogger{}) // go-redis logs each connection that fails
	goleak.VerifyTestMain(m,
		// go-redis leaves it behind if a server, such as miniredis, has no maintenance notifications.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/maintnotifications.(*CircuitBreakerManager).cleanupLoop"),
		// It ends a second after a client of a server that was killed is closed.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const (
	envAddr     = "WXQRCODE_REDIS_ADDR"    // of a real Redis; the default is 127.0.0.1:6379
	envRequired = "WXQRCODE_REQUIRE_REDIS" // tests fail if there is no real Redis
	defaultAddr = "127.0.0.1:6379"
)

type discardLogger struct{}

func (discardLogger) Printf(context.Context, string, ...any) {}

// A testRedis is a client of a Redis, a Sentinel or a Redis Cluster, and the
// options for further ones.
type testRedis struct {
	redis.UniversalClient
	options redis.UniversalOptions
}

// connect returns a new client, which the test closes at its end.
func connect(t testing.TB, options redis.UniversalOptions) testRedis {
	t.Helper()
	options.Addrs = slices.Clone(options.Addrs) // a client of a cluster appends to it
	if _, ok := t.(*testing.T); ok {
		options.PoolSize = 100 // each listener of parallel tests keeps a connection busy
	}
	rdb := testRedis{redis.NewUniversalClient(&options), options}
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// newRedis returns a client of a real Redis, or of miniredis if none is reachable.
func newRedis(t testing.TB) testRedis {
	t.Helper()
	addr := cmp.Or(os.Getenv(envAddr), defaultAddr)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	probe := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
	defer probe.Close()
	err := probe.Ping(ctx).Err()
	if err == nil {
		return connect(t, redis.UniversalOptions{Addrs: []string{addr}})
	}
	if os.Getenv(envRequired) != "" {
		require.NoError(t, err, "%s requires a real Redis at %s", envRequired, addr)
	}
	t.Logf("no Redis at %s (%v): using miniredis", addr, err)
	fake := miniredis.RunT(t)
	rdb := connect(t, redis.UniversalOptions{Addrs: []string{fake.Addr()}})
	advanceClock(t, fake)
	return rdb
}

// isReal reports whether rdb is a client of a real Redis.
func isReal(t testing.TB, rdb redis.UniversalClient) bool {
	t.Helper()
	info, err := rdb.Info(t.Context(), "server").Result()
	return err == nil && strings.Contains(info, "redis_version")
}

// advanceClock makes keys of miniredis expire in real time.
func advanceClock(t testing.TB, m *miniredis.Miniredis) {
	t.Helper()
	const step = 10 * time.Millisecond
	tick := time.NewTicker(step)
	stop := make(chan struct{})
	var advancing sync.WaitGroup
	advancing.Go(func() {
		for {
			select {
			case <-tick.C:
				m.FastForward(step)
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() { tick.Stop(); close(stop); advancing.Wait() })
}

// A link is the network between one client and Redis.
type link struct {
	mu      sync.Mutex // guards the other fields
	down    bool
	delayed chan struct{}     // closed when responses pass again; nil while they do
	trigger []byte            // a request that contains this calls fault once
	fault   func(*linkedConn) // called with mu
	conns   []*linkedConn
}

// newLink returns another client of the Redis of rdb, and its link.
func newLink(t testing.TB, rdb testRedis) (testRedis, *link) {
	t.Helper()
	l := new(link)
	options := rdb.options
	options.Dialer = l.dial
	client := connect(t, options)
	t.Cleanup(l.restore)
	return client, l
}

func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &linkedConn{Conn: conn, link: l, closed: make(chan struct{})}
	l.conns = append(l.conns, c)
	return c, nil
}

// closeConns closes all connections.
func (l *link) closeConns() {
	l.mu.Lock()
	conns := slices.Clone(l.conns)
	l.conns = nil
	l.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// disconnect makes Redis unreachable.
func (l *link) disconnect() {
	l.mu.Lock()
	l.down = true
	l.mu.Unlock()
	l.closeConns()
}

// delay holds all responses back.
func (l *link) delay() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delayed = make(chan struct{})
}

// restore undoes disconnect and delay.
func (l *link) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
	if l.delayed != nil {
		close(l.delayed)
		l.delayed = nil
	}
}

// loseResponse closes the connection instead of responding to the next request
// that contains part.
func (l *link) loseResponse(part string) {
	l.on(part, func(c *linkedConn) { c.loses = true })
}

// delayResponse holds back the response to the next request that contains part,
// and all later ones.
func (l *link) delayResponse(part string) {
	l.on(part, func(*linkedConn) { l.delayed = make(chan struct{}) })
}

func (l *link) on(part string, fault func(*linkedConn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trigger, l.fault = []byte(part), fault
}

// A linkedConn is a connection over a link.
type linkedConn struct {
	net.Conn
	link   *link
	loses  bool // guarded by link.mu
	once   sync.Once
	closed chan struct{}
}

func (c *linkedConn) Write(b []byte) (int, error) {
	c.link.mu.Lock()
	if len(c.link.trigger) > 0 && bytes.Contains(b, c.link.trigger) {
		c.link.fault(c)
		c.link.trigger = nil
	}
	c.link.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *linkedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.link.mu.Lock()
	delayed, loses := c.link.delayed, c.loses
	c.link.mu.Unlock()
	if loses {
		c.Close()
		return 0, io.EOF
	}
	if delayed != nil {
		select {
		case <-delayed:
		case <-c.closed:
		}
	}
	return n, err
}

func (c *linkedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// A logBuffer is a log that is read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// option returns the option for a logger that writes to l.
func (l *logBuffer) option() wxredis.Option {
	return wxredis.WithLogger(slog.New(slog.NewTextHandler(l, nil)))
}
