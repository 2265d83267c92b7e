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

// BatchOptions configure [Client.CreateAll]. The zero value suits most batches.
type BatchOptions struct {
	// Concurrency is how many requests are in flight at a time; zero means 8.
	// Above 64, use a transport that keeps more idle connections than the default
	// one.
	Concurrency int

	// Rate limits the requests per second, evenly spread; zero means no limit.
	Rate float64

	// Existing reports whether the code of a request is known to exist. Then it
	// can still be created after the account has used up its permanent codes
	// (45029). It is called on the ranging goroutine, for permanent codes only;
	// nil means that none exists.
	Existing func(Request) bool
}

// A BatchResult is the result of one request of a batch.
type BatchResult struct {
	Index   int // of Request in the batch, from 0
	Request Request
	QRCode  *QRCode // nil if there is an error
}

const (
	defaultConcurrency  = 8
	maxRateLimited      = 3  // attempts of a request that WeChat rate-limits (45011)
	maxIdenticalFailure = 20 // requests in a row that fail alike
)

// CreateAll creates a code for each of reqs, several at a time, and yields one
// result for each, in order of completion.
//
//	for result, err := range client.CreateAll(ctx, slices.Values(requests), wxqrcode.BatchOptions{}) {
//		if err != nil {
//			log.Printf("code %d: %v", result.Index, err)
//			continue
//		}
//		// result.QRCode is the code of requests[result.Index]
//	}
//
// reqs may be endless. It is read on the ranging goroutine, at most Concurrency
// requests ahead, so a slow loop slows down the batch and memory does not grow.
// While reqs blocks, no result is yielded. Each range over the result starts
// over.
//
// Each request succeeds or fails as with [Client.Create]. If WeChat limits the
// rate (45011), all requests wait for the next minute; a request is attempted
// three times. The batch stops if the daily quota is used up (45009), on
// [ErrUnauthorized], [ErrInvalidCredential] or [ErrIPNotAllowed], and if 20
// requests in a row fail alike: with the same errcode, or else the same error
// of this package; a [*ValidationError] does not count. Then requests in flight
// finish, and every other one fails with [ErrNotAttempted] and the cause. If
// the permanent codes are used up (45029), only new permanent codes stop: see
// [BatchOptions]. If ctx ends, requests in flight end with its error and the
// rest with ErrNotAttempted.
//
// Breaking out of the loop cancels the requests in flight and waits for them. A
// panic in a request, for instance in a [TokenProvider], is passed on to the
// loop. If o is invalid, the only result has Index -1 and a *ValidationError.
func (c *Client) CreateAll(ctx context.Context, reqs iter.Seq[Request], o BatchOptions) iter.Seq2[BatchResult, error] {
	return func(yield func(BatchResult, error) bool) {
		if err := o.validate(); err != nil {
			yield(BatchResult{Index: -1}, err)
			return
		}
		if reqs == nil {
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		b := newBatch(ctx, c, o)
		results := make(chan taskResult)
		index, running := 0, 0
		defer func() {
			cancel()
			for ; running > 0; running-- {
				<-results
			}
		}()
		for r := range reqs {
			t := b.newTask(index, r, o.Existing)
			index++
			running++
			go b.runTask(t, results)
			for full := running == cmp.Or(o.Concurrency, defaultConcurrency); running > 0; full = false {
				result, ok := receive(results, full)
				if !ok {
					break
				}
				running--
				if !yield(result.unwrap()) {
					return
				}
			}
		}
		for running > 0 {
			result := <-results
			running--
			if !yield(result.unwrap()) {
				return
			}
		}
	}
}

func (o BatchOptions) validate() error {
	if o.Concurrency < 0 {
		return invalidConfig("Concurrency", strconv.Itoa(o.Concurrency), "must not be negative; 0 means 8")
	}
	if o.Rate < 0 || math.IsNaN(o.Rate) || math.IsInf(o.Rate, 0) {
		return invalidConfig("Rate", strconv.FormatFloat(o.Rate, 'g', -1, 64), "must be a positive number; 0 means no limit")
	}
	return nil
}

// A batch is the state that the requests of one range share.
type batch struct {
	client   *Client
	ctx      context.Context // of requests in flight
	interval time.Duration   // between the starts of requests

	// Canceled with the reason when the batch stops.
	start, startNew context.Context // of any request, and of one for a new permanent code
	stop, stopNew   context.CancelCauseFunc

	mu          sync.Mutex // guards the fields below
	nextStart   time.Time
	pausedUntil time.Time // the end of a rate limit
	failure     string    // what the last requests failed with
	failures    int       // how many in a row
}

func newBatch(ctx context.Context, c *Client, o BatchOptions) *batch {
	b := &batch{client: c, ctx: ctx}
	b.start, b.stop = context.WithCancelCause(ctx)
	b.startNew, b.stopNew = context.WithCancelCause(b.start)
	if o.Rate > 0 {
		const maxInterval = 365 * 24 * time.Hour
		b.interval = time.Duration(min(float64(time.Second)/o.Rate, float64(maxInterval)))
	}
	return b
}

// A task is a request of a batch.
type task struct {
	index   int
	request Request
	start   context.Context // done when the request must not start
}

func (b *batch) newTask(index int, r Request, existing func(Request) bool) task {
	t := task{index: index, request: r, start: b.start}
	if r.kind == permanent && (existing == nil || !existing(r)) {
		t.start = b.startNew
	}
	return t
}

// A taskResult is the result of a task, or the panic that ended it.
type taskResult struct {
	BatchResult
	err      error
	panicked any
}

// unwrap returns the result on the ranging goroutine, or panics there.
func (r taskResult) unwrap() (BatchResult, error) {
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.BatchResult, r.err
}

// receive returns the next result. Without wait it returns false if none is
// ready.
func receive(results <-chan taskResult, wait bool) (r taskResult, ok bool) {
	if wait {
		return <-results, true
	}
	select {
	case r = <-results:
		return r, true
	default:
		return r, false
	}
}

var errGoexit = errors.New("wxqrcode: create: the TokenProvider or the transport called runtime.Goexit")

// runTask sends exactly one result.
func (b *batch) runTask(t task, results chan<- taskResult) {
	r := taskResult{BatchResult: BatchResult{Index: t.index, Request: t.request}, err: errGoexit}
	defer func() {
		r.panicked = recover()
		results <- r
	}()
	r.QRCode, r.err = b.create(t)
}

// create creates the code of t as soon as the batch permits.
func (b *batch) create(t task) (*QRCode, error) {
	for attempts := 1; ; attempts++ {
		if err := b.waitForTurn(t.start); err != nil {
			return nil, err
		}
		code, err := b.client.Create(b.ctx, t.request)
		b.pauseIfLimited(err)
		if attempts < maxRateLimited && errors.Is(err, ErrRateLimited) {
			continue
		}
		b.observe(err)
		return code, err
	}
}

// waitForTurn waits until the next request may start. It returns an error if
// the batch stops before that.
func (b *batch) waitForTurn(start context.Context) error {
	for {
		turn := b.nextTurn()
		select {
		case <-start.Done():
		case <-time.After(time.Until(turn)):
		}
		if start.Err() != nil {
			return fmt.Errorf("%w: %w", ErrNotAttempted, contextError(start))
		}
		if !b.isPaused() { // since nextTurn
			return nil
		}
	}
}

// nextTurn reserves the next time at which a request may start.
func (b *batch) nextTurn() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	turn := time.Now()
	for _, earliest := range []time.Time{b.nextStart, b.pausedUntil} {
		if earliest.After(turn) {
			turn = earliest
		}
	}
	b.nextStart = turn.Add(b.interval)
	return turn
}

func (b *batch) isPaused() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.pausedUntil)
}

// pauseIfLimited pauses all requests until the rate limit resets, if err is
// one.
func (b *batch) pauseIfLimited(err error) {
	if errors.Is(err, ErrRateLimited) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.pausedUntil = retryAt(errcodeMinuteLimit, time.Now())
	}
}

// observe stops the batch if the error of a request means that others will fail
// too.
func (b *batch) observe(err error) {
	if _, ok := errors.AsType[*ValidationError](err); ok || b.ctx.Err() != nil {
		return
	}
	if e, ok := errors.AsType[*APIError](err); ok && e.Code == errcodePermanentQuota {
		b.stopNew(err)
	} else if errors.Is(err, ErrQuotaExceeded) || errors.Is(err, ErrUnauthorized) ||
		errors.Is(err, ErrInvalidCredential) || errors.Is(err, ErrIPNotAllowed) {
		b.stop(err)
	}
	if b.countFailures(err) >= maxIdenticalFailure {
		b.stop(err)
	}
}

// countFailures returns how many requests in a row failed like err, 0 if err is
// nil.
func (b *batch) countFailures(err error) int {
	failure := failureKind(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if failure != b.failure {
		b.failure, b.failures = failure, 0
	}
	if err != nil {
		b.failures++
	}
	return b.failures
}

// failureKind returns a text that errors of the same kind share: the errcode,
// else the sentinel, else "other".
func failureKind(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*APIError](err); ok {
		return strconv.Itoa(e.Code)
	}
	for _, sentinel := range []error{ErrInvalidToken, ErrRateLimited, ErrUnexpectedResponse, ErrTokenNotFound} {
		if errors.Is(err, sentinel) {
			return sentinel.Error()
		}
	}
	return "other"
}
