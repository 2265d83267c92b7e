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
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs the program and returns its exit code, after a message on stderr if it is
// not 0.
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
	a := new(app)
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
		SilenceErrors: true, // printed by run, once
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if cmd == root { // of a mistyped command no flag is known
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
	a.addFlags(root.PersistentFlags())
	root.AddCommand(
		newCreateCommand(a), newImageCommand(a), newBatchCommand(a), newInspectCommand(a), newRenderCommand(a),
		newListenCommand(a), newStatsCommand(a), newSandboxCommand(a), newDemoCommand(a),
	)
	asUsageErrors(root)
	return root
}

// version returns the version that Go stamped.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// completes lets a shell complete the values of a flag.
func completes(cmd *cobra.Command, flag string, values ...string) {
	// It fails for a flag that does not exist, which a test would notice.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// asUsageErrors marks errors about arguments as the user's, for a command and those below it.
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

// suggest returns what cobra finds similar to name among the subcommands of parent.
func suggest(parent *cobra.Command, name, prefix string) string {
	parent.SuggestionsMinimumDistance = 2 // cobra's default, which SuggestionsFor does not set
	similar := parent.SuggestionsFor(name)
	if len(similar) == 0 {
		return ""
	}
	return ". Did you mean this? " + prefix + strings.Join(similar, ", "+prefix)
}

// flagNames returns the names of the flags of cmd as commands: cobra finds similar names among
// commands only.
func flagNames(cmd *cobra.Command) *cobra.Command {
	names := new(cobra.Command)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	return names
}
