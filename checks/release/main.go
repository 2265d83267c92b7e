// Release makes versions of this repository's modules, and rehearses that:
//
//	go run ./checks/release                   rehearse a release, in temporary folders
//	go run ./checks/release make v0.1.0       commit and tag a version in this checkout; push nothing
//	go run ./checks/release binaries OUT      build the program's archives into the folder OUT
//	go run ./checks/release notes v0.1.0      print what CHANGELOG.md says of a version
//
// CONTRIBUTING.md tells how to use it. The rehearsal takes a minute or two, prints what it
// did, and exits with 1 if a step failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	root, err := checkout(ctx)
	if err != nil {
		return err
	}
	command := "rehearse"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch {
	case command == "rehearse" && len(args) == 0:
		return rehearse(ctx, root)
	case command == "make" && len(args) == 1:
		return makeRelease(ctx, root, args[0], os.Stdout)
	case command == "binaries":
		return binariesCommand(ctx, root, args)
	case command == "notes" && len(args) == 1:
		log, err := readChangelog(root)
		if err != nil {
			return err
		}
		notes, err := log.notes(args[0])
		fmt.Print(notes)
		return err
	}
	return fmt.Errorf("no such command: %q; there are: (nothing), make VERSION, binaries [flags] OUT, notes VERSION",
		strings.Join(append([]string{command}, args...), " "))
}

// checkout returns the root of the checkout that the program runs in.
func checkout(ctx context.Context) (string, error) {
	root, err := place{}.line(ctx, "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(root, "go.work")); err != nil {
		return "", fmt.Errorf("run it in a checkout of the repository: %w", err)
	}
	return root, nil
}

func binariesCommand(ctx context.Context, root string, args []string) error {
	flags := flag.NewFlagSet("binaries", flag.ContinueOnError)
	version := flags.String("version", "", "fail unless this is the `version` that Go stamps")
	only := flags.String("only", "", "build for these `systems` alone, such as linux/amd64,windows/arm64")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("binaries takes one folder to write to, not %q", flags.Args())
	}
	systems, err := parseSystems(*only)
	if err != nil {
		return err
	}
	archives, err := binaries(ctx, place{dir: root}, flags.Arg(0), *version, systems)
	for _, a := range archives {
		fmt.Println(a)
	}
	return err
}
