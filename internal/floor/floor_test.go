package floor

import (
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBothAreMeasuredAsOften(t *testing.T) {
	require.NoError(t, flag.Set("test.benchtime", "3x"))
	var before, floor, ours, beside int
	const slow = 50 * time.Millisecond
	var wait time.Duration // of ours; the second round is the quickest
	result := testing.Benchmark(func(b *testing.B) {
		before, floor, ours, beside = 0, 0, 0, 0
		least, mine, third := Comparison{
			Before: func() {
				before++
				wait = slow
				if before == 5 {
					wait = 0
				}
			},
			Floor: func() { floor++ },
			Ours: func() {
				for start := time.Now(); time.Since(start) < wait; { //nolint:revive // takes time, as work does
				}
				ours++
			},
			Batch: 1, Each: 2,
		}.RunBeside(b, func() { beside++ })
		assert.GreaterOrEqual(b, third, 0.0)
		assert.Less(b, mine, float64(slow/2), "the quickest round counts, for one piece of work")
		assert.GreaterOrEqual(b, mine, 0.0)
		assert.GreaterOrEqual(b, least, 0.0)
	})
	assert.Equal(t, 9, before, "before each round of each")
	assert.Equal(t, 3, floor)
	assert.Equal(t, 3, ours)
	assert.Equal(t, 3, beside)
	assert.Contains(t, result.Extra, "floor-ns")
	assert.Contains(t, result.Extra, "ours-ns")
}

func TestATimeIsThatOfOnePieceOfWork(t *testing.T) {
	assert.InDelta(t, 0.5, perCall(5*time.Nanosecond, 10), 1e-9)
	calls := 0
	assert.Positive(t, timed(func() { calls++ }, 1000))
	assert.Equal(t, 1000, calls)
}
