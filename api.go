package wxqrcode

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	maxJSON     = 1 << 20     // bytes of a JSON response
	failoverTTL = time.Minute // how long a fallback host stays the active one
)

var (
	jsonTimeout  = &timeoutError{10 * time.Second} // of one attempt
	imageTimeout = &timeoutError{30 * time.Second} // of one attempt
	fetchTimeout = &timeoutError{15 * time.Second} // of a token fetch in all, with retries and store
)

// An apiClient sends requests to one service of WeChat. The service may have
// several hosts.
type apiClient struct {
	http      http.Client
	timeout   time.Duration // of the user's http.Client, per host
	hosts     []string      // base URLs: the primary host, then the fallback hosts
	retry     RetryPolicy
	userAgent []string // the header, which requests share
	log       *slog.Logger

	mu          sync.Mutex // guards the fields below
	active      int        // index of the host that the next attempt uses
	activeUntil time.Time  // when the primary host becomes active again
}

// An apiRequest is a request to WeChat, which each attempt sends.
type apiRequest struct {
	op          string
	method      string
	path        string
	query       string // not secret
	secretQuery string // replaces query below http.Client, so that no *url.Error holds it
	body        []byte
	timeout     *timeoutError // of one attempt
	noRetry     bool
	isToken     bool // a token request: see roundTrip and doWithRetry
	redact      *redactor
}

// doWithRetry sends r and returns what read makes of the response. It retries
// transient errors with exponential backoff and full jitter, never past the
// deadline of ctx.
func doWithRetry[T any](ctx context.Context, c *apiClient, r *apiRequest, read func(*apiRequest, *http.Response) (T, error)) (T, error) {
	for attempts := 1; ; attempts++ {
		v, err := attempt(ctx, c, r, read)
		if err == nil || r.noRetry || attempts >= c.retry.MaxAttempts || ctx.Err() != nil || !isTransient(err) {
			return v, err
		}
		delay := c.retry.backoff(attempts)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= delay {
			return v, err
		}
		if r.isToken {
			go c.logRetry(ctx, r.op, attempts, delay, err) // the logger may itself wait for the token
		} else {
			c.logRetry(ctx, r.op, attempts, delay, err)
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return v, fmt.Errorf("%w; canceled before the next attempt: %w", err, contextError(ctx))
		}
	}
}

func (c *apiClient) logRetry(ctx context.Context, op string, attempt int, delay time.Duration, err error) {
	c.log.LogAttrs(ctx, slog.LevelWarn, "wxqrcode: retrying request", slog.String("op", op),
		slog.Int("attempt", attempt), slog.Duration("delay", delay), slog.String("error", err.Error()))
}

// attempt sends r once, to the active host. It fails over to the next host if
// the active one cannot be reached or times out.
func attempt[T any](ctx context.Context, c *apiClient, r *apiRequest, read func(*apiRequest, *http.Response) (T, error)) (v T, err error) {
	attemptCtx, cancel := context.WithTimeoutCause(ctx, r.timeout.limit, r.timeout)
	defer cancel()
	var failed error
	for range c.hosts {
		host := c.activeHost()
		v, err = roundTrip(attemptCtx, c, c.hosts[host], r, read)
		e, ok := errors.AsType[*transportError](err)
		if !ok || !e.unreachable || ctx.Err() != nil {
			return v, err
		}
		if failed != nil {
			err = fmt.Errorf("%w; before that: %w", err, failed)
		}
		failed = err
		c.failOver(host)
		if attemptCtx.Err() != nil || r.noRetry && !e.notSent {
			break
		}
	}
	return v, failed
}

// roundTrip sends r to the host at base and returns what read makes of the
// response.
func roundTrip[T any](ctx context.Context, c *apiClient, base string, r *apiRequest, read func(*apiRequest, *http.Response) (T, error)) (v T, err error) {
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.timeout, &timeoutError{c.timeout})
		defer cancel()
	}
	ctx = context.WithValue(ctx, apiRequestKey{}, r)
	req, err := http.NewRequestWithContext(ctx, r.method, base+r.path+r.query, bytes.NewReader(r.body))
	if err != nil {
		return v, r.transportError(ctx, base, err)
	}
	req.Header["User-Agent"] = c.userAgent
	if r.method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Close = r.isToken // net/http logs bytes that follow a response on an idle connection
	res, err := c.http.Do(req)
	if err != nil {
		return v, r.transportError(ctx, base, err)
	}
	defer res.Body.Close()
	return read(r, res)
}

// A secretTransport puts the secret query into the URL. It sits below
// http.Client, whose errors quote the URL.
type secretTransport struct{ base http.RoundTripper }

type apiRequestKey struct{} // context key of an *apiRequest

func (t secretTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := r
	if api, ok := r.Context().Value(apiRequestKey{}).(*apiRequest); ok && api.secretQuery != "" {
		u := *r.URL
		u.RawQuery = api.secretQuery
		sent = r.WithContext(r.Context()) // a shallow copy
		sent.URL = &u
	}
	res, err := t.base.RoundTrip(sent)
	if res != nil {
		res.Request = r
		res.Header.Del("Location") // or http.Client would follow it, or quote it in an error
	}
	return res, err
}

// activeHost returns the index of the host to send to.
func (c *apiClient) activeHost() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active != 0 && !time.Now().Before(c.activeUntil) {
		c.active = 0
	}
	return c.active
}

// failOver makes the host after the failed one active.
func (c *apiClient) failOver(failed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active, c.activeUntil = (failed+1)%len(c.hosts), time.Now().Add(failoverTTL)
}

// backoff returns the delay after the given number of attempts: exponential,
// with full jitter.
func (p RetryPolicy) backoff(attempts int) time.Duration {
	limit := min(p.BaseDelay, p.MaxDelay)
	for ; attempts > 1 && limit < p.MaxDelay; attempts-- {
		limit += min(limit, p.MaxDelay-limit) // doubles without overflow
	}
	return rand.N(limit) //nolint:gosec // jitter is not a secret
}

// isTransient reports whether the same request may succeed a moment later.
func isTransient(err error) bool {
	if _, ok := errors.AsType[*writeError](err); ok {
		return false
	}
	if e, ok := errors.AsType[*transportError](err); ok {
		return !e.permanent
	}
	status := 0
	if e, ok := errors.AsType[*APIError](err); ok {
		if e.Code == errcodeBusy {
			return true
		}
		status = e.HTTPStatus
	} else if e, ok := errors.AsType[*ResponseError](err); ok {
		status = e.HTTPStatus
	}
	return status == http.StatusTooManyRequests || status >= http.StatusInternalServerError
}

// An apiResponse is the JSON of a response.
type apiResponse interface {
	status() apiStatus
	missing() string // what the response lacks; empty if it is complete
}

// An apiStatus is how WeChat reports an error. Every response may hold one.
type apiStatus struct {
	Code    int    `json:"errcode"`
	Message string `json:"errmsg"`
}

func (s apiStatus) status() apiStatus { return s }

// decodeJSON decodes a response into a fresh value.
func decodeJSON[T apiResponse](r *apiRequest, res *http.Response) (v T, err error) {
	body, err := r.readBody(res, maxJSON)
	if err != nil {
		return v, err
	}
	invalid := json.Unmarshal(body, &v)
	switch {
	case invalid == nil && v.status().Code != 0:
		return v, r.apiError(res, v.status())
	case res.StatusCode != http.StatusOK || invalid != nil:
		return v, r.unexpectedResponse(res, len(body), "not the JSON of the API")
	case v.missing() != "":
		return v, r.unexpectedResponse(res, len(body), v.missing())
	}
	return v, nil
}

// readBody reads the body of a response, at most limit bytes.
func (r *apiRequest) readBody(res *http.Response, limit int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(res.Body, int64(limit)+1))
	switch {
	case err != nil:
		return nil, r.truncatedBody(res, err)
	case len(b) > limit:
		return nil, r.unexpectedResponse(res, len(b), fmt.Sprintf("longer than the limit of %d bytes", limit))
	}
	return b, nil
}

// apiError returns the error for a response with an errcode.
func (r *apiRequest) apiError(res *http.Response, s apiStatus) error {
	message, id := splitRequestID(s.Message)
	return &APIError{
		Op:         r.op,
		Code:       s.Code,
		Message:    r.redact.text(message),
		RequestID:  r.redact.text(id),
		HTTPStatus: res.StatusCode,
		RetryAt:    retryAt(s.Code, time.Now()),
	}
}

// unexpectedResponse returns the error for a response that does not come from
// the API. It describes the response and does not quote it: a page may contain
// the request, with the token in it.
func (r *apiRequest) unexpectedResponse(res *http.Response, length int, reason string) error {
	contentType, _, _ := mime.ParseMediaType(r.redact.text(res.Header.Get("Content-Type")))
	if res.StatusCode/100 == 3 {
		reason = "a redirect, which is not followed"
	}
	return &ResponseError{
		Op:          r.op,
		HTTPStatus:  res.StatusCode,
		ContentType: contentType,
		Length:      max(int64(length), res.ContentLength),
		Reason:      reason,
	}
}

// truncatedBody returns the error for a body that ended early.
func (r *apiRequest) truncatedBody(res *http.Response, err error) error {
	ctx := res.Request.Context()
	e := r.transportError(ctx, "", err)
	e.truncated, e.unreachable = ctx.Err() == nil && !e.timeout, false
	return e
}

// transportError returns the error for a request to the host at base that
// brought no response, or for a response that ended early if base is empty.
func (r *apiRequest) transportError(ctx context.Context, base string, err error) *transportError {
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	dial, _ := errors.AsType[*net.OpError](err)
	e := &transportError{permanent: badCertificate, notSent: dial != nil && dial.Op == "dial"}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the method and the URL, which are in the text below
	}
	if timeout, ok := errors.AsType[*timeoutError](context.Cause(ctx)); ok {
		err = timeout
	} else if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	timeout, ok := errors.AsType[net.Error](err)
	e.timeout = ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded)
	e.unreachable = e.notSent || e.timeout
	where := "read response"
	if base != "" {
		where = r.method + " " + base + r.path
	}
	e.error = r.redact.wrap(r.op+": "+where, err)
	return e
}

// A transportError is a failure below HTTP: no response, or a part of one. It
// is a [net.Error].
type transportError struct {
	error
	permanent   bool // a certificate that does not verify
	notSent     bool // the host could not be dialed
	unreachable bool // the host could not be dialed or timed out
	truncated   bool // the body of the response ended early
	timeout     bool
}

func (e *transportError) Unwrap() error   { return e.error }
func (e *transportError) Timeout() bool   { return e.timeout }
func (e *transportError) Temporary() bool { return !e.permanent }

// Is makes every timeout match [context.DeadlineExceeded]: package net has
// another error for the timeout of a dial. Part of a response is an
// [ErrUnexpectedResponse].
func (e *transportError) Is(target error) bool {
	return e.timeout && target == context.DeadlineExceeded || e.truncated && target == ErrUnexpectedResponse
}

// contextError returns why ctx ended: its error, and its cause if that is another
// one.
func contextError(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return context.Cause(ctx)
}

// A timeoutError reports that a time limit of this package expired, not one of
// the caller.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("no response within %v", e.limit) }

// Is makes it match [context.DeadlineExceeded].
func (e *timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }
