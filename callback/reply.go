package callback

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-0142d113/wxqrcode/internal/message"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// A Reply is what the user receives in response to a push: [Text], [Image],
// [News], or a message of another SDK ([Raw]). A nil Reply is answered
// "success", and the user receives nothing.
//
// The reply is XML or JSON, as the push was, and encrypted if the push was. A
// Reply that breaks a limit or has no recipient is logged, and the push is
// answered "success".
//
// See https://developers.weixin.qq.com/doc/service/guide/product/message/Passive_user_reply_message.html.
type Reply interface {
	// encode returns the reply to p in plaintext.
	encode(p push) ([]byte, error)
}

const (
	maxText     = 2048 // bytes; measured by others, not documented
	maxArticles = 8    // in reply to an event; 1 in reply to a message
)

// Text replies with text of 1 to 2,048 bytes of UTF-8. A character that XML
// does not allow becomes U+FFFD.
func Text(content string) Reply { return text(content) }

// Image replies with an image of the account's media library.
func Image(mediaID string) Reply { return image(mediaID) }

// News replies with cards that link to pages: 1 to 8 in reply to an event, 1 in
// reply to a message of the user.
func News(a ...Article) Reply { return news(a) }

// An Article is a card of a [News] reply.
type Article struct {
	Title       string
	Description string
	PicURL      string // of a JPEG or PNG image
	URL         string // of the page
}

// Raw replies with a complete message in plaintext, such as another SDK makes,
// XML or JSON as the push. It is not changed before it is encrypted. If it is
// empty or "success", the user receives nothing.
func Raw(message []byte) Reply { return raw(bytes.Clone(message)) }

type (
	text  string
	image string
	news  []Article
	raw   []byte
)

func (t text) encode(p push) ([]byte, error) {
	content := replaceForbidden(string(t))
	if content == "" || len(content) > maxText {
		return nil, fmt.Errorf("Text has %d bytes; 1 to %d are allowed", len(content), maxText)
	}
	return encodeMessage(p, "text", message.Text("Content", content))
}

func (i image) encode(p push) ([]byte, error) {
	if i == "" {
		return nil, errors.New("Image has no media ID")
	}
	return encodeMessage(p, "image", message.Group("Image", message.Text("MediaId", replaceForbidden(string(i)))))
}

func (n news) encode(p push) ([]byte, error) {
	switch {
	case p.message.MsgType != "event" && len(n) != 1:
		return nil, fmt.Errorf("News has %d articles; in reply to a message it must have 1", len(n))
	case len(n) == 0 || len(n) > maxArticles:
		return nil, fmt.Errorf("News has %d articles; 1 to %d are allowed", len(n), maxArticles)
	}
	var items [][]message.Element
	for _, a := range n {
		items = append(items, []message.Element{
			message.Text("Title", replaceForbidden(a.Title)),
			message.Text("Description", replaceForbidden(a.Description)),
			message.Text("PicUrl", replaceForbidden(a.PicURL)),
			message.Text("Url", replaceForbidden(a.URL)),
		})
	}
	return encodeMessage(p, "news", message.Number("ArticleCount", int64(len(n))), message.List("Articles", items...))
}

func (r raw) encode(push) ([]byte, error) { return r, nil }

// encodeMessage writes the fields that all replies have, and fields.
func encodeMessage(p push, msgType string, fields ...message.Element) ([]byte, error) {
	if p.message.OpenID == "" || p.message.ToUserName == "" {
		return nil, errors.New("the push has no FromUserName or ToUserName, so the reply has no recipient")
	}
	header := []message.Element{
		message.Text("ToUserName", p.message.OpenID),
		message.Text("FromUserName", p.message.ToUserName),
		message.Number("CreateTime", time.Now().Unix()),
		message.Text("MsgType", msgType),
	}
	return message.Write(message.IsJSON(p.message.Raw), append(header, fields...)...), nil
}

// replaceForbidden replaces what XML does not allow by U+FFFD.
func replaceForbidden(text string) string {
	return strings.Map(func(r rune) rune {
		if message.IsForbidden(r) {
			return '\uFFFD' // as Map does with invalid UTF-8
		}
		return r
	}, text)
}

// unsendable begins what a [Deduplicator] stores for a reply that cannot be
// sent; the reason follows. No message begins with it.
const unsendable = "\x00"

// encodeReply returns what a Deduplicator stores for r: the reply to p in
// plaintext, or why there is none.
func encodeReply(r Reply, p push) []byte {
	if r == nil {
		return nil
	}
	b, err := r.encode(p)
	if err != nil {
		return []byte(unsendable + err.Error())
	}
	return b
}

// respond makes the response of a reply that encodeReply returned. The error
// says why the reply cannot be sent.
func (h *Handler) respond(reply []byte, d delivery) (response, error) {
	if reason, ok := bytes.CutPrefix(reply, []byte(unsendable)); ok {
		return success, fmt.Errorf("the reply cannot be sent: %s", reason)
	}
	if len(reply) == 0 || string(reply) == "success" {
		return success, nil
	}
	if d.key != nil {
		var err error
		if reply, err = h.encrypt(reply, d); err != nil {
			return success, err
		}
	}
	if message.IsJSON(reply) {
		return response{http.StatusOK, contentTypeJSON, reply}, nil
	}
	return response{http.StatusOK, contentTypeXML, reply}, nil
}

// encrypt returns the envelope of a reply, under the key and in the format of
// the push.
func (h *Handler) encrypt(reply []byte, d delivery) ([]byte, error) {
	encrypt, err := d.key.Encrypt(reply, h.appID)
	if err != nil {
		return nil, err
	}
	var random [4]byte
	rand.Read(random[:]) // never fails
	nonce := strconv.FormatUint(uint64(binary.BigEndian.Uint32(random[:])), 10)
	now := time.Now().Unix()
	signature := wxcrypt.Sign(h.token(), strconv.FormatInt(now, 10), nonce, encrypt)
	return message.Write(d.isJSON,
		message.Text("Encrypt", string(encrypt)),
		message.Text("MsgSignature", signature),
		message.Number("TimeStamp", now),
		message.Text("Nonce", nonce),
	), nil
}

// Values of headers, shared by all responses.
var (
	contentTypeText = []string{"text/plain; charset=utf-8"}
	contentTypeXML  = []string{"text/xml; charset=utf-8"}
	contentTypeJSON = []string{"application/json"}
	noSniff         = []string{"nosniff"} // echostr is the sender's
)

// A response is what ServeHTTP writes.
type response struct {
	status      int
	contentType []string
	body        []byte
}

var success = response{http.StatusOK, contentTypeText, []byte("success")}

// responseTo returns the response to a request that ended with err.
func responseTo(err error) response {
	status := http.StatusInternalServerError
	if e, ok := errors.AsType[statusError](err); ok {
		status = e.status
	}
	return response{status, contentTypeText, []byte(http.StatusText(status) + "\n")}
}

// reject returns the response and the result of a request that is not accepted.
func reject(err error) (response, Result) {
	res := responseTo(err)
	return res, Result{Outcome: Rejected, Status: res.status, Err: err}
}

// rejectMethod rejects a request with another method than the allowed ones.
func rejectMethod(w http.ResponseWriter, allowed, reason string) (response, Result) {
	w.Header().Set("Allow", allowed)
	return reject(statusError{http.StatusMethodNotAllowed, errors.New(reason)})
}

func (r response) write(w http.ResponseWriter) {
	w.Header()["Content-Type"] = r.contentType
	w.Header()["X-Content-Type-Options"] = noSniff
	w.WriteHeader(r.status)
	w.Write(r.body)
}
