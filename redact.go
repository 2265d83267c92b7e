package wxqrcode

import (
	"errors"
	"fmt"
	"html"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// A redactor removes secrets from texts that come from outside: an errmsg, or
// an error of a user's own transport, provider or store.
type redactor struct {
	mu      sync.Mutex
	secrets [8]string // guarded by mu: an AppSecret or a token, and the last few tokens of a TokenSource
	added   int       // guarded by mu
}

func newRedactor(secret string) *redactor { return &redactor{secrets: [8]string{secret}} }

// add remembers another secret in place of the oldest one, except the first.
func (r *redactor) add(secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.secrets[:], secret) {
		r.secrets[1+r.added%(len(r.secrets)-1)] = secret
		r.added++
	}
}

const redacted = "[redacted]"

// text returns an errmsg without the secrets, raw or escaped, on one line of
// valid UTF-8, and truncated.
func (r *redactor) text(s string) string { return truncate(oneLine(r.replace(s))) }

// oneLine returns s as valid UTF-8 without control characters.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD")))
}

// truncate shortens valid UTF-8 to about 200 bytes.
func truncate(s string) string {
	for i := range s {
		if i > 196 {
			return s[:i] + "…"
		}
	}
	return s
}

// replace replaces the secrets in s. If s contains an escaped one, it returns s
// unescaped.
func (r *redactor) replace(s string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var pairs []string
	for _, secret := range r.secrets {
		if secret != "" {
			pairs = append(pairs, secret, redacted)
		}
	}
	replacer := strings.NewReplacer(pairs...)
	s = replacer.Replace(s)
	plain := unescape(s)
	if clean := replacer.Replace(plain); clean != plain {
		return clean
	}
	return s
}

var percentEscape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// unescape undoes the escapes of pages, JSON and URLs.
func unescape(s string) string {
	s = strings.ReplaceAll(html.UnescapeString(s), `\/`, "/")
	return percentEscape.ReplaceAllStringFunc(s, func(hex string) string {
		b, _ := strconv.ParseUint(hex[1:], 16, 8)
		return string([]byte{byte(b)})
	})
}

// prefix begins the text of every error of this package.
const prefix = "wxqrcode: "

// wrap returns an error with the text "wxqrcode: what: err". If the text of err
// contains a secret, [errors.Is] finds err in it, and [errors.As] does not.
func (r *redactor) wrap(what string, err error) error {
	text := err.Error()
	clean := r.replace(text)
	e := &wrappedError{text: prefix + what + ": " + strings.TrimPrefix(oneLine(clean), prefix), cause: err}
	if clean != text {
		e.cause = nil
		e.is = func(target error) bool { return errors.Is(err, target) }
	}
	return e
}

type wrappedError struct {
	text  string
	cause error            // nil if it contains a secret
	is    func(error) bool // compares with such a cause: fmt does not print what a function captures
}

func (e *wrappedError) Error() string        { return e.text }
func (e *wrappedError) Unwrap() error        { return e.cause }
func (e *wrappedError) Is(target error) bool { return e.is != nil && e.is(target) }

// A secret is a value that fmt does not print, not even in an unexported field.
type secret func() string

func newSecret(value string) secret { return func() string { return value } }

// reveal returns the value. That of a nil secret is empty.
func (s secret) reveal() string {
	if s == nil {
		return ""
	}
	return s()
}

// writeOpaque prints text for every verb of fmt.
func writeOpaque(f fmt.State, text string) { _, _ = io.WriteString(f, text) }
