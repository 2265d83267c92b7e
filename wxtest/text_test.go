package wxtest_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A textMessage is a pushed text as a program reads it.
type textMessage struct {
	ToUserName, FromUserName string
	CreateTime               int64
	MsgType, Content         string
	MsgID                    int64 `xml:"MsgId" json:"MsgId"`
}

func parseText(t *testing.T, message string) (m textMessage) {
	t.Helper()
	unmarshal := xml.Unmarshal
	if strings.HasPrefix(message, "{") {
		unmarshal = json.Unmarshal
	}
	require.NoError(t, unmarshal([]byte(message), &m), message)
	return m
}

// newFollower returns a server with a callback and a follower.
func newFollower(t *testing.T, handle http.HandlerFunc, opts ...wxtest.Option) (*wxtest.Server, *callback) {
	t.Helper()
	srv, quiet, ticket := newScene(t, nil, opts...)
	scan(t, srv, quiet, ticket, openID)
	c := newCallback(t, handle)
	srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token"})
	return srv, c
}

func TestATextIsPushedInWeChatsShape(t *testing.T) {
	clock := newClock()
	srv, c := newFollower(t, nil, wxtest.WithNow(clock.now))
	d, err := srv.SendText(t.Context(), openID, "<hello> & ]]> 世界")
	require.NoError(t, err)
	assert.Equal(t, &wxtest.Delivery{Status: 200, Body: []byte("success"), Tries: 1}, d)
	srv.SetCallback(c.URL, wxtest.CallbackConfig{Token: "token", JSON: true})
	_, err = srv.SendText(t.Context(), openID, "<hello> & \"世界\"\n")
	require.NoError(t, err)

	require.Len(t, c.pushes(), 2)
	asXML, asJSON := c.pushes()[0], c.pushes()[1]
	now := strconv.FormatInt(clock.now().Unix(), 10)
	m := parseText(t, asXML.body)
	assert.Equal(t, "<hello> & ]]> 世界", m.Content)
	assert.Regexp(t, `^gh_[0-9a-f]{12}$`, m.ToUserName)
	assert.Equal(t, "<xml><ToUserName><![CDATA["+m.ToUserName+"]]></ToUserName>\n"+
		"<FromUserName><![CDATA["+openID+"]]></FromUserName>\n"+
		"<CreateTime>"+now+"</CreateTime>\n"+
		"<MsgType><![CDATA[text]]></MsgType>\n"+
		"<Content><![CDATA[<hello> & ]]]]><![CDATA[> 世界]]></Content>\n"+
		"<MsgId>"+strconv.FormatInt(m.MsgID, 10)+"</MsgId></xml>", asXML.body)
	assert.Equal(t, "text/xml", asXML.header.Get("Content-Type"))

	m = parseText(t, asJSON.body)
	assert.Equal(t, `{"ToUserName":"`+m.ToUserName+`","FromUserName":"`+openID+`","CreateTime":`+now+
		`,"MsgType":"text","Content":"<hello> & \"世界\"\n","MsgId":`+strconv.FormatInt(m.MsgID, 10)+`}`, asJSON.body)
	assert.Equal(t, "application/json", asJSON.header.Get("Content-Type"))

	e := parse(t, asXML.body)
	assert.Equal(t, "text", e.MsgType)
	assert.Empty(t, e.Type, "it is no event")
}

func TestATextIsSignedAndSealedLikeAnEvent(t *testing.T) {
	whole := []string{"ToUserName", "FromUserName", "CreateTime", "MsgType", "Content", "MsgId"}
	for name, test := range map[string]struct {
		mode wxtest.Mode
		json bool
		want []string // the fields in the clear
	}{
		"plain, XML":       {wxtest.Plain, false, whole},
		"plain, JSON":      {wxtest.Plain, true, whole},
		"compatible, XML":  {wxtest.Compatible, false, append(whole, "Encrypt")},
		"compatible, JSON": {wxtest.Compatible, true, append(whole, "Encrypt")},
		"secure, XML":      {wxtest.Secure, false, []string{"ToUserName", "Encrypt"}},
		"secure, JSON":     {wxtest.Secure, true, []string{"ToUserName", "Encrypt"}},
	} {
		t.Run(name, func(t *testing.T) {
			srv, c := newFollower(t, nil)
			cfg := wxtest.CallbackConfig{Token: "token", EncodingAESKey: aesKey, Mode: test.mode, JSON: test.json}
			srv.SetCallback(c.URL, cfg)
			_, err := srv.SendText(t.Context(), openID, "hello")
			require.NoError(t, err)
			require.Len(t, c.pushes(), 1)
			p := c.pushes()[0]
			assert.Equal(t, http.MethodPost, p.method)
			if test.json {
				var members map[string]any
				require.NoError(t, json.Unmarshal([]byte(p.body), &members))
				assert.Len(t, members, len(test.want))
			} else {
				assert.Equal(t, test.want, fieldNames(t, p.body))
			}

			message, encrypt := openPush(t, p, cfg)
			m := parseText(t, message)
			assert.Equal(t, "hello", m.Content)
			assert.Equal(t, openID, m.FromUserName)
			assert.Equal(t, test.json, message[0] == '{')
			if test.mode != wxtest.Secure {
				assert.Equal(t, m, parseText(t, p.body), "the plain fields say the same")
			}

			q := p.query
			assert.Equal(t, openID, q.Get("openid"))
			assert.Equal(t, wxcrypt.Signature("token", q.Get("timestamp"), q.Get("nonce")), q.Get("signature"))
			if test.mode == wxtest.Plain {
				assert.False(t, q.Has("encrypt_type"))
				assert.False(t, q.Has("msg_signature"))
				return
			}
			assert.Equal(t, "aes", q.Get("encrypt_type"))
			assert.Equal(t, wxcrypt.Signature("token", q.Get("timestamp"), q.Get("nonce"), encrypt), q.Get("msg_signature"))
		})
	}
}

func TestEachTextHasANumberThatItsRepeatsShare(t *testing.T) {
	srv, c := newFollower(t, func(w http.ResponseWriter, _ *http.Request) { cutConnection(w) }, wxtest.WithFreshRetries())
	const texts = 4
	for range texts {
		d, err := srv.SendText(t.Context(), openID, "hello")
		require.ErrorContains(t, err, "no answer to the push in 3 tries")
		assert.Equal(t, &wxtest.Delivery{Tries: 3}, d)
	}
	tries := map[int64]int{}
	for _, p := range c.pushes() {
		id := parseText(t, p.body).MsgID
		assert.Greater(t, id, int64(1<<53), "a float64 cannot hold it")
		tries[id]++
	}
	assert.Len(t, tries, texts)
	for _, n := range tries {
		assert.Equal(t, 3, n)
	}
}

func TestATextHas1To2048BytesThatXMLCanHold(t *testing.T) {
	const tooMuch = "it must have 1 to 2048"
	for name, test := range map[string]struct {
		content string
		want    string // of the error; empty if there is none
	}{
		"one byte":                        {"x", ""},
		"2048 bytes":                      {strings.Repeat("x", 2048), ""},
		"2048 bytes of Chinese":           {strings.Repeat("世", 682) + "xx", ""},
		"a tab and a line break":          {"a\tb\n", ""},
		"nothing":                         {"", "content has 0 bytes; " + tooMuch},
		"2049 bytes":                      {strings.Repeat("x", 2049), "content has 2049 bytes; " + tooMuch},
		"683 Chinese characters":          {strings.Repeat("世", 683), "content has 2049 bytes; " + tooMuch},
		"a control character":             {"a\x00b", "control characters"},
		"a noncharacter":                  {"a\uFFFE", "XML cannot hold it"},
		"bytes that are no UTF-8":         {"a\xff", "UTF-8"},
		"half a character":                {"世"[:2], "UTF-8"},
		"2048 bytes with a control in it": {strings.Repeat("x", 2047) + "\x1b", "control characters"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, c := newFollower(t, nil)
			d, err := srv.SendText(t.Context(), openID, test.content)
			if test.want == "" {
				require.NoError(t, err)
				assert.Equal(t, 200, d.Status)
				require.Len(t, c.pushes(), 1)
				assert.Equal(t, test.content, parseText(t, c.pushes()[0].body).Content)
				return
			}
			require.ErrorContains(t, err, test.want)
			assert.True(t, strings.HasPrefix(err.Error(), "wxtest: send text: content "), err)
			assert.Less(t, len(err.Error()), 200)
			assert.Nil(t, d)
			assert.Empty(t, c.pushes())
		})
	}
}

func TestOnlyFollowersCanWrite(t *testing.T) {
	srv, c, ticket := newScene(t, nil)
	refused := func(openID string) {
		t.Helper()
		before := len(c.pushes())
		d, err := srv.SendText(t.Context(), openID, "hello")
		require.EqualError(t, err, `wxtest: send text: "`+openID+`" does not follow the account; Scan makes a follower`)
		assert.Nil(t, d)
		assert.Len(t, c.pushes(), before)
	}
	refused(openID)
	refused(openID) // to write does not make a follower

	scan(t, srv, c, ticket, openID)
	_, err := srv.SendText(t.Context(), openID, "hello")
	require.NoError(t, err)
	_, err = srv.SendText(t.Context(), openID, "hello")
	require.NoError(t, err)
	refused("o-another")

	_, err = srv.Unfollow(t.Context(), openID)
	require.NoError(t, err)
	refused(openID)
}

func TestTheAnswerToATextIsDelivered(t *testing.T) {
	const reply = "<xml><MsgType><![CDATA[text]]></MsgType></xml>"
	srv, _ := newFollower(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, reply) })
	d, err := srv.SendText(t.Context(), openID, "hello")
	require.NoError(t, err)
	assert.Equal(t, &wxtest.Delivery{Status: 200, Body: []byte(reply), Tries: 1}, d)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d, err = srv.SendText(ctx, openID, "hello")
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, &wxtest.Delivery{Tries: 1}, d)
}
