// Package wxredis lets the instances of a program share, through Redis, what a
// single instance keeps in memory: the access token ([TokenStore]), the
// deduplication of pushes ([Dedup]) and the scans that a login waits for ([Bus]).
//
//	rdb := redis.NewClient(&redis.Options{
//		Addr: "redis:6379", Username: "wxqrcode", Password: password,
//		MaxRetries: 1, DialerRetries: 1, // by default go-redis retries for longer than any caller waits
//	})
//
//	client, err := wxqrcode.New(appID, appSecret, wxqrcode.WithTokenStore(wxredis.NewTokenStore(rdb)))
//
//	cfg.Dedup = wxredis.NewDedup(rdb, logger)
//
//	bus := wxredis.NewBus(rdb, appID, logger)
//	go bus.Listen(ctx, waiter.Notify) // until ctx ends; receives the events of the last minute too
//	// and in onEvent:
//	waiter.Notify(event) // requests that wait in this instance need not wait for Redis
//	err := bus.Publish(ctx, event)
//
// # When Redis is slow, restarts or is down
//
// An operation takes at most 1 s, and waiting while another instance fetches a
// token at most 3 s. A token in memory stays in use. If there is none, each
// instance fetches one for itself with stable_token, which returns the same token
// to all of them; with the legacy endpoint that is an error, because each fetch
// would invalidate the token of the other instances. A push is handled, at once or
// after that second, and the log says that it is not deduplicated. A scan that
// cannot be published is an error for onEvent to return: WeChat may push it again
// within the next 15 s. When Redis is back, everything works again without a
// restart, even if Redis has lost all data.
//
// With the options above a refused connection is an error at once; by default
// go-redis retries it for longer than the second. It logs each one to a logger of
// its own, which redis.SetLogger replaces.
//
// # What Redis stores, and for how long
//
// All keys begin with "wxqrcode:".
//
//   - For each account the access token, in plaintext, and the time of the last
//     force refresh: until the token expires and a minute longer. While it is
//     fetched, a lock: 20 s.
//   - For each push, under a hash that reveals nothing: that it is in flight, for 10 s
//     at a time; that it is handled, for the dedup window (twice MaxAge); its reply,
//     in plaintext, for a minute.
//   - For each scan the whole event, with its OpenID and its scene: ten minutes.
//
// # Lock Redis down
//
// A program that can read these keys can call WeChat in the name of the account; one
// that can write them can log in as any user with a forged scan. So use a user that
// may do no more than this,
//
//	ACL SETUSER wxqrcode on >PASSWORD resetkeys ~wxqrcode:* -@all +hello +ping +eval +evalsha +time +type +get +set +del +pexpire +pttl +hget +hset +xadd +xread +xrange +xdel
//
// TLS outside a private network, no port open to the internet, and restricted access
// to its dumps. Redis before version 6 has no users: set a password.
//
// It needs Redis 5 or later, or a server with the same protocol, and uses the primary,
// not replicas that may be behind. With Redis Cluster, all keys of one operation are in
// one slot.
package wxredis
