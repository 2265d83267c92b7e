package docs

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// root is the folder of the repository.
var root, _ = filepath.Abs("../..") // fails only if the test has no folder

// readFile returns the text of a file of the repository.
func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(content)
}

// A page is a parsed Markdown file.
type page struct {
	t      *testing.T
	path   string // relative to root, with slashes
	source []byte
	tree   ast.Node
}

func readPage(t *testing.T, path string) page {
	t.Helper()
	source := []byte(readFile(t, path))
	parser := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser()
	return page{t, path, source, parser.Parse(text.NewReader(source))}
}

// pages returns the pages of the repository.
func pages(t *testing.T) []page {
	t.Helper()
	var all []page
	for _, pattern := range []string{"*.md", ".github/*.md", "docs/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, file := range files {
			all = append(all, readPage(t, filepath.ToSlash(strings.TrimPrefix(file, root+string(filepath.Separator)))))
		}
	}
	require.NotEmpty(t, all)
	return all
}

// each calls f for every node of one type, in the order of the page.
func each[T ast.Node](p page, f func(T)) {
	_ = ast.Walk(p.tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // returns no error
		if n, ok := n.(T); ok && entering {
			f(n)
		}
		return ast.WalkContinue, nil
	})
}

// line returns the line on which a node begins; that of a code block is the
// first line of its code.
func (p page) line(n ast.Node) int {
	pos := n.Pos()
	if block, ok := n.(*ast.FencedCodeBlock); ok && block.Lines().Len() > 0 {
		pos = block.Lines().At(0).Start
	}
	return 1 + bytes.Count(p.source[:max(pos, 0)], []byte("\n"))
}

// errorf reports a failure on a line of the page.
func (p page) errorf(line int, format string, args ...any) {
	p.t.Helper()
	p.t.Errorf("%s:%d: "+format, append([]any{p.path, line}, args...)...)
}

// text returns what a reader sees of a node.
func (p page) text(n ast.Node) string {
	if t, ok := n.(*ast.Text); ok {
		return string(t.Value(p.source))
	}
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		b.WriteString(p.text(c))
		if c.Type() == ast.TypeBlock {
			b.WriteByte(' ') // between the cells of a row
		}
	}
	return b.String()
}

func (p page) code(n *ast.FencedCodeBlock) string { return string(n.Lines().Value(p.source)) }

// A command is a line that a reader types, and the output that is shown for it.
type command struct {
	line        int
	text, shown string
}

var shellComment = regexp.MustCompile(`(?m)(^|\s+)#\s.*$`)

// commands returns the lines of sh blocks, and those of console blocks that
// begin with "$ ".
func (p page) commands() []command {
	var all []command
	each(p, func(n *ast.FencedCodeBlock) {
		language := string(n.Language(p.source))
		if language != "sh" && language != "console" {
			return
		}
		for i, line := range strings.Split(strings.TrimSpace(p.code(n)), "\n") {
			text, hasPrompt := strings.CutPrefix(line, "$ ")
			text = strings.TrimSpace(shellComment.ReplaceAllString(text, ""))
			if language == "console" && !hasPrompt && len(all) > 0 {
				all[len(all)-1].shown += line + "\n"
			} else if text != "" {
				all = append(all, command{p.line(n) + i, text, ""})
			}
		}
	})
	return all
}
