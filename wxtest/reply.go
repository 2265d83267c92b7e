package wxtest

import (
	"bytes"
	"crypto/aes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/seed-0142d113/wxqrcode/internal/message"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// Reply returns the message that the user receives, decrypted, or nil if the
// response is empty or "success".
//
// It is an error if the response is not a reply: WeChat shows the user that the
// account cannot provide service at the moment (该公众号提供的服务出现故障). That is a
// status other than 200, a body that is not a message, a reply in plaintext in
// secure mode, an encrypted reply in plain mode, an envelope with a wrong
// signature or for another account, and a message that lacks ToUserName,
// FromUserName, CreateTime or MsgType, that is not from the account to a
// follower, or that is JSON in response to XML or the other way round.
//
// Reply is as tolerant as widely used SDKs are with each other. See
// [Delivery.Warnings].
//
// See https://developers.weixin.qq.com/doc/service/guide/product/message/Passive_user_reply_message.html.
func (d *Delivery) Reply() ([]byte, error) {
	if d == nil || d.Status == 0 {
		return nil, errors.New("wxtest: reply: there is no response")
	}
	if d.replyErr != nil {
		return nil, fmt.Errorf("wxtest: reply: %w", d.replyErr)
	}
	return bytes.Clone(d.reply), nil
}

// Warnings lists how the reply deviates from what WeChat documents although
// [Delivery.Reply] accepts it, because an SDK in wide use does the same: a
// CreateTime that is not a Unix time in seconds, a padding to a multiple of 16
// bytes instead of 32, a CDATA section that contains "]]>". It is unknown
// whether WeChat accepts them.
func (d *Delivery) Warnings() []string {
	if d == nil {
		return nil
	}
	return slices.Clone(d.warnings)
}

// readReply returns the message in a response, with the warnings about it.
func (s *Server) readReply(d *Delivery, cb accountCallback) (reply []byte, warnings []string, err error) {
	switch {
	case d.Status != http.StatusOK:
		return nil, nil, fmt.Errorf("the response has status %d; it must have 200", d.Status)
	case len(d.Body) == 0 || string(d.Body) == "success":
		return nil, nil, nil
	}
	reply, warnings, err = s.decryptReply(d.Body, cb)
	if err != nil {
		return nil, nil, err
	}
	more, err := s.checkReply(reply, cb)
	if err != nil {
		return nil, nil, err
	}
	return reply, append(warnings, more...), nil
}

// decryptReply returns the message in the body of a response.
func (s *Server) decryptReply(body []byte, cb accountCallback) (reply []byte, warnings []string, err error) {
	e, err := readFields(body)
	encrypt := []byte(e["Encrypt"])
	switch {
	case err != nil:
		return nil, nil, err
	case len(encrypt) == 0 && cb.Mode == Secure:
		return nil, nil, errors.New("the response is in plaintext; in secure mode it must be encrypted")
	case len(encrypt) == 0:
		return bytes.Clone(body), nil, nil
	case !cb.encrypts():
		return nil, nil, fmt.Errorf("the response is encrypted; in %v mode it must be in plaintext", cb.Mode)
	case !wxcrypt.Verify(e["MsgSignature"], cb.Token, e["TimeStamp"], e["Nonce"], encrypt):
		return nil, nil, errors.New("the MsgSignature of the response is wrong")
	}
	reply, err = cb.key.Decrypt(encrypt, s.appID, wxcrypt.PaddingBlock)
	if err == nil {
		return reply, nil, nil
	}
	if reply, shortErr := cb.key.Decrypt(encrypt, s.appID, aes.BlockSize); shortErr == nil {
		return reply, []string{"the encrypted reply is padded to a multiple of 16 bytes instead of 32"}, nil
	}
	return nil, nil, err
}

// checkReply checks a reply in plaintext.
func (s *Server) checkReply(reply []byte, cb accountCallback) (warnings []string, err error) {
	fields, err := readFields(reply)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"ToUserName", "FromUserName", "CreateTime", "MsgType"} {
		if fields[name] == "" {
			return nil, fmt.Errorf("the reply has no %s", name)
		}
	}
	switch {
	case fields["FromUserName"] != s.account:
		return nil, fmt.Errorf("FromUserName is %q; it must be the account, %q", fields["FromUserName"], s.account)
	case !s.follows(fields["ToUserName"]):
		return nil, fmt.Errorf("ToUserName is %q, which is not the OpenID of a follower", fields["ToUserName"])
	case cb.JSON != message.IsJSON(reply):
		return nil, errors.New("the reply and the push have different formats, XML and JSON")
	}
	if n, err := strconv.ParseUint(fields["CreateTime"], 10, 64); err != nil || n > 99_999_999_999 {
		warnings = append(warnings, fmt.Sprintf("CreateTime is %q instead of a Unix time in seconds", fields["CreateTime"]))
	}
	if !message.IsJSON(reply) {
		if err := checkXML(reply); err != nil {
			warnings = append(warnings, "the reply is not well-formed XML: "+err.Error())
		}
	}
	return warnings, nil
}

// checkXML returns an error if encoding/xml rejects a reply, as it does if a
// CDATA section contains "]]>".
func checkXML(reply []byte) error {
	dec := xml.NewDecoder(bytes.NewReader(reply))
	for {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// readFields reads a message to its end and returns the fields that have a
// text, of two with one name the first.
func readFields(body []byte) (map[string]string, error) {
	fields := map[string]string{}
	r := message.NewReader(string(body))
	for r.Next() {
		f := r.Field()
		_, seen := fields[f.Name]
		if text, err := f.Text(); err == nil && !seen {
			fields[f.Name] = text
		}
	}
	if r.Err() != nil {
		return nil, fmt.Errorf("the response is not a message: %w", r.Err())
	}
	return fields, nil
}
