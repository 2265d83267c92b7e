package wxqrcode

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// A Ticket identifies a code. It is not a secret and authenticates nothing:
// with the ticket, the image of the code can be fetched without an access
// token.
type Ticket string

// ImageURL returns the URL of the code's image at mp.weixin.qq.com, with the
// ticket escaped once. The image needs no access token, so the URL can be used
// in a page. The response to a wrong or expired ticket is 404.
//
// See https://developers.weixin.qq.com/doc/offiaccount/Account_Management/Generating_a_Parametric_QR_Code.html.
func (t Ticket) ImageURL() string {
	return imageURL + imagePath + imageQuery + url.QueryEscape(string(t))
}

func (t Ticket) validate() error {
	if t == "" {
		return invalidRequest("ticket", "", "must not be empty")
	}
	if reason := t.notRaw(); reason != "" {
		return invalidRequest("ticket", string(t), "must be as WeChat returned it, but "+reason)
	}
	return nil
}

// notRaw returns why t is not a ticket as WeChat returned it, empty if there is
// no sign of that.
func (t Ticket) notRaw() string {
	switch {
	case strings.Contains(string(t), "://"):
		return "it is a URL: pass the ticket, or the unescaped value of the ticket parameter"
	case strings.Contains(string(t), "%"):
		return "it is URL-escaped: unescape it first"
	case strings.Contains(string(t), " "):
		return "it has a space: a + was unescaped without being escaped first"
	}
	return ""
}

// TicketInfo is the content of a ticket.
type TicketInfo struct {
	URL       string        // the text in the code
	CreatedAt time.Time     // in whole seconds
	Lifetime  time.Duration // 0 for a permanent code
	ExpiresAt time.Time     // zero for a permanent code
}

// Inspect decodes the ticket, without a request. It is experimental: WeChat
// does not document the layout of tickets and may change it at any time. Use it
// for support, or for tickets whose URL was not stored. The error matches
// [ErrMalformedTicket] if the ticket does not have the known layout; Inspect
// never guesses.
func (t Ticket) Inspect() (TicketInfo, error) {
	info, err := parseTicket(string(t))
	if reason := t.notRaw(); reason != "" {
		err = errors.New(reason)
	}
	if err != nil {
		return TicketInfo{}, fmt.Errorf("wxqrcode: inspect ticket %q: %w: %w", truncate(string(t)), ErrMalformedTicket, err)
	}
	return info, nil
}

// The layout of a ticket is base64 of a header of 12 bytes, of which only the
// first two are known, and three fields: a URL that ends in a zero byte, the
// time of creation, and the lifetime or the time of expiry, 0 for a permanent
// code.
const ticketHeader = 12

var standardAlphabet = strings.NewReplacer("-", "+", "_", "/", "=", "")

func parseTicket(t string) (info TicketInfo, err error) {
	b, err := base64.RawStdEncoding.DecodeString(standardAlphabet.Replace(t))
	if err != nil || strings.ContainsAny(t, "\r\n") || strings.Contains(strings.TrimRight(t, "="), "=") {
		return info, errors.New("it is not base64")
	}
	if len(b) < ticketHeader || b[0] != 0x81 || b[1] != 0x01 {
		return info, errors.New("it does not begin like a ticket, with the bytes 81 01")
	}
	address, b := ticketField(b[ticketHeader:], 1)
	creation, b := ticketField(b, 2)
	lifetime, b := ticketField(b, 3)
	address, terminated := bytes.CutSuffix(address, []byte{0})
	if len(creation) != 4 || len(lifetime) != 4 || len(b) != 0 || !terminated || !isCodeURL(string(address)) {
		return info, errors.New("its fields are not a URL, a time and a lifetime")
	}
	created, seconds := int64(binary.LittleEndian.Uint32(creation)), int64(binary.LittleEndian.Uint32(lifetime))
	info.URL = string(address)
	info.CreatedAt = time.Unix(created, 0)
	if seconds == 0 {
		return info, nil
	}
	if seconds >= created { // a time of expiry, as in the ticket of the official example
		seconds -= created
	}
	info.Lifetime = time.Duration(seconds) * time.Second
	info.ExpiresAt = info.CreatedAt.Add(info.Lifetime)
	return info, nil
}

// ticketField splits one field off b: the tag, a length and that many bytes. It
// returns nil if b does not begin with one.
func ticketField(b []byte, tag byte) (value, rest []byte) {
	if len(b) < 2 || b[0] != tag || len(b)-2 < int(b[1]) {
		return nil, b
	}
	end := 2 + int(b[1])
	return b[2:end], b[end:]
}

func isCodeURL(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
