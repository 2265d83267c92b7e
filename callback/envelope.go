package callback

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
	"github.com/seed-0142d113/wxqrcode/internal/wxmessage"
)

// An envelope is the body of an encrypted push. The fields beside Encrypt, in
// compatible mode the whole message, are not read: no signature covers them.
type envelope struct {
	XMLName xml.Name `xml:"xml" json:"-"`
	Encrypt texts    // one, but for an attacker
}

// texts are all that a body gives for a field, so that a second one does not go
// unseen.
type texts []string

// UnmarshalJSON is called once for each time that the field is given.
func (t *texts) UnmarshalJSON(b []byte) error {
	var s string
	err := json.Unmarshal(b, &s)
	*t = append(*t, s)
	return err
}

func readEnvelope(body []byte) (e envelope, err error) {
	if encrypt, ok := scanEnvelope(string(body)); ok {
		return envelope{Encrypt: texts{encrypt}}, nil
	}
	if wxmessage.IsJSON(body) {
		err = json.Unmarshal(body, &e)
	} else {
		err = xml.Unmarshal(withoutControls(body), &e)
	}
	if err != nil { // whose text would quote the body in the log
		return envelope{}, fmt.Errorf("the body, %d bytes, is no message and no envelope of WeChat's", len(body))
	}
	return e, nil
}

// withoutControls returns a message with blanks in place of the bytes that XML
// forbids.
func withoutControls(message []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if wxmessage.IsForbidden(r) {
			return ' '
		}
		return r
	}, message)
}

// scanEnvelope reads exactly the shape that WeChat sends in secure mode: the two
// elements, each of one CDATA section. At anything else, right or wrong, it gives
// way (false).
func scanEnvelope(s string) (encrypt string, ok bool) {
	if s, ok = cutTag(s, "<xml>"); !ok {
		return "", false
	}
	if _, s, ok = cutCDATA(s, "ToUserName"); !ok {
		return "", false
	}
	if encrypt, s, ok = cutCDATA(s, "Encrypt"); !ok {
		return "", false
	}
	_, ok = cutTag(s, "</xml>")
	return encrypt, ok
}

// cutTag takes a tag off s, and blanks before it.
func cutTag(s, tag string) (rest string, ok bool) {
	return strings.CutPrefix(strings.TrimLeft(s, " \t\r\n"), tag)
}

// cutCDATA takes an element with one CDATA section off s. What is in it is whatever
// stands before the first end of one.
func cutCDATA(s, name string) (text, rest string, ok bool) {
	if s, ok = cutTag(s, "<"+name+"><![CDATA["); !ok {
		return "", "", false
	}
	if text, rest, ok = strings.Cut(s, "]]>"); !ok {
		return "", "", false
	}
	rest, ok = strings.CutPrefix(rest, "</"+name+">")
	return text, rest, ok
}

// seal returns the body of a reply, encrypted under the key that opened the push and
// in the format of the push.
func (p *push) seal(reply []byte) ([]byte, error) {
	encrypt, err := p.key.Seal(reply, p.handler.appID)
	if err != nil {
		return nil, err
	}
	var random [4]byte
	rand.Read(random[:]) // never fails
	nonce := strconv.FormatUint(uint64(binary.BigEndian.Uint32(random[:])), 10)
	now := time.Now().Unix()
	signature := wxcrypt.Signature(p.handler.token(), strconv.FormatInt(now, 10), nonce, encrypt)
	if wxmessage.IsJSON(p.body) {
		return json.Marshal(struct {
			Encrypt, MsgSignature string
			TimeStamp             int64
			Nonce                 string
		}{encrypt, signature, now, nonce})
	}
	return fmt.Appendf(nil, "<xml><Encrypt><![CDATA[%s]]></Encrypt><MsgSignature><![CDATA[%s]]></MsgSignature>"+
		"<TimeStamp>%d</TimeStamp><Nonce><![CDATA[%s]]></Nonce></xml>", encrypt, signature, now, nonce), nil
}
