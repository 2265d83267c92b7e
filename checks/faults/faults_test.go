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

// A fault is something that goes wrong with a call.
type fault struct {
	name  string
	calls []*call              // that can meet it; nil: all
	begin func(e *env)         // lets it begin
	want  int                  // tries in all; 0: three
	tries map[*call]int        // those of calls for which it is another number
	is    []error              // what the error matches
	as    func(err error) bool // or this; if there is neither, there is no error
	leaks string               // what net/http logs of the secrets, though it should not
}

// meet lets the calls meet one fault after the other, each a subtest.
func meet(t *testing.T, b *table, faults []fault) {
	t.Helper()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			leaks := countLeaks()
			runFaults(t, b, f)
			leaks.check(t)
		})
	}
}

// An encounter is one call that meets one fault.
type encounter struct {
	*env
	fault         *fault
	do            func() error // the call, as it meets the fault
	again         func() error // the same, later
	before, after string       // what was in the folder
	err           error
}

// runFaults lets all calls meet their faults, all at the same time, and looks at each by
// itself.
func runFaults(t *testing.T, b *table, faults ...fault) {
	t.Helper()
	standard, release := captureStandardLog()
	defer release()
	var met []*encounter
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
			if leaks { // seen to before look, whose call might take the connection that is to log it
				require.True(t, eventually(func() bool { return secretParts.MatchString(standard.String()) }), "it leaks no more")
			}
			m.look(t, b)
			if !leaks {
				assert.NotRegexp(t, secretParts, standard.String(), "log of net/http")
			}
		})
		if !ran { // as somebody asked for others
			if m.extra != nil {
				_ = m.extra()
			}
			m.end()
		}
	}
}

func newEncounter(t *testing.T, f *fault, c *call) *encounter {
	t.Helper()
	e := newEnv(t.Context(), c, t.TempDir())
	f.begin(e)
	do, err := c.begin(e)
	require.NoError(t, err)
	return &encounter{
		env: e, fault: f, before: e.files(),
		do:    func() error { return do(e.ctx) },
		again: func() error { return do(t.Context()) },
	}
}

// look checks everything that the table says, and adds it.
func (m *encounter) look(t *testing.T, b *table) {
	t.Helper()
	m.judge(t)
	sees, left := m.sees(m.err), "–"
	if m.err != nil {
		left = "nothing"
		assert.Equal(t, m.before, m.after)
		if m.written.Len() > 0 {
			left = fmt.Sprintf("%d bytes in the writer", m.written.Len())
		}
	}
	if m.extra != nil {
		assert.NoError(t, m.extra())
	}
	tried := m.tried(t, m.fault)

	m.end()
	assert.NoError(t, m.again(), "once the fault has ended")
	assert.NotContains(t, m.files(), ".wxqrcode-", "a temporary file")
	if m.taken != 0 {
		assert.Equal(t, len(picture), m.taken)
	}
	b.add(m.fault.name, m.call.name, sees, tried, left, cmp.Or(m.fault.leaks, "nothing"))
}

// judge checks the error of the call.
func (m *encounter) judge(t *testing.T) {
	t.Helper()
	if len(m.fault.is) == 0 && m.fault.as == nil {
		require.NoError(t, m.err)
	} else {
		require.Error(t, m.err)
	}
	for _, target := range m.fault.is {
		assert.ErrorIs(t, m.err, target)
	}
	if m.fault.as != nil {
		assert.True(t, m.fault.as(m.err), "%v", m.err)
	}
	assertNoSecret(t, m.err)
	assert.NotRegexp(t, secretParts, m.log.String(), "log")
}
