package wxredis

import (
	"cmp"
	"log/slog"
	"strings"

	"github.com/redis/go-redis/v9"
)

// An Option configures [NewTokenStore], [NewDedup] and [NewBus]. A nil Option is
// ignored. If two options set the same value, the later one wins.
type Option func(*conn)

const defaultKeyPrefix = "wxqrcode:"

// WithKeyPrefix sets the prefix of all keys. The default, also for an empty
// prefix, is "wxqrcode:". Programs that share a Redis but must not share their
// tokens and pushes need different prefixes, such as "shop:" and "club:", or
// different databases; a Redis Cluster has only one database.
//
// Braces and percent signs are percent-encoded in the keys: braces would choose
// the hash slot, and all keys would be in one slot of a Redis Cluster.
func WithKeyPrefix(prefix string) Option {
	return func(c *conn) { c.prefix = keyEscaper.Replace(prefix) }
}

// WithLogger sets the logger. Nothing logged contains a token, an OpenID or a
// scene. The default, also for a nil l, is [slog.Default] at Warn and above, which
// is all that this package logs.
func WithLogger(l *slog.Logger) Option {
	return func(c *conn) { c.log = l }
}

func newConn(rdb redis.UniversalClient, opts []Option) conn {
	c := conn{rdb: rdb}
	for _, opt := range opts {
		if opt != nil {
			opt(&c)
		}
	}
	c.prefix = cmp.Or(c.prefix, defaultKeyPrefix)
	c.log = cmp.Or(c.log, slog.Default())
	return c
}

var keyEscaper = strings.NewReplacer("%", "%25", "{", "%7B", "}", "%7D")

// key returns a key for values of a type of Redis. Redis Cluster hashes the part
// in braces only, so all keys with one tag are in one slot.
func (c conn) key(tag, suffix, valueType string) redisKey {
	return redisKey{c.prefix + "{" + keyEscaper.Replace(tag) + "}:" + suffix, valueType}
}
