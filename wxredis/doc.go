// Package wxredis lets the instances of a program share, through Redis, what one
// instance keeps in memory: the access token ([TokenStore]), the pushes that were here
// before ([Dedup]) and the scans that somebody waits for ([Bus]).
//
//	rdb := redis.NewClient(&redis.Options{
//		Addr: "redis:6379", Username: "wxqrcode", Password: password,
//		MaxRetries: 1, DialerRetries: 1, // or a Redis that is down is tried for longer than anybody waits
//	})
//
//	tokens, err := wxqrcode.NewTokenSource(appID, appSecret, wxqrcode.WithTokenStore(wxredis.NewTokenStore(rdb)))
//
//	cfg.Dedup = wxredis.NewDedup(rdb, logger)
//
//	bus := wxredis.NewBus(rdb, appID, logger)
//	go bus.Listen(ctx, waiter.Notify) // ends with ctx; it hears what was published in the minute before, too
//	// and in onEvent:
//	waiter.Notify(event) // who waits here need not wait for Redis
//	err := bus.Publish(ctx, event)
//
// # When Redis is slow, restarts, or is gone
//
// One operation is waited for 1 s at most, and another instance that is fetching a token for 3 s.
// A token in memory goes on being used. Where there is none, each instance fetches one for itself
// by stable_token, which gives all of them the same; the legacy call would knock the other
// instances out, and so it is an error. A push runs, at once or after that second, and the log
// says that nobody knows whether it ran elsewhere. A scan that cannot be published is an error for
// onEvent to return: WeChat may push it again, within the next 15 s. When Redis is back, all of it
// goes on without a restart, also if it has forgotten everything.
//
// With the options above a connection that is refused is an error at once; by default go-redis
// tries it again and again, for longer than the second. It tells of each in a log of its own,
// which redis.SetLogger takes elsewhere.
//
// # What Redis holds, and for how long
//
// All keys begin with "wxqrcode:".
//
//   - Of each account the access token, in the clear, and when it was last replaced by force: for as
//     long as the token lives and a minute more. While it is fetched, whose turn that is: 20 s.
//   - Of each push, under a hash that shows nothing: that it is at work, for 10 s at a time; that
//     it was here, for as long as the handler says (twice its MaxAge); its reply, in the clear, for a minute.
//   - Of each scan the whole event, with its OpenID and its scene: ten minutes.
//
// # Lock Redis down
//
// Whoever reads these keys can call WeChat in the account's name; whoever writes them
// can log in as anybody by a scan that never was. So: a user that may do no more than this,
//
//	ACL SETUSER wxqrcode on >PASSWORD resetkeys ~wxqrcode:* -@all +hello +ping +eval +evalsha +time +exists +get +set +del +pexpire +pttl +hget +hset +multi +exec +xadd +xread +xrange +xrevrange +xdel
//
// TLS where the network is not the program's own, no port open to the world, and no copy of its
// dumps where others can read them. Redis before version 6 knows no users: give it a password.
//
// It needs Redis 5 or newer, or what speaks its protocol, and talks to the primary, not to
// replicas that answer with what was. With Redis Cluster, all keys of one operation are in one slot.
package wxredis
