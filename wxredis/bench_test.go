package wxredis_test

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxredis"
)

// BenchmarkDedup measures pushes that reach ten instances with one Redis at once.
func BenchmarkDedup(b *testing.B) {
	const instances, callers = 10, 20
	rdb := newRedis(b)
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	var next, failed atomic.Int64
	b.ResetTimer()
	var working sync.WaitGroup
	for range instances {
		d := wxredis.NewDedup(rdb, wxredis.WithLogger(slog.New(slog.DiscardHandler)))
		for range callers {
			working.Go(func() {
				for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
					reply, _, err := d.Do(b.Context(), run+"-"+strconv.FormatInt(i, 10), 10*time.Second, func(context.Context) ([]byte, error) { return []byte("hello"), nil })
					if err != nil || string(reply) != "hello" {
						failed.Add(1)
					}
				}
			})
		}
	}
	working.Wait()
	b.StopTimer()
	require.Zero(b, failed.Load())
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pushes/s")
}

// BenchmarkBus measures scans that are published to ten instances, until all of them
// have received the last one.
func BenchmarkBus(b *testing.B) {
	const instances, callers = 10, 20
	rdb := newRedis(b)
	bus := wxredis.NewBus(rdb, "bench-"+strconv.FormatInt(time.Now().UnixNano(), 36), wxredis.WithLogger(slog.New(slog.DiscardHandler)))
	ctx, cancel := context.WithCancel(b.Context())
	var listening sync.WaitGroup
	defer listening.Wait()
	defer cancel()
	var receivedLast sync.WaitGroup
	receivedLast.Add(instances)
	for range instances {
		done := sync.OnceFunc(receivedLast.Done)
		listening.Go(func() {
			_ = bus.Listen(ctx, func(e *wxqrcode.Event) {
				if e.EventKey == "last" {
					done()
				}
			})
		})
	}
	publish := func(scene string) {
		e := &wxqrcode.Event{ToUserName: "gh_1", OpenID: "o1", CreatedAt: time.Now(), MsgType: "event", Type: wxqrcode.EventScan, EventKey: scene}
		if err := bus.Publish(ctx, e); err != nil {
			b.Error(err)
		}
	}
	var next atomic.Int64
	b.ResetTimer()
	var publishing sync.WaitGroup
	for range callers {
		publishing.Go(func() {
			for next.Add(1) <= int64(b.N) {
				publish("login-1")
			}
		})
	}
	publishing.Wait()
	publish("last")
	receivedLast.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "scans/s")
}
