package scanstats

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// Record counts an event: who follows, who scans, who leaves. Other events it ignores. It
// returns when the event is committed, or in the journal and synced: then it is there after a
// crash and a loss of power. The same event counts once, however often and by whichever
// instance it is recorded. Call it in the callback, and return its error there, so that WeChat
// pushes again:
//
//	func onEvent(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
//		if err := stats.Record(ctx, e); err != nil {
//			return nil, err
//		}
//		…
//
// Of what comes at once, up to 2,000 events are written together. Record returns when ctx ends, or
// when the database has not answered within [Config.Timeout]; then the event may be recorded or
// not, and may be recorded again.
//
// Errors: [ErrInvalidEvent] if there is no OpenID, no Key, or if the event is older than
// [Config.KeepEvents] or more than a day ahead; [ErrUnavailable], [ErrLocked],
// [ErrFull], [ErrReadOnly], [ErrJournal]; [ErrClosed].
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

// Forget deletes what is known of somebody: on which days they scanned, and which code brought
// them. What was counted stays. It returns when that is done, or in the journal. If they scan again
// they are new; if they leave later, nobody knows which code has lost them. An unsubscribe that is
// recorded forgets by itself.
//
// Its errors are those of [Store.Record].
func (s *Store) Forget(ctx context.Context, openID string) error {
	err := s.checkPerson(openID)
	if err == nil {
		err = s.submit(ctx, entry{kind: forget, at: s.now().Unix(), person: s.person(openID)})
	}
	if err != nil {
		return fmt.Errorf("scanstats: forget: %w", err)
	}
	return nil
}

func (s *Store) checkPerson(openID string) error {
	if len(s.key) == 0 {
		return fmt.Errorf("%w: the store was opened without a Config.Key, which OpenIDs need", ErrInvalidEvent)
	}
	if openID == "" {
		return fmt.Errorf("%w: no OpenID", ErrInvalidEvent)
	}
	return nil
}

// entry returns how an event is counted, and whether it is at all.
func (s *Store) entry(e *wxqrcode.Event) (entry, bool, error) {
	if e == nil {
		return entry{}, false, fmt.Errorf("%w: nil", ErrInvalidEvent)
	}
	var n entry
	if key, ok := e.SceneKey(); ok {
		n.scene = clean(s.cfg.Scene(key))
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
	if err := s.checkPerson(e.OpenID); err != nil {
		return entry{}, false, err
	}
	const ahead = 24 * time.Hour // of a clock that is wrong
	if age := s.now().Sub(e.CreatedAt); age > s.cfg.KeepEvents || age < -ahead {
		return entry{}, false, fmt.Errorf("%w: its CreatedAt %v is not in the last %v (Config.KeepEvents) nor in the next %v, so a duplicate could not be detected",
			ErrInvalidEvent, e.CreatedAt.UTC().Format(time.RFC3339), s.cfg.KeepEvents, ahead)
	}
	n.at, n.person, n.id = e.CreatedAt.Unix(), s.person(e.OpenID), s.eventID(e)
	return n, true, nil
}
