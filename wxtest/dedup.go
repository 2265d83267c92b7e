package wxtest

import (
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-0142d113/wxqrcode/callback"
)

// TestDeduplicator tests an implementation of [callback.Deduplicator]. Call it
// from a test of the implementation:
//
//	func TestDedup(t *testing.T) {
//		wxtest.TestDeduplicator(t, func() callback.Deduplicator { return newDedup() })
//	}
//
// Each subtest calls newDedup once and uses random keys, so all Deduplicators
// can share a store.
func TestDeduplicator(t *testing.T, newDedup func() callback.Deduplicator) {
	t.Helper()
	for _, tt := range []struct {
		name string
		test func(*dedupTest)
	}{
		{"fn is called once", (*dedupTest).testRepetition},
		{"concurrent callers join one call", (*dedupTest).testJoin},
		{"10,000 callers at once", (*dedupTest).testManyCallers},
		{"error forgets the key", (*dedupTest).testError},
		{"panic forgets the key", (*dedupTest).testPanic},
		{"Goexit forgets the key", (*dedupTest).testGoexit},
		{"context of a waiter ends", (*dedupTest).testWaiterContext},
		{"context has ended before the call", (*dedupTest).testEndedContext},
		{"context of fn", (*dedupTest).testContextOfFn},
		{"ttl expires", (*dedupTest).testExpiry},
		{"ttl counts from the end of the call", (*dedupTest).testExpiryOfSlowCall},
		{"ttl that is not positive stores nothing", (*dedupTest).testNoTTL},
		{"keys are independent", (*dedupTest).testKeys},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(newDedupTest(t, newDedup())) })
	}
}

const (
	dedupTTL     = time.Minute           // does not expire in a test
	dedupSlow    = 50 * time.Millisecond // of a fn: long enough for other callers to reach Do
	dedupTimeout = time.Minute           // of a Do that hangs
	dedupWaiters = 20
)

var errDedup = errors.New("wxtest: fn failed or its context was canceled")

// A dedupTest tests a Deduplicator with one key.
type dedupTest struct {
	*testing.T
	dedup callback.Deduplicator
	key   string
	calls atomic.Int32 // of replying
}

func newDedupTest(t *testing.T, d callback.Deduplicator) *dedupTest {
	t.Helper()
	return &dedupTest{T: t, dedup: d, key: "wxtest-" + rand.Text()}
}

type dedupFunc func(context.Context) ([]byte, error)

// A dedupResult is the result of Do. err is nil or errDedup.
type dedupResult struct {
	reply     string
	duplicate bool
	err       error
}

// do calls Do once.
func (d *dedupTest) do(ctx context.Context, ttl time.Duration, fn dedupFunc) dedupResult {
	d.Helper()
	return d.receive(d.start(ctx, 1, ttl, fn))
}

// replying returns a fn that counts its calls.
func (d *dedupTest) replying(reply string) dedupFunc {
	return func(context.Context) ([]byte, error) {
		d.calls.Add(1)
		return []byte(reply), nil
	}
}

func (d *dedupTest) expectCalls(want int) {
	d.Helper()
	if got := int(d.calls.Load()); got != want {
		d.Errorf("fn was called %d times; want %d", got, want)
	}
}

func (d *dedupTest) expect(want, got dedupResult) {
	d.Helper()
	if got != want {
		d.Errorf("Do returned %+v; want %+v", got, want)
	}
}

// expectResults receives the results of concurrent calls and counts them.
func (d *dedupTest) expectResults(want map[dedupResult]int, results <-chan dedupResult) {
	d.Helper()
	left := 0
	for _, n := range want {
		left += n
	}
	got := map[dedupResult]int{}
	for range left {
		got[d.receive(results)]++
	}
	for result, n := range got {
		if n != want[result] {
			d.Errorf("Do returned %+v to %d callers; want %d", result, n, want[result])
		}
	}
}

func (d *dedupTest) receive(results <-chan dedupResult) (result dedupResult) {
	d.Helper()
	select {
	case result = <-results:
	case <-time.After(dedupTimeout):
		d.Fatalf("Do has not returned within %v", dedupTimeout)
	}
	return result
}

// start calls Do n times at once. After a panic or runtime.Goexit the result is
// errDedup.
func (d *dedupTest) start(ctx context.Context, n int, ttl time.Duration, fn dedupFunc) <-chan dedupResult {
	results := make(chan dedupResult, n)
	for range n {
		go func() {
			result := dedupResult{err: errDedup}
			defer func() {
				if v := recover(); v != nil && v != any(errDedup) {
					d.Errorf("Do panicked with %v", v)
				}
				results <- result
			}()
			reply, duplicate, err := d.dedup.Do(ctx, d.key, ttl, fn)
			if errors.Is(err, errDedup) {
				err = errDedup
			}
			result = dedupResult{string(reply), duplicate, err}
		}()
	}
	return results
}

// hold calls Do with a fn that calls end after release, and returns while fn
// runs.
func (d *dedupTest) hold(end dedupFunc) (release func(), result <-chan dedupResult) {
	started, released := make(chan struct{}), make(chan struct{})
	release = sync.OnceFunc(func() { close(released) })
	d.Cleanup(release)
	result = d.start(d.Context(), 1, dedupTTL, func(ctx context.Context) ([]byte, error) {
		close(started)
		<-released
		return end(ctx)
	})
	select {
	case <-started:
	case <-time.After(dedupTimeout):
		d.Fatalf("Do has not called fn within %v", dedupTimeout)
	}
	return release, result
}

func (d *dedupTest) testRepetition() {
	for _, reply := range []string{"reply", ""} {
		d := newDedupTest(d.T, d.dedup)
		d.expect(dedupResult{reply, false, nil}, d.do(d.Context(), dedupTTL, d.replying(reply)))
		for range 2 {
			d.expect(dedupResult{reply, true, nil}, d.do(d.Context(), dedupTTL, d.replying("another")))
		}
		d.expectCalls(1)
	}
}

func (d *dedupTest) testJoin() {
	release, first := d.hold(d.replying("reply"))
	waiters := d.start(d.Context(), dedupWaiters, dedupTTL, d.replying("another"))
	time.Sleep(dedupSlow)
	release()
	d.expect(dedupResult{"reply", false, nil}, d.receive(first))
	d.expectResults(map[dedupResult]int{{"reply", true, nil}: dedupWaiters}, waiters)
	d.expectCalls(1)
}

func (d *dedupTest) testManyCallers() {
	const callers = 10_000
	results := d.start(d.Context(), callers, dedupTTL, func(ctx context.Context) ([]byte, error) {
		time.Sleep(dedupSlow)
		return d.replying("reply")(ctx)
	})
	d.expectResults(map[dedupResult]int{{"reply", false, nil}: 1, {"reply", true, nil}: callers - 1}, results)
	d.expectCalls(1)
}

func (d *dedupTest) testError() {
	d.testFailedCall(func(context.Context) ([]byte, error) { return nil, errDedup })
}

func (d *dedupTest) testPanic() {
	d.testFailedCall(func(context.Context) ([]byte, error) { panic(errDedup) })
}

func (d *dedupTest) testGoexit() {
	d.testFailedCall(func(context.Context) ([]byte, error) {
		runtime.Goexit()
		return nil, nil
	})
}

// testFailedCall tests that one waiter after the other calls fn until a call
// succeeds, and that the rest receive the reply of that call.
func (d *dedupTest) testFailedCall(fail dedupFunc) {
	const failures = 2 // after the first call
	release, first := d.hold(fail)
	var running atomic.Int32
	waiters := d.start(d.Context(), dedupWaiters, dedupTTL, func(ctx context.Context) ([]byte, error) {
		if running.Add(1) > 1 {
			d.Error("fn is called twice at a time")
		}
		defer running.Add(-1)
		time.Sleep(dedupSlow)
		if d.calls.Add(1) <= failures {
			return fail(ctx)
		}
		return []byte("reply"), nil
	})
	time.Sleep(dedupSlow)
	release()
	if got := d.receive(first); got.err == nil || got.duplicate || got.reply != "" {
		d.Errorf("the failed call returned %+v; want an error", got)
	}
	d.expectResults(map[dedupResult]int{
		{"", false, errDedup}: failures,
		{"reply", false, nil}: 1,
		{"reply", true, nil}:  dedupWaiters - failures - 1,
	}, waiters)
	d.expectCalls(failures + 1)
}

func (d *dedupTest) testWaiterContext() {
	release, first := d.hold(d.replying("reply"))
	ctx, cancel := context.WithCancelCause(d.Context())
	waiters := d.start(ctx, dedupWaiters, dedupTTL, d.replying("another"))
	time.Sleep(dedupSlow)
	cancel(errDedup)
	d.expectResults(map[dedupResult]int{{"", true, errDedup}: dedupWaiters}, waiters)
	release()
	d.expect(dedupResult{"reply", false, nil}, d.receive(first))
	d.expectCalls(1)
}

func (d *dedupTest) testEndedContext() {
	ctx, cancel := context.WithCancel(d.Context())
	cancel()
	d.expect(dedupResult{"reply", false, nil}, d.do(ctx, dedupTTL, d.replying("reply")))
}

func (d *dedupTest) testContextOfFn() {
	type contextKey struct{}
	ctx, cancel := context.WithCancel(context.WithValue(d.Context(), contextKey{}, "value"))
	d.expect(dedupResult{"reply", false, nil}, d.do(ctx, dedupTTL, func(fnCtx context.Context) ([]byte, error) {
		if fnCtx.Value(contextKey{}) != "value" {
			d.Error("the context of fn lacks the values of ctx")
		}
		cancel()
		time.Sleep(dedupSlow)
		if err := fnCtx.Err(); err != nil {
			d.Errorf("the context of fn ended with that of the caller: %v", err)
		}
		return []byte("reply"), nil
	}))
}

func (d *dedupTest) testExpiry() {
	const ttl = 100 * time.Millisecond
	var end time.Time
	d.expect(dedupResult{"reply", false, nil}, d.do(d.Context(), ttl, func(context.Context) ([]byte, error) {
		end = time.Now()
		return []byte("reply"), nil
	}))
	for ; ; time.Sleep(ttl / 20) {
		// A repetition does not prolong the ttl.
		got := d.do(d.Context(), ttl, d.replying("next"))
		age := time.Since(end)
		switch {
		case !got.duplicate:
			d.expect(dedupResult{"next", false, nil}, got)
			if age < ttl*9/10 {
				d.Errorf("the key was forgotten after %v; the ttl is %v", age, ttl)
			}
			return
		case age > dedupTimeout:
			d.Fatalf("the key is remembered for more than %v; the ttl is %v", age, ttl)
		}
	}
}

func (d *dedupTest) testExpiryOfSlowCall() {
	const ttl = 200 * time.Millisecond
	for range 10 {
		d := newDedupTest(d.T, d.dedup)
		var end time.Time
		d.do(d.Context(), ttl, func(context.Context) ([]byte, error) {
			time.Sleep(ttl * 5 / 4)
			end = time.Now()
			return []byte("reply"), nil
		})
		got := d.do(d.Context(), ttl, d.replying("next"))
		if age := time.Since(end); age < ttl*9/10 {
			d.expect(dedupResult{"reply", true, nil}, got)
			return
		}
	}
	d.Skip("this machine is too slow: a repetition takes longer than the ttl")
}

func (d *dedupTest) testNoTTL() {
	for _, ttl := range []time.Duration{0, -time.Second} {
		for range 2 {
			d.expect(dedupResult{"reply", false, nil}, d.do(d.Context(), ttl, d.replying("reply")))
		}
	}
	d.expectCalls(4)
}

func (d *dedupTest) testKeys() {
	other := newDedupTest(d.T, d.dedup)
	release, first := d.hold(d.replying("reply"))
	d.expect(dedupResult{"other", false, nil}, other.do(d.Context(), dedupTTL, other.replying("other")))
	release()
	d.expect(dedupResult{"reply", false, nil}, d.receive(first))
	d.expect(dedupResult{"reply", true, nil}, d.do(d.Context(), dedupTTL, d.replying("another")))
	d.expect(dedupResult{"other", true, nil}, other.do(d.Context(), dedupTTL, other.replying("another")))
}
