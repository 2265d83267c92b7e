package wxtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

const (
	replyXML  = `<xml><ToUserName>o-ann</ToUserName><FromUserName>gh_1</FromUserName><CreateTime>1</CreateTime><MsgType>text</MsgType><Content>hi</Content></xml>`
	replyJSON = `{"ToUserName":"o-ann","FromUserName":"gh_1","CreateTime":1,"MsgType":"text","Content":"hi"}`
)

// sealReply makes the envelope of a reply.
func sealReply(t *testing.T, message, appID, token string, asJSON bool) string {
	t.Helper()
	key, err := wxcrypt.ParseKey(aesKey)
	require.NoError(t, err)
	encrypt, err := key.Seal([]byte(message), appID)
	require.NoError(t, err)
	signature := wxcrypt.Signature(token, "1714112445", "nonce", encrypt)
	if asJSON {
		b, err := json.Marshal(map[string]any{"Encrypt": encrypt, "MsgSignature": signature, "TimeStamp": 1714112445, "Nonce": "nonce"})
		require.NoError(t, err)
		return string(b)
	}
	return fmt.Sprintf("<xml><Encrypt><![CDATA[%s]]></Encrypt><MsgSignature>%s</MsgSignature><TimeStamp>1714112445</TimeStamp><Nonce>nonce</Nonce></xml>", encrypt, signature)
}

func TestAReplyIsWhatTheFollowerGets(t *testing.T) {
	srv := newServer(t)
	const token = "token"
	sealed := sealReply(t, replyXML, srv.AppID(), token, false)
	for name, tt := range map[string]struct {
		mode   wxtest.Mode
		status int
		body   string
		want   string // nothing to say if empty
		err    string
	}{
		"success":                   {wxtest.Secure, 200, "success", "", ""},
		"nothing":                   {wxtest.Plain, 200, "", "", ""},
		"in the clear":              {wxtest.Plain, 200, replyXML, replyXML, ""},
		"in the clear, JSON":        {wxtest.Plain, 200, replyJSON, replyJSON, ""},
		"in the clear, compatible":  {wxtest.Compatible, 200, replyXML, replyXML, ""},
		"sealed, compatible":        {wxtest.Compatible, 200, sealed, replyXML, ""},
		"sealed":                    {wxtest.Secure, 200, sealed, replyXML, ""},
		"sealed, JSON":              {wxtest.Secure, 200, sealReply(t, replyJSON, srv.AppID(), token, true), replyJSON, ""},
		"a status":                  {wxtest.Plain, 500, replyXML, "", "the answer has status 500, not 200"},
		"a page":                    {wxtest.Plain, 200, "<html>", "", "the answer is neither XML nor JSON, nor success"},
		"Success":                   {wxtest.Plain, 200, "Success", "", "the answer is neither XML nor JSON, nor success"},
		"half of JSON":              {wxtest.Plain, 200, replyJSON[:9], "", "the answer is neither XML nor JSON, nor success"},
		"in the clear, secure":      {wxtest.Secure, 200, replyXML, "", "the answer is in the clear, in secure mode"},
		"sealed, plain":             {wxtest.Plain, 200, sealed, "", "the answer is encrypted, in plain mode"},
		"signed with another token": {wxtest.Secure, 200, sealReply(t, replyXML, srv.AppID(), "another", false), "", "the answer's MsgSignature is wrong"},
		"for another account":       {wxtest.Secure, 200, sealReply(t, replyXML, "wx0", token, false), "", "it is for another appid"},
		"sealed, but no message":    {wxtest.Secure, 200, sealReply(t, "<xml></xml>", srv.AppID(), token, false), "", "ToUserName is missing"},
		"no message":                {wxtest.Plain, 200, strings.Replace(replyXML, "MsgType", "MsgKind", 2), "", "MsgType is missing"},
		"an altered envelope":       {wxtest.Secure, 200, strings.Replace(sealed, "nonce", "nonsense", 1), "", "the answer's MsgSignature is wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			srv.SetCallback("http://127.0.0.1:1/", wxtest.CallbackConfig{Token: token, EncodingAESKey: aesKey, Mode: tt.mode})
			got, err := srv.Reply(&wxtest.Delivery{Status: tt.status, Body: []byte(tt.body), Tries: 1})
			if tt.err != "" {
				assert.ErrorContains(t, err, "wxtest: reply: ")
				assert.ErrorContains(t, err, tt.err)
				assert.Nil(t, got)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(got))
			assert.Equal(t, tt.want == "", got == nil)
		})
	}
}

func TestAReplyNeedsACallbackAndADelivery(t *testing.T) {
	srv := newServer(t)
	_, err := srv.Reply(&wxtest.Delivery{Status: http.StatusOK})
	assert.ErrorContains(t, err, "no callback is set")
	srv.SetCallback("http://127.0.0.1:1/", wxtest.CallbackConfig{Token: "token"})
	_, err = srv.Reply(nil)
	assert.EqualError(t, err, "wxtest: reply: there is no delivery")
}
