//go:build unix

package docs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	commandLimit = 30 * time.Second // a loaded machine is slow
	endLimit     = 10 * time.Second
)

// A program is a line of a shell at work.
type program struct {
	cmd   *exec.Cmd
	stdin *os.File // held open, as a terminal is
	line  string

	ended chan struct{} // closed when err is set
	err   error

	mu     sync.Mutex    // guards what follows
	output bytes.Buffer  // of stdout and stderr, as a terminal shows them
	grown  chan struct{} // closed, and made anew, when there is more
}

// start begins a line in a folder.
func start(ctx context.Context, dir string, env []string, line string) (*program, error) {
	shell, err := exec.LookPath("bash")
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = read.Close() }() // the program has its own
	p := &program{stdin: write, line: line, ended: make(chan struct{}), grown: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, shell, "-o", "pipefail", "-c", line)
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = dir, env, read, p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // signals go to all that the line starts
	p.cmd.Cancel = func() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
	p.cmd.WaitDelay = endLimit
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.grown)
	p.grown = make(chan struct{})
	return p.output.Write(b)
}

// text returns what was printed so far, and what closes when there is more.
func (p *program) text() (string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String(), p.grown
}

// wait returns what a line printed that ends by itself.
func (p *program) wait(limit time.Duration) (string, error) {
	select {
	case <-p.ended:
	case <-time.After(limit):
		_ = p.cmd.Cancel()
		<-p.ended
		text, _ := p.text()
		return text, fmt.Errorf("%s: still at work after %v\n%s", p.line, limit, text)
	}
	_ = p.stdin.Close()
	text, _ := p.text()
	if p.err != nil {
		return text, fmt.Errorf("%s: %w\n%s", p.line, p.err, text)
	}
	return text, nil
}

// until waits for something to be printed.
func (p *program) until(found func(text string) bool) (string, error) {
	limit := time.After(commandLimit)
	for {
		text, grown := p.text()
		if found(text) {
			return text, nil
		}
		select {
		case <-grown:
		case <-p.ended:
			if text, _ = p.text(); found(text) {
				return text, nil
			}
			return text, fmt.Errorf("%s: ended (%w) and did not print what was awaited:\n%s", p.line, p.err, text)
		case <-limit:
			return text, fmt.Errorf("%s: did not print what was awaited:\n%s", p.line, text)
		}
	}
}

// end ends a server as a reader does: with Enter, or with Ctrl-C.
func (p *program) end(byEnter bool) error {
	if !byEnter {
		return p.endBy(syscall.SIGINT)
	}
	_, _ = p.stdin.WriteString("\n")
	_, err := p.wait(endLimit)
	return err
}

func (p *program) endBy(signal syscall.Signal) error {
	if err := syscall.Kill(-p.cmd.Process.Pid, signal); err != nil {
		return fmt.Errorf("%s: send it %v: %w", p.line, signal, err)
	}
	_, err := p.wait(endLimit)
	return err
}

func TestAProgramThatFailsOrHangsIsFound(t *testing.T) {
	begin := func(line string) *program {
		p, err := start(t.Context(), t.TempDir(), os.Environ(), line)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	_, err := begin("echo one && exit 3 | cat").wait(commandLimit)
	if err == nil || !strings.Contains(err.Error(), "exit status 3\none") {
		t.Error(err)
	}
	if _, err = begin("cat").wait(time.Millisecond); err == nil || !strings.Contains(err.Error(), "still at work") {
		t.Error(err)
	}
	if _, err = begin("echo two").until(func(text string) bool { return text == "three" }); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Error(err)
	}
	p := begin("echo four && cat >/dev/null; exit 5")
	if _, err = p.until(func(text string) bool { return text == "four\n" }); err != nil {
		t.Error(err)
	}
	if err = p.end(false); err == nil {
		t.Error("it was interrupted, and ended well")
	}
}
