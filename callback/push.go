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
)

// A push is one request and what is found out about it.
type push struct {
	handler *Handler
	request *http.Request
	start   time.Time
	query   query
	message []byte          // in the clear
	event   *wxqrcode.Event // what the message says; nil until it is known
	key     *wxcrypt.Key    // that opened it; nil for a push in the clear
	ran     bool            // onEvent or OnMessage was called for this request

	outcome  outcome
	err      error // why it was refused or failed
	replyErr error // why there was no reply
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
	body, status, err := p.readBody(w)
	if err != nil {
		return p.refuse(status, err)
	}
	if err := p.open(body); err != nil {
		return p.refuse(http.StatusForbidden, err)
	}
	if p.event, err = wxqrcode.ParseEvent(p.message); err != nil {
		if e, _ := readEnvelope(body); len(h.keys) == 0 && len(e.Encrypt) > 0 {
			err = errors.New("the push is encrypted and there is no key; set EncodingAESKey and AppID in callback.Config")
		}
		return p.refuse(http.StatusBadRequest, err)
	}
	if p.key == nil && !h.signatures.admit(p.query[signature], body, p.start, h.ttl) {
		return p.refuse(http.StatusForbidden, errors.New("signature came with another body before"))
	}
	return p.dispatch()
}

// open checks where a push comes from, and takes the message out of its body.
func (p *push) open(body []byte) error {
	h := p.handler
	if len(h.keys) == 0 {
		p.message = body
		return nil
	}
	e, err := readEnvelope(body)
	switch {
	case err != nil:
		return err
	case len(e.Encrypt) > 1:
		return errors.New("there is more than one Encrypt")
	case len(e.Encrypt) == 1: // whatever stands beside it
		return p.openSealed(e.Encrypt[0])
	case !h.allowPlain:
		return errors.New("the push is not encrypted though there is a key (AllowPlain takes it)")
	}
	p.message = body
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

// run calls onEvent or OnMessage and returns the reply in the clear.
func (p *push) run() (reply []byte, err error) {
	p.ran = true
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	ctx := &runContext{request: p.request.Context(), at: time.Now().Add(p.handler.timeout)}
	defer ctx.end()
	var r Reply
	if p.isEvent() {
		r, err = p.handler.onEvent(ctx, p.event)
	} else {
		r, err = p.handler.onMessage(ctx, Message{p.event.MsgType, string(p.event.Type), p.message})
	}
	if err != nil || r == nil {
		return nil, err
	}
	reply, p.replyErr = r.encode(p.event, isJSON(p.message))
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
	if isJSON(a.body) {
		a.contentType = contentTypeJSON
	}
	return a
}
