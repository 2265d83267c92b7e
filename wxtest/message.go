package wxtest

import (
	"bytes"
	"strconv"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/wxmessage"
)

// A message is what a push carries: fields in WeChat's order, ToUserName first.
// See https://developers.weixin.qq.com/doc/service/guide/product/message/Receiving_event_pushes.html.
type message []field

type field struct {
	name   string
	text   string
	number bool
}

// newMessage puts what all messages have before what is this one's own.
func (s *Server) newMessage(openID string, own message, now time.Time) message {
	return append(message{
		{name: "ToUserName", text: s.account},
		{name: "FromUserName", text: openID},
		{name: "CreateTime", text: strconv.FormatInt(now.Unix(), 10), number: true},
	}, own...)
}

// newEvent returns what is an event's own. Without a ticket it has no such field.
func newEvent(kind wxqrcode.EventType, key string, ticket wxqrcode.Ticket) message {
	m := message{
		{name: "MsgType", text: "event"},
		{name: "Event", text: string(kind)},
		{name: "EventKey", text: key},
	}
	if ticket != "" {
		m = append(m, field{name: "Ticket", text: string(ticket)})
	}
	return m
}

// newText returns what is a text message's own.
func newText(content string) message {
	return message{
		{name: "MsgType", text: "text"},
		{name: "Content", text: content},
		{name: "MsgId", text: randomNumber(), number: true},
	}
}

func (m message) encode(asJSON bool) []byte {
	if asJSON {
		return m.json()
	}
	return m.xml()
}

// xml writes a field a line.
func (m message) xml() []byte {
	b := bytes.NewBufferString("<xml>")
	for i, f := range m {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("<" + f.name + ">")
		if f.number {
			b.WriteString(f.text)
		} else {
			b.WriteString(wxmessage.CDATA(f.text))
		}
		b.WriteString("</" + f.name + ">")
	}
	b.WriteString("</xml>")
	return b.Bytes()
}

func (m message) json() []byte {
	b := bytes.NewBufferString("{")
	for i, f := range m {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + f.name + `":`)
		if f.number {
			b.WriteString(f.text)
		} else {
			b.Write(marshal(f.text))
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}
