package wxqrcode

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// An EventType is what happened, by WeChat's name (Event). Other events of the
// account have other names.
type EventType string

// The events that a code leads to.
const (
	EventSubscribe   EventType = "subscribe"   // somebody follows the account, by a scan or otherwise
	EventUnsubscribe EventType = "unsubscribe" // somebody stops following: the platform requires that you delete their personal data
	EventScan        EventType = "SCAN"        // a follower scans a code
)

// An Event is what WeChat pushes to the account's callback URL. See [ParseEvent].
type Event struct {
	ToUserName string    // the account, gh_…
	OpenID     string    // the user, as this account knows them (FromUserName)
	CreateTime time.Time // in whole seconds
	MsgType    string    // "event", or the kind of a message that is none: text, image, …
	Type       EventType // empty if MsgType is not "event"
	EventKey   string    // as pushed; see [Event.Scene]
	Ticket     Ticket    // of the code; some real pushes lack it
}

// ParseEvent reads a push in the clear, XML or JSON. It does not check that the
// push comes from WeChat: check the signature first.
//
// A message that is no event (a text, a picture) gives an Event with its MsgType
// and an empty Type. Anything else than a whole message is [ErrMalformedEvent]:
// broken or truncated input, a DTD, invalid UTF-8, a field that is missing, given
// twice or not of its kind, anything after the end.
//
// See https://developers.weixin.qq.com/doc/service/guide/product/message/Receiving_event_pushes.html.
func ParseEvent(body []byte) (*Event, error) {
	var f fields
	if err := f.read(body); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrMalformedEvent, secrets{}.excerpt(err.Error()))
	}
	e, err := f.event()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformedEvent, err)
	}
	return e, nil
}

// What WeChat puts before the scene in the event of a follow.
const followPrefix = "qrscene_"

// Scene returns the scene of the code that was scanned, as [Scene.Key] gives it.
// It reports false if the event does not come from a parametric code: a follow by
// search, a follow after a payment, a menu click.
func (e *Event) Scene() (key string, ok bool) {
	switch e.Type {
	case EventSubscribe:
		key, ok = strings.CutPrefix(e.EventKey, followPrefix) // one: a scene may itself begin with it
	case EventScan:
		key, ok = e.EventKey, true
	}
	if !ok || key == "" {
		return "", false
	}
	return key, true
}

// SceneID returns the scene as the number that [SceneID] was given. It reports
// false if there is no scene, or if it is no such number.
func (e *Event) SceneID() (id uint32, ok bool) {
	key, _ := e.Scene()
	n, err := strconv.ParseUint(key, 10, 32)
	if err != nil || key[0] == '0' { // "007" was a text, and 0 is no id
		return 0, false
	}
	return uint32(n), true
}

// DedupKey returns what tells the event from others: a push that is repeated has
// the same key. It is 64 hex digits, a hash over ToUserName, OpenID, CreateTime, Type and
// EventKey, and does not show the OpenID. CreateTime has whole seconds, so two scans of one
// code by the same person within a second have the same key too.
func (e *Event) DedupKey() string {
	var number [20]byte
	created := strconv.AppendInt(number[:0], e.CreateTime.Unix(), 10)
	b := make([]byte, 0, 512)
	for _, field := range [...]string{e.ToUserName, e.OpenID, string(created), string(e.Type), e.EventKey} {
		b = strconv.AppendInt(b, int64(len(field)), 10) // lengths, so that fields cannot run together
		b = append(b, ':')
		b = append(b, field...)
	}
	sum := sha256.Sum256(b)
	var key [2 * sha256.Size]byte
	hex.Encode(key[:], sum[:])
	return string(key[:])
}

// A field is one of those that make an [Event].
type field int

const (
	toUserName field = iota
	fromUserName
	createTime
	msgType
	eventType
	eventKey
	eventTicket
	fieldCount
)

var fieldNames = [fieldCount]string{"ToUserName", "FromUserName", "CreateTime", "MsgType", "Event", "EventKey", "Ticket"}

func fieldNamed(name string) (f field, ok bool) {
	for i, n := range fieldNames {
		if n == name {
			return field(i), true
		}
	}
	return 0, false
}

// fields are what was read of a push.
type fields struct {
	value [fieldCount]string
	seen  [fieldCount]bool
}

// set takes note of a field. A second one of the same name is an error: two
// readers of the push could take different ones.
func (f *fields) set(n field, value string) error {
	if f.seen[n] {
		return fmt.Errorf("%s is given twice", fieldNames[n])
	}
	f.value[n], f.seen[n] = value, true
	return nil
}

// event checks the fields and makes an Event of them.
func (f *fields) event() (*Event, error) {
	isEvent := f.value[msgType] == "event"
	for n := range fieldCount {
		required := n <= msgType || n == eventType && isEvent
		if required && f.value[n] == "" {
			return nil, fmt.Errorf("%s is missing (a push with Encrypt must be opened first)", fieldNames[n])
		}
	}
	created, ok := unixSeconds(f.value[createTime])
	if !ok {
		return nil, fmt.Errorf("CreateTime %q is not a number of 1 to 11 digits", secrets{}.excerpt(f.value[createTime]))
	}
	e := &Event{
		ToUserName: f.value[toUserName],
		OpenID:     f.value[fromUserName],
		CreateTime: time.Unix(created, 0),
		MsgType:    f.value[msgType],
		EventKey:   f.value[eventKey],
		Ticket:     Ticket(f.value[eventTicket]),
	}
	if isEvent {
		e.Type = EventType(f.value[eventType])
	}
	return e, nil
}

// unixSeconds reads digits alone, as many as a time of this age of the world has
// and one more.
func unixSeconds(s string) (n int64, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, len(s) >= 1 && len(s) <= 11
}

// read reads a push, XML or JSON.
func (f *fields) read(body []byte) error {
	if f.scanXML(string(body)) {
		return nil
	}
	*f = fields{}
	switch {
	case !utf8.Valid(body):
		return errors.New("invalid UTF-8")
	case bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")):
		return f.readJSON(body)
	}
	return f.readXML(body)
}
