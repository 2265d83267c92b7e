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

// The secrets of these tests. Each has characters that a URL, a page and JSON write in
// their own ways, and letters which all of them leave as they are.
const (
	appID     = "wx0123456789abcdef"
	appSecret = "S3c/+=&%<plainlettersofsecret>"
	token     = "T0k/+=&%<plainlettersoftoken>"
	newToken  = "N3w/+=&%<plainlettersofnewtoken>"
	pushToken = "P0shplainlettersofpushtoken"
	aesKey    = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
)

// secretParts are what nothing may show.
var secretParts = regexp.MustCompile(`plainlettersof|lettersof(secret|token|newtoken|pushtoken)|(T0k|S3c|N3w)(/|%|\\u|\\/)|ghijklmnopqrstuv`)

// leaks is what there was before a fault.
type leaks struct {
	goroutines, descriptors int
}

// warm makes what the runtime makes once: the poller, with its descriptors.
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

// descriptors returns how many files and sockets this process has open, if the system
// tells.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// check fails the test unless there is no more than before, soon.
func (l leaks) check(t *testing.T) {
	t.Helper()
	assert.NoError(t, l.left())
}

// left returns what is still there and was not before, if it does not go soon.
func (l leaks) left() error {
	if eventually(func() bool { return runtime.NumGoroutine() <= l.goroutines && descriptors() <= l.descriptors }) {
		return nil
	}
	stacks := make([]byte, 1<<20)
	return fmt.Errorf("%d goroutines before, %d now; %d descriptors before, %d now\n%s", l.goroutines, runtime.NumGoroutine(),
		l.descriptors, descriptors(), stacks[:runtime.Stack(stacks, true)])
}

// eventually waits for a condition, for so long that only a fault makes it fail. It looks
// less and less often, so as not to slow what it waits for.
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

// assertNoSecret prints err, and all that it wraps, in every way that there is.
func assertNoSecret(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
		assert.NotRegexp(t, secretParts, fmt.Sprintf(verb, err), verb)
	}
	switch w := err.(type) { //nolint:errorlint // each link of the chain is looked at by itself
	case interface{ Unwrap() error }:
		assertNoSecret(t, w.Unwrap())
	case interface{ Unwrap() []error }:
		for _, next := range w.Unwrap() {
			assertNoSecret(t, next)
		}
	}
}

// A logbook is what is logged.
type logbook struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
	hook func(line string) // called with each line; may be nil
}

func (l *logbook) Write(b []byte) (int, error) {
	if l.hook != nil {
		l.hook(string(b))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// repeats returns the number of retries in the log.
func (l *logbook) repeats() int { return strings.Count(l.String(), "retrying request") }

// captureStandardLog takes what net/http logs, which nobody asked it to.
func captureStandardLog() (text *logbook, end func()) {
	text = &logbook{}
	before := log.Writer()
	log.SetOutput(text)
	return text, func() { log.SetOutput(before) }
}

var _ io.Writer = (*logbook)(nil)
