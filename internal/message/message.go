// Package message reads and writes WeChat messages, XML and JSON: pushes,
// replies, and the envelopes of both.
//
// A [Reader] reads the fields of a message in order, and its caller can stop
// early: the text of a follower, which WeChat does not escape in CDATA, comes
// after the fields that identify a message.
//
// See https://developers.weixin.qq.com/doc/service/guide/product/message/Receiving_standard_messages.html.
package message

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxDepth is the number of levels that elements may nest, the root included.
// Messages of WeChat have at most six.
const MaxDepth = 64

const bom = "\uFEFF"

// IsJSON reports whether a message is JSON rather than XML.
func IsJSON[T string | []byte](body T) bool {
	for i := range len(body) {
		switch body[i] {
		case ' ', '\t', '\r', '\n', bom[0], bom[1], bom[2]:
		default:
			return body[i] == '{'
		}
	}
	return false
}

// A Push is what this module reads of a push in plaintext. A field that the
// push lacks is empty. Event is empty unless MsgType is "event", and EventKey
// and Ticket are empty unless p is a scan event.
type Push struct {
	ToUserName, FromUserName, CreateTime, MsgType string
	InfoType                                      string // in place of MsgType, in pushes of a third-party platform
	Event, EventKey, Ticket                       string
}

// scanEvents are the events that a parametric code leads to, with their
// canonical names.
var scanEvents = []string{"subscribe", "unsubscribe", "SCAN"}

// IsScan reports whether p is one of the events that a parametric code leads
// to: subscribe, unsubscribe or SCAN.
func (p *Push) IsScan() bool {
	return p.MsgType == "event" && slices.Contains(scanEvents, p.Event)
}

// Created returns the time of CreateTime, which must be 1 to 11 digits.
func (p *Push) Created() (t time.Time, ok bool) {
	seconds, err := strconv.ParseUint(p.CreateTime, 10, 64) // accepts digits only
	if err != nil || len(p.CreateTime) > 11 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0).UTC(), true
}

// ParsePush reads a push in plaintext.
//
// Of a message that is not a scan event, XML is read up to MsgType, or to Event
// if MsgType is "event", or to InfoType: no later field, such as the text
// of a follower, can change the header or make it malformed. The first of two
// fields with one name counts. A scan event is read to the end and must be
// well-formed, without a character that XML forbids, with every field at most
// once, and with ToUserName, FromUserName and CreateTime.
func ParsePush(body []byte) (Push, error) {
	s := string(body)
	p, problem, err := readPush(s)
	switch {
	case err != nil:
		return Push{}, err
	case p.MsgType == "" && p.InfoType == "":
		return Push{}, errors.New("MsgType is missing (an encrypted push must be decrypted first)")
	case !p.IsScan():
		p.EventKey, p.Ticket = "", ""
		if p.MsgType != "event" {
			p.Event = ""
		}
		return p, nil
	case problem != nil:
		return Push{}, problem
	case p.InfoType != "":
		return Push{}, errors.New("both MsgType and InfoType")
	case p.ToUserName == "" || p.FromUserName == "":
		return Push{}, errors.New("ToUserName or FromUserName is missing")
	}
	if _, ok := p.Created(); !ok {
		return Push{}, errors.New("CreateTime is not a number of 1 to 11 digits")
	}
	if IsJSON(s) { // escapes hide characters
		s += p.ToUserName + p.FromUserName + p.EventKey + p.Ticket
	}
	if err := checkCharacters(s); err != nil {
		return Push{}, err
	}
	return p, nil
}

// readPush reads the fields of a push. problem is an error of a scan event, and
// not an error of another message.
func readPush(body string) (p Push, problem, err error) {
	lazy := !IsJSON(body) // the members of JSON have no order
	seen := make([]string, 0, 8)
	r := NewReader(body)
	for r.Next() {
		f := r.Field()
		target := p.field(f.Name)
		if target == nil {
			if _, err := f.Text(); err != nil && f.kind == text {
				problem = err
			}
			continue
		}
		if slices.Contains(seen, f.Name) {
			problem = fmt.Errorf("%s is repeated", f.Name)
			continue
		}
		seen = append(seen, f.Name)
		s, err := f.pushText()
		if err != nil {
			problem = fmt.Errorf("%s: %w", f.Name, err)
		}
		*target = s
		if lazy && p.hasHeader() && !p.IsScan() {
			break
		}
	}
	return p, problem, r.Err()
}

// hasHeader reports whether p has the fields that identify it.
func (p *Push) hasHeader() bool {
	return p.InfoType != "" || p.MsgType != "" && (p.MsgType != "event" || p.Event != "")
}

// pushText returns the text of a field of a push. In JSON only CreateTime and
// EventKey may be numbers.
func (f Field) pushText() (string, error) {
	s, err := f.Text()
	isNumber := f.kind == value && !strings.HasPrefix(f.content, `"`) && s != ""
	if isNumber && f.Name != "CreateTime" && f.Name != "EventKey" {
		return "", errors.New("a JSON number instead of a string")
	}
	if f.Name == "Event" {
		s = canonicalEvent(s)
	}
	return s, err
}

// canonicalEvent returns the canonical name of a scan event, and the name of
// another event unchanged. Names of scan events are compared without case.
func canonicalEvent(name string) string {
	for _, canonical := range scanEvents {
		if strings.EqualFold(name, canonical) {
			return canonical
		}
	}
	return name
}

func (p *Push) field(name string) *string {
	switch name {
	case "ToUserName":
		return &p.ToUserName
	case "FromUserName":
		return &p.FromUserName
	case "CreateTime":
		return &p.CreateTime
	case "MsgType":
		return &p.MsgType
	case "InfoType":
		return &p.InfoType
	case "Event":
		return &p.Event
	case "EventKey":
		return &p.EventKey
	case "Ticket":
		return &p.Ticket
	}
	return nil
}

// Encrypted returns the Encrypt text of an envelope, or nil if there is none.
// It reads nothing else of body, because no signature covers the rest, and does
// not validate the text: verify its signature first. It shares the memory of
// body, which Encrypted may modify.
//
// The last Encrypt counts: in compatible mode it follows the text of a
// follower.
func Encrypted(body []byte) []byte {
	if IsJSON(body) {
		rest := cutAfterLast(body, `"Encrypt"`, ":")
		rest = bytes.TrimPrefix(bytes.TrimSpace(rest), []byte(`"`))
		return removeBackslashes(cutBefore(rest, `"`))
	}
	rest := bytes.TrimSpace(cutAfterLast(body, "<Encrypt>", ""))
	if section, ok := bytes.CutPrefix(rest, []byte(cdataStart)); ok {
		return cutBefore(section, "]")
	}
	return bytes.TrimSpace(cutBefore(rest, "<"))
}

// removeBackslashes modifies b: JSON may escape "/", and base64 has no
// backslash.
func removeBackslashes(b []byte) []byte {
	n := 0
	for _, c := range b {
		if c != '\\' {
			b[n] = c
			n++
		}
	}
	return b[:n]
}

// cutAfterLast returns the bytes after the last mark in b that is followed by
// next, with optional white space between them, or nil.
func cutAfterLast(b []byte, mark, next string) (rest []byte) {
	sep, prefix := []byte(mark), []byte(next)
	for {
		_, after, found := bytes.Cut(b, sep)
		if !found {
			return rest
		}
		if value, ok := bytes.CutPrefix(bytes.TrimLeft(after, " \t\r\n"), prefix); ok {
			rest = value
		}
		b = after
	}
}

// cutBefore returns the bytes before the first end in b, or nil.
func cutBefore(b []byte, end string) []byte {
	if before, _, found := bytes.Cut(b, []byte(end)); found {
		return before
	}
	return nil
}

// A Reader reads the fields of a message, like a [bufio.Scanner]:
//
//	r := NewReader(body)
//	for r.Next() {
//		f := r.Field()
//		// …
//	}
//	err := r.Err()
//
// While Next reports true, the message is well-formed up to the current field.
// Once it reports false without an error, the whole message is. JSON is checked
// as a whole by NewReader.
type Reader struct {
	xml   string // the bytes after the current field
	root  bool   // the end tag of the root must follow the fields
	json  *json.Decoder
	field Field
	err   error
}

// NewReader returns a Reader of a message.
func NewReader(body string) Reader {
	if IsJSON(body) {
		return newJSONReader(strings.TrimPrefix(body, bom))
	}
	rest, err := cutRoot(body)
	return Reader{xml: rest, root: true, err: err}
}

// Next advances to the next field. It reports false at the end of the message
// and after an error.
func (r *Reader) Next() (ok bool) {
	if r.err != nil {
		return false
	}
	if r.json != nil {
		return r.nextMember()
	}
	return r.nextElement()
}

// Field returns the current field.
func (r *Reader) Field() Field { return r.field }

// Err returns why the message is malformed. The error does not quote the
// message.
func (r *Reader) Err() error { return r.err }

// A Field is an element of an XML message or a member of a JSON message.
type Field struct {
	Name string

	kind    kind
	content string // the text between the tags, or the JSON value
}

type kind int

const (
	text   kind = iota // character data with entities
	cdata              // one CDATA section or several that are joined
	nested             // elements
	value              // a JSON value
)

// Text returns the value of the field: the text of an element, a JSON string,
// or a JSON number as it is written. A JSON null is "". A field that has fields
// of its own is an error.
func (f Field) Text() (string, error) {
	switch f.kind {
	case cdata:
		return cdataText(f.content), nil
	case text:
		return unescape(f.content)
	case value:
		return jsonText(f.content)
	}
	return "", errors.New("elements instead of text")
}

// fields returns a Reader of the fields of the field. Of a JSON array it
// reads the first element. A field with a text has none.
func (f Field) fields() Reader {
	switch f.kind {
	case nested:
		return Reader{xml: f.content}
	case value:
		return newJSONReader(firstElement(f.content))
	}
	return Reader{}
}

// Find returns the text of the first field at path, such as "Content" or
// "ScanCodeInfo/ScanResult". It returns "" if there is none, or if the message
// is malformed before the end of the field.
func Find(body, path string) string {
	r := NewReader(body)
	for {
		name, rest, deeper := strings.Cut(path, "/")
		if !r.advanceTo(name) {
			return ""
		}
		if !deeper {
			s, _ := r.field.Text()
			return s
		}
		r, path = r.field.fields(), rest
	}
}

// advanceTo advances to the next field with a name.
func (r *Reader) advanceTo(name string) (ok bool) {
	for r.Next() {
		if r.field.Name == name {
			return true
		}
	}
	return false
}

// checkCharacters returns an error if s is not valid UTF-8 or has a character
// for which [IsForbidden] reports true.
func checkCharacters(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("invalid UTF-8")
	}
	if hasControl(s) || strings.Contains(s, "\uFFFE") || strings.Contains(s, "\uFFFF") {
		return errors.New("a character that XML does not allow")
	}
	return nil
}

// hasControl reports whether s has a forbidden control character. It looks at 8
// bytes at a time, because this is most of the time of a short message.
func hasControl(s string) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for len(s) >= 8 {
		word := binary.LittleEndian.Uint64([]byte(s[:8]))
		if (word-' '*ones)&^word&high != 0 && strings.ContainsFunc(s[:8], IsForbidden) { // a byte below ' '
			return true
		}
		s = s[8:]
	}
	return strings.ContainsFunc(s, IsForbidden)
}

// IsForbidden reports whether r is a character that XML does not allow, not
// even escaped.
func IsForbidden(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
}
