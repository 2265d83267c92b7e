package callback

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
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
// after. A negative maxAge takes any.
func (q *query) checkAge(now time.Time, maxAge time.Duration) error {
	seconds, ok := unixSeconds(q[timestamp])
	if !ok {
		return errors.New("timestamp is no number")
	}
	if age := now.Sub(time.Unix(seconds, 0)); maxAge >= 0 && age.Abs() > maxAge {
		return fmt.Errorf("timestamp is %v off this machine's clock; %v are allowed (MaxAge)", age.Round(time.Second), maxAge)
	}
	return nil
}

// checkCut returns an error if the message is of another time than the timestamp and
// was signed with one of its own time.
//
// WeChat sorts what it signs and joins it without a mark between: a signature stays good
// if timestamp and nonce change places, or are cut from each other elsewhere. A captured
// push whose nonce looks like a later time would so be young a second time, long after
// it was forgotten. Whatever was done, the timestamp that it was signed with is at one
// end of the two, and near the time of the message.
func (q *query) checkCut(created time.Time) error {
	first, second := q[timestamp], q[nonce]
	if second < first {
		first, second = second, first
	}
	at := created.Unix()
	given, _ := unixSeconds(q[timestamp])
	var buf [128]byte
	digits := len(strconv.AppendInt(buf[:0], at, 10))
	joined := append(append(buf[:0], first...), second...)
	if at < launch || digits > len(joined) {
		return nil
	}
	for _, end := range [][]byte{joined[:digits], joined[len(joined)-digits:]} {
		signed, ok := unixSeconds(string(end))
		if ok && distance(signed, at) < distance(given, at) && distance(signed, at) <= maxDelay {
			return errors.New("timestamp and nonce are not as they were when WeChat signed them")
		}
	}
	return nil
}

// maxDelay is how many seconds there may be between an event and the timestamp of its
// push. The less, the rarer a nonce that looks like such a time by chance.
const maxDelay = 60

// launch is the day on which WeChat began, 2011-01-21: no real event is older.
const launch = 1_295_568_000

func distance(a, b int64) int64 { return max(a-b, b-a) }

// unixSeconds reads digits, of which there are 11 at most.
func unixSeconds(s string) (n int64, ok bool) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

var (
	errSignature    = errors.New("signature is wrong (another Token?)")
	errMsgSignature = errors.New("msg_signature is wrong (another Token?)")
)

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
		return errMsgSignature
	}
	return nil
}
