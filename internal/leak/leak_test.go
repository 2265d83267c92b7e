package leak

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A fakeTest keeps what a test would have said, and ends when it is told to.
type fakeTest struct {
	testing.TB
	cleanup func()
	said    string
}

func (*fakeTest) Helper()                     {}
func (f *fakeTest) Cleanup(end func())        { f.cleanup = end }
func (f *fakeTest) Errorf(s string, a ...any) { f.said += fmt.Sprintf(s, a...) }

func TestCheck(t *testing.T) {
	long := patience
	defer func() { patience = long }()
	for name, test := range map[string]struct {
		patience time.Duration
		leave    func(release chan struct{}) // something at work
		fails    bool
	}{
		"nothing is left":             {time.Nanosecond, func(chan struct{}) {}, false},
		"a goroutine stays":           {time.Millisecond, func(release chan struct{}) { go func() { <-release }() }, true},
		"one is about to end":         {time.Minute, func(chan struct{}) { go func() { <-time.After(10 * time.Millisecond) }() }, false},
		"one that was there, goes on": {time.Nanosecond, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			patience = test.patience
			release, ended := make(chan struct{}), make(chan struct{})
			if test.leave == nil {
				go func() { defer close(ended); <-release }()
			}
			f := &fakeTest{}
			Check(f)
			if test.leave != nil {
				test.leave(release)
			}
			f.cleanup()
			close(release)
			if test.leave == nil {
				<-ended
			}
			if test.fails {
				assert.Contains(t, f.said, "goroutines and left")
				assert.Contains(t, f.said, "leak_test.go", "with the stack of what was left")
			} else {
				assert.Empty(t, f.said)
			}
		})
	}
}
