package wxqrcode

import (
	"errors"
	"fmt"
	"html"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxExcerpt is how many bytes of a text that is not ours go into an error.
const maxExcerpt = 200

// secrets are what no error and no log line may show: of a call, the token or the secret
// that it sends; of a source, its secret, its token, the refused token, the one that it
// fetched and the one that its store kept. Empty ones do not count. It is an array, as a
// slice would be one of Create's 14 allocations.
type secrets [5]string

// excerpt returns the beginning of text as it may be shown: without secrets, on
// one line.
func (s secrets) excerpt(text string) string {
	return beginning(s.line(text))
}

// beginning cuts text after as much as goes into an error, at the end of a character.
func beginning(text string) string {
	if len(text) <= maxExcerpt {
		return text
	}
	end := maxExcerpt
	for end > maxExcerpt-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// line returns text without secrets and control characters.
func (s secrets) line(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s.redact(text), "\uFFFD")))
}

const redacted = "[redacted]"

// redact cuts the secrets out of text, in every form that a URL, a page or JSON
// gives them. A text may be cut off in the middle of one.
func (s secrets) redact(text string) string {
	var pairs []string
	for _, form := range s.forms() {
		pairs = append(pairs, form, redacted)
		for n := len(form) - 1; n >= minTail; n-- {
			if strings.HasSuffix(text, form[:n]) {
				text = text[:len(text)-n] + redacted
				break
			}
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// minTail is how much of a secret's beginning may stand at the end of a text
// without being taken for it.
const minTail = 8

var percentHex = regexp.MustCompile(`%[0-9A-F]{2}`)

func (s secrets) forms() []string {
	var forms []string
	for _, secret := range s {
		if secret == "" {
			continue
		}
		query, path := url.QueryEscape(secret), url.PathEscape(secret)
		forms = append(forms, secret, query, path,
			percentHex.ReplaceAllStringFunc(query, strings.ToLower), percentHex.ReplaceAllStringFunc(path, strings.ToLower),
			html.EscapeString(secret), strings.ReplaceAll(secret, "/", `\/`))
	}
	return forms
}

// wrap returns err behind what is said of it. It takes the query off every URL that
// an error of net/http or net/url tells, and cuts the secrets out; an error that
// would show either can still be recognized with errors.Is, but not be unwrapped.
func (s secrets) wrap(what string, err error) error {
	text := err.Error()
	for _, address := range urlsIn(err) {
		quoted := strconv.Quote(address) // as url.Error prints it
		text = strings.NewReplacer(address, withoutQuery(address), quoted[1:len(quoted)-1], withoutQuery(address)).Replace(text)
	}
	e := &wrappedError{text: what + ": " + strings.TrimPrefix(s.line(text), prefix)}
	switch u, ok := errors.AsType[*url.Error](err); {
	case !s.in(err):
		e.cause = err
		return e
	case ok && !s.in(u.Err):
		e.cause = u.Err
	}
	e.is = func(target error) bool { return errors.Is(err, target) }
	return e
}

// prefix begins the text of every error, and stands in it only once.
const prefix = "wxqrcode: "

// also returns an error that is both of two, which came one after the other.
func also(first error, word string, second error) error {
	return &pairError{first.Error() + word + strings.TrimPrefix(second.Error(), prefix), []error{first, second}}
}

type pairError struct {
	text string
	both []error
}

func (e *pairError) Error() string   { return e.text }
func (e *pairError) Unwrap() []error { return e.both }

// A wrappedError is what wrap returns.
type wrappedError struct {
	text  string
	cause error            // nil if it would show a secret
	is    func(error) bool // stands for such a cause: fmt looks into errors, but not into functions
}

func (e *wrappedError) Error() string        { return e.text }
func (e *wrappedError) Unwrap() error        { return e.cause }
func (e *wrappedError) Is(target error) bool { return e.is != nil && e.is(target) }

// in reports whether err or one that it wraps would show a secret, or the query of a
// URL, which may be one.
func (s secrets) in(err error) bool {
	return anyOf(err, func(err error) bool {
		if u, ok := err.(*url.Error); ok && withoutQuery(u.URL) != u.URL { //nolint:errorlint // anyOf goes through the chain
			return true
		}
		text := fmt.Sprintf("%v %+v %#v", err, err, err)
		return s.redact(text) != text
	})
}

// urlsIn returns the URLs that err tells.
func urlsIn(err error) (urls []string) {
	anyOf(err, func(err error) bool {
		if u, ok := err.(*url.Error); ok { //nolint:errorlint // anyOf goes through the chain
			urls = append(urls, u.URL)
		}
		return false
	})
	return urls
}

// withoutQuery returns an address without what may be secret in it.
func withoutQuery(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return redacted
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// anyOf reports whether f says yes to err or to one that it wraps.
func anyOf(err error, f func(error) bool) bool {
	if err == nil {
		return false
	}
	if f(err) {
		return true
	}
	switch w := err.(type) { //nolint:errorlint // each link of the chain is looked at by itself
	case interface{ Unwrap() error }:
		return anyOf(w.Unwrap(), f)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(w.Unwrap(), func(err error) bool { return anyOf(err, f) })
	}
	return false
}

// A hidden is a secret that is kept. It is a function because fmt, where it cannot
// call Format (in an unexported field), prints everything but what a function knows.
type hidden func() string

func hide(secret string) hidden { return func() string { return secret } }

// reveal returns the secret; "" if there is none.
func (h hidden) reveal() string {
	if h == nil {
		return ""
	}
	return h()
}

// formatOpaque prints text for every verb of fmt.
func formatOpaque(f fmt.State, text string) { _, _ = io.WriteString(f, text) }
