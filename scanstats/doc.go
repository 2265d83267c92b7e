// Package scanstats counts, in a SQL database, who scanned which QR code, who
// followed through it and who still follows, and shows the result on a page.
//
// Open a [Store], pass it each event, and mount its page behind your own login:
//
//	stats, err := scanstats.OpenSQLite(ctx, "scans.db", scanstats.Config{Key: key})
//	defer stats.Close()
//
//	func onEvent(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
//		if err := stats.Record(ctx, e); err != nil {
//			return nil, err // not recorded: WeChat redelivers the push
//		}
//		…
//	}
//
//	http.Handle("/stats/", http.StripPrefix("/stats", stats.Handler(requireLogin)))
//
// [OpenSQLite] uses one SQLite file. [Open] uses a PostgreSQL, MySQL or MariaDB
// database, which several instances can share. A database is for one account.
//
// # What is counted
//
// A scan is counted for the scene of its code, by hour and by day. A user who
// follows through a code is a new follower of that scene, and a later unfollow is
// counted for the same scene. Unique users are the users who scanned, each counted
// once in any range of days. Retention is the share of new followers who still
// follow after 1, 7 and 30 days. Followers without a code (by search, after a
// payment) are in [Report.Unattributed].
//
// Days begin in one time zone, [Config.Location]. The login codes of
// [wxqrcode.RandomScene] are counted as one scene; [Config.SceneName] can group
// others.
//
// # Accuracy
//
// Each event counts once, and the counts do not depend on the order in which
// events arrive. The exceptions:
//
//   - A user who unfollows and scans again later is a new user: the earlier data
//     was deleted.
//   - For an event that arrives more than three days after a later unfollow of the
//     same user, or that precedes more than 200 later events of the same user, Scans
//     and NewFollowers are exact; UniqueUsers, Unfollows, NetFollowers and Retention
//     can be wrong by one. The hash of such a user is stored again.
//   - Events recorded after [Store.Forget], or after [Config.PersonRetention]
//     without an event, are those of a new user.
//   - If an unfollow was never delivered, it counts at the time of the next follow.
//
// # Privacy
//
// No OpenID is stored, but a hash that requires [Config.Key]: store the key apart
// from the database and its backups. The database contains, for each hash, the
// scans and the follow with their times.
//
// WeChat requires that a user's data is deleted when the user unfollows. The data
// of the user is needed for three more days, because events can arrive late; then
// it is deleted. Counts do not change. [Store.Forget] deletes at once, and a user
// without an event for [Config.PersonRetention] is deleted automatically. The
// bytes are then erased from an SQLite file and its log; in a file of more than
// 32 MiB, later rows may have to overwrite them.
//
// A second hash of each event is stored for [Config.DedupWindow] to detect
// duplicates. It does not reveal which events belong to the same user.
//
// # Database outages
//
// [Store.Record] returns [ErrLocked], [ErrNoSpace], [ErrReadOnly] or
// [ErrUnavailable], after [Config.Timeout] or when its context ends. Return the
// error from the callback, so that WeChat redelivers the push (within about 15 s),
// or set [Config.Spool]: then events are written to a second SQLite file, and recorded
// in order when the database is available again.
//
// # Size and speed
//
// A report reads counts, one row per scene and day (and one per scene, day and
// previous day of its users), and never events or users: it takes as long for ten
// times the scans, but not for ten times the scenes. The database grows by one row
// per scene and hour with events, one per user (for PersonRetention) and one per
// event (for DedupWindow).
//
// One instance writes at a time, a batch of at most 2,000 events. Instances that
// share a database therefore share its write throughput; docs/operations.md has
// measurements.
package scanstats
