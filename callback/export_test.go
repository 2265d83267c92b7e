package callback

import "time"

// SetReadTimeout changes how long a handler waits for a body.
func SetReadTimeout(h *Handler, d time.Duration) { h.readTimeout = d }

// PendingScans returns how many scans a Waiter expects.
func PendingScans(w *Waiter) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, scans := range w.scans {
		n += len(scans)
	}
	return n
}

// StopTimer stops the timer of a scan and reports whether it was active.
func StopTimer(s *PendingScan) bool { return s.timer.Stop() }
