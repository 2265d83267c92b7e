// Package scanstats answers which poster works: it counts in a database who scanned which code,
// who followed by it, and who stayed, and shows it on a page.
//
// Open a [Store], give it each event, and mount its page behind a login of yours:
//
//	stats, err := scanstats.OpenFile(ctx, "scans.db", scanstats.Config{Key: key})
//	defer stats.Close()
//
//	func onEvent(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
//		if err := stats.Record(ctx, e); err != nil {
//			return nil, err // not recorded: WeChat pushes again
//		}
//		…
//	}
//
//	http.Handle("/stats/", http.StripPrefix("/stats", stats.Handler(requireLogin)))
//
// [OpenFile] keeps all in one file of SQLite. [Open] takes a database of PostgreSQL, MySQL or
// MariaDB, which several instances can share; a store is for one account.
//
// # What is counted
//
// A scan is counted for the scene of its code, by hour and by day. Somebody who follows is a new
// follower of the scene that brought them, and if they leave later, that scene has lost them.
// People are those who scanned, each of them once in any range of days (but who left and came
// back is two). What became of the new followers is told for 1, 7 and 30 days. Who follows
// without a code (by search, after a payment) is in [Report].Other.
//
// Days begin in one time zone, [Config.Location], which [Store.Location] tells. The codes that
// [wxqrcode.RandomScene] makes for logins are counted as one scene; [Config.Scene] can group
// others.
//
// # Privacy
//
// No OpenID is stored. In its place stands a hash that only [Config.Key] can make: keep the key
// out of the database and its backups. It tells on which days somebody scanned which scene, and
// which scene brought them.
//
// When somebody unfollows, WeChat's rules demand that their data are deleted. [Store.Record]
// deletes those rows with the event. Totals stay right, as all that a report says was counted
// before: also how many people a range of days had, and how many of them stayed. Somebody who
// comes back is new. For a day or two one row says that this hash has left, and when: a push
// that comes late would bring the person back. [Store.Forget] deletes on request, that row too,
// and who has not scanned for [Config.KeepPeople] is deleted by itself.
//
// What is kept for [Config.KeepEvents], to know repeats, is another hash of each event as a
// whole; those of one person have nothing in common.
//
// # When the database is away
//
// [Store.Record] returns an error of a kind that [errors.Is] can tell: [ErrLocked], [ErrFull],
// [ErrReadOnly] or [ErrUnavailable], after [Config.Timeout] or when its context ends. Return it
// from the callback, so that WeChat pushes again (within some 15 s), or set [Config.Journal]:
// then events go to a file, synced, and to the database when it answers again, in order and
// once.
//
// # How it grows
//
// A report reads counts, one row for each scene and day (and one for each scene, day and day on
// which its people had been there before), and never events or people: ten times the scans make
// it no slower, ten times the scenes do. The database grows by a row for each scene and hour
// with events, by one for each person and scene (kept for KeepPeople), and by one for each event
// (for KeepEvents).
//
// One instance writes at a time, a batch of up to 2,000 events. So instances that share a
// database share what it can write in all; the numbers are in the documentation on operations.
package scanstats
