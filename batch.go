package wxqrcode

import (
	"cmp"
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
	limitedTries       = 3  // of a request that WeChat limits (45011)
	mostRefusals       = 10 // of access tokens, one after the other
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
// [ErrIPNotAllowed]), or access tokens are refused ten times in a row, nothing new is begun:
// calls on their way finish, and the rest comes back with [ErrNotTried] and the reason. When the
// permanent codes are used up (45029), that holds for permanent requests. When ctx ends, calls
// on their way end with its error too.
//
// A loop that is left early, by break or by a panic, cancels the calls on their way and
// waits for them. A panic in a call, for instance in the [TokenProvider], is passed on to
// the loop. If o is out of range, every result has a [*ValidationError].
func (c *Client) CreateAll(ctx context.Context, reqs iter.Seq[Request], o BatchOptions) iter.Seq[BatchResult] {
	return func(yield func(BatchResult) bool) {
		if reqs == nil {
			return
		}
		calls, cancel := context.WithCancel(ctx)
		b := &batch{
			client: c, ctx: calls, done: make(chan outcome), left: make(chan struct{}),
			ended: make(chan struct{}), endedPermanent: make(chan struct{}),
		}
		b.reason = o.apply(b)
		defer b.workers.Wait()
		defer cancel()
		defer close(b.left)
		b.run(reqs, yield)
	}
}

// apply sets what o says, or returns why it cannot.
func (o BatchOptions) apply(b *batch) error {
	b.most = cmp.Or(o.Concurrency, defaultConcurrency)
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
	done    chan outcome
	left    chan struct{} // closed when nobody receives from done any more

	ended          chan struct{} // closed when reason is set
	endedPermanent chan struct{} // closed when reasonPermanent is set

	mu              sync.Mutex // guards what follows
	next            time.Time  // no call begins before
	resume          time.Time  // when WeChat's minute is over
	reason          error      // why nothing new is begun
	reasonPermanent error      // the same for permanent requests
	refusals        int        // of access tokens, since a code was made
}

// An outcome is a result, or a panic that took its place.
type outcome struct {
	BatchResult
	panicked any
}

var errNoReturn = errors.New("wxqrcode: create: the call ended its goroutine")

// run is the loop over reqs, on the goroutine that ranges over the results.
func (b *batch) run(reqs iter.Seq[Request], yield func(BatchResult) bool) {
	index, working := 0, 0
	for r := range reqs {
		result := BatchResult{Index: index, Request: r, Err: b.refuse(r)}
		index++
		if result.Err == nil {
			working++
			b.workers.Go(func() { b.work(result) })
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
		if result, _ := b.receive(true); !yield(result) {
			return
		}
	}
}

// work makes the code of the result's request, and hands over what came of it whatever
// happens.
func (b *batch) work(result BatchResult) {
	result.Err = errNoReturn
	defer func() {
		o := outcome{result, recover()}
		select {
		case b.done <- o:
		case <-b.left:
		}
	}()
	result.Code, result.Err = b.create(result.Request)
}

// receive returns a result that is there, or, if wait is set, the next one.
func (b *batch) receive(wait bool) (result BatchResult, ok bool) {
	var o outcome
	if wait {
		o = <-b.done
	} else {
		select {
		case o = <-b.done:
		default:
			return result, false
		}
	}
	if o.panicked != nil {
		panic(o.panicked)
	}
	return o.BatchResult, true
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
		if !b.learn(err) || try == limitedTries {
			return code, err
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
			if err := b.sleep(r, begin.Sub(now)); err != nil {
				return err
			}
		}
		if paused || b.isPaused() {
			continue // and take a turn after the pause
		}
		return b.refuse(r)
	}
}

// sleep returns early, and why, if r is not to be begun any more.
func (b *batch) sleep(r Request, d time.Duration) error {
	var endedPermanent <-chan struct{}
	if r.isPermanent() {
		endedPermanent = b.endedPermanent
	}
	select {
	case <-time.After(d):
		return nil
	case <-b.ctx.Done():
	case <-b.ended:
	case <-endedPermanent:
	}
	return b.refuse(r)
}

func (b *batch) isPaused() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.resume.After(time.Now())
}

// learn takes from what came of a call what it means for the others, and reports whether
// to try the call again.
func (b *batch) learn(err error) (again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.refusals = 0
		return false
	}
	ends := false
	switch {
	case errors.Is(err, ErrRateLimited):
		now := time.Now()
		b.resume = now.Add(now.Truncate(time.Minute).Add(time.Minute).Sub(now))
		return true
	case isPermanentQuota(err):
		if b.reasonPermanent == nil {
			b.reasonPermanent = err
			close(b.endedPermanent)
		}
	case errors.Is(err, ErrInvalidToken):
		b.refusals++
		ends = b.refusals == mostRefusals
	case errors.Is(err, ErrQuotaExceeded), errors.Is(err, ErrUnauthorized),
		errors.Is(err, ErrInvalidCredential), errors.Is(err, ErrIPNotAllowed):
		ends = true
	}
	if ends && b.reason == nil {
		b.reason = err
		close(b.ended)
	}
	return false
}

func isPermanentQuota(err error) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && e.Code == errcodePermanentQuota
}
