//go:build unix

package docs

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/yuin/goldmark/ast"
)

var (
	// skipped commands: go test would run this test again; go get and go mod need
	// a published version and change the go.mod of the reader.
	skipped = regexp.MustCompile(`^go (test|get|mod) `)
	// harmless commands have no effect outside the folder in which they run.
	harmless = regexp.MustCompile(`^(wxqrcode |go run \./|cat \w+\.csv$)[^;|&<>` + "`" + `$()]*&?$`)
	// volatile matches what differs from run to run: tickets, URLs, times, sizes.
	volatile = regexp.MustCompile(`(?m)\S{16,}|\S*\d{2}\S*( \(.*\)$)?`)
)

// TestREADME_CommandsRun runs the commands of README.md in a temporary folder,
// without an account, and compares their output with what the page shows.
func TestREADME_CommandsRun(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds programs")
	}
	s := newShell(t)
	p := readPage(t, "README.md")
	printed := ""
	for _, c := range p.commands() {
		if skipped.MatchString(c.text) {
			continue
		}
		if !harmless.MatchString(c.text) {
			p.errorf(c.line, "%s: not run; add it to skipped or harmless in checks/docs/commands_test.go", c.text)
			continue
		}
		output, err := s.run(c)
		printed += output
		if err != nil {
			p.errorf(c.line, "%s: %v; correct the command or the program; it printed\n%s", c.text, err, output)
		} else if c.shown != "" && mask(c.shown) != mask(output) {
			p.errorf(c.line, "%s does not print what the page shows; replace that by\n%s", c.text, output)
		}
	}
	each(p, func(n *ast.FencedCodeBlock) {
		for table := range strings.SplitSeq(p.code(n), "┌") {
			if string(n.Language(p.source)) == "text" && !strings.Contains(mask(printed), mask(table)) {
				p.errorf(p.line(n), "no command of the page prints this; run them and correct it:\n%s", table)
			}
		}
	})
}

func mask(output string) string {
	return strings.Join(strings.Fields(volatile.ReplaceAllString(output, "#")), " ")
}

// A shell has what the commands of a page share.
type shell struct {
	t   *testing.T
	dir string
	env []string
}

// newShell builds the programs and makes the folder in which they run.
func newShell(t *testing.T) *shell {
	t.Helper()
	dir, bin := t.TempDir(), t.TempDir()
	output, err := goCommand(t, root, "build", "-buildvcs=false", "-o", bin, "./cmd/wxqrcode", "./examples/scanlogin")
	require.NoError(t, err, output)
	logo, err := os.ReadFile(filepath.Join(root, "checks/docs/testdata/logo.png"))
	require.NoError(t, err)
	write(t, filepath.Join(dir, "logo.png"), string(logo))
	return &shell{t, dir, []string{"HOME=" + dir, "TZ=UTC", "PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")}}
}

var (
	goRun   = regexp.MustCompile(`^go run \./(\w+/)*`) // of a program that is built
	serves  = regexp.MustCompile(`^(scanlogin|.*&$)`)
	address = regexp.MustCompile(` --addr \S+| ?&$`)
	export  = regexp.MustCompile(`^export (\w+)='(.*)'$`)
	pageURL = regexp.MustCompile(`http://127\.0\.0\.1:\d+/`)
)

// run runs a command. A server continues to run until the test ends.
func (s *shell) run(c command) (string, error) {
	if name, ok := strings.CutPrefix(c.text, "cat "); ok { // a file of the reader
		write(s.t, filepath.Join(s.dir, name), c.shown)
	}
	line := goRun.ReplaceAllString(c.text, "")
	if serves.MatchString(line) {
		return s.serve(address.ReplaceAllString(line, "") + " --addr 127.0.0.1:0")
	}
	output, err := s.command(line).CombinedOutput()
	return string(output), err
}

// serve starts a server, waits for the URL of its page and takes the variables
// that it exports.
func (s *shell) serve(line string) (output string, err error) {
	server := s.command(line)
	stdout, err := server.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := server.Start(); err != nil {
		return "", err
	}
	s.t.Cleanup(func() {
		assert.NoError(s.t, server.Process.Signal(os.Interrupt))
		assert.NoError(s.t, server.Wait(), "%s must end with status 0 after Ctrl+C", line)
	})
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		output += lines.Text() + "\n"
		if m := export.FindStringSubmatch(lines.Text()); m != nil {
			s.env = append(s.env, m[1]+"="+m[2])
		} else if pageURL.MatchString(lines.Text()) {
			return output, nil
		}
	}
	return output, errors.New("it ended without printing a URL")
}

func (s *shell) command(line string) *exec.Cmd {
	command := exec.Command("bash", "-c", "exec "+line)
	command.Dir, command.Env = s.dir, s.env
	return command
}
