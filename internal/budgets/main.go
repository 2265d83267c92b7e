// The budgets program runs each benchmark that has a budget several times, beside its
// floor, and tells which budgets are held:
//
//	go run ./internal/budgets
//	go run ./internal/budgets -count 3 -only callback
//
// It exits with 1 if one is not held, and takes some minutes. The numbers are those of the
// machine that it runs on; those of one run can be compared, those of two machines cannot.
package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A budget is a limit of what a benchmark measures.
type budget struct {
	what      string
	pkg       string
	benchmark string
	benchtime string // "" is that of go test
	metric    string
	limit     float64
	atLeast   bool // the limit is the least, not the most
	format    string
	allocs    string // the metric of allocations, if they have a limit too
	maxAllocs float64
}

var budgets = []budget{
	{what: "ParseEvent, beside encoding/xml", pkg: ".", benchmark: "ParseEvent",
		metric: "of-encoding/xml", limit: 1.0 / 8, format: "%.3f ×", allocs: "allocs", maxAllocs: 8},
	{what: "callback, plain, above reading the body", pkg: "./callback", benchmark: "Plain",
		metric: "ns-above-floor", limit: 3000, format: "%.0f ns", allocs: "allocs-above-floor", maxAllocs: 24},
	{what: "callback, AES above plain, beside SHA-1, base64 and CBC", pkg: "./callback", benchmark: "AES",
		metric: "of-the-cryptography", limit: 2, format: "%.2f ×"},
	{what: "callback, 64 KiB of XML without a valid signature, beside SHA-1", pkg: "./callback", benchmark: "HostileBody/ManyEncrypts",
		metric: "of-SHA-1", limit: 4, format: "%.2f ×"},
	{what: "callback, 64 KiB of JSON without a valid signature, beside SHA-1", pkg: "./callback", benchmark: "HostileBody/JSONNames",
		metric: "of-SHA-1", limit: 4, format: "%.2f ×"},
	{what: "callback, 64 KiB without a valid signature, memory beside its size", pkg: "./callback", benchmark: "HostileBody/LongEncrypt",
		metric: "of-size", limit: 2, format: "%.2f ×"},
	{what: "Create, above a bare POST", pkg: ".", benchmark: "Create",
		metric: "ns-above-POST", limit: 3000, format: "%.0f ns", allocs: "allocs-above-POST", maxAllocs: 22},
	{what: "AccessToken, cached, in parallel, beside time.Now", pkg: ".", benchmark: "AccessToken",
		metric: "of-time.Now", limit: 1.5, format: "%.2f ×", allocs: "allocs", maxAllocs: 0},
	{what: "AccessToken, 10,000 callers of an empty source", pkg: ".", benchmark: "EmptySource", benchtime: "20x",
		metric: "requests", limit: 1, format: "%.0f requests"},
	{what: "CreateAll, 10,000 codes, of the ideal", pkg: ".", benchmark: "CreateAll", benchtime: "1x",
		metric: "%-of-ideal", limit: 95, atLeast: true, format: "%.1f %%"},
	{what: "CreateAll, a million codes, memory that grew", pkg: ".", benchmark: "CreateAllMemory", benchtime: "1x",
		metric: "KiB-grown", limit: 256, format: "%.0f KiB"},
	{what: "render.PNG, 430 px", pkg: "./render", benchmark: "PNG",
		metric: "ns/op", limit: 1.5e6, format: "%.0f ns"},
	{what: "scanstats, Record into SQLite", pkg: "./scanstats", benchmark: "Record/SQLite/4000", benchtime: "200000x",
		metric: "events/s", limit: 20_000, atLeast: true, format: "%.0f a second"},
	{what: "scanstats, Record into PostgreSQL", pkg: "./scanstats", benchmark: "Record/Postgres/4000", benchtime: "200000x",
		metric: "events/s", limit: 12_000, atLeast: true, format: "%.0f a second"},
}

func main() {
	count := flag.Int("count", 5, "how often each benchmark runs")
	only := flag.String("only", "", "only budgets whose name contains this `text`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	held, err := run(ctx, *count, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "budgets:", err)
	}
	if err != nil || !held {
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, count int, only string) (held bool, err error) {
	fmt.Printf("%s, %s/%s, %d processors, each %d times: their median counts\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), count)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer func() {
		if flushErr := table.Flush(); err == nil {
			err = flushErr
		}
	}()
	row(table, "what", "ours", "floor", "median", "best", "worst", "budget", "allocations", "held")
	held = true
	for _, b := range budgets {
		if !strings.Contains(strings.ToLower(b.what), strings.ToLower(only)) {
			continue
		}
		fmt.Fprintln(os.Stderr, "…", b.what)
		m, err := b.measure(ctx, count)
		if err != nil {
			return false, fmt.Errorf("%s: %w", b.what, err)
		}
		held = b.report(table, m) && held
	}
	return held, nil
}

func row(w *tabwriter.Writer, cells ...string) {
	_, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) // Flush tells
}

// metrics are the values of each metric, one of each run.
type metrics map[string][]float64

// measure runs the benchmark and returns what it measured.
func (b budget) measure(ctx context.Context, count int) (metrics, error) {
	parts := strings.Split(b.benchmark, "/")
	for i, part := range parts {
		parts[i] = "^" + part
		if i == 0 || i < len(parts)-1 {
			parts[i] += "$"
		}
	}
	parts[0] = "^Benchmark" + parts[0][1:]
	args := []string{"test", "-run=^$", "-bench=" + strings.Join(parts, "/"), "-count=" + strconv.Itoa(count), "-timeout=1h", b.pkg}
	if b.benchtime != "" {
		args = slices.Insert(args, 3, "-benchtime="+b.benchtime)
	}
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	m := parse(out)
	if n := len(m[b.metric]); n != count {
		return nil, fmt.Errorf("%d values of %s, not %d:\n%s", n, b.metric, count, out)
	}
	return m, nil
}

// parse reads the lines of benchmarks: a name, a count, and pairs of a value and its unit.
func parse(out []byte) metrics {
	m := make(metrics)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				m[fields[i+1]] = append(m[fields[i+1]], v)
			}
		}
	}
	return m
}

// report adds a row, and returns whether the budget is held.
func (b budget) report(table *tabwriter.Writer, m metrics) bool {
	best, worst, middle := slices.Min(m[b.metric]), slices.Max(m[b.metric]), median(m[b.metric])
	held, sign := middle <= b.limit, "≤"
	if b.atLeast {
		best, worst = worst, best
		held, sign = middle >= b.limit, "≥"
	}
	allocs := "–"
	if b.allocs != "" {
		n := slices.Max(m[b.allocs])
		allocs = fmt.Sprintf("%.0f ≤ %.0f", n, b.maxAllocs)
		held = held && n <= b.maxAllocs
	}
	answer := "yes"
	if !held {
		answer = "NO"
	}
	row(table, b.what, nanoseconds(m["ours-ns"]), nanoseconds(m["floor-ns"]), fmt.Sprintf(b.format, middle), fmt.Sprintf(b.format, best), fmt.Sprintf(b.format, worst),
		sign+" "+fmt.Sprintf(b.format, b.limit), allocs, answer)
	return held
}

// median returns the middle of the values, the lower one of two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

func nanoseconds(values []float64) string {
	if len(values) == 0 {
		return "–"
	}
	least := slices.Min(values)
	if least < 100 {
		return fmt.Sprintf("%.1f ns", least)
	}
	return fmt.Sprintf("%.0f ns", least)
}
