package scanstats

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// Record counts a follow, a scan or an unfollow; other events are ignored. It
// returns when the event is committed, or written to the spool and synced. An
// event counts once, however often and by any instance it is recorded. Call
// Record in the callback and return its error there, so that WeChat redelivers the
// push:
//
//	func onEvent(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
//		if err := stats.Record(ctx, e); err != nil {
//			return nil, err
//		}
//		…
//
// Concurrent calls are written in batches of at most 2,000 events. Record returns
// when ctx ends, or when the database has not responded within [Config.Timeout];
// the event may then be recorded or not, and can be recorded again.
//
// Counts are exact in any order of arrival, with two exceptions. For an event that
// arrives more than three days after a later unfollow of the same user, or that
// precedes more than 200 later events of the same user, Scans and NewFollowers are
// exact; UniqueUsers, Unfollows, NetFollowers and Retention can be wrong by one,
// because the data that they need was deleted.
//
// Errors: [ErrInvalidEvent] if the OpenID is empty, the store has no Key, or the
// event is older than [Config.DedupWindow] or more than a day in the future;
// [ErrUnavailable], [ErrLocked], [ErrNoSpace], [ErrReadOnly], [ErrSpool];
// [ErrClosed].
func (s *Store) Record(ctx context.Context, e *wxqrcode.Event) error {
	entry, ok, err := s.entry(e)
	if err == nil && ok {
		err = s.submit(ctx, entry)
	}
	if err != nil {
		return fmt.Errorf("scanstats: record: %w", err)
	}
	return nil
}

// Forget deletes the data of a user: the scans with their times, and the scene of
// the follow. Counts do not change. It returns when the deletion is committed, or
// written to the spool and synced. If the user scans again, it is a new user; a
// later unfollow is unattributed. A recorded unfollow deletes the data
// automatically, after three days.
//
// Its errors are those of [Store.Record].
func (s *Store) Forget(ctx context.Context, openID string) error {
	err := s.checkUser(openID)
	if err == nil {
		err = s.submit(ctx, entry{kind: forget, at: s.now().Unix(), person: s.personHash(openID)})
	}
	if err != nil {
		return fmt.Errorf("scanstats: forget: %w", err)
	}
	return nil
}

func (s *Store) checkUser(openID string) error {
	if len(s.key) == 0 {
		return fmt.Errorf("%w: the store has no Config.Key, which is needed to hash the OpenID", ErrInvalidEvent)
	}
	if openID == "" {
		return fmt.Errorf("%w: the OpenID is empty", ErrInvalidEvent)
	}
	return nil
}

// entry returns the entry of an event, and whether the event is counted.
func (s *Store) entry(e *wxqrcode.Event) (entry, bool, error) {
	if e == nil {
		return entry{}, false, fmt.Errorf("%w: the event is nil", ErrInvalidEvent)
	}
	var n entry
	if key, ok := e.SceneKey(); ok {
		n.scene = normalizeScene(s.cfg.SceneName(key))
	}
	switch {
	case e.Type == wxqrcode.EventSubscribe:
		n.kind = follow
	case e.Type == wxqrcode.EventUnsubscribe:
		n.kind = unfollow
	case e.Type == wxqrcode.EventScan && n.scene != "":
		n.kind = scan
	default:
		return entry{}, false, nil
	}
	if err := s.checkUser(e.OpenID); err != nil {
		return entry{}, false, err
	}
	const maxSkew = 24 * time.Hour
	if age := s.now().Sub(e.CreatedAt); age > s.cfg.DedupWindow || age < -maxSkew {
		return entry{}, false, fmt.Errorf("%w: CreatedAt is %v; it must be in the last %v (Config.DedupWindow) or the next %v, so that a duplicate can be detected",
			ErrInvalidEvent, e.CreatedAt.UTC().Format(time.RFC3339), s.cfg.DedupWindow, maxSkew)
	}
	n.at, n.person, n.id = e.CreatedAt.Unix(), s.personHash(e.OpenID), s.eventID(e)
	return n, true, nil
}
