package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// printable returns foreign text for a terminal. It quotes text with control
// characters or invisible ones.
func printable(s string) string {
	hidden := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	if strings.ContainsFunc(s, hidden) || strings.HasPrefix(s, `"`) || strings.TrimSpace(s) != s {
		return strconv.Quote(s)
	}
	return s
}

// A console is the output of a command that runs until it is interrupted.
type console struct {
	ctx    context.Context // done if the command must end
	end    context.CancelCauseFunc
	parent context.Context // done if the command is interrupted
	log    *slog.Logger

	mu     sync.Mutex // guards stdout and stderr
	stdout io.Writer
	stderr io.Writer
}

func newConsole(cmd *cobra.Command) *console {
	return newConsoleFor(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
}

func newConsoleFor(command context.Context, stdout, stderr io.Writer) *console {
	c := &console{parent: command, stdout: stdout, stderr: stderr}
	c.ctx, c.end = context.WithCancelCause(c.parent)
	c.log = newLog(logWriter{c})
	return c
}

// newLog returns a logger of warnings and errors.
func newLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: explainLogged}))
}

// A logWriter writes to the stderr of a console.
type logWriter struct{ console *console }

func (w logWriter) Write(b []byte) (int, error) {
	w.console.mu.Lock()
	defer w.console.mu.Unlock()
	return w.console.stderr.Write(b)
}

// print prints a line to stdout. The command ends if that fails.
func (c *console) print(line string) error {
	c.mu.Lock()
	_, err := io.WriteString(c.stdout, line+"\n")
	c.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("print: %w", err)
		c.end(err)
	}
	return err
}

func (c *console) printJSON(v any) error {
	line, err := jsonLine(v)
	if err != nil {
		return err
	}
	return c.print(line)
}

// jsonLine returns v as a line of JSON without control characters.
func jsonLine(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return escapeHidden(strings.TrimSuffix(b.String(), "\n")), nil
}

// printNotice prints a message to stderr.
func (c *console) printNotice(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintf(c.stderr, format+"\n", args...)
}

// shutdownLimit is how long requests in flight may take after an interrupt.
const shutdownLimit = 3 * time.Second

// run serves until the command is interrupted, then returns nil, or until a server
// or print fails.
func (c *console) run(servers ...*httpServer) error {
	var wg sync.WaitGroup
	for _, server := range servers {
		server.server.ErrorLog = slog.NewLogLogger(c.log.Handler(), slog.LevelWarn)
		wg.Go(func() {
			if err := server.server.Serve(server.listener); !errors.Is(err, http.ErrServerClosed) {
				c.end(fmt.Errorf("serve: %w", err))
			}
		})
		wg.Go(func() {
			<-c.ctx.Done()
			server.shutdown()
		})
	}
	wg.Wait()
	if c.parent.Err() != nil {
		return nil
	}
	return context.Cause(c.ctx)
}
