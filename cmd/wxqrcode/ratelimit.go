package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// errcodeRateLimited is in the response to a request that exceeds the limit of a
// minute. CreateAll waits until the next minute and retries.
const errcodeRateLimited = `"errcode":45011`

// A rateLimitWatcher is a transport that reports rate-limited responses.
type rateLimitWatcher struct {
	next http.RoundTripper
	out  io.Writer

	mu    sync.Mutex // guards until
	until time.Time  // the end of the last minute that was reported
}

// watchRateLimit returns the option that makes a batch report rate limits to w.
func watchRateLimit(w io.Writer) wxqrcode.Option {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64 // as in the transport that this one replaces
	transport.DialContext = (&net.Dialer{Timeout: 3 * time.Second}).DialContext
	return wxqrcode.WithHTTPClient(&http.Client{Transport: &rateLimitWatcher{next: transport, out: w}})
}

// RoundTrip implements http.RoundTripper.
func (w *rateLimitWatcher) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w.next.RoundTrip(r)
	if err == nil {
		res.Body = &watchedBody{ReadCloser: res.Body, watcher: w}
	}
	return res, err
}

// report prints the end of the rate limit, once for each minute.
func (w *rateLimitWatcher) report(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	until := now.Truncate(time.Minute).Add(time.Minute)
	if until.After(w.until) {
		w.until = until
		_, _ = fmt.Fprintf(w.out, "rate limited, waiting until %s\n", until.Local().Format(time.TimeOnly))
	}
}

// A watchedBody looks for the errcode at the start of a body.
type watchedBody struct {
	io.ReadCloser
	watcher *rateLimitWatcher
	start   []byte
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if room := 64 - len(b.start); room > 0 {
		b.start = append(b.start, p[:min(n, room)]...)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	if bytes.Contains(b.start, []byte(errcodeRateLimited)) {
		b.watcher.report(time.Now())
	}
	return b.ReadCloser.Close()
}
