package callback_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// An envelope is an encrypted reply as WeChat parses it.
type envelope struct {
	XMLName                      xml.Name `xml:"xml" json:"-"`
	Encrypt, MsgSignature, Nonce string
	TimeStamp                    int64
	ToUserName                   *string
}

func readEnvelope(t *testing.T, body string) (e envelope) {
	t.Helper()
	if strings.HasPrefix(body, "{") {
		require.NoError(t, json.Unmarshal([]byte(body), &e))
	} else {
		require.NoError(t, xml.Unmarshal([]byte(body), &e))
	}
	return e
}

// decryptReply verifies an encrypted reply, XML or JSON, and decrypts it.
func decryptReply(t *testing.T, body, key string) string {
	t.Helper()
	e := readEnvelope(t, body)
	assert.Nil(t, e.ToUserName)
	assert.InDelta(t, time.Now().Unix(), e.TimeStamp, 60)
	assert.Regexp(t, "^[0-9]+$", e.Nonce)
	require.True(t, wxcrypt.Verify(e.MsgSignature, token, fmt.Sprint(e.TimeStamp), e.Nonce, []byte(e.Encrypt)))
	k, err := wxcrypt.ParseKey(key)
	require.NoError(t, err)
	m, err := k.Decrypt([]byte(e.Encrypt), appID, wxcrypt.PaddingBlock)
	require.NoError(t, err)
	return string(m)
}

type article struct{ Title, Description, PicUrl, Url string } //nolint:revive // WeChat's names

// A replied is a reply as WeChat parses it, XML or JSON.
type replied struct {
	XMLName                           xml.Name `xml:"xml" json:"-"`
	ToUserName, FromUserName, MsgType string
	CreateTime                        int64
	Content                           string
	Image                             struct{ MediaId string } //nolint:revive // WeChat's name
	ArticleCount                      int
	Articles                          []article `xml:"Articles>item"`
}

func readReply(t *testing.T, body string) (r replied) {
	t.Helper()
	if strings.HasPrefix(body, "{") {
		require.NoError(t, json.Unmarshal([]byte(body), &r), body)
	} else {
		require.NoError(t, xml.Unmarshal([]byte(body), &r), body)
	}
	assert.Equal(t, openID, r.ToUserName)
	assert.Equal(t, account, r.FromUserName)
	assert.InDelta(t, time.Now().Unix(), r.CreateTime, 60)
	return r
}

func TestReply_EveryFormat(t *testing.T) {
	nasty := "a<b>&\"'\\]]> ]]]]>> 码 😀\n\t]]"
	for name, tt := range map[string]struct {
		reply callback.Reply
		want  replied
	}{
		"Text":  {callback.Text(nasty), replied{MsgType: "text", Content: nasty}},
		"Image": {callback.Image(nasty), replied{MsgType: "image", Image: struct{ MediaId string }{nasty}}}, //nolint:revive // WeChat's name
		"News": {
			callback.News(callback.Article{Title: nasty, Description: "d" + nasty, PicURL: "https://p?a=1&b=" + nasty, URL: "https://u?" + nasty}, callback.Article{}),
			replied{MsgType: "news", ArticleCount: 2, Articles: []article{{nasty, "d" + nasty, "https://p?a=1&b=" + nasty, "https://u?" + nasty}, {}}},
		},
	} {
		for format, p := range map[string]testPush{
			"plain XML": {message: scanOf("7")}, "plain JSON": {message: scanJSON("7")},
			"encrypted XML": {message: scanOf("7"), key: aesKey}, "encrypted JSON": {message: scanJSON("7"), key: aesKey, json: true},
			"JSON in an XML envelope": {message: scanJSON("7"), key: aesKey},
		} {
			t.Run(name+", "+format, func(t *testing.T) {
				w := send(newHandler(t, configFor(p, replyWith(tt.reply))), p.sign())
				assert.Equal(t, http.StatusOK, w.Code)
				body := w.Body.String()
				envelopeIsJSON := p.json || p.key == "" && p.message[0] == '{'
				assert.Equal(t, envelopeIsJSON, body[0] == '{')
				assert.Equal(t, envelopeIsJSON, w.Header().Get("Content-Type") == "application/json")
				if p.key != "" {
					assert.NotContains(t, body, "MsgType")
					body = decryptReply(t, body, p.key)
				}
				assert.Equal(t, p.message[0], body[0], "the format of the message")
				got := readReply(t, body)
				got.XMLName, got.ToUserName, got.FromUserName, got.CreateTime = xml.Name{}, "", "", 0
				assert.Equal(t, tt.want, got)
			})
		}
	}
}

func TestReply_RawIsUnchanged(t *testing.T) {
	sent := `{"MsgType":"text","Content":"<&>"}`
	m := []byte(sent)
	h := newHandler(t, secureConfig(func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
		r := callback.Raw(m)
		copy(m, "reuses the buffer")
		return r, nil
	}))
	for range 2 {
		w := send(h, testPush{message: scanJSON("7"), key: aesKey, json: true}.sign())
		assert.Equal(t, sent, decryptReply(t, w.Body.String(), aesKey), "the duplicate too")
	}
}

func TestReply_Nothing(t *testing.T) {
	for name, r := range map[string]callback.Reply{"nil": nil, "an empty Raw": callback.Raw(nil), "a Raw of success": callback.Raw([]byte("success"))} {
		for _, p := range []testPush{{message: scanOf("7")}, {message: scanOf("7"), key: aesKey}, {message: scanJSON("7"), key: aesKey, json: true}} {
			w := send(newHandler(t, configFor(p, replyWith(r))), p.sign())
			assert.Equal(t, http.StatusOK, w.Code, name)
			assert.Equal(t, "success", w.Body.String(), name)
			assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
		}
	}
}

// A reply that cannot be sent is logged, the response is success, and OnEvent
// is not called again.
func TestReply_Limits(t *testing.T) {
	articles := func(n int) callback.Reply { return callback.News(make([]callback.Article, n)...) }
	click, text, scan := eventXML("CLICK", "menu"), textXML("hello"), scanOf("7")
	noRecipient := "<xml><CreateTime>1</CreateTime><InfoType>authorized</InfoType></xml>"
	for name, tt := range map[string]struct {
		push  string
		reply callback.Reply
		ok    bool
	}{
		"a text of 1 byte":               {scan, callback.Text("x"), true},
		"the longest text":               {scan, callback.Text(strings.Repeat("x", 2048)), true},
		"a text of 2,049 bytes":          {scan, callback.Text(strings.Repeat("x", 2049)), false},
		"a Chinese text too long":        {scan, callback.Text(strings.Repeat("码", 683)), false},
		"an empty text":                  {scan, callback.Text(""), false},
		"a forbidden character":          {scan, callback.Text("\x00"), true},
		"too long after replacement":     {scan, callback.Text(strings.Repeat("\x00", 683)), false},
		"an image without an ID":         {scan, callback.Image(""), false},
		"no article":                     {scan, articles(0), false},
		"8 articles to a scan":           {scan, articles(8), true},
		"9 articles to a scan":           {scan, articles(9), false},
		"8 articles to a click":          {click, articles(8), true},
		"1 article to a text":            {text, articles(1), true},
		"2 articles to a text":           {text, articles(2), false},
		"a text to a push of a platform": {noRecipient, callback.Text("hi"), false},
		"Raw to a push of a platform":    {noRecipient, callback.Raw([]byte("<xml></xml>")), true},
	} {
		for _, key := range []string{"", aesKey} {
			t.Run(name+key, func(t *testing.T) {
				var log logRecorder
				var results []callback.Result
				calls := 0
				p := testPush{message: tt.push, key: key}
				cfg := configFor(p, func(context.Context, *wxqrcode.Event) (callback.Reply, error) { calls++; return tt.reply, nil })
				cfg.OnMessage = func(context.Context, callback.Message) (callback.Reply, error) { calls++; return tt.reply, nil }
				cfg.OnResult = func(_ context.Context, r callback.Result) { results = append(results, r) }
				cfg.Logger = log.logger()
				h := newHandler(t, cfg)
				for range 2 {
					w := send(h, p.sign())
					assert.Equal(t, http.StatusOK, w.Code)
					assert.Equal(t, !tt.ok, w.Body.String() == "success")
				}
				assert.Equal(t, 1, calls)
				require.Len(t, results, 2)
				assert.Equal(t, callback.Handled, results[0].Outcome)
				assert.Equal(t, callback.Duplicate, results[1].Outcome)
				assert.Equal(t, tt.ok, results[0].Err == nil)
				assert.Equal(t, tt.ok, log.lines(t)[0]["level"] == "INFO")
			})
		}
	}
}

// A text is received unchanged, except for characters that XML does not allow.
func FuzzText(f *testing.F) {
	for _, s := range []string{"hi", "]]>", "]]]]>>", "]]", "\x00", "\xff]]>", "\r\n", "\uFFFE", "<![CDATA[x]]>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, content string) {
		if content == "" || len(content) > 2048/3 {
			return
		}
		h := newHandler(t, plainConfig(replyWith(callback.Text(content))))
		want := strings.Map(func(r rune) rune {
			if r < ' ' && !strings.ContainsRune("\t\n\r", r) || r == 0xFFFE || r == 0xFFFF {
				return utf8.RuneError
			}
			return r
		}, content)
		assert.Equal(t, want, readReply(t, send(h, plain(scanJSON("7"))).Body.String()).Content)
		h = newHandler(t, plainConfig(replyWith(callback.Text(content))))
		want = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(want) // as XML normalizes them
		assert.Equal(t, want, readReply(t, send(h, plain(scanOf("7"))).Body.String()).Content)
	})
}
