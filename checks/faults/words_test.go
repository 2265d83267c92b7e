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

// kinds are what the document says that an error is.
var kinds = []struct {
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

// sees says what an error is, and its text, as any machine would have it.
func (e *env) sees(err error) string {
	if err == nil {
		if e.taken != 0 && e.taken != len(picture) {
			return fmt.Sprintf("no error, and a picture of %d bytes in place of %d", e.taken, len(picture))
		}
		return "no error"
	}
	return describe(err, e.places()...)
}

func describe(err error, shown ...string) string {
	var names []string
	for _, k := range kinds {
		if k.is(err) {
			names = append(names, "`"+k.name+"`")
		}
	}
	if len(names) > 0 {
		names = append(names[:len(names)-1], names[len(names)-1]+": ")
	}
	return strings.Join(names, ", ") + "`" + plain(err.Error(), shown...) + "`"
}

// places are the addresses and paths of an env, and what the document has for them.
func (e *env) places() []string {
	shown := append([]string{}, e.shown...)
	names := []string{"host", "spare"}
	for i, h := range e.hosts {
		_, address, _ := strings.Cut(h, "://")
		shown = append(shown, address, names[i])
	}
	return append(shown, e.folder, "folder")
}

var words = []struct {
	find *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "client"},
	{regexp.MustCompile(`\b(create|image|stable_token|token): (GET|POST) https?://(host|spare)/[a-z/_-]+`), "‹call›"},
	{regexp.MustCompile(`^wxqrcode: (create|image|stable_token|token): `), "wxqrcode: ‹op›: "},
	{regexp.MustCompile(`, \d+ bytes: `), ", ‹n› bytes: "},
	{regexp.MustCompile(`net/http: request canceled \(Client\.Timeout`), "context deadline exceeded (Client.Timeout"}, // either, by chance
	{regexp.MustCompile(` on [0-9a-f.:\[\]]+:53: `), " on ‹resolver›: "},
	{regexp.MustCompile(`\.wxqrcode-[0-9a-z]+\.tmp`), ".wxqrcode-‹random›.tmp"},
	{regexp.MustCompile(`current time \S+ is after \S+`), "current time … is after …"},
}

// plain takes out of a text what differs from one machine or run to the next.
func plain(text string, shown ...string) string {
	text = strings.NewReplacer(shown...).Replace(text)
	for _, w := range words {
		text = w.find.ReplaceAllString(text, w.with)
	}
	return text
}

// tried says what was tried again, and checks that the log says so too.
func (e *env) tried(t *testing.T, f *fault) string {
	t.Helper()
	if e.retried != nil {
		return e.retried()
	}
	want := f.tries[e.call]
	if want == 0 {
		want = f.want
	}
	if want == 0 {
		want = 3
	}
	if !eventually(func() bool { return e.tries() >= want }) {
		t.Log("a try did not arrive")
	}
	assert.Equal(t, want, e.tries(), "tries")
	assert.Equal(t, max(want-1, 0), e.log.repeats(), "tries by the log: %s", &e.log)
	switch want {
	case 0:
		return "nothing; no " + e.unit
	case 1:
		return "nothing; 1 " + e.unit
	case 2:
		return "once; 2 " + e.unit + "s"
	case 3:
		return "twice; 3 " + e.unit + "s"
	}
	return fmt.Sprintf("%d times; %d %ss", want-1, want, e.unit)
}
