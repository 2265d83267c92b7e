package scanstats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
)

// maxBatch is how many entries are written at once.
const maxBatch = 2000

// A batchSize is how many are written at once for the time being: fewer after a failure, as a database
// that is far away or slow may not get through more in time.
type batchSize int

// after returns the size of the batch after one that ended with err.
func (n batchSize) after(err error) batchSize {
	switch {
	case err == nil:
		return min(2*n, maxBatch)
	case isAway(err):
		return max(n/2, 1)
	}
	return n
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
	s.most = s.most.after(err)
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
