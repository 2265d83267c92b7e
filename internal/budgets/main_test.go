package main

import (
	"bytes"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/assert"
)

const output = `goos: linux
BenchmarkPlain-2   	     100	         0 ns/op	         8.000 allocs-above-floor	       500.5 floor-ns	      1750 ns-above-floor	      2250 ours-ns
BenchmarkPlain-2   	     100	         0 ns/op	         9.000 allocs-above-floor	       510.5 floor-ns	      2050 ns-above-floor	      2560 ours-ns
some words that a benchmark printed
PASS
`

func TestParseReadsEachRun(t *testing.T) {
	m := parse([]byte(output))
	assert.Equal(t, []float64{1750, 2050}, m["ns-above-floor"])
	assert.Equal(t, []float64{500.5, 510.5}, m["floor-ns"])
	assert.Equal(t, []float64{8, 9}, m["allocs-above-floor"])
	assert.Empty(t, m["events/s"])
}

func TestABudgetIsHeldByTheMedianRun(t *testing.T) {
	most := budget{metric: "m", limit: 10, format: "%.0f"}
	least := budget{metric: "m", limit: 10, format: "%.0f", atLeast: true}
	allocs := budget{metric: "m", limit: 10, format: "%.0f", allocs: "a", maxAllocs: 2}
	for name, tt := range map[string]struct {
		budget budget
		values metrics
		held   bool
	}{
		"at the limit":          {most, metrics{"m": {11, 10, 3}}, true},
		"above":                 {most, metrics{"m": {11, 10.1, 3}}, false},
		"at the least":          {least, metrics{"m": {9, 10, 30}}, true},
		"below":                 {least, metrics{"m": {9, 9.9, 30}}, false},
		"one run alone":         {most, metrics{"m": {10}}, true},
		"allocations at it":     {allocs, metrics{"m": {1}, "a": {2, 2}}, true},
		"once too many":         {allocs, metrics{"m": {1}, "a": {2, 3}}, false},
		"few, and much of time": {allocs, metrics{"m": {11}, "a": {0}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			table := tabwriter.NewWriter(&out, 0, 0, 1, ' ', 0)
			assert.Equal(t, tt.held, tt.budget.report(table, tt.values))
			assert.NoError(t, table.Flush())
			assert.Equal(t, !tt.held, bytes.Contains(out.Bytes(), []byte("NO")))
		})
	}
}

func TestEachBudgetNamesABenchmarkOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range budgets {
		assert.False(t, seen[b.what], b.what)
		seen[b.what] = true
		assert.NotEmpty(t, b.metric)
		assert.NotEmpty(t, b.format)
	}
}
