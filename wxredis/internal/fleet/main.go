// Fleet shows that the instances of a program that share their token through wxredis
// make one request for each life of it and lose no call: it starts a Redis, two WeChats
// (package wxtest) with tokens that live for seconds, and for each of them eight processes
// that make codes as fast as they can, one WeChat's with stable_token and the other's with
// the legacy call. Then it revokes tokens, and kills Redis and starts it again, empty.
//
//	go run ./wxredis/internal/fleet
//
// It takes three quarters of a minute, prints a table, and fails if a promise was broken.
// It needs redis-server on the PATH.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// settings are those of a run.
type settings struct {
	Processes int           // of each fleet
	Callers   int           // goroutines of each process that make codes
	Life      time.Duration // of a token
	Store     bool          // whether the processes share their token
}

func main() {
	var (
		s        settings
		asWorker bool
		asJSON   bool
		alone    bool
	)
	flag.IntVar(&s.Processes, "processes", 8, "`number` of processes for each of the two token calls")
	flag.IntVar(&s.Callers, "callers", 4, "`number` of goroutines of a process that make codes")
	flag.DurationVar(&s.Life, "life", 7*time.Second, "how long a token lives, in whole seconds")
	flag.BoolVar(&alone, "alone", false, "share nothing, to see what that leads to; the run fails")
	flag.BoolVar(&asJSON, "json", false, "print JSON")
	flag.BoolVar(&asWorker, "worker", false, "be one of the processes (not for you)")
	flag.Parse()
	s.Store = !alone
	redis.SetLogger(quiet{}) // go-redis tells of every connection that fails

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case asWorker:
		err = work(ctx, os.Stdin, os.Stdout)
	case flag.NArg() > 0:
		err = fmt.Errorf("no arguments are taken, but there is %q", flag.Arg(0))
	case s.Processes < 1 || s.Callers < 1 || s.Life < 2*time.Second || s.Life%time.Second != 0:
		err = errors.New("-processes and -callers must be at least 1, -life at least 2s and whole seconds")
	default:
		err = prove(ctx, s, asJSON)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// prove runs the program's one experiment and prints what came of it.
func prove(ctx context.Context, s settings, asJSON bool) error {
	start := time.Now()
	progress := os.Stdout
	if asJSON {
		progress = os.Stderr
	}
	results, err := run(ctx, s, func(p phase) {
		_, _ = fmt.Fprintf(progress, "%6.1f s  %s\n", time.Since(start).Seconds(), p.Name)
	})
	if err != nil {
		return err
	}
	if asJSON {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		err = out.Encode(results)
	} else {
		err = printTable(os.Stdout, s, results)
	}
	return errors.Join(err, judge(s, results))
}
