// The load program puts the callback handler under load on loopback, and checks each
// answer that it gives:
//
//	go run ./internal/load
//	go run ./internal/load -pushes 500000 -connections 256
//	go run ./internal/load -json
//
// Client and server are this one process, so they share its processors. It tells how many
// pushes a second are answered and how long they take, in plain mode and in secure mode,
// beside a handler that only reads the body: once as fast as the connections can, and once at
// a fixed rate. It exits with 1 if an answer is wrong, if a push is lost, or if one runs
// twice.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"text/tabwriter"
	"time"
)

// A plan is how much load there is.
type plan struct {
	pushes      int
	connections int
	rate        int // a second, of the second half of the runs
}

func main() {
	var p plan
	flag.IntVar(&p.pushes, "pushes", 200_000, "how many pushes each run sends")
	flag.IntVar(&p.connections, "connections", 64, "how many connections send them")
	flag.IntVar(&p.rate, "rate", 5_000, "how many pushes a second come where the rate is fixed")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, p, *asJSON, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// errWrong says that the report tells of wrong answers.
var errWrong = errors.New("there are wrong answers")

func run(ctx context.Context, p plan, asJSON bool, out, progress io.Writer) error {
	if p.pushes < 1 || p.connections < 1 || p.rate < 1 {
		return fmt.Errorf("-pushes %d, -connections %d and -rate %d must be 1 or more", p.pushes, p.connections, p.rate)
	}
	// All are signed before the first is sent, and the handler takes none that is older than five minutes.
	const longest = 4 * time.Minute
	if takes := time.Duration(float64(p.pushes) / float64(p.rate) * float64(time.Second)); takes > longest {
		return fmt.Errorf("%d pushes at -rate %d take %v; at most %v are possible: send fewer -pushes", p.pushes, p.rate, takes.Round(time.Second), longest)
	}
	var reports []report
	for _, rate := range []int{0, p.rate} {
		for _, s := range []subject{bare, plain, secure} {
			_, _ = fmt.Fprintf(progress, "… %s, %s\n", s.name, pace(rate))
			r, err := measure(ctx, s, p, rate)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			reports = append(reports, r)
		}
	}
	show := printTable
	if asJSON {
		show = printJSON
	}
	return errors.Join(show(out, p, reports), verdict(reports))
}

func verdict(reports []report) error {
	for _, r := range reports {
		if r.Wrong > 0 {
			return errWrong
		}
	}
	return nil
}

func pace(rate int) string {
	if rate == 0 {
		return "as fast as it goes"
	}
	return fmt.Sprintf("%d a second", rate)
}

func printJSON(out io.Writer, _ plan, reports []report) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(reports)
}

func printTable(out io.Writer, p plan, reports []report) error {
	_, _ = fmt.Fprintf(out, "%s, %s/%s, %d processors; %d pushes each, over %d connections\n\n", // Flush tells
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), p.pushes, p.connections)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "handler\tload\ta second\tp50\tp99\tp99.9\tslowest\twrong")
	for _, r := range reports {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%.0f\t%v\t%v\t%v\t%v\t%d\n", r.Handler, pace(r.Rate), r.PerSecond,
			rounded(r.P50), rounded(r.P99), rounded(r.P999), rounded(r.Slowest), r.Wrong)
	}
	for _, r := range reports {
		if r.Wrong > 0 {
			_, _ = fmt.Fprintf(table, "%s, %s: the first wrong answer: %s\n", r.Handler, pace(r.Rate), r.FirstWrong)
		}
	}
	return table.Flush()
}

func rounded(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
