package wxqrcode

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"sync"
	"time"
)

// BatchOptions bound a batch. The zero BatchOptions are good for most.
type BatchOptions struct {
	Concurrency int     // calls at a time; zero means 8. Above 64, the transport must keep more idle connections than the default one
	PerSecond   float64 // calls begun in a second, evenly spread; zero means no limit
}

// A BatchResult is what came of one request of a batch.
type BatchResult struct {
	Index   int // the place of Request in the batch, from 0
	Request Request
	Code    *QRCode // nil if Err is not
	Err     error
}

const (
	defaultConcurrency = 8
	limitedTries       = 3 // of a request that WeChat limits (45011)
)

// CreateAll makes a code for each of reqs, several at a time, and yields exactly one result
// for each, in the order in which they are done.
//
//	for result := range client.CreateAll(ctx, slices.Values(requests), wxqrcode.BatchOptions{}) {
//		if result.Err != nil {
//			log.Printf("code %d: %v", result.Index, result.Err)
//			continue
//		}
//		// result.Code is for requests[result.Index]
//	}
//
// reqs may be endless: it is read on the goroutine of the loop, and never more than
// Concurrency requests ahead of it, so that a slow loop slows the batch and memory does not
// grow. While reqs keeps the loop waiting, nothing is yielded.
//
// Each request fails or succeeds as with [Client.Create]. When WeChat says that there are too
// many calls a minute (45011), all wait for the next minute; a request is tried three times.
// When the calls of the day are used up (45009), or the account, its credentials or this
// machine's IP address are refused ([ErrUnauthorized], [ErrInvalidCredential],
// [ErrIPNotAllowed]), or ctx ends, nothing new is begun: what is on its way finishes, and the
// rest comes back with [ErrNotTried] and the reason. When the permanent codes are used up
// (45029), that holds for permanent requests.
//
// A loop that is left early, by break or by a panic, cancels the calls on their way and
// waits for them. If o is out of range, every result has a [*ValidationError].
func (c *Client) CreateAll(ctx context.Context, reqs iter.Seq[Request], o BatchOptions) iter.Seq[BatchResult] {
	return func(yield func(BatchResult) bool) {
		if reqs == nil {
			return
		}
		calls, cancel := context.WithCancel(ctx)
		b := &batch{client: c, ctx: calls, done: make(chan BatchResult), left: make(chan struct{})}
		b.reason = o.apply(b)
		defer b.workers.Wait()
		defer cancel()
		defer close(b.left)
		b.run(reqs, yield)
	}
}

// apply sets what o says, or returns why it cannot.
func (o BatchOptions) apply(b *batch) error {
	b.most = o.Concurrency
	if b.most == 0 {
		b.most = defaultConcurrency
	}
	if b.most < 0 {
		return &ValidationError{Field: "Concurrency", Value: strconv.Itoa(o.Concurrency), Reason: "must be at least 1; 0 means 8"}
	}
	if o.PerSecond < 0 || math.IsNaN(o.PerSecond) || math.IsInf(o.PerSecond, 0) {
		return &ValidationError{
			Field: "PerSecond", Value: strconv.FormatFloat(o.PerSecond, 'g', -1, 64),
			Reason: "must be a positive number; 0 means no limit",
		}
	}
	if o.PerSecond > 0 {
		const year = 365 * 24 * time.Hour // more than that is no limit but an end
		b.interval = time.Duration(min(float64(time.Second)/o.PerSecond, float64(year)))
	}
	return nil
}

// A batch is a run of CreateAll.
type batch struct {
	client   *Client
	ctx      context.Context // that of the run
	most     int             // calls at a time
	interval time.Duration   // between the beginnings of calls

	workers sync.WaitGroup
	done    chan BatchResult
	left    chan struct{} // closed when nobody receives from done any more

	mu              sync.Mutex // guards what follows
	next            time.Time  // no call begins before
	resume          time.Time  // when WeChat's minute is over
	reason          error      // why nothing new is begun
	reasonPermanent error      // the same for permanent requests
}

// run is the loop over reqs, on the goroutine that ranges over the results.
func (b *batch) run(reqs iter.Seq[Request], yield func(BatchResult) bool) {
	index, working := 0, 0
	for r := range reqs {
		result := BatchResult{Index: index, Request: r, Err: b.refuse(r)}
		index++
		if result.Err == nil {
			working++
			b.workers.Go(func() {
				result.Code, result.Err = b.create(r)
				select {
				case b.done <- result:
				case <-b.left:
				}
			})
		} else if !yield(result) {
			return
		}
		for full := working == b.most; working > 0; full = false {
			result, ok := b.receive(full)
			if !ok {
				break
			}
			working--
			if !yield(result) {
				return
			}
		}
	}
	for ; working > 0; working-- {
		if !yield(<-b.done) {
			return
		}
	}
}

// receive returns a result that is there, or, if wait is set, the next one.
func (b *batch) receive(wait bool) (BatchResult, bool) {
	if wait {
		return <-b.done, true
	}
	select {
	case result := <-b.done:
		return result, true
	default:
		return BatchResult{}, false
	}
}

// refuse returns why r is not begun; nil if it may be.
func (b *batch) refuse(r Request) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	reason := b.reason
	if reason == nil && r.isPermanent() {
		reason = b.reasonPermanent
	}
	if reason == nil {
		reason = b.ctx.Err()
	}
	if _, invalid := errors.AsType[*ValidationError](reason); reason == nil || invalid {
		return reason
	}
	return fmt.Errorf("%w: %w", ErrNotTried, reason)
}

// create makes the code of r as soon as it may.
func (b *batch) create(r Request) (*QRCode, error) {
	for try := 1; ; try++ {
		if err := b.wait(r); err != nil {
			return nil, err
		}
		code, err := b.client.Create(b.ctx, r)
		if err == nil {
			return code, nil
		}
		if !b.learn(err) || try == limitedTries {
			return nil, err
		}
	}
}

// wait waits until the next call may begin, and says why if it may not.
func (b *batch) wait(r Request) error {
	for {
		if err := b.refuse(r); err != nil {
			return err
		}
		b.mu.Lock()
		now := time.Now()
		paused := b.resume.After(now)
		begin := b.resume
		if !paused {
			begin = now
			if b.next.After(begin) {
				begin = b.next
			}
			b.next = begin.Add(b.interval)
		}
		b.mu.Unlock()
		if begin.After(now) {
			select {
			case <-time.After(begin.Sub(now)):
			case <-b.ctx.Done():
				return b.refuse(r)
			}
		}
		if paused || b.isPaused() {
			continue // and take a turn after the pause
		}
		return b.refuse(r)
	}
}

func (b *batch) isPaused() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.resume.After(time.Now())
}

// learn takes from the error of a call what it means for the others, and reports whether
// to try the call again.
func (b *batch) learn(err error) (again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case errors.Is(err, ErrRateLimited):
		now := time.Now()
		b.resume = now.Add(now.Truncate(time.Minute).Add(time.Minute).Sub(now))
		return true
	case isPermanentQuota(err):
		b.reasonPermanent = err
	case errors.Is(err, ErrQuotaExceeded), errors.Is(err, ErrUnauthorized),
		errors.Is(err, ErrInvalidCredential), errors.Is(err, ErrIPNotAllowed):
		b.reason = err
	}
	return false
}

func isPermanentQuota(err error) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && e.Code == codePermanentQuota
}
