package docs

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// privateWords are words that readers had to decode, with the standard terms.
var privateWords = map[string]string{
	`whoever|whatever|somebody|nobody|everybody`: "the name of the person or thing",

	`as a rule`: "usually", `if need be`: "if needed", `of WeChat's`: "of WeChat", `told apart`: "distinguished",
	`dies|is dead|alive|lives`: "expires, expired, valid", `knocks? (\w+ )?out`: "invalidate",
	`seal(s|ed)`: "encrypt", `letter (comes|came|is|was)`: "push", `pictures?`: "image", `colo[u]rs?|grey`: "color, gray",
	`gives? way`: "fail over", `stands? in`: "fallback, test double", `plays? WeChat`: "simulator",
	`made up|makes up`: "generated", `on (its|their) way`: "in flight, in transit", `cut off`: "truncated",
}

// unchecked are files that still have private words. Remove those that have none.
var unchecked = strings.Fields(`
README.md
README.zh-CN.md
checks/release/binaries.go
checks/release/make.go
checks/release/place.go
checks/release/rehearsal.go
checks/release/users.go
cmd/wxqrcode/demo_stats.go
cmd/wxqrcode/demo_stats_test.go
cmd/wxqrcode/stats_page.go
cmd/wxqrcode/stats_page_test.go
cmd/wxqrcode/stats_table.go
cmd/wxqrcode/stats_test.go
docs/cli.md
docs/migration.md
docs/performance.md
docs/testing.md
internal/floor/floor.go
request.go
scanstats/browser_test.go
scanstats/history.go
scanstats/page_test.go
scanstats/privacy_test.go
scanstats/query_test.go
scanstats/report.go
scanstats/report_test.go
token_test.go
wxredis/internal/fleet/phases.go
wxtest/options.go
`)

// TestWords_Plain finds private words in comments of Go files and in Markdown files.
func TestWords_Plain(t *testing.T) {
	t.Parallel()
	for path, texts := range readWords(t) {
		if slices.Contains(unchecked, path) {
			continue
		}
		for words, instead := range privateWords {
			re := regexp.MustCompile(`(?i)\b(` + words + `)\b`)
			for _, text := range texts {
				if m := re.FindString(text); m != "" {
					t.Errorf("%s: %q; use %s: %.80q", path, m, instead, text)
				}
			}
		}
	}
}

// readWords returns the comments of each Go file and the lines of each Markdown file.
func readWords(t *testing.T) map[string][]string {
	t.Helper()
	texts := make(map[string][]string)
	require.NoError(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			if entry != nil && (entry.Name() == ".git" || entry.Name() == "testdata") {
				return fs.SkipDir
			}
			return err
		}
		path := filepath.ToSlash(strings.TrimPrefix(file, root+string(filepath.Separator)))
		switch filepath.Ext(file) {
		case ".md":
			texts[path] = strings.Split(readFile(t, path), "\n")
		case ".go":
			source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			for _, group := range source.Comments {
				texts[path] = append(texts[path], strings.ReplaceAll(group.Text(), "\n", " "))
			}
		}
		return nil
	}))
	return texts
}
