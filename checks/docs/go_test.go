package docs

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	markdown "github.com/yuin/goldmark/ast"
)

const module = "github.com/seed-0142d113/wxqrcode"

// importable packages need no import in a block.
var importable = []string{
	module, module + "/callback", module + "/render", module + "/scanstats", module + "/wxredis", module + "/wxtest",
	"context", "database/sql", "errors", "fmt", "io", "log", "log/slog", "net", "net/http", "os", "strings", "testing", "time",
}

// prelude declares what blocks take from the text around them.
const prelude = `
var (
	ctx    context.Context
	client *wxqrcode.Client
	e      *wxqrcode.Event
	waiter callback.Waiter

	appID, appSecret, token, aesKey string
	key                             []byte // of the statistics

	onEvent      func(context.Context, *wxqrcode.Event) (callback.Reply, error)
	requireLogin func(http.Handler) http.Handler
	other        interface{ GetAccessToken() (string, error) } // another SDK

	db     *sql.DB // with the values of long scenes
	long   string
	record func(value string)
)
`

// TestGoBlocks_Compile vets all Go blocks in one run. The blocks of a page are
// one package of a temporary module, in a workspace with those of this one.
func TestGoBlocks_Compile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	workspace := strings.ReplaceAll(readFile(t, "go.work"), "\t.", "\t"+root)
	write(t, filepath.Join(dir, "go.work"), workspace+"\nuse .\n")
	write(t, filepath.Join(dir, "go.work.sum"), readFile(t, "go.work.sum"))
	write(t, filepath.Join(dir, "go.mod"), "module blocks\n\ngo 1.26.0\n")
	for _, p := range pages(t) {
		each(p, func(n *markdown.FencedCodeBlock) {
			if string(n.Language(p.source)) != "go" {
				return
			}
			code, line := p.code(n), p.line(n)
			if formatted, err := format.Source([]byte(code)); err == nil && string(formatted) != code {
				p.errorf(line, "the block is not formatted; replace it by\n%s", formatted)
			}
			folder := filepath.Join(dir, strings.NewReplacer("/", "_", ".", "_").Replace(p.path))
			position := fmt.Sprintf("//line %s:%d\n", filepath.Join(root, p.path), line)
			if isFile(code) {
				write(t, filepath.Join(fmt.Sprintf("%s_%d", folder, line), "block.go"), position+code)
				return
			}
			write(t, filepath.Join(folder, "prelude.go"), wrap(prelude, "\n"))
			write(t, filepath.Join(folder, fmt.Sprintf("%d.go", line)), wrap(code, position))
		})
	}
	output, err := goCommand(t, dir, "vet", "-unreachable=false", "./...")
	assert.NoError(t, err, "correct these lines, or add what a block takes from its text to prelude or importable in checks/docs/go_test.go:\n%s",
		strings.ReplaceAll(output, root+"/", ""))
}

func write(t *testing.T, file, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
}

// goCommand runs the go command in a folder, in the workspace of that folder.
func goCommand(t *testing.T, dir string, args ...string) (output string, err error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Dir, command.Env = dir, append(os.Environ(), "GOWORK=")
	combined, err := command.CombinedOutput()
	return string(combined), err
}

func isFile(code string) bool {
	_, err := parser.ParseFile(token.NewFileSet(), "", code, parser.PackageClauseOnly)
	return err == nil
}

// wrap makes a file of declarations, or of statements, which become a function
// with the results of OnEvent.
func wrap(code, position string) string {
	const header, function = "package blocks\n", "func _() (callback.Reply, error) {\n"
	if f, err := parser.ParseFile(token.NewFileSet(), "", header+code, 0); err == nil {
		return header + importsOf(f) + position + code
	}
	f, err := parser.ParseFile(token.NewFileSet(), "", header+function+code+"}", 0)
	if err != nil {
		return header + function + position + code + "}\n" // for vet to report
	}
	return header + importsOf(f) + function + position + code + usesOf(f) + "return nil, nil\n}\n"
}

// importsOf returns the imports that a file lacks.
func importsOf(f *ast.File) (imports string) {
	for _, p := range importable {
		isName := func(x *ast.Ident) bool { return x.Name == path.Base(p) }
		if len(f.Imports) == 0 && slices.ContainsFunc(f.Unresolved, isName) {
			imports += fmt.Sprintf("import %q\n", p)
		}
	}
	return imports
}

// usesOf returns statements that use the variables of a function: a block need
// not use what it declares.
func usesOf(f *ast.File) (statements string) {
	for _, statement := range f.Decls[0].(*ast.FuncDecl).Body.List {
		assignment, ok := statement.(*ast.AssignStmt)
		if !ok || assignment.Tok != token.DEFINE {
			continue
		}
		for _, variable := range assignment.Lhs {
			if name := fmt.Sprint(variable); name != "_" {
				statements += "_ = &" + name + "\n"
			}
		}
	}
	return statements
}
