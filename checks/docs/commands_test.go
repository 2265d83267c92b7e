package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// elsewhere are the commands of documents that are not run here, why not, and what runs them instead.
var elsewhere = []struct {
	command *regexp.Regexp
	why     string
	step    string // of .ci/run
	tests   string // or a folder whose tests do
}{
	{regexp.MustCompile(`^make [a-z]+$`), "is short for what stands in this table, or is run here", "", "checks/docs"},
	{regexp.MustCompile(`^go test work$`), "takes minutes", "tests", ""},
	{regexp.MustCompile(`^go test -race work$`), "takes minutes", "race", ""},
	{regexp.MustCompile(`^bash \.ci/run( [a-z]+)*$`), "runs this test", "tests", ""},
	{regexp.MustCompile(`^bash \.ci/(mutate|profile)$`), "takes up to an hour, for who works on the library; its syntax is checked", "", "checks/docs"},
	{regexp.MustCompile(`^go run \./internal/budgets$`), "takes minutes; the step runs each benchmark once", "bench", ""},
	{regexp.MustCompile(`^go run \./internal/load$`), "takes minutes, and measures", "", "internal/load"},
	{regexp.MustCompile(`^go run \./wxredis/internal/fleet$`), "takes a minute, and needs a Redis of its own", "fleet", ""},
	{regexp.MustCompile(`^go run \./checks/release( make \S+)?$`), "makes commits and tags; the step does so in a repository of its own", "release", ""},
	{regexp.MustCompile(`^go run \./checks/release binaries `), "takes minutes, and needs a commit", "binaries", ""},
	{regexp.MustCompile(`^go test .*-bench `), "takes minutes; the step runs each benchmark once", "bench", ""},
	{regexp.MustCompile(`^go test (.*-run .*|\./[\w/]+( -update)?)$`), "the step runs these tests", "tests", ""},
	{regexp.MustCompile(`^go (get|install|run) \S*@\S+$`), "needs a version that is published", "release", ""},
	{regexp.MustCompile(`^go mod (edit|tidy)\b`), "changes go.mod; the step does so as a user", "release", ""},
	{regexp.MustCompile(`^git [a-z]+\b`), "changes a repository; the step has one of its own", "release", ""},
	{regexp.MustCompile(`^kill %1$`), "ends the sandbox of the session before it, as the test does", "", "checks/docs"},
}

// isElsewhere reports whether a command is in that table, and what is wrong with it.
func isElsewhere(command string) (bool, error) {
	for _, e := range elsewhere {
		if !e.command.MatchString(command) {
			continue
		}
		if e.step != "" {
			if err := checkSteps(e.step); err != nil {
				return true, err
			}
		}
		return true, checkParts(command)
	}
	return false, nil
}

// runHere are the commands that may be run here. All others are refused: nobody knows what they would do to the machine.
var runHere = regexp.MustCompile(`^(wxqrcode|cat|lpr|sqlite3|wc)( |$)|^go (doc|version) |^go (install|run) \./`)

// ownCommands returns the commands of a line that are to be run here, and what is wrong with the others.
func ownCommands(line string) (own []string, err error) {
	for _, c := range commands(line) {
		found, err := isElsewhere(bare(c))
		switch {
		case err != nil:
			return nil, err
		case !found && !runHere.MatchString(bare(c)):
			return nil, fmt.Errorf("%q is neither in the table elsewhere nor one that may be run here", c)
		case !found:
			own = append(own, c)
		}
	}
	return own, nil
}

// checkParts reports what a command names that is not there: a step, a target, a test, a folder.
func checkParts(command string) error {
	w := words(command)
	switch {
	case w[0] == "bash" && len(w) > 1 && w[1] == ".ci/run":
		return checkSteps(w[2:]...)
	case w[0] == "bash" && len(w) > 1:
		return checkSyntax(w[1])
	case w[0] == "make" && len(w) > 1:
		return checkTarget(w[1])
	case len(w) > 2 && w[0] == "go" && w[1] == "test":
		return checkGoTest(w[2:])
	}
	for _, folder := range w[1:] {
		if !strings.HasPrefix(folder, "./") {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, folder)); err != nil {
			return fmt.Errorf("%s: there is no %s", command, folder)
		}
	}
	return nil
}

// checkSyntax reports a script that bash could not run.
func checkSyntax(script string) error {
	output, err := exec.Command("bash", "-n", filepath.Join(root, script)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", script, err, output)
	}
	return nil
}

// checkSteps reports a step that .ci/run does not have.
func checkSteps(names ...string) error {
	script, err := os.ReadFile(filepath.Join(root, ".ci/run"))
	if err != nil {
		return err
	}
	list := regexp.MustCompile(`(?m)^steps=\((.*)\)$`).FindStringSubmatch(string(script))
	if list == nil {
		return fmt.Errorf(".ci/run has no list of steps")
	}
	for _, name := range names {
		isDefined := regexp.MustCompile(`(?m)^` + name + `\(\) \{`).Match(script)
		if !slices.Contains(strings.Fields(list[1]), name) || !isDefined {
			return fmt.Errorf(".ci/run has no step %s", name)
		}
	}
	return nil
}

// checkTarget reports a target of make that is not there, or whose commands are not in a step.
func checkTarget(name string) error {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return err
	}
	recipe := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `:.*\n((\t.*\n)+)`).FindStringSubmatch(string(makefile))
	if recipe == nil {
		return fmt.Errorf("the Makefile has no target %s", name)
	}
	for line := range strings.Lines(recipe[1]) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "@awk ") { // of make help
			continue
		}
		if _, err := ownCommands(line); err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
	}
	return nil
}

// goTestValues are the flags of go test that have a value.
var goTestValues = []string{"-run", "-bench", "-benchtime", "-fuzz", "-fuzztime", "-timeout", "-count"}

// checkGoTest reports tests, folders and flags of ours that a go test names and that are not there.
func checkGoTest(args []string) error {
	var names, folders []string
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case slices.Contains(goTestValues, arg) && i+1 < len(args):
			if i++; arg == "-run" || arg == "-bench" || arg == "-fuzz" {
				names = append(names, args[i])
			}
		case strings.HasPrefix(arg, "-"):
			if err := checkSourceFlag(strings.TrimLeft(arg, "-")); err != nil {
				return err
			}
		case strings.HasPrefix(arg, "."):
			folders = append(folders, filepath.ToSlash(filepath.Clean(arg)))
			if _, err := os.Stat(filepath.Join(root, arg)); err != nil {
				return fmt.Errorf("go test: there is no %s", arg)
			}
		}
	}
	for _, name := range names {
		if name != "^$" && name != "." {
			if err := checkTestName(name, folders); err != nil {
				return err
			}
		}
	}
	return nil
}

var (
	testFunction = regexp.MustCompile(`(?m)^func ((Test|Benchmark|Fuzz|Example)\w*)\(`)
	goTestFlags  = []string{"race", "short", "v", "json"}
)

// checkTestName looks for a test, a benchmark or a fuzz target. The folder "." is that of any module: a document can say which
// one in words.
func checkTestName(name string, folders []string) error {
	top, _, _ := strings.Cut(name, "/")
	pattern, err := regexp.Compile(top)
	if err != nil {
		return err
	}
	sources, err := goSources()
	if err != nil {
		return err
	}
	for file, code := range sources {
		folder := filepath.ToSlash(filepath.Dir(file))
		if !strings.HasSuffix(file, "_test.go") || !slices.Contains(folders, folder) && !slices.Contains(folders, ".") {
			continue
		}
		for _, f := range testFunction.FindAllStringSubmatch(code, -1) {
			if pattern.MatchString(f[1]) {
				return nil
			}
		}
	}
	return fmt.Errorf("no test or benchmark is named %s in %s", name, folders)
}

// checkSourceFlag reports a flag that none of our programs and tests declares by package flag.
func checkSourceFlag(name string) error {
	if slices.Contains(goTestFlags, name) {
		return nil
	}
	sources, err := goSources()
	if err != nil {
		return err
	}
	declares := regexp.MustCompile(`\b(flag|flags)\.\w+\((&[\w.]+, )?"` + regexp.QuoteMeta(name) + `"`)
	for _, code := range sources {
		if declares.MatchString(code) {
			return nil
		}
	}
	return fmt.Errorf("nothing has a flag -%s", name)
}

// programs begin code in a sentence that is a command.
var programs = []string{
	"apt-get", "bash", "curl", "docker", "gh", "git", "go", "kill", "make", "mysql", "npm", "npx", "psql", "redis-cli", "sh", "sqlite3", "sudo", "wxqrcode",
}

// isCommand tells a command in a sentence from the mere name of a program, or of a command of go.
func isCommand(s span) bool {
	w := words(bare(s.text))
	return s.column != theirs && len(w) > 1 && slices.Contains(programs, w[0]) && (w[0] != "go" || len(w) > 2)
}

func TestWhatIsNotRunHereIsRunByAnother(t *testing.T) {
	seen := make([]bool, len(elsewhere))
	see := func(at place, line string) {
		_, err := ownCommands(line)
		assert.NoError(t, err, at)
		for _, c := range commands(line) {
			for i, e := range elsewhere {
				seen[i] = seen[i] || e.command.MatchString(bare(c))
			}
		}
	}
	for _, d := range allDocuments(t) {
		for _, b := range d.blocks() {
			if b.language == langShell || b.language == langConsole {
				for _, e := range entries(b) {
					see(e.place, e.line)
				}
			}
		}
		for _, s := range d.spans() {
			if isCommand(s) {
				see(s.place, s.text)
			}
		}
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	require.NoError(t, err)
	for line := range strings.Lines(string(makefile)) {
		if recipe, ok := strings.CutPrefix(line, "\t"); ok && !strings.HasPrefix(recipe, "@awk ") {
			see(place{"Makefile", 0}, strings.TrimSpace(recipe))
		}
	}
	for i, e := range elsewhere {
		assert.True(t, seen[i], "no document has a command such as %s: take it out of the table", e.command)
		if e.tests != "" {
			tests, err := filepath.Glob(filepath.Join(root, e.tests, "*_test.go"))
			require.NoError(t, err)
			assert.NotEmpty(t, tests, "%s is said to be tested in %s", e.command, e.tests)
		}
	}
}

func TestEveryFlagThatATextNamesExists(t *testing.T) {
	for _, d := range allDocuments(t) {
		for _, s := range d.spans() {
			if w := words(s.text); len(w) > 0 && strings.HasPrefix(s.text, "-") && s.column != theirs {
				assert.NoError(t, checkFlag(w[0]), s.place)
			}
		}
	}
}

var flagName = regexp.MustCompile(`^(--?)([a-z][a-z-]*)$`)

// checkFlag looks for a flag that stands alone: of the program wxqrcode with two hyphens, of another with one.
func checkFlag(text string) error {
	m := flagName.FindStringSubmatch(text)
	switch {
	case m == nil: // a number
		return nil
	case m[1] == "-":
		return checkSourceFlag(m[2])
	}
	help, err := os.ReadFile(filepath.Join(root, helpTexts)) // which a test of cmd/wxqrcode holds to be that of the commands
	if err != nil {
		return err
	}
	if regexp.MustCompile(`(?m)^ {2,6}(-\w, )?` + text + `\b`).Match(help) {
		return nil
	}
	return fmt.Errorf("no command of wxqrcode has a flag %s", text)
}

func TestACommandThatCannotBeRunIsFound(t *testing.T) {
	for name, test := range map[string]struct {
		line    string
		wantOwn []string
		wantErr string
	}{
		"a step":                        {"bash .ci/run lint fuzz", nil, ""},
		"the tests":                     {"go test work", nil, ""},
		"two that are not run":          {"GOWORK=off go get x@main && go mod tidy", nil, ""},
		"a benchmark":                   {"go test -run '^$' -bench Record -benchtime 200000x .", nil, ""},
		"a benchmark's own flag":        {"go test -run '^$' -bench Report/SQLite -events 10000000 -timeout 1h .", nil, ""},
		"one that is run":               {"wxqrcode demo", []string{"wxqrcode demo"}, ""},
		"one that is run, one that not": {"git push && wxqrcode --version", []string{"wxqrcode --version"}, ""},
		"one that nobody knows":         {"terraform apply", nil, "neither in the table"},
		"one of go that nobody knows":   {"go generate ./...", nil, "neither in the table"},
		"a part that nobody knows":      {"wxqrcode demo; rm -rf .", nil, "neither in the table"},
		"a step that is not there":      {"bash .ci/run lints", nil, "no step lints"},
		"a benchmark that is not there": {"go test -run '^$' -bench Recording .", nil, "named Recording"},
		"a benchmark of another folder": {"go test -run '^$' -bench Record ./render", nil, "named Record in [render]"},
		"a folder that is not there":    {"go test -run '^$' -bench . ./paint", nil, "no ./paint"},
		"a test that is not there":      {"go test -run Thousands .", nil, "named Thousands"},
		"a flag that is not there":      {"go test -run TenThousand -happenings 7 .", nil, "flag -happenings"},
		"a target that is not there":    {"make benches", nil, "no target benches"},
	} {
		t.Run(name, func(t *testing.T) {
			own, err := ownCommands(test.line)
			assert.Equal(t, test.wantOwn, own)
			if test.wantErr == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.wantErr)
			}
		})
	}
	require.Error(t, checkSyntax("missing"))
	require.NoError(t, checkFlag("--live"))
	require.NoError(t, checkFlag("-alone"))
	require.Error(t, checkFlag("--alive"))
	require.Error(t, checkFlag("-lonely"))
	require.ErrorContains(t, checkParts("go run ./cmd/wxqr demo"), "no ./cmd/wxqr")
}
