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
//	cfg.Dedup = wxredis.NewDedup(rdb, wxredis.WithLogger(logger))
//
//	bus := wxredis.NewBus(rdb, appID, wxredis.WithLogger(logger))
//	go bus.Listen(ctx, waiter.Notify) // until ctx ends; receives the events of the last minute too
//	// and in OnEvent:
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
// cannot be published is an error for OnEvent to return: WeChat may push it again
// within the next 15 s. When Redis is back, everything works again without a
// restart, even if Redis has lost all data. A value of another type at one of our
// keys, a broken one or one without expiry is replaced.
//
// With the options above a refused connection is an error at once; by default
// go-redis retries it for longer than the second. It logs each one to a logger of
// its own, which redis.SetLogger replaces. Errors and logs of this package name the
// operation and the kind of failure; they quote no argument of a Redis command.
//
// # Sentinel and Redis Cluster
//
// A client of Sentinel (redis.NewFailoverClient) and of a Redis Cluster
// (redis.NewClusterClient) work like one of a single server. All keys of one
// operation are in one slot; slots can move while callers use them. Do not read
// from replicas (ReplicaOnly, ReadOnly, RouteByLatency, RouteRandomly): they are
// behind.
//
// Redis replicates asynchronously, so a failover can lose what the old master has
// acknowledged last. Then a redelivered push may be handled again, a token may be
// fetched again, a scan may not reach the other instances, and a lock whose release
// was lost keeps instances from the store until it expires. The holder of a lock
// that was lost still does not overwrite a newer token: fencing tokens are times.
//
// # What Redis stores, and for how long
//
// All keys begin with "wxqrcode:" or the prefix of [WithKeyPrefix].
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
// with +cluster|slots and +asking for a Redis Cluster, TLS outside a private network,
// no port open to the internet, and restricted access to its dumps. Redis before
// version 6 has no users: set a password.
//
// It needs Redis 5 or later, or a server with the same protocol.
package wxredis
