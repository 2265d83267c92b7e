package wxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/seed-0142d113/wxqrcode/internal/message"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// pushTries is the limit of tries to push a message.
const pushTries = 3

// A Delivery is the result of a push.
type Delivery struct {
	Status int    // of the response; 0 if the last try had none
	Body   []byte // of the response, at most 1 MiB; encrypted if the mode is (see [Delivery.Reply])
	Tries  int    // 1 to 3

	reply    []byte // what Reply and Warnings return
	replyErr error
	warnings []string
}

// A push is a message for the callback. The message is the same in every try;
// with WithFreshRetries the request is not.
type push struct {
	callback accountCallback
	openID   string          // in the query; empty for pushes that have none
	envelope message.Element // the other field of the envelope in secure mode, besides Encrypt
	message  []message.Element
}

// A callbackRequest is one request to the callback.
type callbackRequest struct {
	method string
	url    string
	header http.Header
	body   []byte
}

// newCallbackRequest signs a push and encrypts it if the mode does.
func (s *Server) newCallbackRequest(p push) (callbackRequest, error) {
	header := http.Header{"Content-Type": {"text/xml"}}
	if p.callback.JSON {
		header.Set("Content-Type", "application/json")
	}
	if p.callback.Mode == CloudHosting {
		header.Set("X-WX-SOURCE", "wxtest")
		return callbackRequest{http.MethodPost, p.callback.address(nil), header, message.Write(p.callback.JSON, p.message...)}, nil
	}
	query := s.sign(p.callback)
	if p.openID != "" {
		query.Set("openid", p.openID)
	}
	fields := p.message
	if p.callback.encrypts() {
		encrypt, err := p.callback.key.Encrypt(message.Write(p.callback.JSON, fields...), s.appID)
		if err != nil {
			return callbackRequest{}, fmt.Errorf("encrypt the message: %w", err)
		}
		if p.callback.Mode == Secure {
			fields = []message.Element{p.envelope}
		}
		fields = append(slices.Clip(fields), message.Text("Encrypt", string(encrypt)))
		query.Set("encrypt_type", "aes")
		query.Set("msg_signature", wxcrypt.Sign(p.callback.Token, query.Get("timestamp"), query.Get("nonce"), encrypt))
	}
	return callbackRequest{http.MethodPost, p.callback.address(query), header, message.Write(p.callback.JSON, fields...)}, nil
}

// sign returns the query that all signed requests have: the time, a new nonce
// and the signature of both.
func (s *Server) sign(cb accountCallback) url.Values {
	timestamp, nonce := strconv.FormatInt(s.now().Unix(), 10), randomNonce()
	return url.Values{
		"timestamp": {timestamp},
		"nonce":     {nonce},
		"signature": {wxcrypt.Sign(cb.Token, timestamp, nonce, nil)},
	}
}

// newPusher returns a client that opens a connection for each push, so that the
// callback sees the number of tries: net/http retries some requests on a
// connection that it reuses.
func newPusher(timeout time.Duration) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:        (&net.Dialer{Timeout: timeout}).DialContext,
			DisableKeepAlives:  true,
			DisableCompression: true, // the Delivery has the response as it was sent
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// beginPush makes Close wait until end is called.
func (s *Server) beginPush() (end func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	s.pushes.Add(1)
	return s.pushes.Done, nil
}

var (
	errClosed      = fmt.Errorf("the server was closed: %w", http.ErrServerClosed)
	errPushTimeout = errors.New("push timeout")
)

// deliver pushes until there is a response, at most three times, without a
// pause. See https://developers.weixin.qq.com/doc/service/guide/dev/push/.
func (s *Server) deliver(ctx context.Context, p push) (*Delivery, error) {
	request, err := s.newCallbackRequest(p)
	if err != nil {
		return nil, err
	}
	d := &Delivery{}
	for {
		d.Tries++
		d.Status, d.Body, err = s.try(ctx, request)
		last := d.Tries == pushTries
		switch {
		case err == nil && (d.Status == http.StatusOK || !s.retryStatus || last):
			d.reply, d.warnings, d.replyErr = s.readReply(d, p.callback)
			return d, nil
		case s.stopped(ctx) != nil:
			return d, s.stopped(ctx)
		case err != nil && last:
			return d, fmt.Errorf("no response to the push in %d tries: %w", d.Tries, err)
		}
		if s.freshRetries {
			if request, err = s.newCallbackRequest(p); err != nil {
				return d, err
			}
		}
	}
}

// stopped returns the error of ctx, or an error if the server was closed, or
// nil. Either can be the cause of the error of a try.
func (s *Server) stopped(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closing.Err() != nil {
		return errClosed
	}
	return nil
}

// try sends a request once. A response that is not complete is an error.
func (s *Server) try(ctx context.Context, r callbackRequest) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.pushTimeout, errPushTimeout)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errPushTimeout) {
			err = fmt.Errorf("not within %v: %w", s.pushTimeout, context.DeadlineExceeded)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return 0, nil, err
	}
	req.Header = r.header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("User-Agent", "Mozilla/4.0")
	req.Header.Set("Accept", "*/*")
	req.Header.Set("Pragma", "no-cache")
	res, err := s.pusher.Do(req)
	if err != nil {
		return 0, nil, errors.Unwrap(err) // without the URL, which is long
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return 0, nil, err
	}
	return res.StatusCode, body, nil
}
