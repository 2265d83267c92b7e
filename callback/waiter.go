package callback

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// Errors of [PendingScan.Wait].
var (
	// ErrExpired: the code was not scanned within its lifetime.
	ErrExpired = errors.New("wxqrcode: wait for a scan: the code was not scanned within its lifetime")

	// ErrCanceled: [PendingScan.Cancel] was called. It does not match
	// [context.Canceled].
	ErrCanceled = errors.New("wxqrcode: wait for a scan: it was canceled")
)

// A Waiter passes the event of a code to the request that showed the code:
//
//	scene := wxqrcode.RandomScene("login-")
//	scan := waiter.Expect(scene, 5*time.Minute) // before the code is shown
//	defer scan.Cancel()
//	code, err := client.Create(ctx, wxqrcode.Temporary(scene, 5*time.Minute))
//	// show the code
//	event, err := scan.Wait(ctx)
//
// Call [Waiter.Notify] from OnEvent of [Config], and, with several instances,
// with the events of the other instances. The zero value is ready to use, safe
// for concurrent use, and has nothing to close.
type Waiter struct {
	mu    sync.Mutex // guards scans
	scans map[string]map[*PendingScan]struct{}
}

// Expect waits for scans of a code with the scene. Call it before the code is
// shown, so that no scan is missed. After lifetime, that of the code, the
// PendingScan expires, also if Wait is not called; a lifetime that is not
// positive has expired already. The zero Scene is an error of Wait.
//
// A scene_id and a scene_str of the same digits are one scene, because events
// do not distinguish them. Several PendingScans of one scene receive the same
// event.
func (w *Waiter) Expect(s wxqrcode.Scene, lifetime time.Duration) *PendingScan {
	scan := &PendingScan{waiter: w, key: s.Key(), done: make(chan struct{})}
	switch {
	case scan.key == "":
		scan.finish(nil, invalid("Scene", "", "is the zero value; make one with RandomScene, SceneStr or SceneID"))
		return scan
	case lifetime <= 0:
		scan.finish(nil, ErrExpired)
		return scan
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.scans == nil {
		w.scans = make(map[string]map[*PendingScan]struct{})
	}
	if w.scans[scan.key] == nil {
		w.scans[scan.key] = make(map[*PendingScan]struct{}, 1)
	}
	w.scans[scan.key][scan] = struct{}{}
	scan.timer = time.AfterFunc(lifetime, func() { w.remove(scan, ErrExpired) })
	return scan
}

// Notify passes e to every PendingScan of its scene and does not block. An
// event without a scene, and nil, are ignored.
func (w *Waiter) Notify(e *wxqrcode.Event) {
	if e == nil {
		return
	}
	key, _ := e.SceneKey() // Expect does not accept the empty key
	w.mu.Lock()
	defer w.mu.Unlock()
	for scan := range w.scans[key] {
		scan.timer.Stop()
		scan.finish(e, nil)
	}
	delete(w.scans, key)
}

// remove finishes a scan with err unless it has finished.
func (w *Waiter) remove(s *PendingScan, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.scans[s.key][s]; !ok {
		return
	}
	delete(w.scans[s.key], s)
	if len(w.scans[s.key]) == 0 {
		delete(w.scans, s.key)
	}
	s.timer.Stop()
	s.finish(nil, err)
}

// A PendingScan is a scan that a [Waiter] expects. Make one with
// [Waiter.Expect].
type PendingScan struct {
	waiter *Waiter
	key    string
	timer  *time.Timer

	done  chan struct{}   // closed by finish
	event *wxqrcode.Event // set before done is closed, like err
	err   error
}

// finish is called once.
func (s *PendingScan) finish(e *wxqrcode.Event, err error) {
	s.event, s.err = e, err
	close(s.done)
}

// Wait returns the event of the first scan, also if it came before the call.
// The error is [ErrExpired] after the lifetime, [ErrCanceled] after Cancel, or
// wraps the cause of ctx. Wait may be called several times and concurrently;
// all calls return the same event, which must not be modified.
func (s *PendingScan) Wait(ctx context.Context) (*wxqrcode.Event, error) {
	if s.waiter == nil {
		return nil, invalid("PendingScan", "", "is the zero value; make one with Waiter.Expect")
	}
	select {
	case <-s.done:
		return s.event, s.err
	default: // an event takes precedence over a context that has ended
	}
	select {
	case <-s.done:
		return s.event, s.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wxqrcode: wait for a scan: %w", context.Cause(ctx))
	}
}

// Done returns a channel that is closed when the scan has come, expired or been
// canceled. Wait returns at once from then on.
func (s *PendingScan) Done() <-chan struct{} { return s.done }

// Cancel ends every Wait with [ErrCanceled]. It has no effect after the scan or
// after an earlier call.
func (s *PendingScan) Cancel() {
	if s.waiter != nil {
		s.waiter.remove(s, ErrCanceled)
	}
}
