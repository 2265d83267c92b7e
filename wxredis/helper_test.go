package wxredis_test

import (
	"bytes"
	"context"
	"io"
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
)

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{}) // it tells of every connection that fails
	// go-redis leaves this one behind where a server knows no notifications of maintenance, as miniredis.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/maintnotifications.(*CircuitBreakerManager).cleanupLoop"))
}

const (
	envAddr     = "WXQRCODE_REDIS_ADDR"    // of a real Redis, by default 127.0.0.1:6379
	envRequired = "WXQRCODE_REQUIRE_REDIS" // without a real one the tests fail
	defaultAddr = "127.0.0.1:6379"
)

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// newRedis returns a client of a real Redis, or of miniredis where none is reachable.
func newRedis(t testing.TB) *redis.Client {
	t.Helper()
	addr := os.Getenv(envAddr)
	if addr == "" {
		addr = defaultAddr
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	probe := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
	defer probe.Close()
	err := probe.Ping(ctx).Err()
	if err == nil {
		rdb := redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { rdb.Close() })
		return rdb
	}
	if os.Getenv(envRequired) != "" {
		require.NoError(t, err, "%s wants a real Redis at %s", envRequired, addr)
	}
	t.Logf("no Redis at %s (%v): miniredis stands in", addr, err)
	standIn := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: standIn.Addr()})
	t.Cleanup(func() { rdb.Close() })
	letTimePass(t, standIn)
	return rdb
}

// isReal reports whether rdb is a client of a real Redis.
func isReal(t testing.TB, rdb *redis.Client) bool {
	t.Helper()
	info, err := rdb.Info(t.Context(), "server").Result()
	return err == nil && strings.Contains(info, "redis_version")
}

// letTimePass makes keys expire, which miniredis does only when told.
func letTimePass(t testing.TB, m *miniredis.Miniredis) {
	t.Helper()
	const step = 10 * time.Millisecond
	tick := time.NewTicker(step)
	stop := make(chan struct{})
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			select {
			case <-tick.C:
				m.FastForward(step)
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() { tick.Stop(); close(stop); passing.Wait() })
}

// A link is the network between one client and Redis.
type link struct {
	mu    sync.Mutex // guards what follows
	gone  bool
	held  chan struct{} // closed when answers come through again; nil while they do
	wait  []byte        // a command that holds this
	then  func(*linked) // is to be met with this, once; it has mu
	conns []*linked
}

// newLink returns a client of the same Redis as rdb, and the link that it uses.
func newLink(t testing.TB, rdb *redis.Client) (*redis.Client, *link) {
	t.Helper()
	l := new(link)
	options := *rdb.Options()
	options.Dialer = l.dial
	client := redis.NewClient(&options)
	t.Cleanup(func() { l.restore(); client.Close() })
	return client, l
}

func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &linked{Conn: conn, link: l, closed: make(chan struct{})}
	l.conns = append(l.conns, c)
	return c, nil
}

// cut cuts all connections.
func (l *link) cut() {
	l.mu.Lock()
	conns := slices.Clone(l.conns)
	l.conns = nil
	l.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// remove makes Redis unreachable.
func (l *link) remove() {
	l.mu.Lock()
	l.gone = true
	l.mu.Unlock()
	l.cut()
}

// hold keeps all answers back.
func (l *link) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = make(chan struct{})
}

// restore ends what remove and hold began.
func (l *link) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = false
	if l.held != nil {
		close(l.held)
		l.held = nil
	}
}

// loseAnswerTo cuts the connection in place of the answer to the next command that holds part.
func (l *link) loseAnswerTo(part string) {
	l.await(part, func(c *linked) { c.loses = true })
}

// holdAnswerTo keeps back the answer to the next command that holds part, and all after it.
func (l *link) holdAnswerTo(part string) {
	l.await(part, func(*linked) { l.held = make(chan struct{}) })
}

func (l *link) await(part string, then func(*linked)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wait, l.then = []byte(part), then
}

// A linked is a connection over a link.
type linked struct {
	net.Conn
	link   *link
	loses  bool // guarded by link.mu
	once   sync.Once
	closed chan struct{}
}

func (c *linked) Write(b []byte) (int, error) {
	c.link.mu.Lock()
	if len(c.link.wait) > 0 && bytes.Contains(b, c.link.wait) {
		c.link.then(c)
		c.link.wait = nil
	}
	c.link.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *linked) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.link.mu.Lock()
	held, loses := c.link.held, c.loses
	c.link.mu.Unlock()
	if loses {
		c.Close()
		return 0, io.EOF
	}
	if held != nil {
		select {
		case <-held:
		case <-c.closed:
		}
	}
	return n, err
}

func (c *linked) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// A record is a log that is read while it is written.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}
