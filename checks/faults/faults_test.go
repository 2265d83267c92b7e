package faults

import (
	"cmp"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A fault is a failure that is injected into calls.
type fault struct {
	name       string
	calls      []*call              // affected calls; nil: all
	inject     func(e *env)         // injects it
	attempts   int                  // expected attempts; 0: three
	attemptsOf map[*call]int        // exceptions to attempts
	wantErrors []error              // errors.Is targets of the error
	matches    func(err error) bool // or a condition; without either, no error is expected
	leaks      string               // secrets that net/http logs
}

// runFaultTests runs each fault as a subtest, one after the other.
func runFaultTests(t *testing.T, b *table, faults []fault) {
	t.Helper()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			leaks := countLeaks()
			runFaults(t, b, f)
			leaks.check(t)
		})
	}
}

// A faultRun is a call with a fault.
type faultRun struct {
	*env
	fault         *fault
	do            func() error // the call with the fault
	retry         func() error // the call after the fault
	before, after string       // contents of the folder
	err           error
}

// runFaults runs all calls with their faults concurrently, and checks each in a subtest.
func runFaults(t *testing.T, b *table, faults ...fault) {
	t.Helper()
	standard, release := captureStandardLog()
	defer release()
	var met []*faultRun
	var all sync.WaitGroup
	for i := range faults {
		f := &faults[i]
		if f.calls == nil {
			f.calls = allCalls
		}
		for _, c := range f.calls {
			m := newEncounter(t, f, c)
			defer m.close()
			met = append(met, m)
			all.Go(func() {
				m.err = m.do()
				m.after = m.files()
			})
		}
	}
	all.Wait()
	for _, m := range met {
		ran := false
		t.Run(strings.ReplaceAll(m.call.name, "`", ""), func(t *testing.T) {
			ran = true
			leaks := m.fault.leaks != ""
			if leaks { // before check, whose call may use the connection that logs it
				require.True(t, eventually(func() bool { return secretParts.MatchString(standard.String()) }), "no leak")
			}
			m.check(t, b)
			if !leaks {
				assert.NotRegexp(t, secretParts, standard.String(), "log of net/http")
			}
		})
		if !ran { // not selected by -run
			if m.checkAfter != nil {
				_ = m.checkAfter()
			}
			m.endFault()
		}
	}
}

func newEncounter(t *testing.T, f *fault, c *call) *faultRun {
	t.Helper()
	e := newEnv(t.Context(), c, t.TempDir())
	f.inject(e)
	do, err := c.begin(e)
	require.NoError(t, err)
	return &faultRun{
		env: e, fault: f, before: e.files(),
		do:    func() error { return do(e.ctx) },
		retry: func() error { return do(t.Context()) },
	}
}

// check checks the result and adds it to the table.
func (m *faultRun) check(t *testing.T, b *table) {
	t.Helper()
	m.checkError(t)
	sees, left := m.describeError(m.err), "–"
	if m.err != nil {
		left = "nothing"
		assert.Equal(t, m.before, m.after)
		if m.written.Len() > 0 {
			left = fmt.Sprintf("%d bytes in the writer", m.written.Len())
		}
	}
	if m.checkAfter != nil {
		assert.NoError(t, m.checkAfter())
	}
	tried := m.describeAttempts(t, m.fault)

	m.endFault()
	assert.NoError(t, m.retry(), "after the fault")
	assert.NotContains(t, m.files(), ".wxqrcode-", "a temporary file")
	if m.imageSize != 0 {
		assert.Equal(t, len(imageData), m.imageSize)
	}
	b.add(m.fault.name, m.call.name, sees, tried, left, cmp.Or(m.fault.leaks, "nothing"))
}

// checkError checks the error of the call.
func (m *faultRun) checkError(t *testing.T) {
	t.Helper()
	if len(m.fault.wantErrors) == 0 && m.fault.matches == nil {
		require.NoError(t, m.err)
	} else {
		require.Error(t, m.err)
	}
	for _, target := range m.fault.wantErrors {
		assert.ErrorIs(t, m.err, target)
	}
	if m.fault.matches != nil {
		assert.True(t, m.fault.matches(m.err), "%v", m.err)
	}
	assertNoSecret(t, m.err)
	assert.NotRegexp(t, secretParts, m.log.String(), "log")
}
