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

	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// pushTries is how often a message is pushed until it is answered.
const pushTries = 3

// A Delivery is how a push went.
type Delivery struct {
	Status int    // of the answer; 0 if the last try had none
	Body   []byte // of the answer, at most 1 MiB of it; encrypted if the mode is (see [Server.Reply])
	Tries  int    // 1 to 3
}

// A push is one message on its way. The message is the same in every try; whether
// the letter that carries it is, WithFreshRetries says.
type push struct {
	callback callback
	openID   string
	message  message
}

// A letter is one request to the callback.
type letter struct {
	method      string
	url         string
	contentType string // empty if there is no body
	body        []byte
}

// seal stamps and signs a push and, if its callback wants that, encrypts it.
func (s *Server) seal(p push) (letter, error) {
	query := s.sign(p.callback)
	query.Set("openid", p.openID)
	m := p.message
	if p.callback.Mode != Plain {
		encrypt, err := p.callback.key.Seal(m.encode(p.callback.JSON), s.appID)
		if err != nil {
			return letter{}, fmt.Errorf("encrypt the message: %w", err)
		}
		if p.callback.Mode == Secure {
			m = m[:1] // ToUserName
		}
		m = append(slices.Clip(m), field{name: "Encrypt", text: encrypt}) // a copy: p is sealed again for a fresh try
		query.Set("encrypt_type", "aes")
		query.Set("msg_signature", wxcrypt.Signature(p.callback.Token, query.Get("timestamp"), query.Get("nonce"), encrypt))
	}
	l := letter{http.MethodPost, p.callback.address(query), "text/xml", m.encode(p.callback.JSON)}
	if p.callback.JSON {
		l.contentType = "application/json"
	}
	return l, nil
}

// sign returns the query that all requests to a callback have: the time, a new
// nonce and the signature of both.
func (s *Server) sign(cb callback) url.Values {
	timestamp, nonce := strconv.FormatInt(s.now().Unix(), 10), randomNonce()
	return url.Values{
		"timestamp": {timestamp},
		"nonce":     {nonce},
		"signature": {wxcrypt.Signature(cb.Token, timestamp, nonce)},
	}
}

// newPusher returns a client that connects anew for each push, so that the number
// of tries is what the callback saw: Go repeats some requests by itself on a
// connection that was kept alive.
func newPusher(timeout time.Duration) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:        (&net.Dialer{Timeout: timeout}).DialContext,
			DisableKeepAlives:  true,
			DisableCompression: true, // the Delivery has the answer as it came
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// beginPush keeps Close waiting until end is called.
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
	errPushTimeout = errors.New("push time-out")
)

// deliver pushes until there is an answer, at most three times, at once. See
// https://developers.weixin.qq.com/doc/service/guide/dev/push/.
func (s *Server) deliver(ctx context.Context, p push) (*Delivery, error) {
	l, err := s.seal(p)
	if err != nil {
		return nil, err
	}
	d := &Delivery{}
	for {
		d.Tries++
		d.Status, d.Body, err = s.try(ctx, l)
		last := d.Tries == pushTries
		switch {
		case err == nil && (d.Status == http.StatusOK || !s.retryStatus || last):
			return d, nil
		case s.stopped(ctx) != nil:
			return d, s.stopped(ctx)
		case err != nil && last:
			return d, fmt.Errorf("no answer to the push in %d tries: %w", d.Tries, err)
		}
		if s.freshRetries {
			if l, err = s.seal(p); err != nil {
				return d, err
			}
		}
	}
}

// stopped returns why nothing more may be sent, or nil: ctx's error, or that the
// server closes. What a try returns may have come of it.
func (s *Server) stopped(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closing.Err() != nil {
		return errClosed
	}
	return nil
}

// try sends a letter once. Everything but a whole answer is an error.
func (s *Server) try(ctx context.Context, l letter) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.pushTimeout, errPushTimeout)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errPushTimeout) {
			err = fmt.Errorf("not within %v: %w", s.pushTimeout, context.DeadlineExceeded)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, l.method, l.url, bytes.NewReader(l.body))
	if err != nil {
		return 0, nil, err
	}
	if l.contentType != "" {
		req.Header.Set("Content-Type", l.contentType)
	}
	req.Header.Set("User-Agent", "Mozilla/4.0")
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
