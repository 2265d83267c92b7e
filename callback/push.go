package callback

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
	"github.com/seed-0142d113/wxqrcode/internal/wxmessage"
)

// A push is one request and what is found out about it.
type push struct {
	handler *Handler
	request *http.Request
	start   time.Time
	query   query
	body    []byte
	message []byte          // the body in the clear
	event   *wxqrcode.Event // what the message says; nil until it is known
	key     *wxcrypt.Key    // that opened it; nil for a push in the clear

	ran      bool    // onEvent or OnMessage was called for this request
	stale    error   // why neither was called
	replyErr error   // why there is no reply
	outcome  outcome // how it ended
	err      error   // why it was refused or failed
}

func (p *push) receive(w http.ResponseWriter) answer {
	h := p.handler
	var err error
	if p.query, err = readQuery(p.request.URL.RawQuery); err != nil {
		return p.refuse(http.StatusForbidden, err)
	}
	if err := p.query.checkAge(p.start, h.maxAge); err != nil {
		return p.refuse(http.StatusForbidden, err)
	}
	if len(h.keys) == 0 { // nothing that the body says can change it
		if err := p.query.checkSignature(h.token()); err != nil {
			return p.refuse(http.StatusForbidden, err)
		}
	}
	var status int
	if p.body, status, err = p.readBody(w); err != nil {
		return p.refuse(status, err)
	}
	if err := p.open(); err != nil {
		return p.refuse(http.StatusForbidden, err)
	}
	if p.event, err = parse(p.message); err != nil {
		if e, _ := readEnvelope(p.body); len(h.keys) == 0 && len(e.Encrypt) > 0 {
			err = errors.New("the push is encrypted and there is no key; set EncodingAESKey and AppID in callback.Config")
		}
		return p.refuse(http.StatusBadRequest, err)
	}
	if h.maxAge >= 0 {
		if err := p.query.checkCut(p.event.CreateTime); err != nil {
			return p.refuse(http.StatusForbidden, err)
		}
	}
	if p.key == nil && !h.signatures.admit(p.query[signature], p.body, p.start, h.ttl) {
		return p.refuse(http.StatusForbidden, errors.New("signature came with another body before"))
	}
	return p.dispatch()
}

// open checks where a push comes from, and takes the message out of its body.
func (p *push) open() error {
	h := p.handler
	if len(h.keys) == 0 {
		p.message = p.body
		return nil
	}
	e, err := readEnvelope(p.body)
	switch {
	case err != nil:
		return err
	case len(e.Encrypt) > 1:
		return errors.New("there is more than one Encrypt")
	case len(e.Encrypt) == 1: // whatever stands beside it
		return p.openSealed(e.Encrypt[0])
	case !h.allowPlain:
		return errors.New("the push is not encrypted though there is an EncodingAESKey: choose the secure mode on the account's settings page (until then, AllowPlain takes it)")
	}
	p.message = p.body
	return p.query.checkSignature(h.token())
}

func (p *push) openSealed(encrypt string) error {
	h := p.handler
	if err := p.query.checkEncrypt(h.token(), encrypt); err != nil {
		return err
	}
	var failed error
	for i := range h.keys {
		message, err := h.keys[i].Open(encrypt, h.appID)
		if err == nil {
			p.message, p.key = message, &h.keys[i]
			return nil
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// parse reads a message. In a follower's text there may be control characters, which
// XML forbids and WeChat pushes all the same: only an event must be without.
func parse(message []byte) (*wxqrcode.Event, error) {
	e, err := wxqrcode.ParseEvent(message)
	if err == nil {
		return e, nil
	}
	if e, err := wxqrcode.ParseEvent(withoutControls(message)); err == nil && e.Type == "" {
		return e, nil
	}
	// The error itself would quote the message in the log.
	return nil, fmt.Errorf("the message, %d bytes, is none of WeChat's", len(message))
}

// dispatch lets the push run if it did not before.
func (p *push) dispatch() answer {
	h := p.handler
	var key string
	switch {
	case p.isEvent():
		key = p.event.DedupKey()
	case h.onMessage != nil:
		sum := sha256.Sum256(p.message)
		key = hex.EncodeToString(sum[:])
	default:
		p.outcome = ignored
		return p.reply(nil)
	}
	reply, err := h.dedup.Do(p.request.Context(), key, h.ttl, p.run)
	switch {
	case p.stale != nil:
		return p.refuse(http.StatusForbidden, p.stale)
	case err == nil && p.ran:
		p.outcome = handled
	case err == nil:
		p.outcome = repeated
	case !p.ran && p.request.Context().Err() != nil:
		p.outcome = abandoned
	default:
		p.outcome = failed
	}
	if err != nil {
		p.err = err
		return answer{status: http.StatusInternalServerError}
	}
	return p.reply(reply)
}

// isEvent reports whether the push is for onEvent.
func (p *push) isEvent() bool {
	switch p.event.Type {
	case wxqrcode.EventSubscribe, wxqrcode.EventUnsubscribe, wxqrcode.EventScan:
		return true
	}
	return false
}

// run calls onEvent or OnMessage and returns the reply in the clear. That it is called
// means that no memory has the push, or not any more; so it must still be young, however
// long its body took.
func (p *push) run() (reply []byte, err error) {
	now := time.Now()
	if p.stale = p.query.checkAge(now, p.handler.maxAge); p.stale != nil {
		return nil, p.stale
	}
	p.ran = true
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	ctx := &runContext{request: p.request.Context(), at: now.Add(p.handler.timeout)}
	defer ctx.end()
	var r Reply
	if p.isEvent() {
		r, err = p.handler.onEvent(ctx, p.event)
	} else {
		r, err = p.handler.onMessage(ctx, Message{p.event.MsgType, string(p.event.Type), p.message})
	}
	if err != nil {
		return nil, fmt.Errorf("%w", err) // its text is made here, where a panic is recovered
	}
	if r == nil {
		return nil, nil
	}
	reply, p.replyErr = r.encode(p.event, wxmessage.IsJSON(p.message))
	return reply, nil
}

// A panicError is a panic of onEvent or OnMessage.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// refuse answers with the status alone.
func (p *push) refuse(status int, err error) answer {
	p.outcome, p.err = refused, err
	return answer{status: status}
}

// reply answers with a reply, sealed if the push was.
func (p *push) reply(plain []byte) answer {
	if len(plain) == 0 || string(plain) == success {
		return answer{status: http.StatusOK, body: successBody}
	}
	a := answer{status: http.StatusOK, contentType: contentTypeXML, body: plain}
	if p.key != nil {
		var err error
		if a.body, err = p.seal(plain); err != nil { // 4 GiB long
			p.replyErr = err
			return answer{status: http.StatusOK, body: successBody}
		}
	}
	if wxmessage.IsJSON(a.body) {
		a.contentType = contentTypeJSON
	}
	return a
}
