package wxqrcode

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	maxJSON     = 1 << 20     // bytes of an API answer
	standInTime = time.Minute // how long a host that stood in stays first
)

// The time limits.
var (
	jsonTimeout  = &timeoutError{10 * time.Second} // for one try of an API call
	imageTimeout = &timeoutError{30 * time.Second} // for one try of a picture
	tokenTimeout = &timeoutError{15 * time.Second} // for fetching a token in all, tries and store included
)

// A caller makes HTTP calls to one service of WeChat's, which may have several
// hosts.
type caller struct {
	http  http.Client
	hosts []string
	retry Retry
	log   *slog.Logger

	mu    sync.Mutex // guards first and until
	first int        // the host to begin with
	until time.Time  // when that is the primary again
}

// A call is one request to WeChat, which may take several tries.
type call struct {
	op      string
	method  string
	path    string
	query   string // "?name="
	value   string // of the query, escaped; it may be a secret
	body    []byte
	timeout *timeoutError // of one try
	once    bool          // not to be tried again
	opaque  bool          // the answer may hold a secret that nobody knows yet: never quoted
	secrets secrets       // what no error may show
}

// An answer is the JSON that a call brings.
type answer interface {
	reset() // forgets what an earlier try has left
	refusal() failure
	missing() string // says what the answer lacks; empty if it is whole
}

// A failure is how WeChat says no. Every answer may hold one.
type failure struct {
	Code    int    `json:"errcode"`
	Message string `json:"errmsg"`
}

func (f *failure) refusal() failure { return *f }

// json makes the call and reads the JSON of its answer into a.
func (c *caller) json(ctx context.Context, r *call, a answer) error {
	return c.do(ctx, r, func(res *http.Response) error {
		body, err := r.readAll(res, maxJSON)
		if err != nil {
			return err
		}
		a.reset()
		err = json.Unmarshal(body, a)
		if err == nil && a.refusal().Code != 0 {
			return r.refused(res, a.refusal())
		}
		switch {
		case res.StatusCode != http.StatusOK:
			return r.unexpected(res, r.page(res), body)
		case len(body) == 0:
			return r.unexpected(res, "not the JSON that was expected: an empty body", nil)
		case err != nil:
			return r.unexpected(res, "not the JSON that was expected", body)
		case a.missing() != "":
			return r.unexpected(res, a.missing(), body)
		}
		return nil
	})
}

// do makes the call, in as many tries as it needs and may have, and hands the
// answer to handle.
func (c *caller) do(ctx context.Context, r *call, handle func(*http.Response) error) error {
	for attempt := 1; ; attempt++ {
		err := c.try(ctx, r, handle)
		if err == nil || r.once || attempt >= c.retry.Attempts || ctx.Err() != nil || !isTransient(err) {
			return err
		}
		wait := c.retry.wait(attempt)
		if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait {
			return err
		}
		c.log.LogAttrs(ctx, slog.LevelWarn, "wxqrcode: trying again", slog.String("op", r.op),
			slog.Int("attempt", attempt), slog.Duration("wait", wait), slog.String("error", err.Error()))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return also(err, "; then: ", ctx.Err())
		}
	}
}

// wait returns how long to wait after the given failed attempt: exponential, with
// full jitter.
func (r Retry) wait(attempt int) time.Duration {
	limit := min(r.Base, r.Max)
	for ; attempt > 1 && limit < r.Max; attempt-- {
		limit += min(limit, r.Max-limit) // doubles it
	}
	return rand.N(limit) //nolint:gosec // jitter, no secret
}

// isTransient reports whether the same call may succeed a moment later.
func isTransient(err error) bool {
	if _, ok := errors.AsType[*transportError](err); ok {
		return true
	}
	e, ok := errors.AsType[*APIError](err)
	return ok && (e.Code == errcodeBusy || e.HTTPStatus == http.StatusTooManyRequests || e.HTTPStatus >= http.StatusInternalServerError)
}

// try makes the call once, to the first host that can be reached. A host that did
// not answer in time may be one that cannot; what time is left goes to the next.
func (c *caller) try(ctx context.Context, r *call, handle func(*http.Response) error) error {
	tryCtx, cancel := context.WithTimeoutCause(ctx, r.timeout.limit, r.timeout)
	defer cancel()
	var failed error
	host := c.firstHost()
	for range c.hosts {
		answered, err := c.send(tryCtx, c.hosts[host], r, handle)
		broken, ok := errors.AsType[*transportError](err)
		if answered || ctx.Err() != nil {
			return err
		}
		if failed != nil {
			err = also(failed, "; and ", err)
		}
		if !ok || !broken.undialled && !broken.timeout {
			return err
		}
		host = (host + 1) % len(c.hosts)
		c.setFirst(host)
		// A host that was dialled may have done what is not to be done twice.
		if failed = err; tryCtx.Err() != nil || r.once && !broken.undialled {
			break
		}
	}
	return failed
}

func (c *caller) firstHost() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first != 0 && !time.Now().Before(c.until) {
		c.first = 0
	}
	return c.first
}

func (c *caller) setFirst(host int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first, c.until = host, time.Now().Add(standInTime)
}

// send sends the request to host and hands the answer to handle. It reports
// whether there was one.
func (c *caller) send(ctx context.Context, host string, r *call, handle func(*http.Response) error) (answered bool, err error) {
	req, err := http.NewRequestWithContext(ctx, r.method, host+r.path+r.query+r.value, bytes.NewReader(r.body))
	if err != nil {
		return false, r.broken(ctx, host, err)
	}
	if r.method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	// On a connection that is kept, net/http logs what comes after an answer whose
	// Content-Length is too small: the end of a token.
	req.Close = r.opaque
	res, err := c.http.Do(req)
	if err != nil {
		return false, r.broken(ctx, host, err)
	}
	defer res.Body.Close()
	res.Request = req // which a transport other than net/http's may leave out
	return true, handle(res)
}

// readAll reads the body of an answer, at most limit bytes. It saves the memory of
// io.ReadAll over an io.LimitReader, which is one of Create's 14 allocations.
func (r *call) readAll(res *http.Response, limit int) ([]byte, error) {
	b := make([]byte, 0, 512)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := res.Body.Read(b[len(b):min(cap(b), limit+1)])
		b = b[:len(b)+n]
		switch {
		case len(b) > limit:
			return nil, r.unexpected(res, fmt.Sprintf("over %d bytes", limit), b)
		case err == io.EOF:
			return b, nil
		case err != nil:
			return nil, r.cut(res, b, err)
		}
	}
}

// refused returns the error for an answer with an errcode.
func (r *call) refused(res *http.Response, f failure) error {
	message, id := splitRequestID(f.Message)
	return &APIError{
		Op:         r.op,
		Code:       f.Code,
		Message:    r.secrets.excerpt(message),
		RequestID:  r.secrets.excerpt(id),
		HTTPStatus: res.StatusCode,
	}
}

// unexpected returns the error for an answer that is not what was asked for.
func (r *call) unexpected(res *http.Response, what string, body []byte) error {
	if r.opaque && len(body) > 0 {
		what = fmt.Sprintf("%s (%d bytes, not shown: there may be a token in them)", what, len(body))
	} else if text := r.secrets.excerpt(string(body)); text != "" {
		what = fmt.Sprintf("%s: %q", what, text)
	}
	return &APIError{Op: r.op, Message: what, HTTPStatus: res.StatusCode}
}

// page says what an answer with another status than 200 is.
func (r *call) page(res *http.Response) string {
	if to, err := res.Location(); err == nil && res.StatusCode/100 == 3 {
		return "a redirect to " + r.secrets.excerpt(to.Scheme+"://"+to.Host) + ", which is not followed"
	}
	return "an error page"
}

// cut returns the error for a body that ended early.
func (r *call) cut(res *http.Response, body []byte, err error) error {
	broken := r.broken(res.Request.Context(), res.Request.URL.Scheme+"://"+res.Request.URL.Host, err)
	if res.Request.Context().Err() != nil {
		return broken
	}
	return also(r.unexpected(res, "cut off", body), ": ", broken)
}

// broken returns the error for a call that brought no answer, or half a one. It
// hides the URL, which net/http puts into its errors, with the token in it.
func (r *call) broken(ctx context.Context, host string, err error) error {
	e := &transportError{undialled: isDialError(err)}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if limit, ok := errors.AsType[*timeoutError](context.Cause(ctx)); ok {
		err = limit
	} else if ctx.Err() != nil && !errors.Is(err, ctx.Err()) { // net/http returns the cause
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	e.timeout = isTimeout(err)
	e.error = r.secrets.wrap(fmt.Sprintf("wxqrcode: %s: %s %s%s", r.op, r.method, host, r.path), err)
	return e
}

// A transportError is a failure below HTTP. It is a [net.Error].
type transportError struct {
	error
	undialled, timeout bool
}

func (e *transportError) Unwrap() error   { return e.error }
func (e *transportError) Timeout() bool   { return e.timeout }
func (e *transportError) Temporary() bool { return true }

// Is makes every time-out a [context.DeadlineExceeded]. That of a dial is one or not by
// chance: net has two clocks for it.
func (e *transportError) Is(target error) bool {
	return e.timeout && target == context.DeadlineExceeded
}

func isDialError(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "dial"
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

// A timeoutError says that a time limit of this package's ran out, rather than
// the caller's.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("no answer within %v", e.limit) }

// Is makes it a [context.DeadlineExceeded] like any other.
func (e *timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }
