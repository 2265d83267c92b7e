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

// replyXML and replyJSON are replies of the account to somebody.
func replyXML(account, to string) string {
	return "<xml><ToUserName>" + to + "</ToUserName><FromUserName>" + account + "</FromUserName><CreateTime>1</CreateTime><MsgType>text</MsgType><Content>hi</Content></xml>"
}

func replyJSON(account, to string) string {
	return `{"ToUserName":"` + to + `","FromUserName":"` + account + `","CreateTime":1,"MsgType":"text","Content":"hi"}`
}

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
	srv, c, ticket := newScene(t, nil)
	account := scan(t, srv, c, ticket, openID).ToUserName
	const token = "token"
	asXML, asJSON := replyXML(account, openID), replyJSON(account, openID)
	seal := func(message string) string { return sealReply(t, message, srv.AppID(), token, message[0] == '{') }
	plain, compatible, secure := wxtest.CallbackConfig{Mode: wxtest.Plain}, wxtest.CallbackConfig{Mode: wxtest.Compatible}, wxtest.CallbackConfig{Mode: wxtest.Secure}
	pushJSON := func(cfg wxtest.CallbackConfig) wxtest.CallbackConfig {
		cfg.JSON = true
		return cfg
	}
	for name, tt := range map[string]struct {
		cfg    wxtest.CallbackConfig
		status int
		body   string
		want   string // nothing to say if empty
		err    string
	}{
		"success":                   {secure, 200, "success", "", ""},
		"nothing":                   {plain, 200, "", "", ""},
		"in the clear":              {plain, 200, asXML, asXML, ""},
		"in the clear, JSON":        {pushJSON(plain), 200, asJSON, asJSON, ""},
		"in the clear, compatible":  {compatible, 200, asXML, asXML, ""},
		"sealed, compatible":        {compatible, 200, seal(asXML), asXML, ""},
		"sealed":                    {secure, 200, seal(asXML), asXML, ""},
		"sealed, JSON":              {pushJSON(secure), 200, seal(asJSON), asJSON, ""},
		"a status":                  {plain, 500, asXML, "", "the answer has status 500, not 200"},
		"a page":                    {plain, 200, "<html>", "", "the answer is neither XML nor JSON, nor success"},
		"Success":                   {plain, 200, "Success", "", "the answer is neither XML nor JSON, nor success"},
		"half of JSON":              {plain, 200, asJSON[:9], "", "the answer is neither XML nor JSON, nor success"},
		"in the clear, secure":      {secure, 200, asXML, "", "the answer is in the clear, in secure mode"},
		"sealed, plain":             {plain, 200, seal(asXML), "", "the answer is encrypted, in plain mode"},
		"signed with another token": {secure, 200, sealReply(t, asXML, srv.AppID(), "another", false), "", "the answer's MsgSignature is wrong"},
		"for another account":       {secure, 200, sealReply(t, asXML, "wx0", token, false), "", "it is for another appid"},
		"sealed, but no message":    {secure, 200, seal("<xml></xml>"), "", "ToUserName is missing"},
		"no message":                {plain, 200, strings.Replace(asXML, "MsgType", "MsgKind", 2), "", "MsgType is missing"},
		"an altered envelope":       {secure, 200, strings.Replace(seal(asXML), "nonce", "nonsense", 1), "", "the answer's MsgSignature is wrong"},
		"the names the wrong way":   {plain, 200, replyXML(openID, account), "", "FromUserName is \"" + openID + "\"; it must be the account"},
		"to somebody else":          {secure, 200, seal(replyXML(account, "o-nobody")), "", "ToUserName is \"o-nobody\", which is no follower's OpenID"},
		"JSON to XML":               {plain, 200, asJSON, "", "not of one format"},
		"XML to JSON":               {pushJSON(secure), 200, seal(asXML), "", "not of one format"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.cfg.Token, tt.cfg.EncodingAESKey = token, aesKey
			srv.SetCallback(c.URL, tt.cfg)
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

func TestRandomCallbackConfigsWork(t *testing.T) {
	seen := map[string]bool{}
	for _, mode := range []wxtest.Mode{wxtest.Plain, wxtest.Compatible, wxtest.Secure} {
		cfg := wxtest.RandomCallbackConfig(mode)
		assert.Equal(t, mode, cfg.Mode)
		assert.False(t, cfg.JSON)
		assert.Regexp(t, `^[A-Z2-7]{26}$`, cfg.Token)
		_, err := wxcrypt.ParseKey(cfg.EncodingAESKey)
		assert.NoError(t, err)
		seen[cfg.Token], seen[cfg.EncodingAESKey] = true, true

		srv, c, ticket := newScene(t, nil)
		srv.SetCallback(c.URL, cfg)
		_, err = srv.Scan(t.Context(), ticket, openID)
		assert.NoError(t, err)
	}
	assert.Len(t, seen, 6)
}

func TestAReplyNeedsACallbackAndADelivery(t *testing.T) {
	srv := newServer(t)
	_, err := srv.Reply(&wxtest.Delivery{Status: http.StatusOK})
	assert.ErrorContains(t, err, "no callback is set")
	srv.SetCallback("http://127.0.0.1:1/", wxtest.CallbackConfig{Token: "token"})
	_, err = srv.Reply(nil)
	assert.EqualError(t, err, "wxtest: reply: there is no delivery")
}
