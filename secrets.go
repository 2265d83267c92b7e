package wxqrcode

import (
	"fmt"
	"html"
	"io"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxExcerpt is how many bytes of a text that is not ours go into an error.
const maxExcerpt = 200

// secrets are what no error and no log line may show. Empty ones do not count.
type secrets [3]string

// excerpt returns the beginning of text as it may be shown: without secrets, on
// one line.
func (s secrets) excerpt(text string) string {
	text = s.redact(text)
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	text = strings.TrimSpace(text)
	if len(text) <= maxExcerpt {
		return text
	}
	end := maxExcerpt
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
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

// in reports whether err or one that it wraps would show a secret.
func (s secrets) in(err error) bool {
	text := fmt.Sprintf("%v %+v %#v", err, err, err)
	if s.redact(text) != text {
		return true
	}
	switch w := err.(type) { //nolint:errorlint // each link of the chain is looked at by itself
	case interface{ Unwrap() error }:
		if next := w.Unwrap(); next != nil {
			return s.in(next)
		}
	case interface{ Unwrap() []error }:
		for _, next := range w.Unwrap() {
			if next != nil && s.in(next) {
				return true
			}
		}
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
