package docs

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// An entry is what a reader types, and what the document shows of its answer.
type entry struct {
	place
	line  string
	shown string // of a console alone
}

// entries returns what a block of a shell has one type.
func entries(b block) []entry {
	var all []entry
	continued := false
	for i, line := range strings.Split(strings.TrimSuffix(b.text, "\n"), "\n") {
		at := place{b.doc, b.line + i}
		last := len(all) - 1
		typed, isTyped := line, strings.TrimSpace(line) != "" && !strings.HasPrefix(strings.TrimSpace(line), "#")
		if b.language == langConsole {
			typed, isTyped = strings.CutPrefix(line, "$ ")
		}
		switch {
		case continued:
			all[last].line = strings.TrimSuffix(all[last].line, `\`) + " " + strings.TrimPrefix(strings.TrimSpace(line), "> ")
		case isTyped:
			all = append(all, entry{place: at, line: strings.TrimSpace(typed)})
		case b.language == langConsole && last >= 0:
			all[last].shown += line + "\n"
			continue
		case b.language == langConsole: // output of nothing
			all = append(all, entry{place: at, line: "false # " + line})
		}
		continued = len(all) > 0 && (isTyped || continued) && strings.HasSuffix(line, `\`)
	}
	return all
}

// typed returns what a reader of a document may type: first what stands in blocks, then what stands in sentences.
func typed(d *document) []entry {
	var all []entry
	for _, b := range d.blocks() {
		if b.language == langShell || b.language == langConsole {
			all = append(all, entries(b)...)
		}
	}
	for _, s := range d.spans() {
		if isCommand(s) {
			all = append(all, entry{place: s.place, line: s.text})
		}
	}
	return all
}

// commands returns the commands of a line: what stands between &&, ||, |, ; and &, without comments.
func commands(line string) []string {
	var all []string
	var b strings.Builder
	end := func() {
		if c := strings.TrimSpace(b.String()); c != "" {
			all = append(all, c)
		}
		b.Reset()
	}
	quote := rune(0)
	for i, r := range line {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case r == '#' && (i == 0 || line[i-1] == ' '):
			end()
			return all
		case r == ';' || r == '|' || r == '&' && !strings.HasSuffix(line[:i], ">"):
			end()
			continue
		}
		b.WriteRune(r)
	}
	end()
	return all
}

// assignment is one of those that may stand before a command.
var assignment = regexp.MustCompile(`^[A-Z_]+=([^\s'"]|'[^']*'|"[^"]*")*\s+`)

// bare returns a command without assignments before it.
func bare(command string) string {
	for assignment.MatchString(command) {
		command = command[len(assignment.FindString(command)):]
	}
	return command
}

// words returns the words of a command, without quotes.
func words(command string) []string {
	var all []string
	var b strings.Builder
	quote, inWord := rune(0), false
	for _, r := range command + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			b.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r != ' ':
			b.WriteRune(r)
			inWord = true
		case inWord:
			all = append(all, b.String())
			b.Reset()
			inWord = false
		}
	}
	return all
}

func TestALineOfAShellIsTakenApart(t *testing.T) {
	assert.Equal(t, []string{"go get x@main", "go mod tidy"}, commands("go get x@main && go mod tidy  # first"))
	assert.Equal(t, []string{`wxqrcode image "$TICKET" --out -`, "lpr"}, commands(`wxqrcode image "$TICKET" --out - | lpr`))
	assert.Equal(t, []string{"a 'b && c' d#e", "f >&2"}, commands("a 'b && c' d#e; f >&2 &"))
	assert.Equal(t, "go mod tidy", bare("GOWORK=off X=1 go mod tidy"))
	assert.Equal(t, "go mod tidy", bare(`X="a b" Y='c'd go mod tidy`))
	assert.Equal(t, []string{"a", "b c", "", "de"}, words(`a 'b c'  "" d"e"`))

	sh := block{place: place{"a.md", 10}, language: langShell, text: "# first\none \\\n  two\n\nthree\n"}
	assert.Equal(t, []entry{{place: place{"a.md", 11}, line: "one  two"}, {place: place{"a.md", 14}, line: "three"}}, entries(sh))
	console := block{place: place{"a.md", 10}, language: langConsole, text: "$ one\n1\n\n# 2\n$ two\n"}
	assert.Equal(t, []entry{{place{"a.md", 10}, "one", "1\n\n# 2\n"}, {place{"a.md", 14}, "two", ""}}, entries(console))
}
