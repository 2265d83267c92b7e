package wxqrcode

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-0142d113/wxqrcode/internal/message"
)

// An EventType is WeChat's name of an event.
type EventType string

// The events that a parametric code leads to.
const (
	EventSubscribe   EventType = "subscribe"   // a user follows the account, after a scan or otherwise
	EventUnsubscribe EventType = "unsubscribe" // a user unfollows; the platform requires that you delete the user's personal data
	EventScan        EventType = "SCAN"        // a follower scans a code
)

// An Event is a push of WeChat to the callback URL of an account. See
// [ParseEvent].
type Event struct {
	ToUserName string    // the account: gh_…
	OpenID     string    // the user (FromUserName); each account has its own OpenID for a user
	CreatedAt  time.Time // UTC, in whole seconds
	MsgType    string    // "event", or the type of another message: text, image, …
	Type       EventType // empty unless MsgType is "event"
	EventKey   string    // of the three events only, as pushed; see [Event.SceneKey]
	Ticket     Ticket    // of the code, of the three events only; some real pushes lack it
}

// ParseEvent reads a push in plaintext, XML or JSON. It does not verify that
// the push comes from WeChat: check the signature first, or use package
// callback.
//
// Event names are compared without case, and Type has the canonical name. A
// message that is not subscribe, unsubscribe or SCAN, such as a text, is
// returned with its header: its XML is read up to the first MsgType, or, for an
// event, up to MsgType and Event. Fields after them are not read.
//
// The error wraps [ErrMalformedEvent] if what is read has no ToUserName,
// FromUserName, CreateTime (1 to 11 digits) or MsgType, if it is a push of a
// third-party platform (InfoType), or if one of the three events is not
// well-formed to the end.
//
// See https://developers.weixin.qq.com/doc/service/guide/product/message/Receiving_event_pushes.html.
func ParseEvent(body []byte) (*Event, error) {
	p, err := message.ParsePush(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformedEvent, err)
	}
	created, ok := p.Created()
	switch {
	case p.InfoType != "":
		return nil, fmt.Errorf("%w: InfoType: it is a push of a third-party platform", ErrMalformedEvent)
	case p.ToUserName == "" || p.FromUserName == "" || p.MsgType == "event" && p.Event == "":
		return nil, fmt.Errorf("%w: ToUserName, FromUserName or Event is missing", ErrMalformedEvent)
	case !ok:
		return nil, fmt.Errorf("%w: CreateTime is not a number of 1 to 11 digits", ErrMalformedEvent)
	}
	return &Event{
		ToUserName: p.ToUserName,
		OpenID:     p.FromUserName,
		CreatedAt:  created,
		MsgType:    p.MsgType,
		Type:       EventType(p.Event),
		EventKey:   p.EventKey,
		Ticket:     Ticket(p.Ticket),
	}, nil
}

// followPrefix precedes the scene in the EventKey of a subscribe event.
const followPrefix = "qrscene_"

// SceneKey returns the scene of the code that was scanned, in the form of
// [Scene.Key]. It reports false if the event does not come from a parametric
// code, such as a follow by search, a follow after a payment or a menu click.
func (e *Event) SceneKey() (key string, ok bool) {
	switch e.Type {
	case EventSubscribe:
		key, ok = strings.CutPrefix(e.EventKey, followPrefix) // once: a scene may itself begin with it
	case EventScan:
		key, ok = e.EventKey, true
	}
	if !ok || key == "" {
		return "", false
	}
	return key, true
}

// SceneID returns the scene as the number that was given to [SceneID]. It
// reports false if there is no scene, or if the scene is not such a number.
func (e *Event) SceneID() (id uint32, ok bool) {
	key, _ := e.SceneKey()
	n, err := strconv.ParseUint(key, 10, 32)
	if err != nil || key[0] == '0' { // "007" is a scene_str, and 0 is not an ID
		return 0, false
	}
	return uint32(n), true
}

// DedupKey returns the key of a subscribe, unsubscribe or SCAN: a redelivered
// push has the key of the first one, and another event has a different key. It
// is the SHA-256 of ToUserName, OpenID, CreatedAt, Type and EventKey, as 64
// hexadecimal digits, and does not reveal the OpenID. CreatedAt has whole
// seconds, so two scans of one code by one user within a second share a key.
//
// It is not a key of other messages: a text and an image of one user within a
// second share it. What a user sends has a MsgId; package callback deduplicates
// all other messages by the SHA-256 of their text.
func (e *Event) DedupKey() string {
	created := strconv.FormatInt(e.CreatedAt.Unix(), 10)
	b := make([]byte, 0, 512)
	for _, field := range [...]string{e.ToUserName, e.OpenID, created, string(e.Type), e.EventKey} {
		b = strconv.AppendInt(b, int64(len(field)), 10) // lengths keep fields apart
		b = append(append(b, ':'), field...)
	}
	sum := sha256.Sum256(b)
	return string(hex.AppendEncode(b[:0], sum[:]))
}
