package wxredis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-0142d113/wxqrcode"
)

// A Bus passes the scans that one instance receives to all instances: a login may
// wait on another instance than the one that receives the push. It is a Redis
// stream, so an instance that loses its connection receives afterwards what it
// missed. An event may be received twice, which a [callback.Waiter] ignores.
// Create one with [NewBus]; it is safe for concurrent use.
type Bus struct {
	conn
	stream redisKey
}

// NewBus returns a Bus with this name, such as the AppID of the account. Programs
// that share a Redis and a key prefix must not share a name.
func NewBus(rdb redis.UniversalClient, name string, opts ...Option) *Bus {
	c := newConn(rdb, opts)
	return &Bus{c, c.key(name, "scans", "stream")}
}

const (
	eventTTL     = 10 * time.Minute
	maxEvents    = 10_000 // in the stream; older ones are deleted
	readBlock    = time.Second
	replayWindow = time.Minute            // so that no event is lost while a Listen begins
	retryDelay   = 500 * time.Millisecond // after an error
	warnInterval = time.Minute
)

// Publish passes the event to all listeners. Events without a scene are ignored:
// no login waits for them. An error means that the event may not have been
// published; return it from OnEvent, so that WeChat redelivers the push.
func (b *Bus) Publish(ctx context.Context, e *wxqrcode.Event) error {
	if e == nil {
		return nil
	}
	if _, ok := e.SceneKey(); !ok {
		return nil
	}
	text, err := json.Marshal(publishedEvent{e.ToUserName, e.OpenID, e.CreatedAt.Unix(), e.MsgType, e.Type, e.EventKey, e.Ticket})
	if err == nil {
		_, err = runScript(ctx, b.conn, publishScript, (*redis.Cmd).Text, []redisKey{b.stream}, text, maxEvents, eventTTL.Milliseconds())
	}
	if err != nil {
		return fmt.Errorf("wxredis: publish a scan: %w", err)
	}
	return nil
}

// publishScript adds an event and deletes the expired ones. It does not use MINID,
// which came with Redis 6.2. An ID that is more than ARGV[3] in the future would
// make all later IDs so, and no event would expire: then it adds all events again,
// under new IDs.
var publishScript = redis.NewScript(`
	local now = redis.call('TIME')
	local ms = now[1] * 1000 + math.floor(now[2] / 1000)
	if #redis.call('XRANGE', KEYS[1], string.format('%.0f', ms + ARGV[3]), '+', 'COUNT', 1) > 0 then
		local events = redis.call('XRANGE', KEYS[1], '-', '+')
		redis.call('DEL', KEYS[1])
		for _, event in ipairs(events) do
			if event[2][1] == 'event' then redis.call('XADD', KEYS[1], '*', 'event', event[2][2]) end
		end
	end
	local expired = redis.call('XRANGE', KEYS[1], '-', string.format('%.0f', ms - ARGV[3]), 'COUNT', 1000)
	for _, event in ipairs(expired) do redis.call('XDEL', KEYS[1], event[1]) end
	local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'event', ARGV[1])
	redis.call('PEXPIRE', KEYS[1], ARGV[3])
	return id
`)

// Listen calls notify, such as a [callback.Waiter]'s Notify, with every event that
// is published from now on, and with those of the minute before, including the
// events of this instance, one at a time. It continues when Redis fails, with a
// warning once a minute, and returns the cause of ctx within two seconds of its
// end; without a Redis client it returns an error at once. It keeps one connection
// busy.
func (b *Bus) Listen(ctx context.Context, notify func(*wxqrcode.Event)) error {
	if b.rdb == nil {
		return fmt.Errorf("wxredis: listen for scans: %w", errNoClient)
	}
	var last string
	var warned time.Time
	for ctx.Err() == nil {
		var err error
		if last, err = b.read(ctx, last, notify); err == nil || ctx.Err() != nil {
			continue
		}
		if time.Since(warned) >= warnInterval {
			warned = time.Now()
			b.warn(ctx, "listen for scans", err)
		}
		select {
		case <-time.After(retryDelay):
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

// read waits a second for events after the ID last, calls notify with them and
// returns the ID from which to go on. An empty last is the beginning.
func (b *Bus) read(ctx context.Context, last string, notify func(*wxqrcode.Event)) (string, error) {
	if last == "" {
		return b.position(ctx, last)
	}
	streams, err := runWithin(ctx, readBlock+opTimeout, b.conn, func(ctx context.Context) ([]redis.XStream, error) {
		return b.rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{b.stream.name, last}, Count: 100, Block: readBlock}).Result()
	}, b.stream)
	if errors.Is(err, redis.Nil) {
		return b.position(ctx, last)
	}
	if err != nil {
		return last, err
	}
	for _, m := range streams[0].Messages {
		last = m.ID
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

// position returns the ID after which to read.
func (b *Bus) position(ctx context.Context, last string) (string, error) {
	id, err := runScript(ctx, b.conn, positionScript, (*redis.Cmd).Text, []redisKey{b.stream}, last, replayWindow.Milliseconds())
	if err != nil {
		return last, err
	}
	return id, nil
}

// positionScript returns the ID ARGV[1] if the stream has it or a later one.
// Otherwise the stream is new, perhaps with earlier IDs, as after a restart of
// Redis or a clock that was ahead: then it returns the ID of ARGV[2] ago.
var positionScript = redis.NewScript(`
	if ARGV[1] ~= '' and #redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 1) > 0 then return ARGV[1] end
	local now = redis.call('TIME')
	return string.format('%.0f-0', now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[2])
`)

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
