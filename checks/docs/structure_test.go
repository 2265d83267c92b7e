package docs

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark/ast"
	extast "github.com/yuin/goldmark/extension/ast"
)

// languages of code blocks: go is compiled, the commands of sh and console are
// checked, and text is everything else.
var languages = []string{"go", "sh", "console", "text"}

func TestBlocks_NameTheirLanguage(t *testing.T) {
	for _, p := range pages(t) {
		each(p, func(n *ast.FencedCodeBlock) {
			if language := string(n.Language(p.source)); !slices.Contains(languages, language) {
				p.errorf(p.line(n), "the language of the block is %q; make it one of %q", language, languages)
			}
		})
	}
}

func TestLinks_Resolve(t *testing.T) {
	for _, p := range pages(t) {
		check := func(n ast.Node, target []byte) {
			if problem := checkLink(p, string(target)); problem != "" {
				p.errorf(p.line(n), "the link %q %s; correct it", target, problem)
			}
		}
		each(p, func(n *ast.Link) { check(n, n.Destination) })
		each(p, func(n *ast.Image) { check(n, n.Destination) })
		each(p, func(n *ast.AutoLink) { check(n, n.URL(p.source)) })
	}
}

// checkLink returns what is wrong with a link. It opens no connection.
func checkLink(p page, target string) string {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return "is not a valid URL"
	case u.Scheme == "http" || u.Scheme == "https":
		if u.Hostname() == "" || strings.ContainsAny(u.Host, "<>…") {
			return "has no valid host"
		}
		return ""
	case u.Scheme != "" || u.Host != "" || strings.HasPrefix(u.Path, "/"):
		return "is neither http(s) nor relative to the page"
	}
	file := p.path
	if u.Path != "" {
		file = path.Join(path.Dir(p.path), u.Path)
	}
	if _, err := os.Stat(filepath.Join(root, file)); err != nil || strings.HasPrefix(file, "..") {
		return "leads to no file of the repository"
	}
	if u.Fragment != "" && !anchors(readPage(p.t, file))[u.Fragment] {
		return "leads to no heading of " + file
	}
	return ""
}

// anchors returns the anchors that GitHub gives to headings: lower case, no
// punctuation, hyphens for blanks; a repeated one ends in -1, -2 and so on.
func anchors(p page) map[string]bool {
	all := make(map[string]bool)
	each(p, func(n *ast.Heading) {
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsNumber(r), unicode.IsMark(r):
				return unicode.ToLower(r)
			}
			return -1
		}, p.text(n))
		anchor := slug
		for i := 1; all[anchor]; i++ {
			anchor = slug + "-" + strconv.Itoa(i)
		}
		all[anchor] = true
	})
	return all
}

func TestTranslations_HaveTheSameStructure(t *testing.T) {
	for _, chinese := range pages(t) {
		name, ok := strings.CutSuffix(chinese.path, ".zh-CN.md")
		if !ok {
			continue
		}
		english := readPage(t, name+".md")
		e, c := outline(english), outline(chinese)
		for i := range min(len(e), len(c)) { // both have an end
			if e[i].what != c[i].what {
				chinese.errorf(c[i].line, "%s, but %s:%d has %s; make both languages the same", c[i].what, english.path, e[i].line, e[i].what)
				break // what follows is shifted
			}
		}
	}
}

// An element is a part of a page that is the same in all languages.
type element struct {
	line int
	what string
}

var (
	goComment = regexp.MustCompile(`\s*//.*`)
	goString  = regexp.MustCompile(`"[^"]*"`)
	errorName = regexp.MustCompile(`\bErr[A-Z]\w+`)
)

// outline lists the headings with their levels, the code without comments and
// Go strings, and the table rows with the errors that they name.
func outline(p page) []element {
	var all []element
	each(p, func(n ast.Node) {
		line := p.line(n)
		switch n := n.(type) {
		case *ast.Heading:
			all = append(all, element{line, fmt.Sprintf("a heading of level %d", n.Level)})
		case *ast.FencedCodeBlock:
			language := string(n.Language(p.source))
			all = append(all, element{line, "a block of " + language})
			for i, code := range strings.Split(p.code(n), "\n") {
				if code = shellComment.ReplaceAllString(code, ""); language == "go" {
					code = goString.ReplaceAllString(goComment.ReplaceAllString(code, ""), `""`)
				}
				if code = strings.TrimSpace(code); code != "" {
					all = append(all, element{line + i, "the code " + code})
				}
			}
		case *extast.TableRow:
			errors := errorName.FindAllString(p.text(n), -1)
			slices.Sort(errors)
			all = append(all, element{line, fmt.Sprintf("a table row with the errors %q", slices.Compact(errors))})
		}
	})
	return append(all, element{1 + strings.Count(string(p.source), "\n"), "the end of the page"})
}
