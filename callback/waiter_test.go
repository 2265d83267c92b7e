package callback_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/leak"
)

func eventOf(eventType wxqrcode.EventType, key string) *wxqrcode.Event {
	return &wxqrcode.Event{ToUserName: account, OpenID: openID, MsgType: "event", Type: eventType, EventKey: key, CreatedAt: time.Unix(created, 0).UTC()}
}

func scanEvent(scene string) *wxqrcode.Event { return eventOf(wxqrcode.EventScan, scene) }

func TestPendingScan_Wait(t *testing.T) {
	for name, tt := range map[string]struct {
		scene wxqrcode.Scene
		event *wxqrcode.Event
	}{
		"of a follower":         {wxqrcode.SceneStr("login"), scanEvent("login")},
		"of a new follower":     {wxqrcode.SceneStr("login"), eventOf(wxqrcode.EventSubscribe, "qrscene_login")},
		"of a number":           {wxqrcode.SceneID(7), scanEvent("7")},
		"of a prefix as a text": {wxqrcode.SceneStr("qrscene_7"), eventOf(wxqrcode.EventSubscribe, "qrscene_qrscene_7")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := new(callback.Waiter)
				before := w.Expect(tt.scene, time.Minute)
				w.Notify(tt.event)
				e, err := before.Wait(t.Context())
				assert.NoError(t, err)
				assert.Same(t, tt.event, e, "an event that came before Wait")

				scan := w.Expect(tt.scene, time.Minute)
				var all sync.WaitGroup
				for range 3 {
					all.Go(func() {
						e, err := scan.Wait(t.Context())
						assert.NoError(t, err)
						assert.Same(t, tt.event, e)
					})
				}
				synctest.Wait()
				w.Notify(tt.event)
				all.Wait()
				w.Notify(scanEvent(tt.scene.Key())) // a second scan
				time.Sleep(2 * time.Minute)
				scan.Cancel()
				e, err = scan.Wait(t.Context())
				assert.NoError(t, err)
				assert.Same(t, tt.event, e, "the first scan")
			})
		})
	}
}

func TestWaiter_IgnoresOtherEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w callback.Waiter // the zero value
		scan := w.Expect(wxqrcode.SceneStr("login"), time.Minute)
		for _, e := range []*wxqrcode.Event{
			nil, {}, scanEvent("other"), scanEvent("login2"), scanEvent("logi"), scanEvent(""), scanEvent("qrscene_login"),
			eventOf(wxqrcode.EventSubscribe, "login"), eventOf(wxqrcode.EventSubscribe, ""), eventOf(wxqrcode.EventUnsubscribe, "login"),
			eventOf("CLICK", "login"),
		} {
			w.Notify(e)
		}
		start := time.Now()
		e, err := scan.Wait(t.Context())
		assert.Nil(t, e)
		assert.ErrorIs(t, err, callback.ErrExpired)
		assert.Equal(t, time.Minute, time.Since(start))
	})
}

func TestPendingScan_Expires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(callback.Waiter)
		early, late := w.Expect(wxqrcode.SceneStr("a"), time.Minute), w.Expect(wxqrcode.SceneStr("b"), time.Minute)
		time.Sleep(time.Minute - 1)
		w.Notify(scanEvent("a"))
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		w.Notify(scanEvent("b"))
		_, err := early.Wait(t.Context())
		assert.NoError(t, err)
		for range 2 {
			_, err = late.Wait(t.Context())
			assert.ErrorIs(t, err, callback.ErrExpired)
		}
		late.Cancel()
		_, err = late.Wait(t.Context())
		assert.ErrorIs(t, err, callback.ErrExpired)
		assert.Zero(t, callback.PendingScans(w))
	})
}

func TestPendingScan_Cancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(callback.Waiter)
		scan, other := w.Expect(wxqrcode.SceneStr("a"), time.Hour), w.Expect(wxqrcode.SceneStr("a"), time.Hour)
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				_, err := scan.Wait(t.Context())
				assert.ErrorIs(t, err, callback.ErrCanceled)
				assert.NotErrorIs(t, err, context.Canceled)
				assert.NotErrorIs(t, err, callback.ErrExpired)
			})
		}
		synctest.Wait()
		scan.Cancel()
		scan.Cancel()
		all.Wait()
		w.Notify(scanEvent("a"))
		_, err := scan.Wait(t.Context())
		assert.ErrorIs(t, err, callback.ErrCanceled)
		_, err = other.Wait(t.Context())
		assert.NoError(t, err, "the other PendingScan")
		assert.Zero(t, callback.PendingScans(w))
	})
}

func TestPendingScan_WaitContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(callback.Waiter)
		scan := w.Expect(wxqrcode.SceneStr("a"), time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := scan.Wait(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NotErrorIs(t, err, callback.ErrExpired)
		assert.ErrorContains(t, err, "wxqrcode: wait for a scan: ")

		gone := errors.New("browser disconnected")
		caused, stop := context.WithCancelCause(t.Context())
		stop(gone)
		_, err = scan.Wait(caused)
		assert.ErrorIs(t, err, gone)

		w.Notify(scanEvent("a"))
		for range 100 { // select takes one of two at random
			e, err := scan.Wait(ctx)
			assert.NoError(t, err, "the event takes precedence")
			assert.NotNil(t, e)
		}
	})
}

func TestPendingScan_StopsTimer(t *testing.T) {
	w := new(callback.Waiter)
	done, canceled, running := w.Expect(wxqrcode.SceneStr("a"), time.Hour), w.Expect(wxqrcode.SceneStr("b"), time.Hour), w.Expect(wxqrcode.SceneStr("c"), time.Hour)
	w.Notify(scanEvent("a"))
	canceled.Cancel()
	assert.False(t, callback.StopTimer(done))
	assert.False(t, callback.StopTimer(canceled))
	assert.True(t, callback.StopTimer(running))
}

func TestPendingScan_Done(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(callback.Waiter)
		ended := func(s *callback.PendingScan) bool {
			select {
			case <-s.Done():
				return true
			default:
				return false
			}
		}
		done, canceled, expired := w.Expect(wxqrcode.SceneStr("a"), time.Minute), w.Expect(wxqrcode.SceneStr("b"), time.Minute), w.Expect(wxqrcode.SceneStr("c"), time.Minute)
		for _, s := range []*callback.PendingScan{done, canceled, expired} {
			assert.False(t, ended(s))
		}
		w.Notify(scanEvent("a"))
		canceled.Cancel()
		assert.True(t, ended(done))
		assert.True(t, ended(canceled))
		assert.False(t, ended(expired))
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.True(t, ended(expired))
	})
}

func TestWaiter_SceneIDAndSceneStr(t *testing.T) {
	w := new(callback.Waiter)
	a, b := w.Expect(wxqrcode.SceneID(7), time.Hour), w.Expect(wxqrcode.SceneStr("7"), time.Hour)
	w.Notify(scanEvent("7"))
	for _, s := range []*callback.PendingScan{a, b} {
		_, err := s.Wait(t.Context())
		assert.NoError(t, err)
	}
}

func TestPendingScan_ZeroValue(t *testing.T) {
	var scan callback.PendingScan
	_, err := scan.Wait(t.Context())
	assertInvalid(t, err, "PendingScan")
	scan.Cancel()
}

func TestWaiter_ExpectInvalid(t *testing.T) {
	w := new(callback.Waiter)
	_, err := w.Expect(wxqrcode.Scene{}, time.Hour).Wait(t.Context())
	assertInvalid(t, err, "Scene")
	for _, lifetime := range []time.Duration{0, -1, -1 << 63} {
		scan := w.Expect(wxqrcode.SceneStr("a"), lifetime)
		w.Notify(scanEvent("a"))
		_, err = scan.Wait(t.Context())
		assert.ErrorIs(t, err, callback.ErrExpired, lifetime)
		scan.Cancel()
	}
	assert.Zero(t, callback.PendingScans(w))
}

// A third each is scanned, canceled and left to expire.
func TestWaiter_HundredThousand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100_000
		before := runtime.NumGoroutine()
		w := new(callback.Waiter)
		scans := make([]*callback.PendingScan, n)
		for i := range scans {
			scans[i] = w.Expect(wxqrcode.SceneStr(fmt.Sprint("login-", i)), time.Minute)
		}
		assert.Less(t, runtime.NumGoroutine(), before+n/100, "no goroutine for each")
		assert.Equal(t, n, callback.PendingScans(w))
		var all sync.WaitGroup
		ends := make([]error, n)
		for i, s := range scans[:n/2] { // Wait is not called for the others
			all.Go(func() {
				e, err := s.Wait(t.Context())
				if err == nil && e.EventKey != fmt.Sprint("login-", i) {
					err = errors.New("the event of another scene: " + e.EventKey)
				}
				ends[i] = err
			})
		}
		synctest.Wait()
		for i, s := range scans {
			switch i % 3 {
			case 0:
				w.Notify(scanEvent(fmt.Sprint("login-", i)))
			case 1:
				s.Cancel()
			}
		}
		time.Sleep(time.Minute)
		all.Wait()
		synctest.Wait()
		for i, err := range ends[:n/2] {
			require.ErrorIs(t, err, []error{nil, callback.ErrCanceled, callback.ErrExpired}[i%3])
		}
		assert.Zero(t, callback.PendingScans(w)) // a remaining goroutine would keep the bubble from ending
	})
}

func TestWaiter_Concurrent(t *testing.T) {
	leak.Check(t)
	w := new(callback.Waiter)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 200 {
				scan := w.Expect(wxqrcode.SceneID(uint32(i/2+1)), time.Duration(i)*50*time.Microsecond)
				if i%3 == 0 {
					all.Go(scan.Cancel)
				}
				all.Go(func() { w.Notify(scanEvent(fmt.Sprint(i/2 + 1))) })
				_, err := scan.Wait(t.Context())
				if err != nil {
					assert.True(t, errors.Is(err, callback.ErrExpired) || errors.Is(err, callback.ErrCanceled), err)
				}
			}
		})
	}
	all.Wait()
	assert.Zero(t, callback.PendingScans(w))
}
