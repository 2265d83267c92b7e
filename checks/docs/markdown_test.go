package docs

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"
)

// root is the repository's folder.
var root = func() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}()

// A document is a Markdown file, parsed.
type document struct {
	path   string // from the root, with slashes
	source []byte
	node   ast.Node
}

// A place is a line of a document, to be found by who must mend it.
type place struct {
	doc  string
	line int
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.doc, p.line) }

// A block is a fenced or an indented block of code.
type block struct {
	place    // of its first line
	language string
	isFenced bool
	text     string
}

// A span is code in a text, in backticks.
type span struct {
	place
	text   string
	column string // the header of the column of a table that it stands in
}

// A link leads somewhere, or shows a picture.
type link struct {
	place
	target string
}

// documents returns all Markdown files, those that git does not know yet too. It does not ask git, which refuses a checkout
// that another user owns.
var documents = sync.OnceValues(func() ([]*document, error) {
	var all []*document
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (name == "testdata" || strings.HasPrefix(name, ".") && name != ".github"):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(name) != ".md":
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		all = append(all, parseDocument(filepath.ToSlash(name), source))
		return err
	})
	return all, err
})

func allDocuments(t *testing.T) []*document {
	t.Helper()
	all, err := documents()
	require.NoError(t, err)
	require.NotEmpty(t, all)
	return all
}

func findDocument(t *testing.T, path string) *document {
	t.Helper()
	for _, d := range allDocuments(t) {
		if d.path == path {
			return d
		}
	}
	require.Failf(t, "no such document", "%s", path)
	return nil
}

func parseDocument(path string, source []byte) *document {
	parser := goldmark.New(goldmark.WithExtensions(extension.Table)).Parser()
	return &document{path, source, parser.Parse(text.NewReader(source))}
}

// walk calls f for each node, from the top.
func (d *document) walk(f func(ast.Node)) {
	_ = ast.Walk(d.node, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // f returns no error
		if entering {
			f(n)
		}
		return ast.WalkContinue, nil
	})
}

func (d *document) at(offset int) place {
	return place{d.path, 1 + bytes.Count(d.source[:offset], []byte("\n"))}
}

// find returns where a node begins. An inline one is where its first text is, or else its block.
func (d *document) find(n ast.Node) place {
	for ; n != nil; n = n.Parent() {
		if t, ok := n.(*ast.Text); ok {
			return d.at(t.Segment.Start)
		}
		if t, ok := n.FirstChild().(*ast.Text); ok {
			return d.at(t.Segment.Start)
		}
		if n.Type() == ast.TypeBlock && n.Lines().Len() > 0 {
			return d.at(n.Lines().At(0).Start)
		}
	}
	return place{d.path, 1}
}

func (d *document) blocks() []block {
	var all []block
	d.walk(func(n ast.Node) {
		b := block{place: d.find(n)}
		switch n := n.(type) {
		case *ast.FencedCodeBlock:
			b.language, b.isFenced = string(n.Language(d.source)), true
		case *ast.CodeBlock:
		default:
			return
		}
		for i := range n.Lines().Len() {
			line := n.Lines().At(i)
			b.text += string(line.Value(d.source))
		}
		all = append(all, b)
	})
	return all
}

// textOf returns the text of an inline node, as it stands.
func (d *document) textOf(n ast.Node) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		if t, ok := c.(*ast.Text); ok {
			b.Write(t.Value(d.source))
		} else {
			b.WriteString(d.textOf(c))
		}
	}
	return b.String()
}

func (d *document) spans() []span {
	var all []span
	d.walk(func(n ast.Node) {
		if n, ok := n.(*ast.CodeSpan); ok {
			text := strings.ReplaceAll(d.textOf(n), "\n", " ") // as a browser shows it
			all = append(all, span{d.find(n), text, d.column(n)})
		}
	})
	return all
}

// column returns the header above an inline node of a table.
func (d *document) column(n ast.Node) string {
	for ; n != nil; n = n.Parent() {
		cell, ok := n.(*extast.TableCell)
		if !ok {
			continue
		}
		header := cell.Parent().Parent().FirstChild().FirstChild()
		for left := cell.PreviousSibling(); left != nil && header != nil; left = left.PreviousSibling() {
			header = header.NextSibling()
		}
		if header != nil {
			return d.textOf(header)
		}
	}
	return ""
}

func (d *document) links() []link {
	var all []link
	d.walk(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.Link:
			all = append(all, link{d.find(n), string(n.Destination)})
		case *ast.Image:
			all = append(all, link{d.find(n), string(n.Destination)})
		}
	})
	return all
}

func (d *document) headings() []string {
	var all []string
	d.walk(func(n ast.Node) {
		if n.Kind() == ast.KindHeading {
			all = append(all, plainText(n, d.source))
		}
	})
	return all
}

// plainText is what a reader sees of a node.
func plainText(n ast.Node, source []byte) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		switch c := c.(type) {
		case *ast.Text:
			b.Write(c.Segment.Value(source))
		case *ast.String:
			b.Write(c.Value)
		default:
			b.WriteString(plainText(c, source))
		}
	}
	return b.String()
}

// tables returns the text of each cell of each table, header and all.
func (d *document) tables() [][][]string {
	var all [][][]string
	d.walk(func(n ast.Node) {
		switch n.(type) {
		case *extast.Table:
			all = append(all, nil)
		case *extast.TableHeader, *extast.TableRow:
			var row []string
			for cell := n.FirstChild(); cell != nil; cell = cell.NextSibling() {
				row = append(row, plainText(cell, d.source))
			}
			last := len(all) - 1
			all[last] = append(all[last], row)
		}
	})
	return all
}
