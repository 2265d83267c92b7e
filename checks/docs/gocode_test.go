package docs

import (
	"errors"
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readersOwn declares what a reader of the documents brings. Ctx and e are parameters of readersFunc.
const readersOwn = `
var (
	appID, appSecret, token, aesKey string
	key                             []byte // of the statistics

	requireLogin func(http.Handler) http.Handler
	onEvent      func(context.Context, *wxqrcode.Event) (callback.Reply, error)
	other        interface{ GetAccessToken() (string, error) } // another SDK

	db     *sql.DB // of the reader, with the values of long scenes
	long   string
	record func(value string)
)
`

// readersFunc is the function around statements. Its results are those of an event's handler, where a document says
// "in OnEvent".
const readersFunc = "func _(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {\n"

func TestEveryGoBlockCompiles(t *testing.T) {
	l := newLibrary(t)
	found := 0
	for _, d := range allDocuments(t) {
		blocks := goBlocks(d)
		found += len(blocks)
		t.Run(d.path, func(t *testing.T) {
			assert.NoError(t, compile(l, blocks))
			for _, b := range blocks {
				assert.NoError(t, checkFormat(b), b.place)
			}
		})
	}
	assert.NotZero(t, found, "no Go block found")
}

func goBlocks(d *document) []block {
	var blocks []block
	for _, b := range d.blocks() {
		if b.language == langGo {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// compile type-checks the Go blocks of a document, in their order: each sees what those before it declare, and may declare the
// same name anew. A block of declarations is a file.
func compile(l library, blocks []block) error {
	var programs []source
	files := []source{{"readersOwn", "package document\n" + importAll() + readersOwn}}
	body := "package document\n" + importAll() + readersFunc
	end := "return nil, nil\n}\n"
	for _, b := range blocks {
		line := fmt.Sprintf("//line %s:%d\n", b.doc, b.line)
		switch kindOf(b.text) {
		case wholeFile:
			programs = append(programs, source{b.String(), line + b.text})
		case declarationsWithImports:
			files = append(files, source{b.String(), "package document\n" + line + b.text})
		case declarations:
			files = append(files, source{b.String(), "package document\n" + importAll() + line + b.text})
		case statements:
			body += "{\n" + line + b.text + "\n"
			end = "}\n" + end
		}
	}
	files = append(files, source{"statements", body + end})
	_, err := l.check(token.NewFileSet(), files...)
	for _, p := range programs {
		_, programErr := l.check(token.NewFileSet(), p)
		err = errors.Join(err, programErr)
	}
	return err
}

type kind int

const (
	statements kind = iota
	declarations
	declarationsWithImports
	wholeFile
)

// kindOf returns what a block is. One that has faults is taken for statements, and shows them there.
func kindOf(text string) kind {
	if _, err := parser.ParseFile(token.NewFileSet(), "", text, parser.PackageClauseOnly); err == nil {
		return wholeFile
	}
	file, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+text, parser.SkipObjectResolution)
	switch {
	case err != nil:
		return statements
	case len(file.Imports) > 0:
		return declarationsWithImports
	}
	return declarations
}

// checkFormat reports a block that gofmt would change.
func checkFormat(b block) error {
	want, err := format.Source([]byte(b.text))
	if err != nil {
		return err
	}
	if string(want) != b.text {
		return fmt.Errorf("the block is not as gofmt writes it:\n%s", want)
	}
	return nil
}

func TestGoThatDoesNotCompileIsFound(t *testing.T) {
	l := newLibrary(t)
	const fence = "\n```\n"
	for name, test := range map[string]struct{ source, wantErr string }{
		"statements": {
			"```go\nclient, err := wxqrcode.NewClient(wxqrcode.StaticToken(token))" + fence, "",
		},
		"a later block uses an earlier one": {
			"```go\nscene := wxqrcode.SceneStr(\"a\")" + fence + "Text.\n\n```go\nid := scene.Key()" + fence, "",
		},
		"a later block declares a name anew": {
			"```go\nx := 1" + fence + "\n```go\nx := \"one\"\n_ = strings.ToUpper(x)" + fence, "",
		},
		"declarations, and statements that use them": {
			"```go\nfunc double(n int) int { return 2 * n }" + fence + "\n```go\nn := double(1)" + fence, "",
		},
		"declarations with imports": {
			"```go\nimport \"time\"\n\nconst day = 24 * time.Hour" + fence, "",
		},
		"a whole program": {
			"```go\npackage main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println() }" + fence, "",
		},
		"a renamed function": {
			"```go\nclient, err := wxqrcode.NewClients(nil)" + fence, "docs/new.md:2",
		},
		"a wrong type": {
			"# Title\n\n```go\nscene := wxqrcode.SceneStr(7)" + fence, "docs/new.md:4",
		},
		"a name of a later block": {
			"```go\ny := x" + fence + "\n```go\nx := 1" + fence, "undefined: x",
		},
		"a package that nobody listed": {
			"```go\nx := gin.Default()" + fence, "undefined: gin",
		},
		"an import that nobody listed": {
			"```go\nimport \"github.com/gin-gonic/gin\"\n\nvar x = gin.Default()" + fence, "library_test.go",
		},
		"no Go at all": {
			"```go\nfunc {" + fence, "docs/new.md:2",
		},
		"an ellipsis": {
			"```go\nx := f(…)" + fence, "docs/new.md:2",
		},
		"a program with a fault": {
			"```go\npackage main\n\nfunc main() { missing() }" + fence, "docs/new.md:4",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := compile(l, goBlocks(parseDocument("docs/new.md", []byte(test.source))))
			if test.wantErr == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.wantErr)
			}
		})
	}
	require.Error(t, checkFormat(block{text: "x:=1\n"}))
}
