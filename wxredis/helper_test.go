package wxredis_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

const (
	envAddr     = "WXQRCODE_REDIS_ADDR"    // of a real Redis, by default 127.0.0.1:6379
	envRequired = "WXQRCODE_REQUIRE_REDIS" // without a real one the tests fail
	defaultAddr = "127.0.0.1:6379"
)

// newRedis returns a client of a real Redis, or of miniredis where none is reachable.
func newRedis(t testing.TB) *redis.Client {
	t.Helper()
	addr := os.Getenv(envAddr)
	if addr == "" {
		addr = defaultAddr
	}
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { rdb.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := rdb.Ping(ctx).Err()
	if err == nil {
		return rdb
	}
	if os.Getenv(envRequired) != "" {
		require.NoError(t, err, "%s wants a real Redis at %s", envRequired, addr)
	}
	t.Logf("no Redis at %s (%v): miniredis stands in", addr, err)
	standIn := miniredis.RunT(t)
	rdb = redis.NewClient(&redis.Options{Addr: standIn.Addr()})
	t.Cleanup(func() { rdb.Close() })
	letTimePass(t, standIn)
	return rdb
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
