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

// A Ticket stands for a code. Whoever has it may fetch the code's picture, so it
// may be shown, but it is no proof of anything.
type Ticket string

// ImageURL returns the address of the code's picture at mp.weixin.qq.com, with
// the ticket escaped once. It needs no access token and can go into a page as it
// is. A ticket that is wrong or dead answers 404 there.
//
// See https://developers.weixin.qq.com/doc/offiaccount/Account_Management/Generating_a_Parametric_QR_Code.html.
func (t Ticket) ImageURL() string {
	return imageHost + imagePath + imageQuery + url.QueryEscape(string(t))
}

const (
	imagePath  = "/cgi-bin/showqrcode"
	imageQuery = "?ticket="
)

func (t Ticket) validate() error {
	reason := ""
	switch {
	case t == "":
		reason = "is empty"
	case strings.Contains(string(t), "%"):
		reason = "is URL-escaped already; pass it as WeChat gave it"
	case strings.Contains(string(t), " "):
		reason = "has a blank, which was a + before it went through a URL unescaped; pass it as WeChat gave it"
	default:
		return nil
	}
	return &ValidationError{Field: "ticket", Value: string(t), Reason: reason}
}

// TicketInfo is what a ticket tells of its code.
type TicketInfo struct {
	URL       string        // the text in the code
	CreatedAt time.Time     // in whole seconds
	Lifetime  time.Duration // 0 for a permanent code
	ExpiresAt time.Time     // zero for a permanent code
}

// Inspect reads what the ticket holds, without the network. It is made for support
// work, and for tickets whose URL was not kept: the layout of a ticket is not
// documented and may change. A ticket that is not laid out as known is
// [ErrMalformedTicket], never a guess.
func (t Ticket) Inspect() (TicketInfo, error) {
	info, err := parseTicket(string(t))
	if err != nil {
		return TicketInfo{}, fmt.Errorf("wxqrcode: inspect ticket %q: %w: %w", secrets{}.excerpt(string(t)), ErrMalformedTicket, err)
	}
	return info, nil
}

const ticketHeader = 12 // bytes, of which the first two are known: 81 01

var standardAlphabet = strings.NewReplacer("-", "+", "_", "/")

func parseTicket(t string) (info TicketInfo, err error) {
	if strings.ContainsAny(t, "\r\n") { // which package base64 passes over
		return info, errors.New("a line break in it")
	}
	b, err := base64.RawStdEncoding.DecodeString(standardAlphabet.Replace(strings.TrimRight(t, "=")))
	if err != nil {
		return info, errors.New("not base64")
	}
	if len(b) < ticketHeader || b[0] != 0x81 || b[1] != 0x01 {
		return info, errors.New("no header 81 01")
	}
	address, b, err := ticketField(b[ticketHeader:], 1)
	if err != nil {
		return info, err
	}
	created, b, err := ticketTime(b, 2)
	if err != nil {
		return info, err
	}
	life, b, err := ticketTime(b, 3)
	if err != nil {
		return info, err
	}
	if len(b) != 0 {
		return info, fmt.Errorf("%d bytes after the last field", len(b))
	}

	address, terminated := bytes.CutSuffix(address, []byte{0})
	if !terminated || !isCodeURL(string(address)) {
		return info, errors.New("field 1 is no URL")
	}
	info.URL = string(address)
	info.CreatedAt = time.Unix(created, 0)
	switch {
	case life == 0:
		return info, nil
	case life < created:
		info.Lifetime = time.Duration(life) * time.Second
	default: // an expiry time, as in the ticket of the official example
		info.Lifetime = time.Duration(life-created) * time.Second
	}
	info.ExpiresAt = info.CreatedAt.Add(info.Lifetime)
	return info, nil
}

// ticketField takes one field, a tag, a length and that many bytes, off b.
func ticketField(b []byte, tag byte) (value, rest []byte, err error) {
	if len(b) < 2 || b[0] != tag {
		return nil, nil, fmt.Errorf("no field %d", tag)
	}
	n := int(b[1])
	if len(b) < 2+n {
		return nil, nil, fmt.Errorf("field %d is cut off", tag)
	}
	return b[2 : 2+n], b[2+n:], nil
}

func ticketTime(b []byte, tag byte) (seconds int64, rest []byte, err error) {
	value, rest, err := ticketField(b, tag)
	if err != nil {
		return 0, nil, err
	}
	if len(value) != 4 {
		return 0, nil, fmt.Errorf("field %d has %d bytes; 4 are known", tag, len(value))
	}
	return int64(binary.LittleEndian.Uint32(value)), rest, nil
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
