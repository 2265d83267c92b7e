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
	runFaultTests(t, b, contextFaults())
}

// directCalls are the calls that a context ends at each step. A token fetch is shared, so
// a context ends only the wait for it.
var directCalls = []*call{create, image, writeImage, saveNew, saveOver}

// contextFaults cancel the context of a call at different steps.
func contextFaults() []fault {
	canceled := []error{context.Canceled}
	return []fault{
		{name: "canceled before the call", wantErrors: canceled, inject: func(e *env) {
			e.cancel()
			e.retried = func() string { return fmt.Sprintf("%d requests", e.attempts()) }
		}},
		{name: "canceled during the dial", calls: directCalls, attempts: 1, wantErrors: canceled, inject: cancelInDial},
		{name: "canceled during the TLS handshake", calls: directCalls, attempts: 1, wantErrors: canceled, inject: func(e *env) {
			secure(e, func() *tls.Certificate {
				e.cancel()
				return authorities().known.sign(func(*x509.Certificate) {})
			})
		}},
		{name: "canceled before the response", calls: directCalls, attempts: 1, wantErrors: canceled, inject: func(e *env) {
			e.wechat.inject(func(_ http.ResponseWriter, r *http.Request) {
				e.cancel()
				e.wechat.waitForClose(r)
			})
		}},
		{name: "canceled within the response", calls: directCalls, attempts: 1, wantErrors: canceled, inject: func(e *env) {
			e.wechat.inject(stallInBody(e.wechat))
			e.tap(func(read, _ int, _ error) {
				if read == 2 {
					e.cancel()
				}
			})
		}},
		{name: "canceled after the response", calls: directCalls, attempts: 1, inject: func(e *env) {
			e.tap(func(_, _ int, err error) {
				if errors.Is(err, io.EOF) {
					e.cancel()
				}
			})
		}},
		{name: "canceled during the backoff", calls: directCalls, wantErrors: append(canceled, wxqrcode.ErrUnexpectedResponse), inject: func(e *env) {
			e.wechat.inject(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
			e.retry = wxqrcode.RetryPolicy{BaseDelay: time.Hour, MaxDelay: time.Hour}
			e.log.hook = func(line string) {
				if strings.Contains(line, "retrying request") {
					e.cancel()
				}
			}
			e.retried = func() string { return fmt.Sprintf("%d request", e.attempts()) }
		}},
		{name: "caller that started a token fetch canceled; waiters get the token", calls: waitingCalls(false), attempts: 1, wantErrors: canceled, inject: holdToken},
		{name: "waiter canceled; caller that started the fetch gets the token", calls: waitingCalls(true), attempts: 1, wantErrors: canceled, inject: holdToken},
	}
}

// cancelInDial cancels the context when the first dial starts. net/http continues the dial
// for other calls; here, it continues when the call has ended.
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
	e.checkAfter = func() error {
		close(over)
		return nil
	}
}

// tap calls f for each read of a response body: before it, with its number from 1, and
// after it, with the number of bytes and the error.
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

// A cancelOnWait is a context that is canceled when its Done is called.
type cancelOnWait struct {
	context.Context
	cancel func()
}

func (c cancelOnWait) Done() <-chan struct{} {
	c.cancel()
	return c.Context.Done()
}

// holdToken delays token responses until release is called.
func holdToken(e *env) {
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	e.wechat.inject(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-held:
		case <-e.wechat.closed:
		}
		io.WriteString(w, responses[r.URL.Path])
	})
	e.release = release
	e.closers = append(e.closers, release)
}

// waitingCalls are calls that wait for a token fetch, started by the call itself or by
// another caller.
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
					_, err := client.Create(ctx, request)
					return err
				}
			}
			return e.waitFor(source, do, another), err
		}}
	}
	return []*call{waiting(create.name), waiting(stableToken.name), waiting(legacyToken.name, wxqrcode.WithLegacyToken())}
}

// waitFor returns do with a context that is canceled while it waits for the token. The
// other waiter must get the token.
func (e *env) waitFor(source *wxqrcode.TokenSource, do func(context.Context) error, another bool) func(context.Context) error {
	got := make(chan error, 1)
	other := func() {
		_, err := source.AccessToken(context.Background())
		got <- err
	}
	e.checkAfter = func() error {
		if !another {
			go other() // joins the fetch after the first caller left
		}
		e.release()
		if n := e.attempts(); n != 1 {
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
			if !eventually(func() bool { return e.attempts() == 1 }) {
				return errors.New("no token fetch")
			}
		}
		err := do(cancelOnWait{ctx, e.cancel})
		if !eventually(func() bool { return e.attempts() == 1 }) {
			return errors.New("no token fetch")
		}
		return err
	}
}
