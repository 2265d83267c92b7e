package wxtest

import "time"

// An Option changes what [NewServer] starts. A nil Option is ignored.
type Option func(*config)

// WithTokenLifetime sets how long access tokens live; the default, and what
// WeChat does, is 7,200 s. The time that an old and a new token overlap is 5
// minutes, or a fifth of a lifetime that is short, so that who renews an old token in
// time gets another one, as at WeChat. An answer's expires_in is in whole seconds,
// rounded down, and at least 1, so a token that lives for less than a second dies
// before it says. A lifetime that is not positive keeps the default.
func WithTokenLifetime(d time.Duration) Option {
	return func(c *config) {
		if d > 0 {
			c.tokenLifetime = d
		}
	}
}

// WithPushTimeout sets how long one try of a push, or [Server.VerifyCallback], may
// take, connecting and the whole answer together, in real time. The default is 5 s,
// which WeChat gives to each of the two. A time-out that is not positive keeps the
// default.
func WithPushTimeout(d time.Duration) Option {
	return func(c *config) {
		if d > 0 {
			c.pushTimeout = d
		}
	}
}

// WithNow sets the server's clock. It is read for the life of tokens and codes,
// for the dates in tickets and messages, for the timestamps of pushes and for the
// request ids of errors. now is called from several goroutines at once. Nil keeps
// the default, [time.Now].
func WithNow(now func() time.Time) Option {
	return func(c *config) {
		if now != nil {
			c.now = now
		}
	}
}

// WithRetryStatus makes the server push again after an answer with a status other
// than 200, as it does after no answer. WeChat does not document which of the two
// it does; without this option any answer is final.
func WithRetryStatus() Option {
	return func(c *config) { c.retryStatus = true }
}

// WithFreshRetries gives each repeat of a push a timestamp, nonce and signature of
// its own and, in compatible and secure mode, encrypts it anew. The message stays
// the same, CreateTime included. WeChat does not document whether it does that;
// without this option the very same bytes go again.
func WithFreshRetries() Option {
	return func(c *config) { c.freshRetries = true }
}

// config is what options set.
type config struct {
	tokenLifetime time.Duration
	pushTimeout   time.Duration
	now           func() time.Time
	retryStatus   bool
	freshRetries  bool
}

func defaultConfig() config {
	return config{tokenLifetime: 7200 * time.Second, pushTimeout: 5 * time.Second, now: time.Now}
}
