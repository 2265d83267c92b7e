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

var update = flag.Bool("update", false, "update docs/reliability.md")

const (
	docsFile     = "../../docs/reliability.md"
	templateFile = "testdata/reliability.md.tmpl"
)

// An observation is the result of a fault in a call. Equal observations share a row.
type observation struct {
	Fault, Call string
	Cells       []string
}

// A section is a table of the document.
type section struct {
	name    string
	call    string // heading of the second column, or empty
	columns []string
	run     func(t *testing.T, table *table)
}

var callColumns = []string{"error", "attempts", "left behind", "leaked"}

// sections have the names of the template.
var sections = []section{
	{"calls", "call", callColumns, runCalls},
	{"contexts", "call", callColumns, runContexts},
	{"disk", "call", callColumns, runDisk},
	{"clocks", "call", callColumns, runClocks},
	{"pushes", "", []string{"response", "`OnEvent`", "outcome and error in the log", "leaked"}, runPushes},
}

// A table collects the observations of a section.
type table struct {
	section      section
	observations []observation
	partial      bool // a test was skipped on this system
}

func (b *table) add(fault, call string, cells ...string) {
	b.observations = append(b.observations, observation{fault, call, cells})
}

// addChild adds the observation of a child process, as a subtest.
func (b *table) addChild(t *testing.T, o observation) {
	t.Helper()
	name := strings.TrimSuffix(o.Fault+"/"+strings.ReplaceAll(o.Call, "`", ""), "/")
	t.Run(name, func(*testing.T) { b.observations = append(b.observations, o) })
}

// envRequire makes skipped faults a failure.
const envRequire = "WXQRCODE_REQUIRE_FAULTS"

// TestDocumentation_MatchesResults runs each fault as a subtest and compares the results
// with docs/reliability.md.
func TestDocumentation_MatchesResults(t *testing.T) {
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
		assert.True(t, complete, "tests were skipped because this system does not allow their faults")
	}
	document, err := template.ParseFiles(templateFile)
	require.NoError(t, err)
	var want bytes.Buffer
	require.NoError(t, document.Option("missingkey=error").Execute(&want, text))
	if *update {
		require.True(t, complete && filterDepth() == 0 && !t.Failed(), "a test failed or was skipped")
		require.NoError(t, os.WriteFile(docsFile, want.Bytes(), 0o600))
	}
	have, err := os.ReadFile(docsFile)
	require.NoError(t, err)
	if runtime.GOOS != "linux" || filterDepth() > 1 {
		return // error texts differ on other systems; filtered calls change rows
	}
	if !complete || filterDepth() > 0 {
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
		t.Errorf("docs/reliability.md differs from the results: if these are right, run this test with -update\n%s", difference(string(have), want.String()))
	}
}

// filterDepth returns how many levels of subtests -run and -skip filter; 0 means all run.
func filterDepth() int {
	return strings.Count(flag.Lookup("test.run").Value.String(), "/") + len(flag.Lookup("test.skip").Value.String())
}

// difference returns the lines that are in one text only.
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

// markdown returns the table. Calls with the same result share a row.
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
		for _, same := range b.equalCells(fault) {
			cells := []string{title}
			if b.section.call != "" {
				cells = append(cells, calls(same))
			}
			for _, cell := range same[0].Cells {
				cells = append(cells, strings.ReplaceAll(cell, "|", `\|`))
			}
			out.WriteString(markdownRow(cells))
			title = "" // in the first row only
		}
	}
	return out.String()
}

// equalCells groups the observations of a fault with equal cells.
func (b *table) equalCells(fault string) (groups [][]observation) {
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

// calls returns the names of the calls in a row.
func calls(of []observation) string {
	var names []string
	for _, o := range of {
		names = append(names, o.Call)
	}
	if !slices.ContainsFunc(allCalls, func(c *call) bool { return !slices.Contains(names, c.name) }) {
		return "all"
	}
	// Merge equal results with and without an existing file.
	if slices.Contains(names, saveNew.name) && slices.Contains(names, saveOver.name) {
		names = slices.DeleteFunc(names, func(n string) bool { return n == saveOver.name })
		names[slices.Index(names, saveNew.name)] = "`SaveImage`"
	}
	return strings.Join(names, ", ")
}

// envSlow names the file for the results of the slow faults. They run in their own
// process, so that other faults do not wait for them or count their goroutines.
const envSlow = "WXQRCODE_TEST_FAULTS_SLOW"

// slowFaults wait for timeouts, concurrently.
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
	s.cmd.Stdout, s.cmd.Stderr = output, output // a file needs no goroutine
	require.NoError(t, s.cmd.Start())
	return s
}

// finish waits for the slow faults and adds their results.
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
			tables[name].addChild(t, o)
		}
	}
}

// runSlow runs in the process of the slow faults.
func runSlow(t *testing.T, file string) {
	t.Helper()
	slow := map[string]*table{"calls": {}, "pushes": {}}
	t.Run("slow", func(t *testing.T) {
		leaks := countLeaks()
		wait := startSlowPushes(t, slow["pushes"])
		runFaults(t, slow["calls"], slices.Concat(slowCalls(), unansweredDials())...)
		wait()
		leaks.check(t)
	})
	text, err := json.Marshal(map[string][]observation{"calls": slow["calls"].observations, "pushes": slow["pushes"].observations})
	require.NoError(t, err)
	assert.NoError(t, os.WriteFile(file, text, 0o600))
}

// TestMain runs a child function in a process that a test started.
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

// envChild names a function in children.
const envChild = "WXQRCODE_TEST_FAULTS_CHILD"

var children = map[string]func(){}
