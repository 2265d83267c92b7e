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
	"strconv"
	"time"

	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// pushTries is how often an event is pushed until it is answered.
const pushTries = 3

// A Delivery is how a push went.
type Delivery struct {
	Status int    // of the answer; 0 if the last try had none
	Body   []byte // of the answer, at most 1 MiB of it
	Tries  int    // 1 to 3
}

// A push is one event on its way. Every try sends the same bytes; WeChat does not
// document whether its repeats are signed anew.
type push struct {
	url         string
	contentType string
	body        []byte
}

// newPush writes and signs an event.
func (s *Server) newPush(cb callback, openID string, e userEvent) (push, error) {
	now := s.now()
	timestamp := strconv.FormatInt(now.Unix(), 10)
	nonce := randomNonce()
	query := url.Values{
		"timestamp": {timestamp},
		"nonce":     {nonce},
		"signature": {wxcrypt.Signature(cb.Token, timestamp, nonce)},
		"openid":    {openID},
	}

	m := s.newMessage(openID, e, now)
	if cb.Mode != Plain {
		encrypt, err := cb.key.Seal(m.encode(cb.JSON), s.appID)
		if err != nil {
			return push{}, fmt.Errorf("encrypt the event: %w", err)
		}
		if cb.Mode == Secure {
			m = m[:1] // ToUserName
		}
		m = append(m, field{name: "Encrypt", text: encrypt})
		query.Set("encrypt_type", "aes")
		query.Set("msg_signature", wxcrypt.Signature(cb.Token, timestamp, nonce, encrypt))
	}

	target := *cb.url
	if target.RawQuery != "" {
		target.RawQuery += "&"
	}
	target.RawQuery += query.Encode()
	p := push{url: target.String(), contentType: "text/xml", body: m.encode(cb.JSON)}
	if cb.JSON {
		p.contentType = "application/json"
	}
	return p, nil
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
func (s *Server) deliver(parent context.Context, p push) (*Delivery, error) {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()

	d := &Delivery{}
	for {
		var err error
		d.Tries++
		d.Status, d.Body, err = s.try(ctx, p)
		last := d.Tries == pushTries
		switch {
		case err == nil && (d.Status == http.StatusOK || !s.retryStatus || last):
			return d, nil
		case err != nil && parent.Err() != nil:
			return d, parent.Err()
		case err != nil && s.closing.Err() != nil:
			return d, errClosed
		case err != nil && last:
			return d, fmt.Errorf("no answer to the push in %d tries: %w", d.Tries, err)
		}
	}
}

// try pushes once. Everything but a whole answer is an error.
func (s *Server) try(ctx context.Context, p push) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.pushTimeout, errPushTimeout)
	defer cancel()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errPushTimeout) {
			err = fmt.Errorf("not within %v: %w", s.pushTimeout, context.DeadlineExceeded)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(p.body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", p.contentType)
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
