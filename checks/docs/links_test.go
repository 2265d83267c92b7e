package docs

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryRelativeLinkLeadsSomewhere(t *testing.T) {
	for _, d := range allDocuments(t) {
		for _, l := range d.links() {
			assert.NoError(t, checkLink(d, l), l.place)
		}
	}
}

// checkLink reports a file or a heading that is not there. Addresses of other sites are not called.
func checkLink(from *document, l link) error {
	u, err := url.Parse(l.target)
	if err != nil || u.Scheme != "" || u.Host != "" {
		return err
	}
	to := from
	if u.Path != "" {
		file := path.Join(path.Dir(from.path), u.Path)
		if strings.HasPrefix(file, "..") {
			return fmt.Errorf("%s leads out of the repository", l.target)
		}
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(file))); err != nil {
			return fmt.Errorf("%s: there is no %s", l.target, file)
		}
		if u.Fragment == "" {
			return nil
		}
		source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if err != nil {
			return err
		}
		to = parseDocument(file, source)
	}
	if u.Fragment == "" || anchors(to)[u.Fragment] {
		return nil
	}
	return fmt.Errorf("%s: %s has no such heading", l.target, to.path)
}

// anchors returns the names by which GitHub finds headings: small letters, without punctuation, blanks as hyphens; the
// second of a name ends in -1.
func anchors(d *document) map[string]bool {
	all := make(map[string]bool)
	for _, heading := range d.headings() {
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsNumber(r), unicode.IsMark(r):
				return unicode.ToLower(r)
			}
			return -1
		}, heading)
		name := slug
		for i := 1; all[name]; i++ {
			name = slug + "-" + strconv.Itoa(i)
		}
		all[name] = true
	}
	return all
}

func TestALinkIsChecked(t *testing.T) {
	d := parseDocument("docs/new.md", []byte("# One, `two` & 三：四\n\n## Twice\n\n## Twice\n"))
	for name, test := range map[string]struct{ target, wantErr string }{
		"a file of the same folder":           {"operations.md", ""},
		"a file of another folder":            {"../callback/example_test.go", ""},
		"a folder":                            {"../scanstats", ""},
		"a heading of another file":           {"operations.md#throughput-and-size", ""},
		"a heading with punctuation, Chinese": {"#one-two--三四", ""},
		"the second heading of a name":        {"#twice-1", ""},
		"another site":                        {"https://example.com/nothing#here", ""},
		"a file that is not there":            {"operation.md", "there is no docs/operation.md"},
		"a heading that is not there":         {"#thrice", "no such heading"},
		"a heading that another file lacks":   {"operations.md#nothing", "docs/operations.md has no such heading"},
		"a file outside":                      {"../../other.md", "leads out of the repository"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkLink(d, link{target: test.target})
			if test.wantErr == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.wantErr)
			}
		})
	}
}
