package callback

import "time"

// SetBodyTimeout makes h give up on slow bodies sooner than after 5 s.
func SetBodyTimeout(h *Handler, d time.Duration) { h.bodyTimeout = d }

// Expected returns how many scans w listens for. A scene that nobody expects any more
// counts too.
func Expected(w *Waiter) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, scans := range w.scans {
		n += max(len(scans), 1)
	}
	return n
}

// HasTimer reports whether the timer of s still runs, and stops it.
func HasTimer(s *Scan) bool { return s.timer.Stop() }
