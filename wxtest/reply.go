package wxtest

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
	"github.com/seed-0142d113/wxqrcode/internal/wxmessage"
)

// Reply returns what the callback answered, in the clear: the message that the
// follower gets, or nil if there is nothing to say. It goes by the callback that is
// set now.
//
// It is an error if WeChat would take the answer for no reply, and tell the follower
// that the account cannot provide service at the moment (该公众号提供的服务出现故障): a status
// other than 200, a reply in the clear in secure mode, an envelope with a wrong
// signature or for another account, a message that lacks one of ToUserName,
// FromUserName, CreateTime and MsgType, that is not from the account to a follower, or
// that is not in the push's format.
//
// See https://developers.weixin.qq.com/doc/service/guide/product/message/Passive_user_reply_message.html.
func (s *Server) Reply(d *Delivery) ([]byte, error) {
	message, err := s.openReply(d)
	if err == nil && message != nil {
		err = s.checkReply(message)
	}
	if err != nil {
		return nil, fmt.Errorf("wxtest: reply: %w", err)
	}
	return message, nil
}

func (s *Server) checkReply(message []byte) error {
	m, err := wxqrcode.ParseEvent(message) // a reply has the fields that every push has
	if err != nil {
		return fmt.Errorf("the answer is no message: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case m.OpenID != s.account:
		return fmt.Errorf("FromUserName is %q; it must be the account, %q", m.OpenID, s.account)
	case !s.followers[m.ToUserName]:
		return fmt.Errorf("ToUserName is %q, which is no follower's OpenID", m.ToUserName)
	case s.callback.JSON != wxmessage.IsJSON(message):
		return errors.New("the reply and the push are not of one format, XML or JSON")
	}
	return nil
}

func (s *Server) openReply(d *Delivery) ([]byte, error) {
	cb, err := s.currentCallback()
	switch {
	case err != nil:
		return nil, err
	case d == nil:
		return nil, errors.New("there is no delivery")
	case d.Status != http.StatusOK:
		return nil, fmt.Errorf("the answer has status %d, not 200", d.Status)
	case len(d.Body) == 0 || string(d.Body) == "success":
		return nil, nil
	}
	e, err := readSealed(d.Body)
	switch {
	case err != nil:
		return nil, err
	case e.Encrypt == "" && cb.Mode == Secure:
		return nil, errors.New("the answer is in the clear, in secure mode")
	case e.Encrypt == "":
		return bytes.Clone(d.Body), nil
	case cb.Mode == Plain:
		return nil, errors.New("the answer is encrypted, in plain mode")
	case !wxcrypt.Verify(e.MsgSignature, cb.Token, strconv.FormatInt(e.TimeStamp, 10), e.Nonce, e.Encrypt):
		return nil, errors.New("the answer's MsgSignature is wrong")
	}
	return cb.key.Open(e.Encrypt, s.appID)
}

// A sealedReply is the envelope of an encrypted reply.
type sealedReply struct {
	XMLName      xml.Name `xml:"xml" json:"-"`
	Encrypt      string
	MsgSignature string
	TimeStamp    int64
	Nonce        string
}

func readSealed(body []byte) (e sealedReply, err error) {
	if wxmessage.IsJSON(body) {
		err = json.Unmarshal(body, &e)
	} else {
		err = xml.Unmarshal(body, &e)
	}
	if err != nil {
		return sealedReply{}, fmt.Errorf("the answer is neither XML nor JSON, nor success: %w", err)
	}
	return e, nil
}
