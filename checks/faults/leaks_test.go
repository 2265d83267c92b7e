package faults

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Secrets of these tests. Each has characters that URLs, HTML and JSON escape, and
// letters that they do not.
const (
	appID     = "wx0123456789abcdef"
	appSecret = "S3c/+=&%<plainlettersofsecret>"
	token     = "T0k/+=&%<plainlettersoftoken>"
	newToken  = "N3w/+=&%<plainlettersofnewtoken>"
	pushToken = "P0shplainlettersofpushtoken"
	aesKey    = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
)

// secretParts matches parts of secrets, raw or escaped.
var secretParts = regexp.MustCompile(`plainlettersof|lettersof(secret|token|newtoken|pushtoken)|(T0k|S3c|N3w)(/|%|\\u|\\/)|ghijklmnopqrstuv`)

// leaks counts goroutines and descriptors before a fault.
type leaks struct {
	goroutines, descriptors int
}

// warm starts the network poller of the runtime, which keeps descriptors open.
var warm = sync.OnceFunc(func() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	c.Close()
	l.Close()
})

func countLeaks() leaks {
	warm()
	return leaks{runtime.NumGoroutine(), descriptors()}
}

// descriptors returns the number of open files and sockets, 0 if it is unknown.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// check fails the test if goroutines or descriptors leaked.
func (l leaks) check(t *testing.T) {
	t.Helper()
	assert.NoError(t, l.wait())
}

// wait waits until nothing is leaked, or returns an error with the leaks.
func (l leaks) wait() error {
	if eventually(func() bool { return runtime.NumGoroutine() <= l.goroutines && descriptors() <= l.descriptors }) {
		return nil
	}
	stacks := make([]byte, 1<<20)
	return fmt.Errorf("%d goroutines before, %d now; %d descriptors before, %d now\n%s", l.goroutines, runtime.NumGoroutine(),
		l.descriptors, descriptors(), stacks[:runtime.Stack(stacks, true)])
}

// eventually waits up to 20 s for a condition, polling with increasing pauses.
func eventually(condition func() bool) bool {
	late := time.After(20 * time.Second)
	for pause := time.Millisecond; !condition(); pause = min(2*pause, 100*time.Millisecond) {
		select {
		case <-time.After(pause):
		case <-late:
			return condition()
		}
	}
	return true
}

// assertNoSecret asserts that err and the errors it wraps print no secret with any verb.
func assertNoSecret(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
		assert.NotRegexp(t, secretParts, fmt.Sprintf(verb, err), verb)
	}
	switch w := err.(type) { //nolint:errorlint // each link of the chain is checked
	case interface{ Unwrap() error }:
		assertNoSecret(t, w.Unwrap())
	case interface{ Unwrap() []error }:
		for _, next := range w.Unwrap() {
			assertNoSecret(t, next)
		}
	}
}

// A logBuffer is the output of a logger.
type logBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
	hook func(line string) // called with each line; may be nil
}

func (l *logBuffer) Write(b []byte) (int, error) {
	if l.hook != nil {
		l.hook(string(b))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// retries returns the number of retries in the log.
func (l *logBuffer) retries() int { return strings.Count(l.String(), "retrying request") }

// captureStandardLog captures the standard logger, to which net/http writes.
func captureStandardLog() (text *logBuffer, end func()) {
	text = &logBuffer{}
	before := log.Writer()
	log.SetOutput(text)
	return text, func() { log.SetOutput(before) }
}

var _ io.Writer = (*logBuffer)(nil)
