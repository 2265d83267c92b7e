package docs

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/go/packages"
)

const module = "github.com/seed-0142d113/wxqrcode"

// ours are the packages that documents tell of.
var ours = map[string]string{
	"wxqrcode":  module,
	"callback":  module + "/callback",
	"render":    module + "/render",
	"scanstats": module + "/scanstats",
	"wxredis":   module + "/wxredis",
	"wxtest":    module + "/wxtest",
}

// others are the packages that code in documents may use without an import of its own.
var others = map[string]string{
	"bytes":    "bytes",
	"context":  "context",
	"errors":   "errors",
	"filepath": "path/filepath",
	"fmt":      "fmt",
	"fs":       "io/fs",
	"gzip":     "compress/gzip",
	"http":     "net/http",
	"httptest": "net/http/httptest",
	"io":       "io",
	"json":     "encoding/json",
	"log":      "log",
	"net":      "net",
	"os":       "os",
	"rand":     "crypto/rand",
	"redis":    "github.com/redis/go-redis/v9",
	"runtime":  "runtime",
	"slog":     "log/slog",
	"sql":      "database/sql",
	"strings":  "strings",
	"sync":     "sync",
	"synctest": "testing/synctest",
	"syscall":  "syscall",
	"testing":  "testing",
	"time":     "time",
	"tls":      "crypto/tls",
	"url":      "net/url",
	"x509":     "crypto/x509",
}

// A library has the packages that code in documents can import, by path.
type library map[string]*types.Package

// Import makes a library the importer of a type check.
func (l library) Import(path string) (*types.Package, error) {
	if p := l[path]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("package %s is in no table of library_test.go", path)
}

var loadLibrary = sync.OnceValues(func() (library, error) {
	paths := slices.AppendSeq(slices.Collect(maps.Values(ours)), maps.Values(others))
	config := &packages.Config{Dir: root, Mode: packages.NeedName | packages.NeedImports | packages.NeedTypes}
	loaded, err := packages.Load(config, paths...)
	if err != nil {
		return nil, err
	}
	l := make(library)
	for _, p := range loaded {
		for _, e := range p.Errors {
			err = errors.Join(err, e)
		}
		l[p.PkgPath] = p.Types
	}
	return l, err
})

func newLibrary(t *testing.T) library {
	t.Helper()
	l, err := loadLibrary()
	require.NoError(t, err)
	return l
}

// importAll imports every package; what is not used is no fault here.
func importAll() string {
	var b strings.Builder
	for _, table := range []map[string]string{ours, others} {
		for name, path := range table {
			fmt.Fprintf(&b, "import %s %q\n", name, path)
		}
	}
	return b.String()
}

// A source is a Go file in memory.
type source struct{ name, text string }

// check type-checks files of one package. What a document leaves out is no fault: a variable or an import that is not used.
func (l library) check(fset *token.FileSet, sources ...source) (*types.Package, error) {
	var files []*ast.File
	for _, s := range sources {
		file, err := parser.ParseFile(fset, s.name, s.text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	var faults []error
	config := types.Config{Importer: l, Error: func(err error) {
		if fault, ok := errors.AsType[types.Error](err); !ok || !fault.Soft {
			faults = append(faults, err)
		}
	}}
	p, _ := config.Check("document", fset, files, nil) // its error is the first of those that Error gets
	return p, errors.Join(faults...)
}
