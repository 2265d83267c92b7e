package faults

import (
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/seed-0142d113/wxqrcode"
)

// errorNames are the names of errors in the document.
var errorNames = []struct {
	name string
	is   func(error) bool
}{
	{"ErrUnexpectedResponse", is(wxqrcode.ErrUnexpectedResponse)},
	{"ErrRateLimited", is(wxqrcode.ErrRateLimited)},
	{"ErrTicketNotFound", is(wxqrcode.ErrTicketNotFound)},
	{"ErrInvalidToken", is(wxqrcode.ErrInvalidToken)},
	{"ErrInvalidCredential", is(wxqrcode.ErrInvalidCredential)},
	{"context.Canceled", is(context.Canceled)},
	{"context.DeadlineExceeded", is(context.DeadlineExceeded)},
	{"*net.DNSError", as[*net.DNSError]},
	{"syscall.ECONNREFUSED", is(syscall.ECONNREFUSED)},
	{"syscall.ECONNRESET", is(syscall.ECONNRESET)},
	{"io.ErrUnexpectedEOF", is(io.ErrUnexpectedEOF)},
	{"io.EOF", is(io.EOF)},
	{"gzip.ErrHeader", is(gzip.ErrHeader)},
	{"x509.HostnameError", as[x509.HostnameError]},
	{"x509.UnknownAuthorityError", as[x509.UnknownAuthorityError]},
	{"x509.CertificateInvalidError", as[x509.CertificateInvalidError]},
	{"syscall.ENOSPC", is(syscall.ENOSPC)},
	{"syscall.EFBIG", is(syscall.EFBIG)},
	{"fs.ErrPermission", is(fs.ErrPermission)},
	{"fs.ErrNotExist", is(fs.ErrNotExist)},
	{"syscall.ENOTDIR", is(syscall.ENOTDIR)},
	{"syscall.EROFS", is(syscall.EROFS)},
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// describeError returns the names of err and its normalized text.
func (e *env) describeError(err error) string {
	if err == nil {
		if e.imageSize != 0 && e.imageSize != len(imageData) {
			return fmt.Sprintf("no error, and an image of %d bytes instead of %d", e.imageSize, len(imageData))
		}
		return "no error"
	}
	return describe(err, e.places()...)
}

func describe(err error, shown ...string) string {
	var names []string
	for _, k := range errorNames {
		if k.is(err) {
			names = append(names, "`"+k.name+"`")
		}
	}
	if len(names) > 0 {
		names = append(names[:len(names)-1], names[len(names)-1]+": ")
	}
	return strings.Join(names, ", ") + "`" + plain(err.Error(), shown...) + "`"
}

// places returns pairs of the addresses and paths of an env and their names.
func (e *env) places() []string {
	shown := append([]string{}, e.replaced...)
	names := []string{"host", "fallback"}
	for i, h := range e.hosts {
		_, address, _ := strings.Cut(h, "://")
		shown = append(shown, address, names[i])
	}
	return append(shown, e.folder, "folder")
}

var replacements = []struct {
	find *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "client"},
	{regexp.MustCompile(`\b(create|image|stable_token|token): (GET|POST) https?://(host|fallback)/[a-z/_-]+`), "‹call›"},
	{regexp.MustCompile(`^wxqrcode: (create|image|stable_token|token): `), "wxqrcode: ‹op›: "},
	{regexp.MustCompile(`, \d+ bytes: `), ", ‹n› bytes: "},
	{regexp.MustCompile(`net/http: request canceled \(Client\.Timeout`), "context deadline exceeded (Client.Timeout"}, // either is possible
	{regexp.MustCompile(` on [0-9a-f.:\[\]]+:53: `), " on ‹resolver›: "},
	{regexp.MustCompile(`\.wxqrcode-[0-9a-z]+\.tmp`), ".wxqrcode-‹random›.tmp"},
	{regexp.MustCompile(`current time \S+ is after \S+`), "current time … is after …"},
}

// plain replaces what differs between machines or runs.
func plain(text string, shown ...string) string {
	text = strings.NewReplacer(shown...).Replace(text)
	for _, w := range replacements {
		text = w.find.ReplaceAllString(text, w.with)
	}
	return text
}

// describeAttempts returns the attempts, and checks their number and the log.
func (e *env) describeAttempts(t *testing.T, f *fault) string {
	t.Helper()
	if e.retried != nil {
		return e.retried()
	}
	want := f.attemptsOf[e.call]
	if want == 0 {
		want = f.attempts
	}
	if want == 0 {
		want = 3
	}
	if !eventually(func() bool { return e.attempts() >= want }) {
		t.Log("an attempt did not arrive")
	}
	assert.Equal(t, want, e.attempts(), "tries")
	assert.Equal(t, max(want-1, 0), e.log.retries(), "retries in the log: %s", &e.log)
	if want == 1 {
		return "1 " + e.unit
	}
	return fmt.Sprintf("%d %s", want, plural(e.unit))
}

// plural returns the plural of a unit, such as "request to each host".
func plural(unit string) string {
	noun, rest, found := strings.Cut(unit, " ")
	if !found {
		return noun + "s"
	}
	return noun + "s " + rest
}
