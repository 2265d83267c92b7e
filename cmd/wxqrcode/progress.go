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

// A progress shows how far long work is. Its methods may be called at the same time.
type progress interface {
	add(ok bool) // one more is done, or failed
	finish()
}

// newProgress shows a bar with rate and time left on a terminal, and lines elsewhere.
func newProgress(w io.Writer, total int) progress {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		return &bar{ProgressBar: progressbar.NewOptions(total,
			progressbar.OptionSetWriter(w), progressbar.OptionSetDescription("codes"), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(), progressbar.OptionSetItsString("codes"), progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30))}
	}
	return &lines{out: w, total: total, start: time.Now(), next: time.Now().Add(linePause)}
}

type bar struct {
	*progressbar.ProgressBar
	failed atomic.Int64
}

func (b *bar) add(ok bool) {
	if !ok {
		b.Describe(fmt.Sprintf("codes (%d failed)", b.failed.Add(1)))
	}
	_ = b.Add(1)
}

func (b *bar) finish() { _ = b.Finish() }

const linePause = 5 * time.Second

// lines is progress for logs and pipes: a line every five seconds.
type lines struct {
	out   io.Writer
	total int
	start time.Time

	mu     sync.Mutex // guards what follows
	done   int        // those that failed included
	failed int
	next   time.Time
}

func (l *lines) add(ok bool) {
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
	l.next = now.Add(linePause)
	rate := float64(l.done) / now.Sub(l.start).Seconds()
	left := time.Duration(float64(l.total-l.done) / rate * float64(time.Second)).Round(time.Second)
	_, _ = fmt.Fprintf(l.out, "%d of %d codes, %d failed, %.0f per second, %v left\n", l.done, l.total, l.failed, rate, left)
}

func (l *lines) finish() {}
