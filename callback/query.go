package callback

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// A param is a query parameter that we read. Others, such as openid, no signature
// covers.
type param int

const (
	timestamp param = iota
	nonce
	signature
	msgSignature
	echostr
	paramCount
)

var paramNames = [paramCount]string{"timestamp", "nonce", "signature", "msg_signature", "echostr"}

// maxParam is how long each may be. The limit of nonce matters beyond memory: it
// keeps a part of the Encrypt text, which is signed next to it, from being passed
// off as nonce.
var maxParam = [paramCount]int{11, 100, 40, 40, 1024}

// A query is what a request says of itself.
type query [paramCount]string

// readQuery reads the parameters that we know. It is an error if one is given
// twice: two readers of the query could take different ones.
func readQuery(raw string) (q query, err error) {
	var seen [paramCount]bool
	unescape := url.QueryUnescape
	if !strings.ContainsAny(raw, "%+") {
		unescape = func(s string) (string, error) { return s, nil } // most are so
	}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		if unescaped, err := unescape(name); err == nil {
			name = unescaped
		}
		p := param(slices.Index(paramNames[:], name))
		if p < 0 {
			continue
		}
		if seen[p] {
			return q, fmt.Errorf("%s is given twice", paramNames[p])
		}
		seen[p] = true
		if value, err = unescape(value); err != nil {
			return q, fmt.Errorf("%s is not escaped as a URL wants it", paramNames[p])
		}
		if len(value) > maxParam[p] {
			return q, fmt.Errorf("%s is %d bytes long; at most %d are expected", paramNames[p], len(value), maxParam[p])
		}
		q[p] = value
	}
	for _, p := range []param{timestamp, nonce} { // which proof there must be depends on the body
		if q[p] == "" {
			return q, fmt.Errorf("%s is missing", paramNames[p])
		}
	}
	return q, nil
}

// checkAge returns an error if the timestamp is not within maxAge of now, before or
// after.
func (q *query) checkAge(now time.Time, maxAge time.Duration) error {
	var seconds int64
	for _, c := range []byte(q[timestamp]) {
		if c < '0' || c > '9' {
			return errors.New("timestamp is no number")
		}
		seconds = seconds*10 + int64(c-'0') // at most 11 digits
	}
	if age := now.Sub(time.Unix(seconds, 0)); maxAge >= 0 && age.Abs() > maxAge {
		return fmt.Errorf("timestamp is %v off this machine's clock; %v are allowed (MaxAge)", age.Round(time.Second), maxAge)
	}
	return nil
}

var errSignature = errors.New("signature is wrong (another Token?)")

// checkSignature proves that the sender knows the token or once saw a push.
func (q *query) checkSignature(token string) error {
	if !wxcrypt.Verify(q[signature], token, q[timestamp], q[nonce]) {
		return errSignature
	}
	return nil
}

// checkEncrypt proves that somebody who knows the token signed encrypt.
func (q *query) checkEncrypt(token, encrypt string) error {
	if !wxcrypt.Verify(q[msgSignature], token, q[timestamp], q[nonce], encrypt) {
		return fmt.Errorf("msg_%w", errSignature)
	}
	return nil
}
