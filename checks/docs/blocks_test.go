package docs

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The languages of blocks, each with what checks it.
const (
	langGo      = "go"      // gocode_test.go compiles it
	langShell   = "sh"      // session_test.go runs each line of it
	langConsole = "console" // the same, where lines begin with "$ "; the others are compared with what was printed
	langText    = "text"    // nobody's: a drawing, or something printed
)

// helpTexts is written by cobra, with indented blocks; a test of cmd/wxqrcode compares it with the commands.
const helpTexts = "docs/cli.md"

func TestEveryBlockIsRunOrCompiledOrSaysThatItIsText(t *testing.T) {
	for _, d := range allDocuments(t) {
		for _, b := range d.blocks() {
			assert.NoError(t, checkBlock(b), b.place)
		}
	}
}

func checkBlock(b block) error {
	switch b.language {
	case langGo, langShell, langConsole:
		return nil
	case langText:
		if line := promptLine.FindString(b.text); line != "" {
			return fmt.Errorf("%q stands in a block of text, where nobody runs it; make the block sh or console", line)
		}
		return nil
	case "":
		if !b.isFenced && b.doc == helpTexts {
			return nil
		}
		return fmt.Errorf("a block without a language; give it one of go, sh, console and, for what is neither run nor compiled, text: %q", firstLine(b.text))
	}
	return fmt.Errorf("a block of %s, which nobody runs or compiles", b.language)
}

// promptLine is a line that looks like a command. That of a usage ends in [flags] and is none.
var promptLine = regexp.MustCompile(`(?m)^\s*(\$ .*|go (run|test|get|install|mod|build|doc) .*|make \w+|(wxqrcode|bash|git) .*[^\]\s])$`)

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func TestABlockThatNobodyChecksIsFound(t *testing.T) {
	for name, test := range map[string]struct{ source, wantErr string }{
		"Go":                      {"```go\nx := 1\n```", ""},
		"a shell's":               {"```sh\ngo version\n```", ""},
		"a drawing":               {"```text\n┌──┐\n```", ""},
		"a usage":                 {"```text\nwxqrcode batch FILE.csv [flags]\n```", ""},
		"no language":             {"```\nx := 1\n```", "without a language"},
		"indented":                {"Text:\n\n    go version\n", "without a language"},
		"in a list":               {"1. Text:\n\n   ```\n   x\n   ```\n", "without a language"},
		"a language nobody runs":  {"```python\nprint()\n```", "of python"},
		"a command that is text":  {"```text\n$ wxqrcode demo\n```", "where nobody runs it"},
		"a program that is text":  {"```text\nwxqrcode demo\n```", "where nobody runs it"},
		"a command of go as text": {"```text\nx\n  go run ./cmd/wxqrcode demo\n```", "where nobody runs it"},
	} {
		t.Run(name, func(t *testing.T) {
			blocks := parseDocument("docs/new.md", []byte(test.source)).blocks()
			require.Len(t, blocks, 1)
			if err := checkBlock(blocks[0]); test.wantErr == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.wantErr)
			}
		})
	}
}
