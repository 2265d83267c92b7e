package wxredis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-0142d113/wxqrcode"
)

// A Bus brings the scans that reach one instance to all of them: a login may wait on
// another instance than the one that WeChat's push comes to. It is a Redis stream,
// so an instance that loses its connection for a while hears afterwards what it
// missed. An event may be heard twice, as a [callback.Waiter] does not mind. Make one with
// [NewBus]; it is safe for concurrent use.
type Bus struct {
	rdb redis.UniversalClient
	key string
	log *slog.Logger
}

// NewBus returns a Bus of that name, for which the account's AppID will do: two
// programs that share a Redis must not share a name. It logs to log; nil means
// [slog.Default] at Warn and above, which is all that it logs.
func NewBus(rdb redis.UniversalClient, name string, log *slog.Logger) *Bus {
	if log == nil {
		log = slog.Default()
	}
	return &Bus{rdb, "wxqrcode:{" + name + "}:scans", log}
}

const (
	scanLife   = 10 * time.Minute // how long a scan is kept
	streamLen  = 10_000           // scans, of which older ones are dropped
	blockLife  = time.Second
	lookBack   = time.Minute            // so that nothing is lost while a Listen begins
	listenRest = 500 * time.Millisecond // after a failure
	warnRest   = time.Minute            // after a warning
)

// Publish brings the event to all who listen. Events without a scene go nowhere: nobody
// waits for them. An error says that the event may not have been heard; return it from
// onEvent, and WeChat's next try can do better.
func (b *Bus) Publish(ctx context.Context, e *wxqrcode.Event) error {
	if e == nil {
		return nil
	}
	if _, ok := e.SceneKey(); !ok {
		return nil
	}
	text, err := json.Marshal(publishedEvent{e.ToUserName, e.OpenID, e.CreatedAt.Unix(), e.MsgType, e.Type, e.EventKey, e.Ticket})
	if err != nil {
		return fmt.Errorf("wxredis: publish a scan: %w", err)
	}
	_, err = withTimeout(ctx, b.rdb, func(ctx context.Context) (string, error) {
		return publish.Run(ctx, b.rdb, []string{b.key}, text, streamLen, scanLife.Milliseconds()).Text()
	})
	if err != nil {
		return fmt.Errorf("wxredis: publish a scan: %w", err)
	}
	return nil
}

// publish adds an event, and deletes those whose time is over. It does not use MINID,
// which came with Redis 6.2.
var publish = redis.NewScript(`
	local now = redis.call('TIME')
	local ms = now[1] * 1000 + math.floor(now[2] / 1000)
	local old = redis.call('XRANGE', KEYS[1], '-', string.format('%.0f', ms - ARGV[3]), 'COUNT', 1000)
	for _, entry in ipairs(old) do redis.call('XDEL', KEYS[1], entry[1]) end
	local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'event', ARGV[1])
	redis.call('PEXPIRE', KEYS[1], ARGV[3])
	return id
`)

// Listen calls notify, such as a [callback.Waiter]'s Notify, with every event that is
// published from now on, and in the minute before, those of this instance too, one at a
// time. It goes on through failures of Redis, of which it warns once a minute, and returns the
// error of ctx, within two seconds of its end; without a Redis client it returns an error at
// once. It keeps one connection busy.
func (b *Bus) Listen(ctx context.Context, notify func(*wxqrcode.Event)) error {
	if b.rdb == nil {
		return fmt.Errorf("wxredis: listen for scans: %w", errNoClient)
	}
	var last streamID
	var warned time.Time
	for ctx.Err() == nil {
		var err error
		if last == (streamID{}) {
			last, err = b.begin(ctx)
		} else {
			last, err = b.read(ctx, last, notify)
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		if time.Since(warned) >= warnRest {
			warned = time.Now()
			b.log.LogAttrs(ctx, slog.LevelWarn, "wxredis: listen for scans", slog.String("error", err.Error()))
		}
		select { // a Redis that is gone is asked again, but not all the time
		case <-time.After(listenRest):
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

// begin returns the place in the stream from which to listen.
func (b *Bus) begin(ctx context.Context) (streamID, error) {
	now, err := withTimeout(ctx, b.rdb, func(ctx context.Context) (int64, error) {
		return clock.Run(ctx, b.rdb, []string{b.key}).Int64()
	})
	if err != nil {
		return streamID{}, err
	}
	return streamID{ms: now - lookBack.Milliseconds()}, nil
}

// clock is the time, in milliseconds, of the server that has the stream, whose places are
// made of it.
var clock = redis.NewScript(`
	local now = redis.call('TIME')
	return now[1] * 1000 + math.floor(now[2] / 1000)
`)

// read waits a second for events after last, and returns the place of the last that
// came. It returns the zero place if the stream is not the one that last was in.
func (b *Bus) read(ctx context.Context, last streamID, notify func(*wxqrcode.Event)) (streamID, error) {
	messages, err := withTimeoutOf(ctx, blockLife+opLimit, b.rdb, func(ctx context.Context) ([]redis.XMessage, error) {
		streams, err := b.rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{b.key, last.String()}, Count: 100, Block: blockLife}).Result()
		if err != nil {
			return nil, err
		}
		return streams[0].Messages, nil
	})
	if errors.Is(err, redis.Nil) {
		return b.check(ctx, last)
	}
	if err != nil {
		return last, err
	}
	for _, m := range messages {
		if last, err = parseStreamID(m.ID); err != nil {
			return last, err
		}
		var e publishedEvent
		text, _ := m.Values["event"].(string)
		if json.Unmarshal([]byte(text), &e) == nil && e.Type != "" {
			notify(&wxqrcode.Event{
				ToUserName: e.ToUserName, OpenID: e.OpenID, CreatedAt: time.Unix(e.CreatedAt, 0).UTC(),
				MsgType: e.MsgType, Type: e.Type, EventKey: e.EventKey, Ticket: e.Ticket,
			})
		}
	}
	return last, nil
}

// check returns last, or the zero place if no entry of the stream is as late: the
// stream may have been lost, and be made anew with places that come before last, as after a
// clock that was ahead.
func (b *Bus) check(ctx context.Context, last streamID) (streamID, error) {
	newest, err := withTimeout(ctx, b.rdb, func(ctx context.Context) ([]redis.XMessage, error) {
		return b.rdb.XRevRangeN(ctx, b.key, "+", "-", 1).Result()
	})
	if err != nil || len(newest) == 0 {
		return streamID{}, err
	}
	id, err := parseStreamID(newest[0].ID)
	if err != nil || id.before(last) {
		return streamID{}, err
	}
	return last, nil
}

// A streamID is a place in a stream.
type streamID struct{ ms, n int64 }

func parseStreamID(s string) (id streamID, err error) {
	if _, err := fmt.Sscanf(s, "%d-%d", &id.ms, &id.n); err != nil {
		return streamID{}, fmt.Errorf("the place %q in a stream cannot be read: %w", s, err)
	}
	return id, nil
}

func (id streamID) String() string { return fmt.Sprintf("%d-%d", id.ms, id.n) }

func (id streamID) before(other streamID) bool {
	return id.ms < other.ms || id.ms == other.ms && id.n < other.n
}

// A publishedEvent is an event in Redis.
type publishedEvent struct {
	ToUserName string             `json:"to_user_name"`
	OpenID     string             `json:"openid"`
	CreatedAt  int64              `json:"created_at"` // Unix seconds
	MsgType    string             `json:"msg_type"`
	Type       wxqrcode.EventType `json:"event"`
	EventKey   string             `json:"event_key"`
	Ticket     wxqrcode.Ticket    `json:"ticket,omitempty"`
}
