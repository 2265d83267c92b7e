// Package wxredis lets the instances of a program share, through Redis, what one
// instance keeps in memory: the access token ([TokenStore]), the pushes that were here
// before ([Dedup]) and the scans that somebody waits for ([Bus]).
//
//	rdb := redis.NewClient(&redis.Options{Addr: "redis:6379", Username: "wxqrcode", Password: password})
//
//	tokens, err := wxqrcode.NewTokenSource(appID, appSecret, wxqrcode.WithTokenStore(wxredis.NewTokenStore(rdb)))
//
//	cfg.Dedup = wxredis.NewDedup(rdb, logger)
//
//	bus := wxredis.NewBus(rdb, appID)
//	go bus.Listen(ctx, waiter.Notify) // ends with ctx
//	// and in onEvent, in place of waiter.Notify:
//	err := bus.Publish(ctx, event)
//
// # When Redis is slow, restarts, or is gone
//
// One operation is waited for 1 s at most. A token in memory goes on being used. Where
// there is none, each instance fetches one for itself by stable_token, which gives all
// of them the same; the legacy call would knock the other instances out, and so it is
// an error. A push runs, and the log says that nobody knows whether it ran elsewhere. A
// scan that cannot be published is an error for onEvent to return. When Redis is back,
// all of it goes on without a restart, also if it has forgotten everything.
//
// # What Redis holds, and for how long
//
// All keys begin with "wxqrcode:". An access token, in the clear, for as long as it
// lives and a minute more. Of each push a hash that shows nothing, for as long as
// the handler says (twice its MaxAge), and its reply, in the clear, for a minute. Of
// each scan the whole event, with its OpenID and its scene, for an hour at most.
//
// # Lock Redis down
//
// Whoever reads these keys can call WeChat in the account's name; whoever writes them
// can log in as anybody by a scan that never was. So: a password or an ACL user that
// may touch the keys ~wxqrcode:* alone, TLS where the network is not the program's own,
// no port open to the world, and no copy of its dumps where others can read them.
//
// It needs Redis 5 or newer, or what speaks its protocol. With Redis Cluster, all keys
// of one operation are in one slot.
package wxredis
