// Package leak finds goroutines that outlive the test that started them.
package leak

import (
	"runtime"
	"testing"
	"time"
)

// patience is how long goroutines that are about to end may take.
var patience = 10 * time.Second

// Check fails the test if it ends with more goroutines than it began with. Call it
// first.
func Check(t testing.TB) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(patience)
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<20)
				t.Errorf("the test began with %d goroutines and left %d:\n%s",
					before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
				return
			}
			runtime.Gosched()
		}
	})
}
