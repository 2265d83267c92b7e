// The wxqrcode command makes WeChat parametric QR codes and shows what becomes of
// them. Try it without an account:
//
//	go run ./cmd/wxqrcode demo
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs the program and returns its exit code: 0, or 1 after any failure, with
// a message on stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "wxqrcode",
		Short:         "WeChat parametric QR codes: make them, fetch them, see who scans them",
		SilenceErrors: true, // printed below, once
		SilenceUsage:  true,
	}
	root.AddCommand(newDemoCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		_, _ = fmt.Fprintln(stderr, "wxqrcode:", err)
		return 1
	}
	return 0
}
