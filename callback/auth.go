package callback

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-0142d113/wxqrcode/internal/message"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// A statusError is the reason why a request is rejected, with the status of the
// response.
type statusError struct {
	status int
	err    error
}

func (e statusError) Error() string { return e.err.Error() }
func (e statusError) Unwrap() error { return e.err }

func forbidden(reason string) error {
	return statusError{http.StatusForbidden, errors.New(reason)}
}

// verifyURL answers URL verification: WeChat sends it when the callback URL is
// entered.
func (h *Handler) verifyURL(r *http.Request) (response, Result) {
	q, err := parseQuery(r)
	switch {
	case err != nil:
		return reject(err)
	case !wxcrypt.Verify(q.signature, h.token(), q.timestamp, q.nonce, nil):
		return reject(errSignature)
	case q.echostr == "" || len(q.echostr) > maxEchostr:
		return reject(forbidden(fmt.Sprintf("echostr has %d bytes; it must have 1 to %d", len(q.echostr), maxEchostr)))
	}
	return response{http.StatusOK, contentTypeText, []byte(q.echostr)}, Result{Outcome: Verified, Status: http.StatusOK}
}

const maxEchostr = 1024

var (
	errSignature    = forbidden("the signature is wrong; does Token match the 令牌 on 微信开发者平台 > 消息推送?")
	errMsgSignature = forbidden("the msg_signature is wrong; does Token match the 令牌 on 微信开发者平台 > 消息推送?")
	errNoEncrypt    = forbidden("the body has no Encrypt although the query has msg_signature; does middleware read or change the body?")
	errNotEncrypted = forbidden("the push is not encrypted; choose secure mode on 微信开发者平台 > 消息推送, or set AllowPlain until then")
)

// A delivery is an authenticated request.
type delivery struct {
	query        query // empty in cloud hosting
	message      []byte
	key          *wxcrypt.Key // which decrypted the message; nil if it came in plaintext
	isJSON       bool         // the envelope, or the message without one
	verifiesPath bool         // the request only verifies the path of cloud hosting
}

// authenticate verifies that a push comes from WeChat, and decrypts it. Nothing
// of the body is parsed before its signature is verified.
func (h *Handler) authenticate(w http.ResponseWriter, r *http.Request) (delivery, error) {
	if h.cloudSecret() != "" {
		return h.authenticateCloud(w, r)
	}
	q, err := parseQuery(r)
	if err != nil {
		return delivery{}, err
	}
	if err := q.checkTimestamp(time.Now(), h.maxAge); err != nil {
		return delivery{}, err
	}
	if len(h.keys) > 0 && q.msgSignature != "" {
		return h.authenticateEncrypted(w, r, q)
	}
	if len(h.keys) > 0 && !h.allowPlain {
		return delivery{}, errNotEncrypted
	}
	if !wxcrypt.Verify(q.signature, h.token(), q.timestamp, q.nonce, nil) {
		return delivery{}, errSignature
	}
	if q.msgSignature != "" {
		h.missingKey.Do(func() { h.log.WarnContext(r.Context(), missingKeyWarning) })
	}
	body, err := h.readBody(w, r)
	return delivery{query: q, message: body, isJSON: message.IsJSON(body)}, err
}

const missingKeyWarning = "wxqrcode: callback: the account encrypts its pushes, but Config.EncodingAESKey is not set: " +
	"in compatible mode they are handled unencrypted, in secure mode they are rejected"

// authenticateEncrypted verifies and decrypts a push of compatible or secure
// mode.
func (h *Handler) authenticateEncrypted(w http.ResponseWriter, r *http.Request, q query) (delivery, error) {
	body, err := h.readBody(w, r)
	if err != nil {
		return delivery{}, err
	}
	encrypt := message.Encrypted(body)
	if len(encrypt) == 0 {
		return delivery{}, errNoEncrypt
	}
	if !wxcrypt.Verify(q.msgSignature, h.token(), q.timestamp, q.nonce, encrypt) {
		return delivery{}, errMsgSignature
	}
	var reasons []error
	for i := range h.keys {
		plaintext, err := h.keys[i].Decrypt(encrypt, h.appID, wxcrypt.PaddingBlock)
		if err == nil {
			return delivery{query: q, message: plaintext, key: &h.keys[i], isJSON: message.IsJSON(body)}, nil
		}
		if other, ok := errors.AsType[*wxcrypt.AppIDError](err); ok {
			err = fmt.Errorf("the push is for AppID %q, but Config.AppID is %q", other.Got, other.Want)
		}
		reasons = append(reasons, err)
	}
	return delivery{}, statusError{http.StatusForbidden, errors.Join(reasons...)}
}

// authenticateCloud accepts a push of WeChat cloud hosting. It is not signed:
// the only proof is a secret path.
func (h *Handler) authenticateCloud(w http.ResponseWriter, r *http.Request) (delivery, error) {
	if subtle.ConstantTimeCompare([]byte(path.Base(r.URL.Path)), []byte(h.cloudSecret())) != 1 {
		return delivery{}, forbidden("the path does not end in CloudHostingSecret")
	}
	body, err := h.readBody(w, r)
	if err != nil {
		return delivery{}, err
	}
	_, err = message.ParsePush(body)
	verifiesPath := err != nil && message.Find(string(body), "action") == "CheckContainerPath"
	if r.Header.Get(cloudHeader) == "" && !verifiesPath {
		return delivery{}, forbidden("there is no X-WX-SOURCE header, which pushes of WeChat cloud hosting have")
	}
	return delivery{message: body, isJSON: message.IsJSON(body), verifiesPath: verifiesPath}, nil
}

const cloudHeader = "X-Wx-Source"

// checkOrigin rejects a reply of this account that is sent back, and what was
// made from a captured push.
func (h *Handler) checkOrigin(d delivery, m message.Push) error {
	if d.key != nil && isReply(d.message, m) {
		return forbidden("the push is an encrypted reply of this account")
	}
	if created, ok := m.Created(); ok && h.maxAge >= 0 {
		if err := d.query.checkSplit(created); err != nil {
			return err
		}
	}
	if d.key == nil && d.query.signature != "" && !h.signatures.firstUse(d.query.signature, d.message, h.dedupWindow) {
		return forbidden("the signature was used with another body")
	}
	return nil
}

// isReply reports whether a message is from an account to a user. WeChat sends
// the user names first; another SDK may write a reply in another order.
func isReply(plaintext []byte, m message.Push) bool {
	from, to := m.FromUserName, m.ToUserName
	if from == "" {
		from = message.Find(string(plaintext), "FromUserName")
	}
	if to == "" {
		to = message.Find(string(plaintext), "ToUserName")
	}
	return isAccount(from) && to != "" && !isAccount(to)
}

func isAccount(userName string) bool { return strings.HasPrefix(userName, "gh_") }

// A query is the part of the URL that authenticates a request.
type query struct {
	timestamp, nonce, signature, msgSignature, echostr string
}

// maxNonce is the longest nonce that is accepted: a part of Encrypt that still
// decrypts has at least 64 characters, and does not fit in addition to a nonce.
const maxNonce = 64

// parseQuery reads the parameters that a handler uses. A repeated one is an
// error, because two readers of the query could use different ones.
func parseQuery(r *http.Request) (q query, err error) {
	unescape := url.QueryUnescape
	if !strings.ContainsAny(r.URL.RawQuery, "%+") { // like most
		unescape = func(s string) (string, error) { return s, nil }
	}
	seen := make([]*string, 0, 5)
	var pair string
	for rest := r.URL.RawQuery; rest != ""; {
		pair, rest, _ = strings.Cut(rest, "&")
		name, value, _ := strings.Cut(pair, "=")
		if name, err = unescape(name); err != nil {
			continue
		}
		field := q.field(name)
		if field == nil {
			continue
		}
		if slices.Contains(seen, field) {
			return query{}, forbidden(name + " is repeated in the query")
		}
		seen = append(seen, field)
		if *field, err = unescape(value); err != nil {
			return query{}, forbidden(name + " is not escaped as a URL requires")
		}
	}
	switch {
	case q.signature == "" && q.msgSignature == "" && r.Header.Get(cloudHeader) != "":
		return query{}, forbidden("the push is not signed; if it comes from WeChat cloud hosting, set CloudHostingSecret")
	case !isTimestamp(q.timestamp):
		return query{}, forbidden("timestamp is missing or does not have ten digits")
	case !isNonce(q.nonce):
		return query{}, forbidden("nonce is missing or not 1 to 64 of the characters 0-9, A-Z, a-z, _ and -")
	}
	return q, nil
}

func isTimestamp(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64) // accepts digits only
	return err == nil && len(s) == 10
}

// isNonce reports whether s is 1 to maxNonce of [0-9A-Za-z_-]. The padding of
// SHA-1 needs other bytes, so no signature can be extended through a nonce.
func isNonce(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '_' && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= maxNonce
}

func (q *query) field(name string) *string {
	switch name {
	case "timestamp":
		return &q.timestamp
	case "nonce":
		return &q.nonce
	case "signature":
		return &q.signature
	case "msg_signature":
		return &q.msgSignature
	case "echostr":
		return &q.echostr
	}
	return nil
}

// checkTimestamp returns an error if the timestamp differs from now by more
// than maxAge. A negative maxAge allows any.
func (q query) checkTimestamp(now time.Time, maxAge time.Duration) error {
	seconds, _ := strconv.ParseInt(q.timestamp, 10, 64)
	if skew := now.Sub(time.Unix(seconds, 0)); maxAge >= 0 && q.timestamp != "" && skew.Abs() > maxAge {
		return forbidden(fmt.Sprintf("timestamp is %v off; MaxAge allows %v (is this machine's clock right?)", skew.Round(time.Second), maxAge))
	}
	return nil
}

// maxEarly is how many seconds the timestamp of a push may be before its
// CreateTime.
const maxEarly = 60

// checkSplit returns an error if timestamp and nonce are not those that WeChat
// signed, but the same characters, swapped or split elsewhere.
//
// WeChat signs the two sorted and joined without a separator, so the timestamp
// that it signed is at one end of them. A captured push whose nonce begins with
// a later time could use that as its timestamp. Then an end of the joined pair
// reads as a time not before the message and before the timestamp.
func (q query) checkSplit(created time.Time) error {
	if q.timestamp == "" {
		return nil
	}
	joined := min(q.timestamp, q.nonce) + max(q.timestamp, q.nonce)
	for _, end := range []string{joined[:10], joined[len(joined)-10:]} {
		seconds, err := strconv.ParseUint(end, 10, 64) // accepts digits only
		if err == nil && int64(seconds) >= created.Unix()-maxEarly && end < q.timestamp {
			return forbidden("timestamp and nonce are not those that WeChat signed")
		}
	}
	return nil
}

// readBody reads a push of at most maxBody bytes.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == nil { // of a request that a program made itself
		return nil, statusError{http.StatusBadRequest, errors.New("there is no body")}
	}
	size := r.ContentLength
	if size < 0 || size > defaultMaxBody {
		size = defaultMaxBody
	}
	body := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead)) // does not grow below the default MaxBody
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, h.maxBody))
	if err == nil {
		setReadDeadline(w, time.Time{}) // net/http continues to read, to notice that the client disconnects
		return body.Bytes(), nil
	}
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, statusError{http.StatusRequestEntityTooLarge, fmt.Errorf("the body is longer than %d bytes (MaxBody)", tooLong.Limit)}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, statusError{http.StatusRequestTimeout, fmt.Errorf("the body was not read within %v", h.readTimeout)}
	}
	if errors.Is(err, http.ErrBodyReadAfterClose) {
		err = fmt.Errorf("%w; %s", err, bodyHint)
	}
	return nil, statusError{http.StatusBadRequest, fmt.Errorf("read the body: %w", err)}
}

const bodyHint = "middleware may have read it before the handler"

// setReadDeadline sets the read deadline of the connection, where w supports
// it.
func setReadDeadline(w http.ResponseWriter, deadline time.Time) {
	_ = http.NewResponseController(w).SetReadDeadline(deadline)
}
