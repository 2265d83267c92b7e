package docs

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// vocabulary has the variables that code in sentences and tables speaks of. The names of package wxqrcode go without their
// package there, and a scene is what a code carries or what an event brings.
const vocabulary = `package document
import . "` + module + `"
type sceneOfEvent = string
func _(scene sceneOfEvent) {}
func _(
	client *Client, tokens TokenProvider, code, login *QRCode, e *Event, scene Scene, ticket Ticket, exp, lifetime time.Duration,
	waiter *callback.Waiter, scan *callback.PendingScan, cfg callback.Config, m callback.Message, onEvent func(context.Context, *Event) (callback.Reply, error),
	stats *scanstats.Store, rdb *redis.Client,
	ctx context.Context, err error, handler http.Handler, stored, path, text string, n, seconds int,
) {
`

// foreign are names that look like ours, and where they come from.
var foreign = map[string]string{
	"Example":      "go test",
	"Shutdown":     "http.Server",
	"WriteTimeout": "http.Server",
	"CreateTime":   "WeChat",
	"FromUserName": "WeChat",

	// Other SDKs, where the text speaks of them beside its tables.
	"NewOfficialAccount":       "silenceper/wechat",
	"DefaultAccessTokenServer": "chanxuehong/wechat",
	"Encryptor.Decrypt":        "PowerWeChat",
	"WxMpQrcodeService":        "WxJava",
	"WxMpQrcodeServiceImpl":    "WxJava",
	"BaseWxMpServiceImpl":      "WxJava",
	"getAccessToken(true)":     "WxJava",

	// Routers, whose lines examples/routers compiles.
	"r.Handle": "chi.Router",
	"r.Any":    "gin.Engine",
	"e.Any":    "echo.Echo",
}

// theirs is the header of a column with another SDK's names, of which the text around speaks too.
const theirs = "theirs"

func TestEveryNameOfOursExists(t *testing.T) {
	n := newNames(t, newLibrary(t))
	for _, d := range allDocuments(t) {
		spans := d.spans()
		exempt := theirNames(spans)
		for _, s := range spans {
			if s.column != theirs && !exempt[s.text] {
				assert.NoError(t, n.check(s.text), s.place)
			}
		}
	}
	for name := range foreign {
		assert.True(t, n.seen[name], "%s is in the table foreign, and in no document", name)
	}
}

var word = regexp.MustCompile(`[\pL_][\pL\pN_.]*`)

// theirNames returns the names in the columns of other SDKs.
func theirNames(spans []span) map[string]bool {
	names := make(map[string]bool)
	for _, s := range spans {
		if s.column != theirs {
			continue
		}
		for _, w := range word.FindAllString(s.text, -1) {
			for _, part := range append(strings.Split(w, "."), w) {
				names[part] = true
			}
		}
	}
	return names
}

// names knows what our packages export.
type names struct {
	packages library
	all      map[string]bool            // whatever is exported: functions, types, constants, fields and methods
	members  map[string]map[string]bool // fields and methods, by type
	seen     map[string]bool            // those of the table foreign that were asked for

	fset  *token.FileSet
	scope *types.Package // of the vocabulary
	pos   []token.Pos    // in its functions
}

func newNames(t *testing.T, l library) *names {
	t.Helper()
	n := &names{
		packages: l, all: make(map[string]bool), members: make(map[string]map[string]bool), seen: make(map[string]bool),
		fset: token.NewFileSet(),
	}
	for _, path := range ours {
		scope := l[path].Scope()
		for _, name := range scope.Names() {
			if object := scope.Lookup(name); object.Exported() {
				n.add(object)
			}
		}
	}
	before, after, _ := strings.Cut(vocabulary, "\n")
	text := before + "\n" + importAll() + after
	var err error
	n.scope, err = n.packages.check(n.fset, source{"vocabulary", text + "}\n"})
	require.NoError(t, err)
	n.fset.Iterate(func(f *token.File) bool {
		n.pos = []token.Pos{f.Pos(len(text)), f.Pos(strings.Index(text, "{}") + 1)}
		return false
	})
	return n
}

func (n *names) add(object types.Object) {
	n.all[object.Name()] = true
	name, ok := object.(*types.TypeName)
	if !ok {
		return
	}
	members := n.members[name.Name()]
	if members == nil {
		members = make(map[string]bool)
		n.members[name.Name()] = members // of several packages: callback.Config, scanstats.Config
	}
	for method := range types.NewMethodSet(types.NewPointer(name.Type())).Methods() {
		members[method.Obj().Name()] = true
	}
	switch u := name.Type().Underlying().(type) {
	case *types.Struct:
		for field := range u.Fields() {
			members[field.Name()] = true
		}
	case *types.Interface:
		for method := range u.Methods() {
			members[method.Name()] = true
		}
	}
	for member := range members {
		n.all[member] = true
	}
}

// check reports code in a sentence that looks like a name or a call of ours and is none.
func (n *names) check(text string) error {
	if n.isForeign(text) {
		return nil
	}
	e, err := parser.ParseExpr(text)
	if err != nil {
		return nil // no Go
	}
	return n.checkExpr(e, text)
}

func (n *names) isForeign(text string) bool {
	n.seen[text] = foreign[text] != ""
	return n.seen[text]
}

func (n *names) checkExpr(e ast.Expr, text string) error {
	switch e := e.(type) {
	case *ast.StarExpr:
		return n.checkExpr(e.X, strings.TrimPrefix(text, "*"))
	case *ast.Ident:
		if isExportedName(e.Name) && !n.all[e.Name] {
			return fmt.Errorf("%s is exported by none of our packages; if it is another's, say so in the table foreign", text)
		}
	case *ast.SelectorExpr:
		return n.checkSelector(e, text)
	case *ast.CallExpr:
		return n.checkCall(e, text)
	case *ast.BinaryExpr: // a path, such as net/http, is one too
		if !strings.Contains(text, "(") {
			return nil
		}
		return n.eval(text)
	}
	return nil
}

// isExportedName tells TokenStore from QR_SCENE, SCAN and PATH.
func isExportedName(name string) bool {
	return ast.IsExported(name) && strings.ContainsFunc(name, unicode.IsLower) && !strings.Contains(name, "_")
}

func (n *names) checkSelector(e *ast.SelectorExpr, text string) error {
	x, ok := e.X.(*ast.Ident)
	switch {
	case ok && isExportedName(x.Name):
		if !n.members[x.Name][e.Sel.Name] {
			return fmt.Errorf("no package of ours has %s; if it is another's, say so in the table foreign", text)
		}
		return nil
	case ok && (ours[x.Name] != "" || others[x.Name] != ""):
		return n.eval(text)
	case !ast.IsExported(e.Sel.Name): // a file
		return nil
	}
	if of, ok := e.X.(*ast.SelectorExpr); ok { // http.Server.Shutdown
		if object := n.lookup(of); object != nil {
			if member, _, _ := types.LookupFieldOrMethod(object.Type(), true, nil, e.Sel.Name); member == nil {
				return fmt.Errorf("there is no %s", text)
			}
			return nil
		}
	}
	return n.eval(text)
}

// lookup returns what a package exports, or nil.
func (n *names) lookup(e *ast.SelectorExpr) types.Object {
	x, ok := e.X.(*ast.Ident)
	if !ok {
		return nil
	}
	path := ours[x.Name]
	if path == "" {
		path = others[x.Name]
	}
	if path == "" {
		return nil
	}
	return n.packages[path].Scope().Lookup(e.Sel.Name)
}

func (n *names) checkCall(e *ast.CallExpr, text string) error {
	if selector, ok := e.Fun.(*ast.SelectorExpr); ok {
		function, _, _ := strings.Cut(text, "(")
		if n.isForeign(function) {
			return nil
		}
		if x, ok := selector.X.(*ast.Ident); ok && len(e.Args) == 0 && isExportedName(x.Name) {
			return n.checkSelector(selector, function) // Event.Scene() names a method
		}
	}
	err := n.eval(text)
	if err != nil && n.eval(typeArgument.ReplaceAllString(text, "(*new($1))")) == nil {
		return nil
	}
	if err != nil && undefinedVariable.MatchString(err.Error()) {
		return n.checkNames(e)
	}
	return err
}

var (
	// typeArgument is what stands for any value of a type: SceneID(uint32).
	typeArgument = regexp.MustCompile(`\((\w+)\)`)
	// undefinedVariable is one of the reader's that the vocabulary does not have.
	undefinedVariable = regexp.MustCompile(`undefined: \p{Ll}\w*;`)
)

// checkNames checks the names of an expression whose types are not known.
func (n *names) checkNames(e ast.Expr) (err error) {
	ast.Inspect(e, func(node ast.Node) bool {
		if selector, ok := node.(*ast.SelectorExpr); ok {
			if x, ok := selector.X.(*ast.Ident); ok && err == nil && (ours[x.Name] != "" || others[x.Name] != "") {
				err = n.eval(x.Name + "." + selector.Sel.Name)
			}
			return false
		}
		if pair, ok := node.(*ast.KeyValueExpr); ok { // whose key is a field
			err = cmp.Or(err, n.checkNames(pair.Value))
			return false
		}
		if name, ok := node.(*ast.Ident); ok && err == nil {
			err = n.checkExpr(name, name.Name)
		}
		return true
	})
	return err
}

// eval type-checks an expression, or a type.
func (n *names) eval(text string) error {
	var err error
	for _, pos := range n.pos {
		if _, evalErr := types.Eval(n.fset, n.scope, pos, text); evalErr == nil {
			return nil
		} else if err == nil {
			err = evalErr
		}
	}
	return fmt.Errorf("%w; if a package is missing, add it to library_test.go", err)
}

// prefixes begin what our packages log and return.
var prefixes = regexp.MustCompile(`^(wxqrcode|wxredis|scanstats): .`)

// measured is made by checks/faults, of whole errors as they came.
const measured = "docs/reliability.md"

func TestEveryMessageOfOursIsInTheCode(t *testing.T) {
	for _, d := range allDocuments(t) {
		if d.path == measured {
			continue
		}
		for _, s := range d.spans() {
			if prefixes.MatchString(s.text) {
				assert.NoError(t, checkMessage(s.text), s.place)
			}
		}
	}
}

func checkMessage(text string) error {
	sources, err := goSources()
	if err != nil {
		return err
	}
	prefix, rest, _ := strings.Cut(text, ": ")
	for path, code := range sources {
		whole, part := strings.Contains(code, `"`+text), strings.HasPrefix(path, prefix+"/") && strings.Contains(code, `"`+rest)
		if (whole || part) && !strings.HasSuffix(path, "_test.go") {
			return nil
		}
	}
	return fmt.Errorf("no package says %q", text)
}

func TestANameThatIsNotOursIsFound(t *testing.T) {
	n := newNames(t, newLibrary(t))
	for name, test := range map[string]struct {
		wrong string
		right []string
	}{
		"a function":                {"NewTokenSources", []string{"NewTokenSource", "RandomScene"}},
		"an error":                  {"ErrQuota", []string{"ErrQuotaExceeded", "*ValidationError"}},
		"a method without its type": {"SaveImages", []string{"SaveImage", "DedupKey"}},
		"an option":                 {"WithLog", []string{"WithLogger"}},
		"a function of a package":   {"callback.NewWait", []string{"callback.NewMemoryDedup", "wxredis.Bus", "slog.Default"}},
		"a field of a type":         {"Config.AllowClear", []string{"Config.AllowPlain", "Config.Journal", "BatchOptions.Rate"}},
		"a method of a type":        {"Waiter.Await", []string{"Waiter.Expect", "Event.SceneKey()"}},
		"a method of a variable":    {"client.Make", []string{"client.Create", "code.Ticket.ImageURL()", "e.SceneKey()"}},
		"a call":                    {`Temporary("a", exp)`, []string{`Temporary(SceneStr("a"), exp)`, "SceneID(uint32)", "wxqrcode.Ticket(stored)"}},
		"arguments":                 {"callback.New(cfg, onEvent)", []string{"callback.New(cfg)", "errors.Is(err, ErrNotAttempted)"}},
		"in a call of the reader's": {"record(ErrNothing)", []string{"record(ErrNotAttempted)", "WithHTTPClient(&http.Client{Transport: counted{count}})"}},
		"a package's, beside it":    {"record(callback.Nothing)", []string{"300 * time.Second", "time.Duration(seconds) * time.Second"}},
		"a member of a type":        {"http.Server.Stop", []string{"http.Server.Shutdown", "callback.Config.Dedup"}},
		"a scene of two kinds":      {"strings.HasPrefix(n, text)", []string{`strings.HasPrefix(scene, "login-")`, "Temporary(scene, lifetime)"}},
		"a function of Go":          {"errors.As(err)", []string{"url.QueryEscape", "uint32(n)"}},
		"what is no name at all":    {"Nothing", []string{"QR_SCENE", "SCAN", "README.md", "net/http", "a=1&b=<2>", "scene_str", "海报"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Error(t, n.check(test.wrong))
			for _, right := range test.right {
				require.NoError(t, n.check(right))
			}
		})
	}
	require.Error(t, checkMessage("wxqrcode: nobody says this"))

	d := parseDocument("docs/new.md", []byte("| | theirs | ours |\n| --- | --- | --- |\n| a | `app.QRCode.Forever(7)` | `Gone` |\n"))
	spans := d.spans()
	require.Len(t, spans, 2)
	require.Equal(t, theirs, spans[0].column)
	require.Error(t, n.check(spans[1].text))
	require.True(t, theirNames(spans)["Forever"])
}
