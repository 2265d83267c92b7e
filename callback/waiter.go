package callback

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// What [Scan.Wait] returns in place of an event.
var (
	// ErrExpired: nobody scanned the code within its lifetime.
	ErrExpired = errors.New("wxqrcode: wait for a scan: nobody scanned the code within its lifetime")

	// ErrCanceled: [Scan.Cancel] was called. It wraps [context.Canceled].
	ErrCanceled = fmt.Errorf("wxqrcode: wait for a scan: it was given up: %w", context.Canceled)
)

// A Waiter brings the event of a code to whoever showed it:
//
//	scene := wxqrcode.RandomScene("login-")
//	scan := waiter.Expect(scene, 5*time.Minute) // before the code is shown
//	defer scan.Cancel()
//	code, err := client.Create(ctx, wxqrcode.Temporary(scene, 5*time.Minute))
//	…                                           // show it
//	event, err := scan.Wait(ctx)
//
// [Waiter.Notify] feeds it, from onEvent (see [New]) or, where several instances run,
// from the bus that brings them each other's events. It has no goroutine, and
// nothing needs closing. The zero value is ready to use.
type Waiter struct {
	mu    sync.Mutex // guards scans
	scans map[string]map[*Scan]struct{}
}

// NewWaiter returns a Waiter that expects nothing.
func NewWaiter() *Waiter { return new(Waiter) }

// Expect begins to listen for scans of a code with the scene. Call it before the code
// is shown, so that no scan slips between. After lifetime, the code's own, the Scan
// expires and is forgotten, also if nobody waits for it; one that is not positive has
// expired already. The zero Scene is an error of [Scan.Wait].
//
// A number and the same number as text are one scene here: events do not tell them
// apart. Two Expects of one scene both hear of the scan.
func (w *Waiter) Expect(s wxqrcode.Scene, lifetime time.Duration) *Scan {
	scan := &Scan{waiter: w, key: s.Key(), done: make(chan struct{})}
	switch {
	case scan.key == "":
		scan.end(nil, invalid("Scene", "", "is the zero value; make one with RandomScene, SceneStr or SceneID"))
		return scan
	case lifetime <= 0:
		scan.end(nil, ErrExpired)
		return scan
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.scans == nil {
		w.scans = make(map[string]map[*Scan]struct{})
	}
	if w.scans[scan.key] == nil {
		w.scans[scan.key] = make(map[*Scan]struct{}, 1)
	}
	w.scans[scan.key][scan] = struct{}{}
	scan.timer = time.AfterFunc(lifetime, func() { w.drop(scan, ErrExpired) })
	return scan
}

// Notify tells everybody who expects the event's scene. It does not wait for them.
// Events without a scene are passed over, and so is nil.
func (w *Waiter) Notify(e *wxqrcode.Event) {
	if e == nil {
		return
	}
	key, _ := e.Scene() // nobody expects the empty one
	w.mu.Lock()
	defer w.mu.Unlock()
	for scan := range w.scans[key] {
		scan.timer.Stop()
		scan.end(e, nil)
	}
	delete(w.scans, key)
}

// drop ends a scan that nobody did.
func (w *Waiter) drop(s *Scan, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.scans[s.key][s]; !ok {
		return // ended before
	}
	delete(w.scans[s.key], s)
	if len(w.scans[s.key]) == 0 {
		delete(w.scans, s.key)
	}
	s.timer.Stop()
	s.end(nil, err)
}

// A Scan is what a [Waiter] expects. Make one with [Waiter.Expect].
type Scan struct {
	waiter *Waiter
	key    string
	timer  *time.Timer

	done  chan struct{} // closed at the end; what follows does not change from then on
	event *wxqrcode.Event
	err   error
}

// end is called once.
func (s *Scan) end(e *wxqrcode.Event, err error) {
	s.event, s.err = e, err
	close(s.done)
}

// Wait returns the event of the first scan, which may have come before Wait was
// called; [ErrExpired] after the lifetime; [ErrCanceled] after Cancel; or the error
// of ctx. It may be called again, and by several at once: all get the same event,
// which must not be changed.
func (s *Scan) Wait(ctx context.Context) (*wxqrcode.Event, error) {
	if s.waiter == nil {
		return nil, invalid("Scan", "", "is the zero value; make one with Waiter.Expect")
	}
	select {
	case <-s.done:
		return s.event, s.err
	default: // an event that is here counts more than a context that has ended
	}
	select {
	case <-s.done:
		return s.event, s.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wxqrcode: wait for a scan: %w", context.Cause(ctx))
	}
}

// Done returns a channel that is closed when the Scan has ended, by an event, Cancel or
// its lifetime: from then on Wait returns at once.
func (s *Scan) Done() <-chan struct{} { return s.done }

// Cancel gives the Scan up and ends every Wait. It does nothing if the event has
// come, and may be called again.
func (s *Scan) Cancel() {
	if s.waiter != nil {
		s.waiter.drop(s, ErrCanceled)
	}
}
