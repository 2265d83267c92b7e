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

// printable returns text that is not ours as it can be shown: quoted if it has control
// characters, which a terminal could take for orders, or others that nobody would see.
func printable(s string) string {
	hidden := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	if strings.ContainsFunc(s, hidden) || strings.HasPrefix(s, `"`) || strings.TrimSpace(s) != s {
		return strconv.Quote(s)
	}
	return s
}

// A show is what a command that runs until it is interrupted shows meanwhile.
type show struct {
	ctx     context.Context // ends when the command must
	end     context.CancelCauseFunc
	command context.Context // ends when the command is interrupted
	log     *slog.Logger

	mu     sync.Mutex // guards what follows
	stdout io.Writer
	stderr io.Writer
}

func newShow(cmd *cobra.Command) *show {
	return newShowOf(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
}

func newShowOf(command context.Context, stdout, stderr io.Writer) *show {
	s := &show{command: command, stdout: stdout, stderr: stderr}
	s.ctx, s.end = context.WithCancelCause(s.command)
	s.log = newLog(logWriter{s})
	return s
}

// newLog returns a log of what somebody should know of.
func newLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: explainLogged}))
}

// logWriter is stderr, shared with the show's notes.
type logWriter struct{ show *show }

func (w logWriter) Write(b []byte) (int, error) {
	w.show.mu.Lock()
	defer w.show.mu.Unlock()
	return w.show.stderr.Write(b)
}

// print prints a line. If that fails, the command has nobody to show anything to, and ends.
func (s *show) print(line string) error {
	s.mu.Lock()
	_, err := io.WriteString(s.stdout, line+"\n")
	s.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("print: %w", err)
		s.end(err)
	}
	return err
}

func (s *show) printJSON(v any) error {
	line, err := jsonLine(v)
	if err != nil {
		return err
	}
	return s.print(line)
}

// jsonLine returns v in one line, which a terminal can show.
func jsonLine(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return escapeHidden(strings.TrimSuffix(b.String(), "\n")), nil
}

// note tells people something that is no result.
func (s *show) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(s.stderr, format+"\n", args...)
}

// shutdownLimit is how long what is under way may take when the command is interrupted.
const shutdownLimit = 3 * time.Second

// run serves the sites until the command is interrupted, which is no error, or until
// something fails.
func (s *show) run(sites ...*site) error {
	var wg sync.WaitGroup
	for _, site := range sites {
		site.server.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)
		wg.Go(func() {
			if err := site.server.Serve(site.listener); !errors.Is(err, http.ErrServerClosed) {
				s.end(fmt.Errorf("serve: %w", err))
			}
		})
		wg.Go(func() {
			<-s.ctx.Done()
			site.shutdown()
		})
	}
	wg.Wait()
	if s.command.Err() != nil {
		return nil
	}
	return context.Cause(s.ctx)
}
