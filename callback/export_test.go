package callback

import "time"

// SetBodyTimeout makes h give up on slow bodies sooner than after 5 s.
func SetBodyTimeout(h *Handler, d time.Duration) { h.bodyTimeout = d }

// Expected returns how many scans w listens for.
func Expected(w *Waiter) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, scans := range w.scans {
		n += len(scans)
	}
	return n
}
