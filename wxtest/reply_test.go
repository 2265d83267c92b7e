package wxtest_test

import (
	"crypto/aes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/internal/message"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A replier makes replies of an account to a follower.
type replier struct {
	*testing.T
	srv     *wxtest.Server
	account string
}

func newReplier(t *testing.T) *replier {
	t.Helper()
	srv, c, ticket := newScene(t, nil)
	return &replier{t, srv, scan(t, srv, c, ticket, openID).ToUserName}
}

// push pushes a text of the follower and responds with status and body.
func (r *replier) push(cfg wxtest.CallbackConfig, status int, body string) *wxtest.Delivery {
	r.Helper()
	c := newRecorder(r.T, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
	cfg.Token, cfg.EncodingAESKey = "token", aesKey
	r.srv.SetCallback(c.URL, cfg)
	d, err := r.srv.SendText(r.Context(), openID, "hello")
	require.NoError(r, err)
	return d
}

func (r *replier) xml(content string) string {
	return "<xml><ToUserName>" + openID + "</ToUserName><FromUserName>" + r.account +
		"</FromUserName><CreateTime>1714112445</CreateTime><MsgType>text</MsgType><Content>" + content + "</Content></xml>"
}

func (r *replier) json() string {
	return `{"ToUserName":"` + openID + `","FromUserName":"` + r.account + `","CreateTime":1714112445,"MsgType":"text","Content":"hi"}`
}

// envelope returns the envelope of an Encrypt text.
func envelope(encrypted, token string, asJSON bool) string {
	signature := wxcrypt.Sign(token, "1714112445", "nonce", []byte(encrypted))
	return string(message.Write(asJSON, message.Text("Encrypt", encrypted), message.Text("MsgSignature", signature),
		message.Number("TimeStamp", 1714112445), message.Text("Nonce", "nonce")))
}

// encryptReply returns the envelope of a reply.
func (r *replier) encryptReply(reply string) string {
	r.Helper()
	return envelope(encrypt(r.T, reply, r.srv.AppID(), 32), "token", message.IsJSON(reply))
}

func TestReply(t *testing.T) {
	r := newReplier(t)
	asXML, asJSON := r.xml("hi"), r.json()
	for _, tt := range []struct {
		name string
		mode wxtest.Mode
		json bool
		body string
		want string // no reply if empty
	}{
		{"success", wxtest.Secure, false, "success", ""},
		{"empty", wxtest.Plain, false, "", ""},
		{"XML", wxtest.Plain, false, asXML, asXML},
		{"JSON", wxtest.Plain, true, asJSON, asJSON},
		{"cloud hosting", wxtest.CloudHosting, true, asJSON, asJSON},
		{"compatible, plaintext", wxtest.Compatible, false, asXML, asXML},
		{"compatible, encrypted", wxtest.Compatible, false, r.encryptReply(asXML), asXML},
		{"secure", wxtest.Secure, false, r.encryptReply(asXML), asXML},
		{"secure, JSON", wxtest.Secure, true, r.encryptReply(asJSON), asJSON},
		{"the first of two fields", wxtest.Plain, false, strings.Replace(asXML, "<MsgType>", "<ToUserName>o-x</ToUserName><MsgType>", 1),
			strings.Replace(asXML, "<MsgType>", "<ToUserName>o-x</ToUserName><MsgType>", 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := r.push(wxtest.CallbackConfig{Mode: tt.mode, JSON: tt.json}, http.StatusOK, tt.body)
			got, err := d.Reply()
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(got))
			assert.Equal(t, tt.want == "", got == nil)
			assert.Empty(t, d.Warnings())
		})
	}
}

func TestReply_Warnings(t *testing.T) {
	r := newReplier(t)
	edit := func(s, old, replacement string) string {
		require.Contains(t, s, old)
		return strings.Replace(s, old, replacement, 1)
	}
	const created, date, milliseconds = "1714112445", "2024-04-26T14:20:45+08:00", "1714112445000"
	const padding, notXML = "multiple of 16", "XML"

	// Padded to a multiple of 16 that is not one of 32.
	reply := r.xml("hi")
	for (16+4+len(reply)+len(r.srv.AppID()))%32 >= 16 {
		reply += "\n"
	}
	short := envelope(encrypt(t, reply, r.srv.AppID(), aes.BlockSize), "token", false)

	for _, tt := range []struct {
		name string
		mode wxtest.Mode
		json bool
		body string
		want []string
	}{
		{"a date", wxtest.Plain, false, edit(r.xml("hi"), created, "<![CDATA["+date+"]]>"), []string{date}},
		{"a quoted date", wxtest.Plain, false, edit(r.xml("hi"), created, `"`+date+`"`), []string{strconv.Quote(`"` + date + `"`)}},
		{"a date in JSON", wxtest.Plain, true, edit(r.json(), created, `"`+date+`"`), []string{date}},
		{"milliseconds", wxtest.Plain, false, edit(r.xml("hi"), created, milliseconds), []string{milliseconds}},
		{"milliseconds in JSON", wxtest.Secure, true, r.encryptReply(edit(r.json(), created, milliseconds)), []string{milliseconds}},
		{"padding", wxtest.Secure, false, short, []string{padding}},
		{"unsplit", wxtest.Plain, false, r.xml("<![CDATA[a]]>b]]>"), []string{notXML}},
		{"unsplit and encrypted", wxtest.Secure, false, r.encryptReply(r.xml("<![CDATA[a]]>b]]>")), []string{notXML}},
		{"two", wxtest.Plain, false, edit(r.xml("<![CDATA[]]>]]>"), created, milliseconds), []string{milliseconds, notXML}},
		{"none", wxtest.Plain, false, r.xml("<![CDATA[a]]]]><![CDATA[>b]]>"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := r.push(wxtest.CallbackConfig{Mode: tt.mode, JSON: tt.json}, http.StatusOK, tt.body)
			got, err := d.Reply()
			require.NoError(t, err)
			assert.Equal(t, openID, message.Find(string(got), "ToUserName"))
			require.Len(t, d.Warnings(), len(tt.want))
			for i, want := range tt.want {
				assert.Contains(t, d.Warnings()[i], want)
			}
		})
	}
}

func TestReply_Errors(t *testing.T) {
	r := newReplier(t)
	asXML, asJSON := r.xml("hi"), r.json()
	without := func(name string) string { return strings.ReplaceAll(asXML, name, "X") }
	swapped := strings.NewReplacer(openID, r.account, r.account, openID).Replace(asXML)
	const notMessage = "the response is not a message"
	for _, tt := range []struct {
		name   string
		mode   wxtest.Mode
		json   bool
		status int
		body   string
		want   string
	}{
		{"status 500", wxtest.Plain, false, 500, asXML, "status 500"},
		{"status 201", wxtest.Plain, false, 201, "success", "status 201"},
		{"a page", wxtest.Plain, false, 200, "<html></html>", notMessage},
		{"Success", wxtest.Plain, false, 200, "Success", notMessage},
		{"incomplete JSON", wxtest.Plain, true, 200, asJSON[:9], notMessage},
		{"incomplete XML", wxtest.Plain, false, 200, asXML[:len(asXML)-3], notMessage},
		{"plaintext in secure mode", wxtest.Secure, false, 200, asXML, "secure mode"},
		{"encrypted in plain mode", wxtest.Plain, false, 200, r.encryptReply(asXML), "plain mode"},
		{"encrypted in cloud hosting", wxtest.CloudHosting, false, 200, r.encryptReply(asXML), "cloud hosting mode"},
		{"another token", wxtest.Secure, false, 200, envelope(encrypt(t, asXML, r.srv.AppID(), 32), "another", false), "MsgSignature"},
		{"another nonce", wxtest.Secure, false, 200, strings.Replace(r.encryptReply(asXML), "[nonce]", "[other]", 1), "MsgSignature"},
		{"another account", wxtest.Secure, false, 200, envelope(encrypt(t, asXML, "wx0", 32), "token", false), "AppID"},
		{"not encrypted with AES", wxtest.Secure, false, 200, envelope("QUFB", "token", false), "multiple of 32"},
		{"no message in the envelope", wxtest.Secure, false, 200, r.encryptReply("hello"), notMessage},
		{"no fields", wxtest.Secure, false, 200, r.encryptReply("<xml></xml>"), "ToUserName"},
		{"no FromUserName", wxtest.Plain, false, 200, without("FromUserName"), "FromUserName"},
		{"no CreateTime", wxtest.Plain, false, 200, without("CreateTime"), "CreateTime"},
		{"no MsgType", wxtest.Plain, false, 200, without("MsgType"), "MsgType"},
		{"the users swapped", wxtest.Plain, false, 200, swapped, r.account},
		{"not to a follower", wxtest.Secure, false, 200, r.encryptReply(strings.Replace(asXML, openID, "o-x", 1)), "o-x"},
		{"JSON to XML", wxtest.Plain, false, 200, asJSON, "formats"},
		{"XML to JSON", wxtest.Secure, true, 200, r.encryptReply(asXML), "formats"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := r.push(wxtest.CallbackConfig{Mode: tt.mode, JSON: tt.json}, tt.status, tt.body)
			got, err := d.Reply()
			require.ErrorContains(t, err, tt.want)
			assert.True(t, strings.HasPrefix(err.Error(), "wxtest: reply: "), err)
			assert.Nil(t, got)
			assert.Empty(t, d.Warnings())
		})
	}
	for _, d := range []*wxtest.Delivery{nil, {}, {Tries: 3}} {
		_, err := d.Reply()
		assert.Error(t, err)
		assert.Empty(t, d.Warnings())
	}
}
