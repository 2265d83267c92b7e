package wxtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// TestTokenStore tests an implementation of [wxqrcode.TokenStore]. Call it from
// a test of the implementation:
//
//	func TestStore(t *testing.T) {
//		wxtest.TestTokenStore(t, func() wxqrcode.TokenStore { return newStore(db) })
//	}
//
// Each subtest calls newStore and uses random keys, so all stores can share a
// backend. All but one use a single store. That one calls newStore twice, for
// two instances of a program; it is skipped if the two do not share their
// tokens, as stores in memory do not. The subtest of a lost lock is skipped if
// a fn that ignores the end of its context keeps the lock.
//
// The test takes a few seconds of real time. With 10,000 callers an Update may
// fail because it waited too long.
func TestTokenStore(t *testing.T, newStore func() wxqrcode.TokenStore) {
	t.Helper()
	for _, tt := range []struct {
		name string
		test func(*storeTest)
	}{
		{"nothing is stored", (*storeTest).testEmpty},
		{"token is stored and returned", (*storeTest).testToken},
		{"expired token is passed to fn", (*storeTest).testExpired},
		{"error stores nothing", (*storeTest).testError},
		{"failed force refresh is stored", (*storeTest).testForceRefresh},
		{"keys are independent", (*storeTest).testKeys},
		{"one call of fn at a time", (*storeTest).testExclusion},
		{"10,000 callers at once", (*storeTest).testManyCallers},
		{"two stores share tokens and lock", func(s *storeTest) { s.testTwoStores(newStore()) }},
		{"context of a waiter ends", (*storeTest).testWaiterContext},
		{"context of fn", (*storeTest).testContextOfFn},
		{"panic unlocks the key", (*storeTest).testPanic},
		{"Goexit unlocks the key", (*storeTest).testGoexit},
		{"lost lock does not overwrite a newer token", (*storeTest).testLostLock},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(newStoreTest(t, newStore())) })
	}
}

const (
	storeSlow     = 50 * time.Millisecond // of a fn: long enough for other callers to reach Update
	storeLostLock = 2 * time.Second       // for an Update while a fn ignores its context
	storeWaiters  = 20
)

// storeTimeout is the timeout of an Update that hangs.
var storeTimeout = time.Minute

var errStore = errors.New("wxtest: fn failed or its context was canceled")

// A storeTest tests a TokenStore with one key.
type storeTest struct {
	*testing.T
	store wxqrcode.TokenStore
	key   string
}

func newStoreTest(t *testing.T, store wxqrcode.TokenStore) *storeTest {
	t.Helper()
	return &storeTest{T: t, store: store, key: "wxtest-" + rand.Text() + ":stable"}
}

type storeFunc func(ctx context.Context, current wxqrcode.Token) (wxqrcode.Token, error)

// newToken returns a token that is valid for the test, with a value of 512
// characters: WeChat asks for as much space.
func newToken(name string) wxqrcode.Token {
	const fraction = 987654321 // of a second
	second := time.Now().Truncate(time.Second)
	return wxqrcode.Token{
		Value:     name + strings.Repeat("-", 512-len(name)),
		ExpiresAt: second.Add(time.Hour + fraction),
		ForcedAt:  second.Add(-time.Hour + fraction),
	}
}

// returning returns a fn that returns token and err.
func returning(token wxqrcode.Token, err error) storeFunc {
	return func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) { return token, err }
}

// An updateResult is the result of Update.
type updateResult struct {
	token wxqrcode.Token
	err   error // errStore after a panic or runtime.Goexit
	calls int   // of fn
}

// start calls Update n times at once.
func (s *storeTest) start(ctx context.Context, n int, fn storeFunc) <-chan updateResult {
	results := make(chan updateResult, n)
	for range n {
		go func() {
			result := updateResult{err: errStore}
			defer func() {
				if v := recover(); v != nil && v != any(errStore) {
					s.Errorf("Update panicked with %v", v)
				}
				results <- result
			}()
			var calls atomic.Int32
			token, err := s.store.Update(ctx, s.key, func(ctx context.Context, current wxqrcode.Token) (wxqrcode.Token, error) {
				calls.Add(1)
				return fn(ctx, current)
			})
			result = updateResult{token, err, int(calls.Load())}
		}()
	}
	return results
}

func (s *storeTest) receive(results <-chan updateResult) (result updateResult) {
	s.Helper()
	select {
	case result = <-results:
	case <-time.After(storeTimeout):
		s.Fatalf("Update has not returned within %v", storeTimeout)
	}
	return result
}

// update calls Update with a fn that expects current and returns token and err.
func (s *storeTest) update(current, token wxqrcode.Token, err error) {
	s.Helper()
	got := s.receive(s.start(s.Context(), 1, func(_ context.Context, c wxqrcode.Token) (wxqrcode.Token, error) {
		s.expectToken("fn received", current, c)
		return token, err
	}))
	if got.calls != 1 {
		s.Errorf("fn was called %d times; want 1", got.calls)
	}
	if got.err != err { //nolint:errorlint // it must not be wrapped
		s.Errorf("Update returned the error %v; want the error of fn unwrapped: %v", got.err, err)
	}
	if err == nil {
		s.expectToken("Update returned", token, got.token)
	} else if got.token.Value != "" {
		s.Errorf("Update returned a token and the error of fn: %q", got.token.Value)
	}
}

// hold calls Update with a fn that calls end after release, and returns while
// fn runs.
func (s *storeTest) hold(ctx context.Context, end storeFunc) (release func(), result <-chan updateResult) {
	s.Helper()
	started, released := make(chan struct{}), make(chan struct{})
	release = sync.OnceFunc(func() { close(released) })
	s.Cleanup(release)
	begin := sync.OnceFunc(func() { close(started) })
	result = s.start(ctx, 1, func(ctx context.Context, current wxqrcode.Token) (wxqrcode.Token, error) {
		begin()
		<-released
		return end(ctx, current)
	})
	select {
	case <-started:
	case <-time.After(storeTimeout):
		s.Fatalf("Update has not called fn within %v", storeTimeout)
	}
	return release, result
}

// expectLoad expects a token from Load, or ErrTokenNotFound if want is zero.
func (s *storeTest) expectLoad(want wxqrcode.Token) {
	s.Helper()
	got, err := s.store.Load(s.Context(), s.key)
	switch {
	case want.Value == "":
		if !errors.Is(err, wxqrcode.ErrTokenNotFound) {
			s.Errorf("Load returned the error %v; want ErrTokenNotFound", err)
		}
	case err != nil:
		s.Errorf("Load: %v", err)
	default:
		s.expectToken("Load returned", want, got)
	}
}

// expectToken compares two tokens, with their times to the millisecond.
func (s *storeTest) expectToken(what string, want, got wxqrcode.Token) {
	s.Helper()
	same := func(a, b time.Time) bool { return a.Sub(b).Abs() < time.Millisecond }
	if got.Value != want.Value || !same(got.ExpiresAt, want.ExpiresAt) || !same(got.ForcedAt, want.ForcedAt) {
		s.Errorf("%s %s; want %s", what, describeToken(got), describeToken(want))
	}
}

// describeToken prints the value, which the Token itself does not.
func describeToken(t wxqrcode.Token) string {
	return fmt.Sprintf("{Value:%q ExpiresAt:%v ForcedAt:%v}", t.Value, t.ExpiresAt, t.ForcedAt)
}

func (s *storeTest) testEmpty() {
	s.expectLoad(wxqrcode.Token{})
	s.update(wxqrcode.Token{}, newToken("token"), nil)
}

func (s *storeTest) testToken() {
	first, unforced, last := newToken("first"), newToken("unforced"), newToken("last")
	unforced.ForcedAt = time.Time{}
	current := wxqrcode.Token{}
	for _, token := range []wxqrcode.Token{first, unforced, last} {
		s.update(current, token, nil)
		s.expectLoad(token)
		s.update(token, token, nil) // the fn of a caller that was not the first
		current = token
	}
}

func (s *storeTest) testExpired() {
	token := newToken("token")
	token.ExpiresAt = time.Now().Add(4 * storeSlow)
	s.update(wxqrcode.Token{}, token, nil)
	time.Sleep(time.Until(token.ExpiresAt) + storeSlow)
	if got, err := s.store.Load(s.Context(), s.key); err == nil {
		s.expectToken("Load returned", token, got)
	} else if !errors.Is(err, wxqrcode.ErrTokenNotFound) {
		s.Errorf("Load: %v", err)
	}
	s.update(token, newToken("next"), nil)
}

func (s *storeTest) testError() {
	s.update(wxqrcode.Token{}, wxqrcode.Token{}, errStore)
	s.expectLoad(wxqrcode.Token{})
	token := newToken("token")
	s.update(wxqrcode.Token{}, token, nil)
	s.update(token, wxqrcode.Token{}, errStore)
	s.expectLoad(token)
	s.update(token, token, nil)
}

func (s *storeTest) testForceRefresh() {
	for _, current := range []wxqrcode.Token{{}, newToken("rejected")} {
		s := newStoreTest(s.T, s.store)
		if current.Value != "" {
			s.update(wxqrcode.Token{}, current, nil)
		}
		forced := wxqrcode.Token{ForcedAt: newToken("").ForcedAt}
		s.update(current, forced, errStore)
		s.expectLoad(wxqrcode.Token{})
		s.update(forced, wxqrcode.Token{}, errStore)
		next := newToken("next")
		s.update(forced, next, nil)
		s.expectLoad(next)
	}
}

func (s *storeTest) testKeys() {
	other := newStoreTest(s.T, s.store)
	other.key = strings.TrimSuffix(s.key, ":stable") + ":legacy"
	token, otherToken := newToken("token"), newToken("other")
	s.update(wxqrcode.Token{}, token, nil)
	other.expectLoad(wxqrcode.Token{})
	other.update(wxqrcode.Token{}, otherToken, nil)
	s.expectLoad(token)
	other.expectLoad(otherToken)
}

// testExclusion also tests that fn receives the token of the call before it.
func (s *storeTest) testExclusion() {
	const callers = 50
	values := map[string]bool{}
	results := s.start(s.Context(), callers, s.exclusively(func(current wxqrcode.Token) wxqrcode.Token {
		next := newToken("token")
		next.Value = current.Value + "+"
		return next
	}))
	for range callers {
		got := s.receive(results)
		if got.err != nil || got.calls != 1 {
			s.Errorf("Update returned the error %v after %d calls of fn; want none after 1", got.err, got.calls)
		}
		values[got.token.Value] = true
	}
	if len(values) != callers || !values[strings.Repeat("+", callers)] {
		s.Errorf("%d calls returned %d different tokens: fn received an older token", callers, len(values))
	}
}

// exclusively returns a fn that reports an error if it is called twice at a
// time.
func (s *storeTest) exclusively(next func(current wxqrcode.Token) wxqrcode.Token) storeFunc {
	var running atomic.Int32
	return func(_ context.Context, current wxqrcode.Token) (wxqrcode.Token, error) {
		if running.Add(1) > 1 {
			s.Error("fn is called twice at a time")
		}
		defer running.Add(-1)
		runtime.Gosched()
		return next(current), nil
	}
}

// testManyCallers tests that the callers share the token that the first of them
// fetches. A store may fail under this load: then the caller fetches for
// itself.
func (s *storeTest) testManyCallers() {
	const callers = 10_000
	var fetches atomic.Int32
	results := s.start(s.Context(), callers, s.exclusively(func(current wxqrcode.Token) wxqrcode.Token {
		if current.Value != "" {
			return current
		}
		time.Sleep(storeSlow)
		return newToken(fmt.Sprint("token ", fetches.Add(1)))
	}))
	values := map[string]int{}
	failed := 0
	for range callers {
		if got := s.receive(results); got.err != nil {
			failed++
		} else {
			values[got.token.Value]++
		}
	}
	s.Logf("%d of %d calls of Update failed", failed, callers)
	if len(values) != 1 {
		s.Errorf("the callers received %d different tokens; want 1", len(values))
	}
}

func (s *storeTest) testTwoStores(store wxqrcode.TokenStore) {
	token, next := newToken("token"), newToken("next")
	s.update(wxqrcode.Token{}, token, nil)
	other := &storeTest{T: s.T, store: store, key: s.key}
	if _, err := store.Load(s.Context(), s.key); errors.Is(err, wxqrcode.ErrTokenNotFound) {
		s.Skip("the stores of newStore do not share their tokens")
	}
	other.expectLoad(token)
	release, first := s.hold(s.Context(), returning(next, nil))
	waiter := other.start(s.Context(), 1, func(_ context.Context, current wxqrcode.Token) (wxqrcode.Token, error) {
		s.expectToken("fn of the other store received", next, current)
		return current, nil
	})
	time.Sleep(storeSlow)
	release()
	for _, results := range []<-chan updateResult{first, waiter} {
		if got := s.receive(results); got.err != nil {
			s.Errorf("Update: %v", got.err)
		} else {
			s.expectToken("Update returned", next, got.token)
		}
	}
	other.expectLoad(next)
}

func (s *storeTest) testWaiterContext() {
	token := newToken("token")
	release, first := s.hold(s.Context(), returning(token, nil))
	ctx, cancel := context.WithCancelCause(s.Context())
	waiters := s.start(ctx, storeWaiters, returning(newToken("another"), nil))
	time.Sleep(storeSlow)
	cancel(errStore)
	for range storeWaiters {
		got := s.receive(waiters)
		if got.calls != 0 {
			s.Error("fn was called without the lock")
		}
		if !errors.Is(got.err, errStore) && !errors.Is(got.err, context.Canceled) {
			s.Errorf("Update returned the error %v; want that of its context", got.err)
		}
	}
	release()
	if got := s.receive(first); got.err != nil {
		s.Errorf("Update: %v", got.err)
	}
	s.update(token, token, nil)
}

func (s *storeTest) testContextOfFn() {
	ctx, cancel := context.WithCancel(s.Context())
	got := s.receive(s.start(ctx, 1, func(fnCtx context.Context, _ wxqrcode.Token) (wxqrcode.Token, error) {
		if err := fnCtx.Err(); err != nil {
			s.Errorf("the context of fn has ended before the call: %v", err)
		}
		cancel()
		select {
		case <-fnCtx.Done():
		case <-time.After(storeTimeout / 2):
			s.Error("the context of fn does not end with that of Update")
		}
		return wxqrcode.Token{}, errStore
	}))
	if got.err == nil {
		s.Error("Update returned no error; want that of fn")
	}
	s.update(wxqrcode.Token{}, newToken("token"), nil)
}

func (s *storeTest) testPanic() {
	s.testNoReturn(func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) { panic(errStore) })
}

func (s *storeTest) testGoexit() {
	s.testNoReturn(func(context.Context, wxqrcode.Token) (wxqrcode.Token, error) {
		runtime.Goexit()
		return wxqrcode.Token{}, nil
	})
}

// testNoReturn tests that a fn that does not return unlocks the key and stores
// nothing.
func (s *storeTest) testNoReturn(fn storeFunc) {
	token := newToken("token")
	s.update(wxqrcode.Token{}, token, nil)
	release, first := s.hold(s.Context(), fn)
	waiter := s.start(s.Context(), 1, func(_ context.Context, current wxqrcode.Token) (wxqrcode.Token, error) {
		s.expectToken("the next fn received", token, current)
		return token, nil
	})
	release()
	if got := s.receive(first); got.err == nil {
		s.Errorf("Update returned %s without an error, and fn has not returned", describeToken(got.token))
	}
	if got := s.receive(waiter); got.err != nil {
		s.Errorf("a waiting Update returned the error %v", got.err)
	}
	s.update(token, newToken("next"), nil)
}

// testLostLock tests a fn that returns after another call has stored a token.
func (s *storeTest) testLostLock() {
	for _, late := range []struct {
		token wxqrcode.Token
		err   error
	}{
		{newToken("late"), nil},
		{wxqrcode.Token{ForcedAt: time.Now()}, errStore},
	} {
		s := newStoreTest(s.T, s.store)
		ctx, cancel := context.WithCancel(s.Context())
		release, first := s.hold(ctx, returning(late.token, late.err))
		cancel()
		newer := newToken("newer")
		ctx, cancel = context.WithTimeout(s.Context(), storeLostLock)
		got := s.receive(s.start(ctx, 1, returning(newer, nil)))
		cancel()
		if got.err != nil {
			s.Skipf("a fn that ignores the end of its context keeps the lock: %v", got.err)
		}
		release()
		if got := s.receive(first); got.err == nil {
			s.expectToken("Update returned", newer, got.token)
		}
		s.expectLoad(newer)
		s.update(newer, newer, nil)
	}
}
