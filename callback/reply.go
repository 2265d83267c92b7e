package callback

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/wxmessage"
)

// A Reply is what the follower gets in answer to a push: [Text], [Image], [News], or
// what another SDK wrote ([Raw]). Nil, which is answered "success", says nothing.
//
// One that breaks a limit is logged, and nothing is said. JSON pushes, which come
// from test accounts and mini programs, can only be answered with Raw or nil.
//
// See https://developers.weixin.qq.com/doc/service/guide/product/message/Passive_user_reply_message.html.
type Reply interface {
	// encode returns the reply to a push, in the clear.
	encode(to *wxqrcode.Event, isJSON bool) ([]byte, error)
}

const (
	maxText     = 2048 // bytes; measured by others, not documented
	maxArticles = 8    // in answer to an event; 1 to a message of a follower's
)

// Text replies with text, 1 to 2,048 bytes of UTF-8. It may hold anything; a
// character that XML cannot hold becomes U+FFFD.
func Text(content string) Reply { return text(content) }

// Image replies with a picture of the account's media library, by its media id.
func Image(mediaID string) Reply { return image(mediaID) }

// News replies with cards that lead to pages: 1 to 8 in answer to an event (a scan, a
// menu click), one in answer to a message of the follower's.
func News(a ...Article) Reply { return news(a) }

// An Article is a card of a [News] reply.
type Article struct {
	Title       string
	Description string
	PicURL      string // of its picture, JPEG or PNG
	URL         string // where a tap on it leads
}

// Raw replies with a complete message in the clear, such as another SDK makes: XML
// or, to a JSON push, JSON. It is sent as it is; to an encrypted push, encrypted.
// Empty, or "success", it says nothing.
func Raw(message []byte) Reply { return raw(bytes.Clone(message)) }

type (
	text  string
	image string
	news  []Article
	raw   []byte
)

func (t text) encode(to *wxqrcode.Event, isJSON bool) ([]byte, error) {
	content := fitXML(string(t))
	if len(content) == 0 || len(content) > maxText {
		return nil, fmt.Errorf("Text is %d bytes long; 1 to %d are allowed", len(content), maxText)
	}
	return replyXML(to, isJSON, "text", "<Content>"+cdata(content)+"</Content>")
}

func (i image) encode(to *wxqrcode.Event, isJSON bool) ([]byte, error) {
	if i == "" {
		return nil, errors.New("Image has no media id")
	}
	return replyXML(to, isJSON, "image", "<Image><MediaId>"+cdata(string(i))+"</MediaId></Image>")
}

func (n news) encode(to *wxqrcode.Event, isJSON bool) ([]byte, error) {
	switch {
	case to.MsgType != "event" && len(n) != 1:
		return nil, fmt.Errorf("News has %d articles; in answer to a message it must have 1", len(n))
	case len(n) == 0 || len(n) > maxArticles:
		return nil, fmt.Errorf("News has %d articles; 1 to %d are allowed", len(n), maxArticles)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<ArticleCount>%d</ArticleCount><Articles>", len(n))
	for _, a := range n {
		fmt.Fprintf(&b, "<item><Title>%s</Title><Description>%s</Description><PicUrl>%s</PicUrl><Url>%s</Url></item>",
			cdata(a.Title), cdata(a.Description), cdata(a.PicURL), cdata(a.URL))
	}
	b.WriteString("</Articles>")
	return replyXML(to, isJSON, "news", b.String())
}

func (r raw) encode(*wxqrcode.Event, bool) ([]byte, error) { return r, nil }

// replyXML writes what all replies begin with, and content.
func replyXML(to *wxqrcode.Event, isJSON bool, msgType, content string) ([]byte, error) {
	if isJSON {
		return nil, errors.New("the push was JSON, to which only Raw and nil replies exist")
	}
	return fmt.Appendf(nil, "<xml><ToUserName>%s</ToUserName><FromUserName>%s</FromUserName><CreateTime>%d</CreateTime>"+
		"<MsgType>%s</MsgType>%s</xml>", cdata(to.OpenID), cdata(to.ToUserName), time.Now().Unix(), cdata(msgType), content), nil
}

func cdata(text string) string { return wxmessage.CDATA(fitXML(text)) }

// fitXML puts U+FFFD in place of what XML cannot hold.
func fitXML(text string) string {
	return strings.Map(func(r rune) rune {
		if wxmessage.IsForbidden(r) {
			return '\uFFFD' // Map does the same to invalid UTF-8
		}
		return r
	}, text)
}
