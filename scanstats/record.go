package scanstats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// Record counts an event: who follows, who scans, who leaves. Other events it ignores. It
// returns when the event is committed, or in the journal and synced: then it is there after a
// crash and a loss of power. The same event counts once, however often and by whichever
// instance it is recorded. Call it in the callback, and return its error there, so that WeChat pushes again:
//
//	func onEvent(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
//		if err := stats.Record(ctx, e); err != nil {
//			return nil, err
//		}
//		…
//
// Of what comes at once, up to 2,000 events are written together. Record returns when ctx ends, or when
// the database has not answered within [Config.Timeout]; then the event may be recorded or not, and may be recorded
// again.
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

// Forget deletes what is known of somebody: on which days they scanned, and which code brought them. What was
// counted stays. It returns when that is done, or in the journal. If they scan again they are new; if they leave
// later, nobody knows which code has lost them. An unsubscribe that is recorded forgets by itself.
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
	if key, ok := e.Scene(); ok {
		n.scene = clean(s.cfg.Scene(key))
	}
	switch {
	case e.Type == wxqrcode.EventSubscribe:
		n.kind = follow
	case e.Type == wxqrcode.EventUnsubscribe:
		n.kind = leave
	case e.Type == wxqrcode.EventScan && n.scene != "":
		n.kind = scan
	default:
		return entry{}, false, nil
	}
	if err := s.checkPerson(e.OpenID); err != nil {
		return entry{}, false, err
	}
	const ahead = 24 * time.Hour // of a clock that is wrong
	if age := s.now().Sub(e.CreateTime); age > s.cfg.KeepEvents || age < -ahead {
		return entry{}, false, fmt.Errorf("%w: its CreateTime %v is not in the last %v (Config.KeepEvents) nor in the next %v, so nobody could tell a repeat of it",
			ErrInvalidEvent, e.CreateTime.UTC().Format(time.RFC3339), s.cfg.KeepEvents, ahead)
	}
	n.at, n.person, n.id = e.CreateTime.Unix(), s.person(e.OpenID), s.eventID(e)
	return n, true, nil
}

// maxBatch is how many entries are written at once.
const maxBatch = 2000

// A batchSize is how many are written at once for the time being: fewer after a failure, as a database
// that is far away or slow may not get through more in time.
type batchSize int

func (n *batchSize) adapt(err error) {
	switch {
	case err == nil:
		*n = min(2**n, maxBatch)
	case isAway(err):
		*n = max(*n/2, 1)
	}
}

// A request is an entry that somebody waits for.
type request struct {
	entry entry
	taken atomic.Bool // by the writer, or by a caller who waits no longer
	done  chan error
}

// submit waits until an entry is recorded.
func (s *Store) submit(ctx context.Context, e entry) error {
	if ctx.Err() != nil {
		return ended(ctx, errNotRecorded)
	}
	r := &request{entry: e, done: make(chan error, 1)}
	if err := s.enqueue(r); err != nil {
		return err
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
	}
	left := errNotRecorded
	if !r.taken.CompareAndSwap(false, true) {
		select { // it may just have been done
		case err := <-r.done:
			return err
		default:
			left = errUnknown
		}
	}
	return ended(ctx, left)
}

// ended returns why a caller was not waited for any longer, and what became of the event.
func ended(ctx context.Context, event error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, context.Cause(ctx), event)
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), event)
}

var (
	errNotRecorded = errors.New("the event is not recorded")
	errUnknown     = errors.New("the event may not be recorded yet; recording it again does not count it twice")
)

func (s *Store) enqueue(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.queue = append(s.queue, r)
	if !s.working {
		s.working = true
		s.routines.Go(s.work)
	}
	return nil
}

// work records what is in the queue, and ends when nothing is. While it writes one batch, the
// next one gathers: the more comes, the larger they are.
func (s *Store) work() {
	for {
		batch := s.take()
		if batch == nil {
			return
		}
		entries := make([]entry, len(batch))
		for i, r := range batch {
			entries[i] = r.entry
		}
		err := s.record(entries)
		s.adapt(err)
		for _, r := range batch {
			r.done <- err
		}
		if err != nil {
			// Those who wait already need not wait for the same failure, one batch after the other.
			for _, r := range s.takeAll() {
				r.done <- err
			}
		}
	}
}

func (s *Store) adapt(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most.adapt(err)
}

// take returns the next requests that somebody waits for, or nil if there are none.
func (s *Store) take() []*request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch []*request
	n := 0
	for _, r := range s.queue {
		if len(batch) == int(s.most) {
			break
		}
		n++
		if r.taken.CompareAndSwap(false, true) {
			batch = append(batch, r)
		}
	}
	s.queue = s.queue[n:]
	if batch == nil {
		s.queue, s.working = nil, false
	}
	return batch
}

// takeAll empties the queue.
func (s *Store) takeAll() (all []*request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.queue {
		if r.taken.CompareAndSwap(false, true) {
			all = append(all, r)
		}
	}
	s.queue = nil
	return all
}

// record writes entries to the database, or to the journal if it is away or older entries
// wait there.
func (s *Store) record(entries []entry) error {
	if s.journal == nil || !s.journal.waiting() {
		err := explain(s.apply(context.Background(), entries))
		if err == nil || s.journal == nil || !isAway(err) {
			return err
		}
		s.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, "scanstats: the database is away, events go to the journal", slog.String("error", err.Error()))
	}
	start, err := s.journal.append(entries)
	if start {
		s.routines.Go(s.play)
	}
	return err
}

// isAway reports whether an error is of a kind that passes, so that the journal helps.
func isAway(err error) bool {
	for _, kind := range []error{ErrUnavailable, ErrLocked, ErrFull, ErrReadOnly} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
