package wxtest

import (
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/message"
)

// newMessage returns a message of a user: the fields that all of them have, and
// own. See
// https://developers.weixin.qq.com/doc/service/guide/product/message/Receiving_event_pushes.html.
func (s *Server) newMessage(openID string, own []message.Element, now time.Time) []message.Element {
	return append([]message.Element{
		message.Text("ToUserName", s.account),
		message.Text("FromUserName", openID),
		message.Number("CreateTime", now.Unix()),
	}, own...)
}

// newEvent returns the fields of an event, without Ticket if there is none. A
// scene is split in CDATA, so that every client can read it.
func newEvent(eventType wxqrcode.EventType, key string, ticket wxqrcode.Ticket) []message.Element {
	fields := []message.Element{
		message.Text("MsgType", "event"),
		message.Text("Event", string(eventType)),
		message.Text("EventKey", key),
	}
	if ticket != "" {
		fields = append(fields, message.Text("Ticket", string(ticket)))
	}
	return fields
}

// newText returns the fields of a text message. WeChat does not split the text
// of a follower in CDATA.
func newText(content string) []message.Element {
	return []message.Element{
		message.Text("MsgType", "text"),
		message.Unsplit("Content", content),
		message.Number("MsgId", randomNumber()),
	}
}
