package faults

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/reliability.md anew")

const (
	docsFile     = "../../docs/reliability.md"
	templateFile = "testdata/reliability.md.tmpl"
)

// An observation is what a test saw of one fault in one call: a line of a table, before
// lines that say the same become one.
type observation struct {
	Fault, Call string
	Cells       []string
}

// A section is a table of the document.
type section struct {
	name    string
	call    string // the heading of the second column; empty if there is none
	columns []string
	run     func(t *testing.T, table *table)
}

var callColumns = []string{"what the caller sees", "what was retried", "left behind", "leaked"}

// The sections, by the names that the template has for them.
var sections = []section{
	{"calls", "call", callColumns, runCalls},
	{"contexts", "call", callColumns, runContexts},
	{"disk", "call", callColumns, runDisk},
	{"clocks", "call", callColumns, runClocks},
	{"pushes", "", []string{"what the sender sees", "`onEvent`", "the log's error", "leaked"}, runPushes},
}

// A table gathers what the tests of one section observe.
type table struct {
	section      section
	observations []observation
	partial      bool // a test did not run here, or could show less than elsewhere
}

func (b *table) add(fault, call string, cells ...string) {
	b.observations = append(b.observations, observation{fault, call, cells})
}

// take adds what a child observed, as a subtest like the others.
func (b *table) take(t *testing.T, o observation) {
	t.Helper()
	name := strings.TrimSuffix(o.Fault+"/"+strings.ReplaceAll(o.Call, "`", ""), "/")
	t.Run(name, func(*testing.T) { b.observations = append(b.observations, o) })
}

// envRequire makes it a failure if a fault cannot be made here.
const envRequire = "WXQRCODE_REQUIRE_FAULTS"

// Every fault is a subtest, and docs/reliability.md is what they observe.
func TestTheDocumentationIsWhatHappens(t *testing.T) {
	if file := os.Getenv(envSlow); file != "" {
		runSlow(t, file)
		return
	}
	slow := startSlow(t)
	tables := make(map[string]*table)
	complete := true
	for _, s := range sections {
		tables[s.name] = &table{section: s}
		s.run(t, tables[s.name])
	}
	slow.finish(t, tables)

	text := make(map[string]string)
	for name, b := range tables {
		text[name] = b.markdown()
		complete = complete && !b.partial
	}
	if os.Getenv(envRequire) != "" {
		assert.True(t, complete, "some faults cannot be made here; those are the tests that were skipped")
	}
	document, err := template.ParseFiles(templateFile)
	require.NoError(t, err)
	var want bytes.Buffer
	require.NoError(t, document.Option("missingkey=error").Execute(&want, text))
	if *update {
		require.True(t, complete && filtered() == 0 && !t.Failed(), "something failed, or was not run")
		require.NoError(t, os.WriteFile(docsFile, want.Bytes(), 0o600))
	}
	have, err := os.ReadFile(docsFile)
	require.NoError(t, err)
	if runtime.GOOS != "linux" || filtered() > 1 {
		return // other systems have other words; and of some calls, lines say less
	}
	if !complete || filtered() > 0 {
		for _, b := range tables {
			for line := range strings.Lines(b.rows()) {
				if !strings.Contains(string(have), line) { // assert.Contains would print the page
					t.Errorf("not in docs/reliability.md: %s", line)
				}
			}
		}
		return
	}
	if want.String() != string(have) { // assert.Equal would print both
		t.Errorf("docs/reliability.md is not what happens: look at it, and run this test with -update if it is right now\n%s", difference(string(have), want.String()))
	}
}

// filtered tells how many levels below this test somebody chose from; 0: all is run.
func filtered() int {
	return strings.Count(flag.Lookup("test.run").Value.String(), "/") + len(flag.Lookup("test.skip").Value.String())
}

// difference returns the lines of which one text is without.
func difference(have, want string) string {
	var b strings.Builder
	h, w := strings.Split(have, "\n"), strings.Split(want, "\n")
	for _, line := range h {
		if !slices.Contains(w, line) {
			b.WriteString("- " + line + "\n")
		}
	}
	for _, line := range w {
		if !slices.Contains(h, line) {
			b.WriteString("+ " + line + "\n")
		}
	}
	return b.String()
}

// markdown writes the table: calls that meet a fault in the same way share a line.
func (b *table) markdown() string {
	head := []string{"fault"}
	if b.section.call != "" {
		head = append(head, b.section.call)
	}
	head = append(head, b.section.columns...)
	return strings.TrimSuffix(markdownRow(head)+markdownRow(slices.Repeat([]string{"---"}, len(head)))+b.rows(), "\n")
}

func markdownRow(cells []string) string { return "| " + strings.Join(cells, " | ") + " |\n" }

func (b *table) rows() string {
	var out strings.Builder
	var faults []string
	for _, o := range b.observations {
		if !slices.Contains(faults, o.Fault) {
			faults = append(faults, o.Fault)
		}
	}
	for _, fault := range faults {
		title := fault
		for _, same := range b.alike(fault) {
			cells := []string{title}
			if b.section.call != "" {
				cells = append(cells, calls(same))
			}
			for _, cell := range same[0].Cells {
				cells = append(cells, strings.ReplaceAll(cell, "|", `\|`))
			}
			out.WriteString(markdownRow(cells))
			title = "" // once is enough
		}
	}
	return out.String()
}

// alike returns the observations of a fault, those together that say the same.
func (b *table) alike(fault string) (groups [][]observation) {
	for _, o := range b.observations {
		if o.Fault != fault {
			continue
		}
		i := slices.IndexFunc(groups, func(g []observation) bool { return slices.Equal(g[0].Cells, o.Cells) })
		if i < 0 {
			groups = append(groups, nil)
			i = len(groups) - 1
		}
		groups[i] = append(groups[i], o)
	}
	return groups
}

// calls names the calls of a line.
func calls(of []observation) string {
	var names []string
	for _, o := range of {
		names = append(names, o.Call)
	}
	if !slices.ContainsFunc(allCalls, func(c *call) bool { return !slices.Contains(names, c.name) }) {
		return "all"
	}
	// What is the same with and without a file is told once.
	if slices.Contains(names, saveNew.name) && slices.Contains(names, saveOver.name) {
		names = slices.DeleteFunc(names, func(n string) bool { return n == saveOver.name })
		names[slices.Index(names, saveNew.name)] = "`SaveImage`"
	}
	return strings.Join(names, ", ")
}

// envSlow names the file for what the slow faults show. They have a process of their own,
// so that the rest need not wait for them, nor count their goroutines.
const envSlow = "WXQRCODE_TEST_FAULTS_SLOW"

// slowFaults are those that wait for a time limit. They wait at the same time.
type slowFaults struct {
	cmd    *exec.Cmd
	file   string
	output string
}

func startSlow(t *testing.T) *slowFaults {
	t.Helper()
	dir := t.TempDir()
	s := &slowFaults{file: filepath.Join(dir, "observations"), output: filepath.Join(dir, "output")}
	output, err := os.Create(s.output)
	require.NoError(t, err)
	defer output.Close()
	s.cmd = exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=100s")
	s.cmd.Env = append(os.Environ(), envSlow+"="+s.file)
	s.cmd.Stdout, s.cmd.Stderr = output, output // a file, for which no goroutine copies
	require.NoError(t, s.cmd.Start())
	return s
}

// finish waits for the slow faults and takes what they showed into the tables.
func (s *slowFaults) finish(t *testing.T, tables map[string]*table) {
	t.Helper()
	if err := s.cmd.Wait(); err != nil {
		output, _ := os.ReadFile(s.output)
		t.Errorf("the slow faults: %v\n%s", err, output)
		return
	}
	text, err := os.ReadFile(s.file)
	require.NoError(t, err)
	slow := make(map[string][]observation)
	require.NoError(t, json.Unmarshal(text, &slow))
	for name, observations := range slow {
		for _, o := range observations {
			tables[name].take(t, o)
		}
	}
}

// runSlow is the process of the slow faults.
func runSlow(t *testing.T, file string) {
	t.Helper()
	slow := map[string]*table{"calls": {}, "pushes": {}}
	t.Run("slow", func(t *testing.T) {
		leaks := countLeaks()
		wait := startSlowPushes(t, slow["pushes"])
		runFaults(t, slow["calls"], slices.Concat(slowCalls(), silentFaults())...)
		wait()
		leaks.check(t)
	})
	text, err := json.Marshal(map[string][]observation{"calls": slow["calls"].observations, "pushes": slow["pushes"].observations})
	require.NoError(t, err)
	assert.NoError(t, os.WriteFile(file, text, 0o600))
}

// TestMain lets a test start this program anew as a child, to do one thing in it.
func TestMain(m *testing.M) {
	if name := os.Getenv(envChild); name != "" {
		child, ok := children[name]
		if !ok {
			fmt.Fprintln(os.Stderr, "no such child:", name)
			os.Exit(2)
		}
		child()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// envChild names what a child does; children does it.
const envChild = "WXQRCODE_TEST_FAULTS_CHILD"

var children = map[string]func(){}
