package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A place is where commands run: a folder, and what is different in their environment.
type place struct {
	dir string
	env []string
}

// in returns a folder of the place.
func (p place) in(elem ...string) place {
	p.dir = filepath.Join(append([]string{p.dir}, elem...)...)
	return p
}

// with returns the place with more in its environment.
func (p place) with(env ...string) place {
	p.env = append(append([]string{}, p.env...), env...)
	return p
}

// run runs a command and returns what it wrote to its standard output. An error says which
// command failed, where, and what it wrote.
func (p place) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr strings.Builder
	cmd.Stdout = &stdout
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return stdout.String(), fmt.Errorf("%s in %s: %w\n%s",
			strings.Join(append([]string{name}, args...), " "), p.dir, err, strings.TrimSpace(stdout.String()+stderr.String()))
	}
	return stdout.String(), nil
}

// do is run for commands whose output nobody needs.
func (p place) do(ctx context.Context, name string, args ...string) error {
	_, err := p.run(ctx, name, args...)
	return err
}

// doAll runs commands, without blanks in their arguments, one after the other.
func (p place) doAll(ctx context.Context, commands ...string) error {
	for _, command := range commands {
		words := strings.Fields(command)
		if err := p.do(ctx, words[0], words[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// line is run for commands that print one line.
func (p place) line(ctx context.Context, name string, args ...string) (string, error) {
	out, err := p.run(ctx, name, args...)
	return strings.TrimSpace(out), err
}
