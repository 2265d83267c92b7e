package wxredis_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxredis"
)

// A serverError is an error response of Redis.
type serverError string

func (e serverError) Error() string { return string(e) }
func (serverError) RedisError()     {}

// failingHook fails every command.
type failingHook struct{ err error }

func (h failingHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h failingHook) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		cmd.SetErr(h.err)
		return h.err
	}
}

func (h failingHook) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return h.err }
}

func TestErrors_QuoteNoArguments(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6379}, Err: syscall.ECONNREFUSED}
	for _, tt := range []struct {
		err, is error
		want    string
	}{
		{serverError("ERR unknown command 'EVALSHA', with args beginning with: '{\"openid\":\"o-secret'"), nil, "Redis responded with ERR unknown command"},
		{serverError("ERR Error running script (call to f_1): @user_script:7: o-secret"), nil, "Redis responded with the error ERR"},
		{serverError("NOPERM o-secret"), nil, "Redis responded with the error NOPERM"},
		{serverError("WRONGTYPE o-secret"), nil, "Redis responded with the error WRONGTYPE"},
		{serverError("user_script:7: o-secret"), nil, "Redis responded with an error"},
		{serverError("o-secret"), nil, "Redis responded with an error"},
		{fmt.Errorf("redis: can't parse %q", "o-secret"), nil, "the Redis client failed with an unknown error"},
		{fmt.Errorf("o-secret: %w", io.EOF), io.EOF, "EOF"},
		{fmt.Errorf("o-secret: %w", context.DeadlineExceeded), context.DeadlineExceeded, "context deadline exceeded"},
		{fmt.Errorf("o-secret: %w", redis.ErrClosed), redis.ErrClosed, redis.ErrClosed.Error()},
		{fmt.Errorf("o-secret: %w", refused), syscall.ECONNREFUSED, "dial tcp 127.0.0.1:6379: connection refused"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			rdb := redis.NewClient(&redis.Options{})
			defer rdb.Close()
			rdb.AddHook(failingHook{tt.err})
			var log logBuffer
			bus := wxredis.NewBus(rdb, "o-secret", log.option())
			store := wxredis.NewTokenStore(rdb, log.option())
			_, loadErr := store.Load(t.Context(), "o-secret")
			_, updateErr := store.Update(t.Context(), "o-secret", notCalled(t))
			for prefix, err := range map[string]error{
				"wxredis: load token: ":     loadErr,
				"wxredis: update token: ":   updateErr,
				"wxredis: publish a scan: ": bus.Publish(t.Context(), scanOf("o-secret")),
			} {
				if err == nil || tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("%s%v is not %v", prefix, err, tt.is)
					continue
				}
				assert.Contains(t, err.Error(), prefix)
				assert.Contains(t, err.Error(), tt.want)
				assert.NotContains(t, fmt.Sprintf("%v %+v %q", err, err, err), "o-secret")
			}
			_, _, err := wxredis.NewDedup(rdb, log.option()).Do(t.Context(), "o-secret", time.Minute, replies(""))
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			assert.ErrorIs(t, bus.Listen(ctx, func(*wxqrcode.Event) {}), context.DeadlineExceeded)
			assert.Contains(t, log.String(), "wxredis: listen for scans")
			assert.Contains(t, log.String(), "wxredis: deduplication unavailable")
			assert.NotContains(t, log.String(), "o-secret")
		})
	}
}

func TestErrors_Timeout(t *testing.T) {
	t.Parallel()
	rdb := newRedis(t)
	slow, network := newLink(t, rdb)
	require.NoError(t, slow.Ping(t.Context()).Err())
	network.delay()
	_, err := wxredis.NewTokenStore(slow).Load(t.Context(), "key")
	require.EqualError(t, err, "wxredis: load token: Redis did not respond within 1s")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
