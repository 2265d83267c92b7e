package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

const (
	token   = "load"
	appID   = "wxba5fad812f8e6fb9"
	account = "gh_45072270791c"
	aesKey  = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
)

// A kind is what a push is.
type kind int

const (
	event   kind = iota // a subscribe or a SCAN
	message             // a text message, which goes to OnMessage
	forged              // an event whose signature is wrong
)

// A push is one that WeChat might send, and what must come of it.
type push struct {
	kind   kind
	number int // of the push that it is, or repeats
	raw    []byte
}

func openID(number int) string { return fmt.Sprintf("o%027d", number) }

// scene is that of an event; it has what XML has to escape.
func scene(number int) string { return "海报&<" + strconv.Itoa(number) }

// pushes makes n pushes in the form of HTTP requests: for the most part events, each of
// another follower; and of twenty, one that repeats an earlier one, one message and one
// that is forged.
func pushes(n int, key wxcrypt.Key, sealed bool) ([]push, error) {
	all := make([]push, 0, n)
	for i := range n {
		p := push{number: i}
		switch i % 20 {
		case 7:
			all = append(all, all[i-5]) // an event
			continue
		case 13:
			p.kind = forged
		case 17:
			p.kind = message
		}
		raw, err := p.request(key, sealed)
		if err != nil {
			return nil, err
		}
		p.raw = raw
		all = append(all, p)
	}
	return all, nil
}

func (p push) request(key wxcrypt.Key, sealed bool) ([]byte, error) {
	timestamp, nonce := strconv.FormatInt(time.Now().Unix(), 10), "n"+strconv.Itoa(p.number) // digits could look like a time
	signer := token
	if p.kind == forged {
		signer = "another"
	}
	query := "signature=" + wxcrypt.Sign(signer, timestamp, nonce, nil) + "&timestamp=" + timestamp + "&nonce=" + nonce + "&openid=" + openID(p.number)
	body := p.xml()
	if sealed {
		encrypt, err := key.Encrypt([]byte(body), appID)
		if err != nil {
			return nil, err
		}
		query += "&encrypt_type=aes&msg_signature=" + wxcrypt.Sign(signer, timestamp, nonce, encrypt)
		body = "<xml><ToUserName><![CDATA[" + account + "]]></ToUserName><Encrypt><![CDATA[" + string(encrypt) + "]]></Encrypt></xml>"
	}
	return fmt.Appendf(nil, "POST /wechat?%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s",
		query, len(body), body), nil
}

func (p push) xml() string {
	head := fmt.Sprintf("<xml><ToUserName><![CDATA[%s]]></ToUserName>\n<FromUserName><![CDATA[%s]]></FromUserName>\n"+
		"<CreateTime>%d</CreateTime>", account, openID(p.number), time.Now().Unix())
	if p.kind == message {
		return head + fmt.Sprintf("<MsgType><![CDATA[text]]></MsgType>\n<Content><![CDATA[%s]]></Content>\n<MsgId>%d</MsgId></xml>", scene(p.number), p.number)
	}
	name, prefix := "SCAN", ""
	if p.number%2 == 0 {
		name, prefix = "subscribe", "qrscene_"
	}
	return head + fmt.Sprintf("<MsgType><![CDATA[event]]></MsgType>\n<Event><![CDATA[%s]]></Event><EventKey><![CDATA[%s]]></EventKey>\n"+
		"<Ticket><![CDATA[gQHi8DoAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL0UwTTNZQ3JsLWRRd09LVlpSV0NRAAIEfh3VUgMEAAAAAA==]]></Ticket></xml>", name, prefix+scene(p.number))
}
