package docs

import (
	"errors"
	"fmt"
	"go/scanner"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBothLanguagesShowTheSame(t *testing.T) {
	found := 0
	for _, d := range allDocuments(t) {
		if name, ok := strings.CutSuffix(d.path, ".zh-CN.md"); ok {
			found++
			t.Run(name, func(t *testing.T) {
				english := findDocument(t, name+".md")
				assert.NoError(t, compareBlocks(english, d))
				assert.NoError(t, compareTables(english, d))
			})
		}
	}
	assert.NotZero(t, found, "no document is in Chinese")
}

// compareBlocks reports code that is not the same, but for comments, and texts that are Chinese on one side.
func compareBlocks(english, chinese *document) error {
	e, c := english.blocks(), chinese.blocks()
	if len(e) != len(c) {
		return fmt.Errorf("%s has %d blocks of code and %s has %d", english.path, len(e), chinese.path, len(c))
	}
	var all []error
	for i := range e {
		if e[i].language != c[i].language {
			all = append(all, fmt.Errorf("%v is of %s and %v of %s", e[i].place, e[i].language, c[i].place, c[i].language))
		} else if !slices.EqualFunc(tokens(e[i]), tokens(c[i]), sameButForLanguage) {
			all = append(all, fmt.Errorf("%v and %v differ in more than comments and Chinese texts", e[i].place, c[i].place))
		}
	}
	return errors.Join(all...)
}

// comment is one of a shell, with the blanks before it.
var comment = regexp.MustCompile(`(?m)(^|\s+)#.*$`)

// tokens returns what a block consists of, without comments. That of a shell consists of lines.
func tokens(b block) []string {
	if b.language != langGo {
		return strings.Split(comment.ReplaceAllString(b.text, ""), "\n")
	}
	fset := token.NewFileSet()
	file := fset.AddFile("", fset.Base(), len(b.text))
	var s scanner.Scanner
	s.Init(file, []byte(b.text), nil, 0) // which leaves comments out
	var all []string
	for {
		switch _, tok, literal := s.Scan(); {
		case tok == token.EOF:
			return all
		case literal != "" && tok != token.SEMICOLON:
			all = append(all, literal)
		default:
			all = append(all, tok.String())
		}
	}
}

func sameButForLanguage(english, chinese string) bool {
	return english == chinese || strings.HasPrefix(english, `"`) && strings.HasPrefix(chinese, `"`) && strings.ContainsFunc(chinese, isHan)
}

func isHan(r rune) bool { return unicode.Is(unicode.Han, r) }

// compareTables reports tables that do not have the same error codes and errors in the same rows.
func compareTables(english, chinese *document) error {
	e, c := english.tables(), chinese.tables()
	if len(e) != len(c) {
		return fmt.Errorf("%s has %d tables and %s has %d", english.path, len(e), chinese.path, len(c))
	}
	var all []error
	for i := range e {
		if len(e[i]) != len(c[i]) {
			all = append(all, fmt.Errorf("the table %q has %d rows, and %q has %d", e[i][0], len(e[i]), c[i][0], len(c[i])))
			continue
		}
		for row := range e[i] {
			if !slices.Equal(errorsOf(e[i][row]), errorsOf(c[i][row])) {
				all = append(all, fmt.Errorf("the rows %q and %q tell of different errors", e[i][row], c[i][row]))
			}
		}
	}
	return errors.Join(all...)
}

var (
	errorCode  = regexp.MustCompile(`\b[1-9]\d{4}\b|^-1$`)
	errorValue = regexp.MustCompile(`\bErr[A-Z]\w+`)
)

// errorsOf returns the codes of a row's first cell, and the errors of all its cells.
func errorsOf(row []string) []string {
	names := errorValue.FindAllString(strings.Join(row, " "), -1)
	slices.Sort(names)
	return append(errorCode.FindAllString(row[0], -1), slices.Compact(names)...)
}

func TestADifferenceBetweenTheLanguagesIsFound(t *testing.T) {
	for name, test := range map[string]struct{ english, chinese, wantErr string }{
		"comments and texts": {
			"```go\nf(\"hello\") // one\n```\n```sh\ngo version # two\n```", "```go\nf(\"你好\") // 一\n```\n```sh\ngo version  # 二\n```", "",
		},
		"codes in the same order": {"| a |\n| - |\n| 40001, from a call |\n| 40014 |", "| 一 |\n| - |\n| 40001（接口） |\n| 40014 |", ""},
		"a block too few":         {"```sh\ngo version\n```", "", "1 blocks of code"},
		"another language":        {"```sh\ngo version\n```", "```console\n$ go version\n```", "of console"},
		"other code":              {"```go\nf(1)\n```", "```go\nf(2)\n```", "differ"},
		"another English text":    {"```go\nf(\"/wechat\")\n```", "```go\nf(\"/weixin\")\n```", "differ"},
		"another command":         {"```sh\ngo version\n```", "```sh\ngo env\n```", "differ"},
		"codes in another order":  {"| a |\n| - |\n| 40001 |\n| 40014 |", "| 一 |\n| - |\n| 40014 |\n| 40001 |", "different errors"},
		"another error":           {"| a | b |\n| - | - |\n| 1 | `ErrOne` |", "| 一 | 二 |\n| - | - |\n| 1 | `ErrTwo` |", "different errors"},
		"a row too few":           {"| a |\n| - |\n| 40001 |", "| 一 |\n| - |", "rows"},
		"a table too many":        {"", "| 一 |\n| - |\n| 40001 |", "tables"},
	} {
		t.Run(name, func(t *testing.T) {
			english, chinese := parseDocument("new.md", []byte(test.english)), parseDocument("new.zh-CN.md", []byte(test.chinese))
			err := errors.Join(compareBlocks(english, chinese), compareTables(english, chinese))
			if test.wantErr == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.wantErr)
			}
		})
	}
}
