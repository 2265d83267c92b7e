package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A progress shows the progress of a batch. Its methods are safe for concurrent use.
type progress interface {
	add(ok bool) // counts a success or a failure
	finish()
}

// newProgress returns a progress bar on a terminal, and lines elsewhere.
func newProgress(w io.Writer, total int) progress {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		return &barProgress{ProgressBar: progressbar.NewOptions(total,
			progressbar.OptionSetWriter(w), progressbar.OptionSetDescription("codes"), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(), progressbar.OptionSetItsString("codes"), progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30))}
	}
	return &lineProgress{out: w, total: total, start: time.Now(), next: time.Now().Add(lineInterval)}
}

type barProgress struct {
	*progressbar.ProgressBar
	failed atomic.Int64
}

func (b *barProgress) add(ok bool) {
	if !ok {
		b.Describe(fmt.Sprintf("codes (%d failed)", b.failed.Add(1)))
	}
	_ = b.Add(1)
}

func (b *barProgress) finish() { _ = b.Finish() }

const lineInterval = 5 * time.Second

// A lineProgress prints a line every lineInterval, for logs and pipes.
type lineProgress struct {
	out   io.Writer
	total int
	start time.Time

	mu     sync.Mutex // guards the fields below
	done   int        // including failed
	failed int
	next   time.Time
}

func (l *lineProgress) add(ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done++
	if !ok {
		l.failed++
	}
	now := time.Now()
	if now.Before(l.next) {
		return
	}
	l.next = now.Add(lineInterval)
	rate := float64(l.done) / now.Sub(l.start).Seconds()
	left := time.Duration(float64(l.total-l.done) / rate * float64(time.Second)).Round(time.Second)
	_, _ = fmt.Fprintf(l.out, "%d of %d codes, %d failed, %.0f per second, %v left\n", l.done, l.total, l.failed, rate, left)
}

func (l *lineProgress) finish() {}
