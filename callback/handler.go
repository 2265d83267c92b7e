package callback

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/message"
)

// ServeHTTP answers a request of WeChat: a GET, which verifies the URL, with
// its echostr, and a POST, which is a push, with the reply or "success". The
// statuses are
//
//	200  handled, now or before, even if its reply cannot be sent; a message
//	     without OnMessage; verification of the URL, or of the path of cloud hosting
//	400  the body is empty, incomplete or not a message that can be read, or it is
//	     encrypted and there is no key
//	403  not authenticated or too old; the reason is in the log only
//	405  neither GET nor POST; with CloudHostingSecret of [Config], not POST
//	408  the body was not read within 5 s
//	413  the body is longer than MaxBody of [Config]
//	500  OnEvent, OnMessage or Dedup failed, and a redelivery is handled again; the
//	     client disconnected while the push waited for a call in flight; or the
//	     handler was not made with [New]
//
// Whether WeChat pushes again after a status other than 200 is not documented.
// If runtime.Goexit is called, or Dedup or OnResult panics, net/http closes the
// connection.
//
// See https://developers.weixin.qq.com/doc/service/guide/dev/push/.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h == nil || h.onEvent == nil {
		http.Error(w, "the handler was not made with callback.New", http.StatusInternalServerError)
		return
	}
	start := time.Now()
	result := Result{Outcome: Failed, Status: http.StatusInternalServerError, Err: errGoexit}
	defer func() { h.report(r, result, time.Since(start)) }() // also after runtime.Goexit
	setReadDeadline(w, start.Add(h.readTimeout))

	var res response
	switch {
	case r.Method == http.MethodPost:
		res, result = h.handlePush(w, r)
	case h.cloudSecret() != "":
		res, result = rejectMethod(w, "POST", "the method is not POST, and WeChat cloud hosting sends no other (CloudHostingSecret is set)")
	case r.Method == http.MethodGet:
		res, result = h.verifyURL(r)
	default:
		res, result = rejectMethod(w, "GET, POST", "the method is neither GET nor POST")
	}
	res.write(w)
}

// handlePush handles a push and returns the response.
func (h *Handler) handlePush(w http.ResponseWriter, r *http.Request) (response, Result) {
	d, err := h.authenticate(w, r)
	if err != nil {
		return reject(err)
	}
	if d.verifiesPath {
		return success, Result{Outcome: Verified, Status: http.StatusOK}
	}
	p, err := h.parse(d)
	if err != nil {
		return reject(err)
	}
	start := time.Now()
	reply, outcome, err := h.process(r.Context(), d.query, p)
	took := time.Since(start)
	var res response
	if err == nil {
		res, err = h.respond(reply, d)
	} else {
		res = responseTo(err)
	}
	if err == nil && outcome == Handled && took > h.timeout {
		err = lateError{took, h.timeout}
	}
	return res, Result{Outcome: outcome, Status: res.status, Event: p.event, Err: err, message: p.message.kind()}
}

// A push is an authenticated message of WeChat in plaintext.
type push struct {
	event   *wxqrcode.Event // subscribe, unsubscribe or SCAN; nil for other messages
	message Message
}

// parse reads the message of a delivery, and rejects a message that WeChat did
// not send with it.
func (h *Handler) parse(d delivery) (push, error) {
	m, err := message.ParsePush(d.message)
	switch {
	case err == nil:
	case len(d.message) == 0 && d.key == nil:
		return push{}, statusError{http.StatusBadRequest, errors.New("the body is empty; " + bodyHint)}
	case h.cloudSecret() == "" && len(h.keys) == 0 && message.Encrypted(d.message) != nil:
		return push{}, statusError{http.StatusBadRequest, errors.New("the push is encrypted; set EncodingAESKey and AppID in callback.Config")}
	default:
		return push{}, statusError{http.StatusBadRequest, fmt.Errorf("read the message: %w", err)}
	}
	if err := h.checkOrigin(d, m); err != nil {
		return push{}, err
	}
	created, _ := m.Created()
	p := push{message: Message{m.ToUserName, m.FromUserName, created, m.MsgType, m.Event, m.InfoType, d.message}}
	if m.IsScan() {
		p.event = &wxqrcode.Event{
			ToUserName: m.ToUserName, OpenID: m.FromUserName, CreatedAt: created, MsgType: m.MsgType,
			Type: wxqrcode.EventType(m.Event), EventKey: m.EventKey, Ticket: wxqrcode.Ticket(m.Ticket),
		}
	}
	return p, nil
}

// process calls OnEvent or OnMessage, unless the push is a duplicate, and
// returns the reply in plaintext.
func (h *Handler) process(ctx context.Context, q query, p push) (reply []byte, outcome Outcome, err error) {
	if p.event == nil && h.onMessage == nil {
		return nil, Ignored, nil
	}
	reply, duplicate, err := h.dedup.Do(ctx, p.dedupKey(), h.dedupWindow, func(ctx context.Context) ([]byte, error) {
		// A request that was held open must not outlive the dedup window.
		if err := q.checkTimestamp(time.Now(), h.maxAge); err != nil {
			return nil, err
		}
		return h.invoke(ctx, p)
	})
	switch {
	case err == nil && !duplicate:
		outcome = Handled
	case err == nil:
		outcome = Duplicate
	case duplicate && ctx.Err() != nil:
		outcome = ClientGone
	case errors.As(err, new(statusError)):
		outcome = Rejected
	default:
		outcome = Failed
	}
	return reply, outcome, err
}

// invoke calls OnEvent or OnMessage.
func (h *Handler) invoke(ctx context.Context, p push) (reply []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	var r Reply
	if p.event != nil {
		r, err = h.onEvent(ctx, p.event)
	} else {
		r, err = h.onMessage(ctx, p.message)
	}
	if err != nil {
		return nil, err
	}
	return encodeReply(r, p), nil
}

func (p push) dedupKey() string {
	if p.event != nil {
		return p.event.DedupKey()
	}
	sum := sha256.Sum256(p.message.Raw)
	return hex.EncodeToString(sum[:])
}
