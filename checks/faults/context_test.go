package faults

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

func runContexts(t *testing.T, b *table) {
	t.Helper()
	meet(t, b, contextFaults())
}

// directCalls are those that a context ends at each step. A token is fetched for all who
// wait, so that a context ends only the waiting.
var directCalls = []*call{create, image, writeImage, saveNew, saveOver}

// contextFaults cancel the context of a call, each at one step.
func contextFaults() []fault {
	canceled := []error{context.Canceled}
	return []fault{
		{name: "cancelled before the call", is: canceled, begin: func(e *env) {
			e.cancel()
			e.retried = func() string { return fmt.Sprintf("nothing; %d requests", e.tries()) }
		}},
		{name: "cancelled while dialling", calls: directCalls, want: 1, is: canceled, begin: cancelInDial},
		{name: "cancelled in the TLS handshake", calls: directCalls, want: 1, is: canceled, begin: func(e *env) {
			secure(e, func() *tls.Certificate {
				e.cancel()
				return authorities().known.sign(func(*x509.Certificate) {})
			})
		}},
		{name: "cancelled while the answer is waited for", calls: directCalls, want: 1, is: canceled, begin: func(e *env) {
			e.wechat.breaks(func(_ http.ResponseWriter, r *http.Request) {
				e.cancel()
				e.wechat.wait(r)
			})
		}},
		{name: "cancelled within the answer", calls: directCalls, want: 1, is: canceled, begin: func(e *env) {
			e.wechat.breaks(stallInBody(e.wechat))
			e.tap(func(read, _ int, _ error) {
				if read == 2 {
					e.cancel()
				}
			})
		}},
		{name: "cancelled when the answer is there", calls: directCalls, want: 1, begin: func(e *env) {
			e.tap(func(_, _ int, err error) {
				if errors.Is(err, io.EOF) {
					e.cancel()
				}
			})
		}},
		{name: "cancelled while waiting for the next try", calls: directCalls, is: append(canceled, wxqrcode.ErrUnexpectedResponse), begin: func(e *env) {
			e.wechat.breaks(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
			e.retry = wxqrcode.RetryPolicy{BaseDelay: time.Hour, MaxDelay: time.Hour}
			e.log.hook = func(line string) {
				if strings.Contains(line, "retrying request") {
					e.cancel()
				}
			}
			e.retried = func() string { return fmt.Sprintf("nothing; %d request", e.tries()) }
		}},
		{name: "the first who waits for a token is cancelled; the others get it", calls: waitingCalls(false), want: 1, is: canceled, begin: holdToken},
		{name: "another who waits for it is cancelled; the first gets it", calls: waitingCalls(true), want: 1, is: canceled, begin: holdToken},
	}
}

// cancelInDial cancels the context when the first dial begins. net/http lets the dial go
// on, as another call may use the connection; it goes on when the call is over.
func cancelInDial(e *env) {
	over := make(chan struct{})
	var begun atomic.Bool
	e.dialTo(func(address string) string {
		if begun.CompareAndSwap(false, true) {
			e.cancel()
			<-over
		}
		return address
	})
	e.extra = func() error {
		close(over)
		return nil
	}
}

// tap calls f at each reading of an answer's body: before it, with its number from 1, and
// after it, with the bytes that it brought and its error.
func (e *env) tap(f func(read, n int, err error)) {
	t := e.ownTransport()
	e.http.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		res, err := t.RoundTrip(r)
		if err == nil {
			res.Body = &tapped{ReadCloser: res.Body, f: f}
		}
		return res, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type tapped struct {
	io.ReadCloser
	reads int
	f     func(read, n int, err error)
}

func (b *tapped) Read(p []byte) (int, error) {
	b.reads++
	b.f(b.reads, 0, nil)
	n, err := b.ReadCloser.Read(p)
	b.f(b.reads, n, err)
	return n, err
}

// A lateContext is cancelled at the moment at which somebody begins to wait for its end.
type lateContext struct {
	context.Context
	cancel func()
}

func (c lateContext) Done() <-chan struct{} {
	c.cancel()
	return c.Context.Done()
}

// holdToken keeps back the answers of token calls until the fault ends.
func holdToken(e *env) {
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	e.wechat.breaks(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-held:
		case <-e.wechat.gone:
		}
		io.WriteString(w, answers[r.URL.Path])
	})
	e.release = release
	e.closers = append(e.closers, release)
}

// waitingCalls are calls that need a token which somebody fetches: the call itself, or
// another.
func waitingCalls(another bool) []*call {
	waiting := func(name string, opts ...wxqrcode.Option) *call {
		return &call{name: name, begin: func(e *env) (func(context.Context) error, error) {
			source, err := wxqrcode.NewTokenSource(appID, appSecret, append(e.options(), opts...)...)
			if err != nil {
				return nil, err
			}
			client, err := wxqrcode.NewClient(source, wxqrcode.WithAPIURL(e.hosts[0]))
			do := func(ctx context.Context) error {
				_, err := source.AccessToken(ctx)
				return err
			}
			if name == create.name {
				do = func(ctx context.Context) error {
					_, err := client.Create(ctx, aCode)
					return err
				}
			}
			return e.waitFor(source, do, another), err
		}}
	}
	return []*call{waiting(create.name), waiting(stableToken.name), waiting(legacyToken.name, wxqrcode.WithLegacyToken())}
}

// waitFor returns do with a context that is cancelled while it waits for the token. The
// other, who waits too, must get it.
func (e *env) waitFor(source *wxqrcode.TokenSource, do func(context.Context) error, another bool) func(context.Context) error {
	got := make(chan error, 1)
	other := func() {
		_, err := source.AccessToken(context.Background())
		got <- err
	}
	e.extra = func() error {
		if !another {
			go other() // comes later, to the fetch that the first has left
		}
		e.release()
		if n := e.tries(); n != 1 {
			return fmt.Errorf("%d requests", n)
		}
		return <-got
	}
	return func(ctx context.Context) error {
		if e.ctx.Err() != nil { // once the fault has ended
			return do(ctx)
		}
		if another {
			go other()
			if !eventually(func() bool { return e.tries() == 1 }) {
				return errors.New("nobody fetches a token")
			}
		}
		err := do(lateContext{ctx, e.cancel})
		if !eventually(func() bool { return e.tries() == 1 }) {
			return errors.New("nobody fetches a token")
		}
		return err
	}
}
