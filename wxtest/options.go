package wxtest

import "time"

// An Option configures [NewServer]. A nil Option is ignored.
type Option func(*config)

// WithAppID sets the AppID of the account, for a program that is configured for
// another account than the server makes up. An empty one means the default, a
// random AppID.
func WithAppID(appID string) Option {
	return func(c *config) {
		if appID != "" {
			c.appID = appID
		}
	}
}

// WithTokenLifetime sets the lifetime of access tokens. The default is that of
// WeChat, 7,200 s. The previous and the new token overlap for 5 minutes, or for
// a fifth of a shorter lifetime. expires_in has whole seconds, rounded down,
// and is at least 1, so a token with a lifetime of less than a second expires
// earlier than expires_in says. A lifetime that is not positive means the
// default.
func WithTokenLifetime(d time.Duration) Option {
	return func(c *config) {
		if d > 0 {
			c.tokenLifetime = d
		}
	}
}

// WithPushTimeout sets the timeout of one try of a push, and of
// [Server.VerifyCallback]: for connecting and the whole response together, in
// real time. The default is 5 s; WeChat allows 5 s for each of the two. A
// timeout that is not positive means the default.
func WithPushTimeout(d time.Duration) Option {
	return func(c *config) {
		if d > 0 {
			c.pushTimeout = d
		}
	}
}

// WithNow sets the clock of the server. It decides when tokens and codes
// expire, and dates tickets, messages, the timestamps of pushes, request IDs
// and the headers of images. now must be safe for concurrent use. Nil means
// [time.Now].
func WithNow(now func() time.Time) Option {
	return func(c *config) {
		if now != nil {
			c.now = now
		}
	}
}

// WithRetryStatus makes the server push again after a response with a status
// other than 200, as it does after no response. WeChat does not document what
// it does; without this option any response is final.
func WithRetryStatus() Option {
	return func(c *config) { c.retryStatus = true }
}

// WithFreshRetries signs each redelivery of a push with a new timestamp and
// nonce and, in compatible and secure mode, encrypts it again. The message is
// the same, CreateTime included. WeChat does not document whether it does that;
// without this option the same bytes are sent again.
func WithFreshRetries() Option {
	return func(c *config) { c.freshRetries = true }
}

// WithJSON makes [Server.Connect] push JSON instead of XML, as test accounts
// do.
func WithJSON() Option {
	return func(c *config) { c.json = true }
}

// WithRealisticTickets makes tickets without "+" and "/", like 42 public
// tickets since 2017. By default every ticket contains both, so that a program
// that does not escape tickets fails at once.
func WithRealisticTickets() Option {
	return func(c *config) { c.realTickets = true }
}

// config is what options set.
type config struct {
	appID         string
	tokenLifetime time.Duration
	pushTimeout   time.Duration
	now           func() time.Time
	retryStatus   bool
	freshRetries  bool
	json          bool
	realTickets   bool
}

func defaultConfig() config {
	return config{appID: "wx" + randomHex(16), tokenLifetime: 7200 * time.Second, pushTimeout: 5 * time.Second, now: time.Now}
}
