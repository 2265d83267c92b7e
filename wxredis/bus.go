package wxredis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-0142d113/wxqrcode"
)

// A Bus brings the scans that reach one instance to all of them: a login may wait on
// another instance than the one that WeChat's push comes to. It is a Redis stream,
// so an instance that loses its connection for a while hears afterwards what it
// missed. Make one with [NewBus]; it is safe for concurrent use.
type Bus struct {
	rdb redis.UniversalClient
	key string
}

// NewBus returns a Bus of that name, for which the account's AppID will do: two
// programs that share a Redis must not share a name.
func NewBus(rdb redis.UniversalClient, name string) *Bus {
	return &Bus{rdb, "wxqrcode:{" + name + "}:scans"}
}

const (
	streamLife = time.Hour // after the last scan
	streamLen  = 10_000    // scans, of which older ones are dropped
	blockLife  = time.Second
	lookBack   = time.Minute            // so that nothing is lost while a Listen begins
	listenRest = 500 * time.Millisecond // after a failure
)

// Publish brings the event to all who listen. Events without a scene go nowhere: nobody
// waits for them. An error says that the event may not have been heard; return it from
// onEvent, and WeChat's next try can do better.
func (b *Bus) Publish(ctx context.Context, e *wxqrcode.Event) error {
	if e == nil {
		return nil
	}
	if _, ok := e.Scene(); !ok {
		return nil
	}
	text, err := json.Marshal(wireEvent{e.ToUserName, e.OpenID, e.CreateTime.Unix(), e.MsgType, e.Type, e.EventKey, e.Ticket})
	if err != nil {
		return fmt.Errorf("wxredis: publish a scan: %w", err)
	}
	_, err = limited(ctx, b.rdb, func(ctx context.Context) ([]redis.Cmder, error) {
		return b.rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			tx.XAdd(ctx, &redis.XAddArgs{Stream: b.key, MaxLen: streamLen, Approx: true, Values: []any{"event", text}})
			tx.Expire(ctx, b.key, streamLife)
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("wxredis: publish a scan: %w", err)
	}
	return nil
}

// Listen calls notify, such as a [callback.Waiter]'s Notify, with every event that is
// published from now on, and in the minute before, those of this instance too, one at a
// time. It goes on through failures of Redis and returns the error of ctx, within a
// few seconds of its end; without a Redis client it returns an error at once.
func (b *Bus) Listen(ctx context.Context, notify func(*wxqrcode.Event)) error {
	if b.rdb == nil {
		return fmt.Errorf("wxredis: listen for scans: %w", errNoClient)
	}
	last := ""
	for ctx.Err() == nil {
		var err error
		if last == "" {
			last, err = b.begin(ctx)
		} else {
			last, err = b.read(ctx, last, notify)
		}
		if err == nil {
			continue
		}
		select { // a Redis that is gone is asked again, but not all the time
		case <-time.After(listenRest):
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

// begin returns the place in the stream from which to listen. The clock is that of
// Redis, which the places are made of.
func (b *Bus) begin(ctx context.Context) (id string, err error) {
	now, err := limited(ctx, b.rdb, func(ctx context.Context) (time.Time, error) { return b.rdb.Time(ctx).Result() })
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(now.Add(-lookBack).UnixMilli(), 10), nil
}

// read waits a second for events after last, and returns the id of the last that came.
func (b *Bus) read(ctx context.Context, last string, notify func(*wxqrcode.Event)) (string, error) {
	streams, err := b.rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{b.key, last}, Count: 100, Block: blockLife}).Result()
	if errors.Is(err, redis.Nil) {
		return last, nil
	}
	if err != nil {
		return last, err
	}
	for _, s := range streams {
		for _, m := range s.Messages {
			last = m.ID
			var w wireEvent
			text, _ := m.Values["event"].(string)
			if json.Unmarshal([]byte(text), &w) == nil && w.Event != "" {
				notify(&wxqrcode.Event{
					ToUserName: w.ToUserName, OpenID: w.FromUserName, CreateTime: time.Unix(w.CreateTime, 0),
					MsgType: w.MsgType, Type: w.Event, EventKey: w.EventKey, Ticket: w.Ticket,
				})
			}
		}
	}
	return last, nil
}

// A wireEvent is an event as WeChat names its fields.
type wireEvent struct {
	ToUserName   string
	FromUserName string
	CreateTime   int64
	MsgType      string
	Event        wxqrcode.EventType
	EventKey     string
	Ticket       wxqrcode.Ticket
}
