package scanstats

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// maxBatch limits the entries of one transaction.
const maxBatch = 2000

// A batchSize limits the entries of the next transaction. It shrinks after a
// transient failure, because a slow database may not complete a large batch in
// time.
type batchSize int

// next returns the size after a batch that returned err.
func (n batchSize) next(err error) batchSize {
	if isTransient(err) {
		return max(n/2, 1)
	}
	return min(2*n, maxBatch)
}

// A request is an entry whose caller waits for the result.
type request struct {
	entry entry
	taken atomic.Bool // by the writer, or by a caller that gave up
	done  chan error
}

// submit waits until an entry is recorded.
func (s *Store) submit(ctx context.Context, e entry) error {
	if ctx.Err() != nil {
		return contextError(ctx, errNotRecorded)
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
	outcome := errNotRecorded
	if !r.taken.CompareAndSwap(false, true) {
		select { // the result may have just arrived
		case err := <-r.done:
			return err
		default:
			outcome = errUncertain
		}
	}
	return contextError(ctx, outcome)
}

// contextError returns the error of a caller whose context ended, with the outcome
// of the event.
func contextError(ctx context.Context, outcome error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, context.Cause(ctx), outcome)
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), outcome)
}

var (
	errNotRecorded = errors.New("the event is not recorded")
	errUncertain   = errors.New("the event may not be recorded yet; recording it again does not count it twice")
)

func (s *Store) enqueue(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.queue = append(s.queue, r)
	if !s.writing {
		s.writing = true
		s.goroutines.Go(s.writeBatches)
	}
	return nil
}

// writeBatches writes the queue in batches until it is empty. While one batch is
// written, the next one grows.
func (s *Store) writeBatches() {
	for {
		batch := s.nextBatch()
		if batch == nil {
			return
		}
		entries := make([]entry, len(batch))
		for i, r := range batch {
			entries[i] = r.entry
		}
		err := s.writeEntries(entries)
		s.adjustBatchSize(err)
		isRejection := err != nil && classify(err) == nil && !errors.Is(err, ErrSpool)
		if isRejection && len(batch) > 1 {
			for _, r := range batch { // the database may reject one of them
				r.done <- s.writeEntries([]entry{r.entry})
			}
			continue
		}
		for _, r := range batch {
			r.done <- err
		}
		if err != nil && !isRejection {
			// Callers that wait already need not wait for the same failure again.
			for _, r := range s.takeQueue() {
				r.done <- err
			}
		}
	}
}

func (s *Store) adjustBatchSize(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batchSize = s.batchSize.next(err)
}

// nextBatch returns the next requests whose callers still wait, or nil.
func (s *Store) nextBatch() []*request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch []*request
	n := 0
	for _, r := range s.queue {
		if len(batch) == int(s.batchSize) {
			break
		}
		n++
		if r.taken.CompareAndSwap(false, true) {
			batch = append(batch, r)
		}
	}
	s.queue = s.queue[n:]
	if batch == nil {
		s.queue, s.writing = nil, false
	}
	return batch
}

// takeQueue empties the queue.
func (s *Store) takeQueue() (all []*request) {
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

// writeEntries writes entries to the database, or to the spool if the database is
// unavailable or older entries are pending there.
func (s *Store) writeEntries(entries []entry) error {
	if s.spool == nil || !s.spool.hasPending() {
		err := wrapDBError(s.apply(context.Background(), entries))
		if err == nil || s.spool == nil || !isTransient(err) {
			return err
		}
		s.logDivert(err)
	}
	if err := s.spool.append(entries); err != nil {
		return err
	}
	if s.spool.startDrain() {
		s.goroutines.Go(s.drain)
	}
	return nil
}
