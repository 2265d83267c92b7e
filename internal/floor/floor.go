// Package floor measures functions beside the least that their work could cost, for
// benchmarks.
package floor

import (
	"testing"
	"time"
)

// A Comparison measures functions by turns, so that whatever slows the machine
// down slows both, and takes the quickest round of each.
type Comparison struct {
	Floor, Ours func()
	Before      func() // called before each round, and not measured; may be nil
	Batch       int    // calls in a round
	Each        int    // times that each call does the work; zero: 1
}

// Run returns what doing the work once takes of each, in fractions of a nanosecond too, and
// reports both.
func (c Comparison) Run(b *testing.B) (floor, ours Nanoseconds) {
	b.Helper()
	floor, ours, _ = c.RunBeside(b, nil)
	return floor, ours
}

// RunBeside does the same with a third function, whose time is not reported.
func (c Comparison) RunBeside(b *testing.B, beside func()) (floor, ours, third Nanoseconds) {
	b.Helper()
	least := [3]time.Duration{time.Hour, time.Hour, time.Hour}
	for b.Loop() {
		for i, f := range []func(){c.Floor, c.Ours, beside} {
			if f == nil {
				continue
			}
			if c.Before != nil {
				c.Before()
			}
			least[i] = min(least[i], timed(f, c.Batch))
		}
	}
	times := c.Batch * max(c.Each, 1)
	floor, ours = perCall(least[0], times), perCall(least[1], times)
	b.ReportMetric(0, "ns/op") // of all together: of no use
	b.ReportMetric(floor, "floor-ns")
	b.ReportMetric(ours, "ours-ns")
	return floor, ours, perCall(least[2], times)
}

// Nanoseconds is a time that may be a fraction of one.
type Nanoseconds = float64

func perCall(d time.Duration, calls int) Nanoseconds { return float64(d) / float64(calls) }

func timed(f func(), times int) time.Duration {
	start := time.Now()
	for range times {
		f()
	}
	return time.Since(start)
}
