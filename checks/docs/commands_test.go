package docs

import (
	"errors"
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
	runs    string // what stands in that step
}{
	{regexp.MustCompile(`^go test work$`), "takes minutes", "tests", "go test work"},
	{regexp.MustCompile(`^go test -race work$`), "takes minutes", "race", "go test -race "},
	{regexp.MustCompile(`^bash \.ci/run( [a-z]+)*$`), "runs this test", "tests", "go test work"},
	{regexp.MustCompile(`^bash \.ci/mutate$`), "takes an hour; the step does it with one package", "mutants", "bash .ci/mutate"},
	{regexp.MustCompile(`^bash \.ci/profile$`), "takes minutes; the step measures for a shorter time", "bench", "bash .ci/profile"},
	{regexp.MustCompile(`^go run \./internal/budgets$`), "takes minutes; the step runs each benchmark once", "bench", "-bench=. "},
	{regexp.MustCompile(`^go run \./internal/load$`), "takes minutes; the step does it with fewer pushes", "load", "go run ./internal/load"},
	{regexp.MustCompile(`^go run \./wxredis/internal/fleet$`), "takes a minute, and needs a Redis of its own", "fleet", "go run ./wxredis/internal/fleet"},
	{regexp.MustCompile(`^go run \./checks/release( make \S+)?$`), "makes commits and tags; the step does so in a repository of its own", "release", "go run ./checks/release"},
	{regexp.MustCompile(`^go run \./checks/release binaries `), "takes minutes, and needs a commit", "binaries", `release" binaries `},
	{regexp.MustCompile(`^go test .*-bench `), "takes minutes; the step runs each benchmark once", "bench", "-bench=. "},
	{regexp.MustCompile(`^go test (.*-run .*|\./[\w/]+( -update)?)$`), "the step runs these tests", "tests", "go test work"},
	{regexp.MustCompile(`^go (get|install|run) \S*@\S+$`), "needs a version that is published", "release", "go run ./checks/release"},
	{regexp.MustCompile(`^go mod (edit|tidy)\b`), "changes go.mod; the step does so as a user", "release", "go run ./checks/release"},
	{regexp.MustCompile(`^git [a-z]+\b`), "changes a repository; the step has one of its own", "release", "go run ./checks/release"},
}

// isElsewhere reports whether a command is in that table, and what is wrong with it.
func isElsewhere(command string) (bool, error) {
	for _, e := range elsewhere {
		if e.command.MatchString(command) {
			return true, checkParts(command)
		}
	}
	return false, nil
}

// ownCommands returns the commands of a line that are to be run here, and what is wrong with any of it.
func ownCommands(line string) (own []string, err error) {
	all, err := expand(line)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		found, err := isElsewhere(bare(c))
		if err == nil && !found {
			err = checkHarmless(c)
			own = append(own, c)
		}
		if err != nil {
			return nil, err
		}
	}
	return own, nil
}

// expand returns the commands of a line. Instead of make there are those of its target.
func expand(line string) ([]string, error) {
	if strings.Contains(line, "\n") {
		return nil, fmt.Errorf("%q is more than one line", line)
	}
	var all []string
	for _, c := range commands(line) {
		target := makeTarget.FindStringSubmatch(bare(c))
		if target == nil || runHere.MatchString(c) {
			all = append(all, c)
			continue
		}
		recipe, err := recipeOf(target[1])
		if err != nil {
			return nil, err
		}
		for _, l := range recipe {
			all = append(all, commands(strings.TrimSuffix(c, bare(c))+l)...)
		}
	}
	return all, nil
}

var makeTarget = regexp.MustCompile(`^make ([a-z]+)$`)

// recipeOf returns the lines that make would run: as it tells, or where there is no make, as they are written.
func recipeOf(target string) ([]string, error) {
	program, err := exec.LookPath("make")
	if err != nil {
		return writtenRecipe(target)
	}
	command := exec.Command(program, "--dry-run", "--no-print-directory", target)
	command.Dir = root
	output, err := command.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("make %s: %w: %s", target, err, output)
	}
	return strings.Split(strings.TrimSpace(string(output)), "\n"), nil
}

func writtenRecipe(target string) ([]string, error) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return nil, err
	}
	recipe := regexp.MustCompile(`(?m)^` + target + `:.*\n\t(.*(\n\t.*)*)`).FindStringSubmatch(string(makefile))
	if recipe == nil {
		return nil, fmt.Errorf("the Makefile has no target %s", target)
	}
	return strings.Split(recipe[1], "\n\t"), nil
}

// checkParts reports what a command names that is not there: a step, a test, a folder.
func checkParts(command string) error {
	w := words(command)
	switch {
	case w[0] == "bash" && len(w) > 1 && w[1] == ".ci/run":
		for _, step := range w[2:] {
			if _, err := textOfStep(step); err != nil {
				return err
			}
		}
		return nil
	case w[0] == "bash" && len(w) > 1:
		return checkSyntax(w[1])
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

// textOfStep returns what a step of .ci/run does, without comments.
func textOfStep(name string) (string, error) {
	script, err := os.ReadFile(filepath.Join(root, ".ci/run"))
	if err != nil {
		return "", err
	}
	return findStep(string(script), name)
}

func findStep(script, name string) (string, error) {
	list := regexp.MustCompile(`(?m)^steps=\((.*)\)$`).FindStringSubmatch(script)
	if list == nil {
		return "", errors.New(".ci/run has no list of steps")
	}
	function := regexp.MustCompile(`(?m)^` + name + `\(\) \{(.*\}|\n(.*\n)*?\})$`).FindStringSubmatch(script)
	if !slices.Contains(strings.Fields(list[1]), name) || function == nil {
		return "", fmt.Errorf(".ci/run has no step %s", name)
	}
	return comment.ReplaceAllString(function[1], ""), nil
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
		all, _ := expand(line) // whose error that of ownCommands is
		for _, c := range all {
			for i, e := range elsewhere {
				seen[i] = seen[i] || e.command.MatchString(bare(c))
			}
		}
	}
	for _, d := range allDocuments(t) {
		for _, e := range typed(d) {
			see(e.place, e.line)
		}
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	require.NoError(t, err)
	for _, target := range regexp.MustCompile(`(?m)^([a-z]+):`).FindAllStringSubmatch(string(makefile), -1) {
		see(place{"Makefile", 0}, "make "+target[1])
		told, err := recipeOf(target[1])
		require.NoError(t, err)
		written, err := writtenRecipe(target[1])
		require.NoError(t, err)
		assert.True(t, target[1] == "help" || slices.Equal(told, written), "make tells %q, and %q is written", told, written)
	}
	for i, e := range elsewhere {
		assert.True(t, seen[i], "no document has a command such as %s: take it out of the table", e.command)
		step, err := textOfStep(e.step)
		assert.NoError(t, err, "of %s", e.command)
		assert.Contains(t, step, e.runs, "the step %s, which is said to run %s", e.step, e.command)
	}
}

func TestAStepIsTakenOutOfTheScript(t *testing.T) {
	const script = "one() { go test work; }\n\ntwo() {\n\tif x; then {\n\t\tgo vet # go test\n\t}; fi\n}\n\nthree() { true; }\n\nsteps=(one two four)\n"
	for name, want := range map[string]string{"one": " go test work; }", "two": "\n\tif x; then {\n\t\tgo vet\n\t}; fi\n}"} {
		step, err := findStep(script, name)
		require.NoError(t, err)
		assert.Equal(t, want, step)
	}
	for _, name := range []string{"three", "four", "five"} {
		_, err := findStep(script, name)
		require.ErrorContains(t, err, "no step "+name)
	}
	_, err := findStep("one() { true; }\n", "one")
	require.ErrorContains(t, err, "no list of steps")
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
		"two lines":                     {"wxqrcode demo # and\nrm -rf .", nil, "more than one line"},
		"a target":                      {"FUZZTIME=10m make fuzz", nil, ""},
		"a target that is run":          {"WXQRCODE_API_URL=x make demo", []string{"WXQRCODE_API_URL=x go run ./cmd/wxqrcode demo"}, ""},
		"the targets":                   {"make help", []string{"make help"}, ""},
		"make without a target":         {"make", nil, "neither in the table"},
		"make with a flag":              {"make -B demo", nil, "neither in the table"},
		"a step that is not there":      {"bash .ci/run lints", nil, "no step lints"},
		"a benchmark that is not there": {"go test -run '^$' -bench Recording .", nil, "named Recording"},
		"a benchmark of another folder": {"go test -run '^$' -bench Record ./render", nil, "named Record in [render]"},
		"a folder that is not there":    {"go test -run '^$' -bench . ./paint", nil, "no ./paint"},
		"a test that is not there":      {"go test -run Thousands .", nil, "named Thousands"},
		"a flag that is not there":      {"go test -run TenThousand -happenings 7 .", nil, "flag -happenings"},
		"a target that is not there":    {"make benches", nil, "benches"},
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
