// The wxqrcode command creates WeChat parametric QR codes and shows their scans.
// To try it without an account:
//
//	go run ./cmd/wxqrcode demo
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills the program
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs the program, prints its error to stderr and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "wxqrcode:", plain(err))
	}
	return exitCode(ctx, err)
}

func newRootCommand() *cobra.Command {
	g := new(globalFlags)
	root := &cobra.Command{
		Use:     "wxqrcode",
		Version: version(),
		Short:   "Create WeChat parametric QR codes and see who scans them",
		Long: `Create WeChat parametric QR codes (带参数二维码), save their images and see who scans them.

Set the credentials of the account in ` + envAppID + ` and ` + envSecret + `, or pass a JSON file that
only you can read with --credentials. The IP address of this machine must be on the account's
allowlist. Without an account, add --sandbox: the command then uses a WeChat simulator inside this
process.

Output is plain text, or JSON with --json. Messages and progress go to stderr.

Exit codes:

` + exitCodes(),
		Example: `  wxqrcode demo
  wxqrcode create poster-7 --permanent --out poster-7.jpg
  wxqrcode batch codes.csv --out posters
  wxqrcode listen --sandbox`,
		SilenceErrors: true, // run prints them
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if cmd == root { // report a mistyped command, not its flags
			if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
				return err
			}
		}
		suggestion := ""
		if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
			suggestion = suggest(flagNames(cmd), strings.TrimLeft(unknown.GetSpecifiedName(), "-"), "--")
		}
		return usageError{fmt.Errorf("%w; see %s --help%s", err, cmd.CommandPath(), suggestion)}
	})
	g.addFlags(root.PersistentFlags())
	root.AddCommand(
		newCreateCommand(g), newImageCommand(g), newBatchCommand(g), newInspectCommand(g), newRenderCommand(g),
		newListenCommand(g), newStatsCommand(g), newSandboxCommand(g), newDemoCommand(g),
	)
	asUsageErrors(root)
	return root
}

// version returns the version in the build info.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// completes registers the values of a flag for shell completion.
func completes(cmd *cobra.Command, flag string, values ...string) {
	// The error is about an unknown flag. TestCompletion_Values would fail.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// asUsageErrors makes usage errors of the argument errors of cmd and its subcommands.
func asUsageErrors(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		asUsageErrors(sub)
	}
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		if err := check(cmd, args); err != nil {
			suggestion := ""
			if len(args) > 0 {
				suggestion = suggest(cmd, args[0], "")
			}
			return usageError{fmt.Errorf("%w; usage: %s; see %s --help%s", err, cmd.UseLine(), cmd.CommandPath(), suggestion)}
		}
		return nil
	}
}

// suggest returns a hint with the subcommands of parent that are similar to name.
func suggest(parent *cobra.Command, name, prefix string) string {
	parent.SuggestionsMinimumDistance = 2 // the default, which SuggestionsFor does not set
	similar := parent.SuggestionsFor(name)
	if len(similar) == 0 {
		return ""
	}
	return ". Did you mean this? " + prefix + strings.Join(similar, ", "+prefix)
}

// flagNames returns the flags of cmd as commands, the only names for which cobra makes
// suggestions.
func flagNames(cmd *cobra.Command) *cobra.Command {
	names := new(cobra.Command)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	return names
}
