package callback_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

func sign(timestamp, nonce string) string { return wxcrypt.Signature(token, timestamp, nonce) }

// replyWith is an onEvent.
func replyWith(r callback.Reply) onEvent {
	return func(context.Context, *wxqrcode.Event) (callback.Reply, error) { return r, nil }
}

// openReply checks a sealed reply, XML or JSON, as WeChat would, and returns what is
// in it.
func openReply(t *testing.T, body, key string) string {
	t.Helper()
	var e struct {
		XMLName                              xml.Name `xml:"xml" json:"-"`
		Encrypt, MsgSignature, Nonce         string
		TimeStamp                            int64
		ToUserName, FromUserName, CreateTime *string
	}
	if strings.HasPrefix(body, "{") {
		require.NoError(t, json.Unmarshal([]byte(body), &e))
	} else {
		require.NoError(t, xml.Unmarshal([]byte(body), &e))
	}
	assert.Nil(t, e.ToUserName)
	assert.InDelta(t, time.Now().Unix(), e.TimeStamp, 60)
	assert.NotEmpty(t, e.Nonce)
	require.True(t, wxcrypt.Verify(e.MsgSignature, token, fmt.Sprint(e.TimeStamp), e.Nonce, e.Encrypt))
	k, err := wxcrypt.ParseKey(key)
	require.NoError(t, err)
	message, err := k.Open(e.Encrypt, appID)
	require.NoError(t, err)
	return string(message)
}

// A replied is a reply as WeChat reads it.
type replied struct {
	XMLName                           xml.Name `xml:"xml"`
	ToUserName, FromUserName, MsgType string
	CreateTime                        int64
	Content                           *string
	MediaID                           *string `xml:"Image>MediaId"`
	ArticleCount                      *int
	Articles                          []struct{ Title, Description, PicUrl, Url string } `xml:"Articles>item"` //nolint:revive // WeChat's names
}

func readReply(t *testing.T, body string) (r replied) {
	t.Helper()
	require.NoError(t, xml.Unmarshal([]byte(body), &r), body)
	assert.Equal(t, openID, r.ToUserName)
	assert.Equal(t, account, r.FromUserName)
	assert.InDelta(t, time.Now().Unix(), r.CreateTime, 60)
	return r
}

func TestNothingToSayIsSuccessInTheClear(t *testing.T) {
	for name, r := range map[string]callback.Reply{
		"nil": nil, "an empty Raw": callback.Raw(nil), "a Raw of success": callback.Raw([]byte("success")),
	} {
		t.Run(name, func(t *testing.T) {
			for _, l := range []*letter{plain(scanOf("7")), sealed(scanOf("7")), (&letter{message: scanJSON("7"), key: aesKey, json: true}).sign()} {
				cfg := secureConfig
				cfg.AllowPlain = true
				w := send(newHandler(t, cfg, replyWith(r)), l)
				assert.Equal(t, http.StatusOK, w.Code)
				assert.Equal(t, "success", w.Body.String())
				assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
			}
		})
	}
}

func TestRepliesAreSealedIfThePushWas(t *testing.T) {
	h := newHandler(t, plainConfig, replyWith(callback.Text("hi")))
	w := send(h, plain(scanOf("7")))
	assert.Equal(t, "text/xml; charset=utf-8", w.Header().Get("Content-Type"))
	r := readReply(t, w.Body.String())
	assert.Equal(t, "text", r.MsgType)
	assert.Equal(t, "hi", *r.Content)

	h = newHandler(t, secureConfig, replyWith(callback.Text("hi")))
	l := sealed(scanOf("7"))
	first, again := send(h, l), send(h, l)
	assert.Equal(t, "text/xml; charset=utf-8", first.Header().Get("Content-Type"))
	assert.NotContains(t, first.Body.String(), "hi]")
	assert.Equal(t, "hi", *readReply(t, openReply(t, first.Body.String(), aesKey)).Content)
	assert.Equal(t, openReply(t, first.Body.String(), aesKey), openReply(t, again.Body.String(), aesKey), "the same reply")
	assert.NotEqual(t, first.Body.String(), again.Body.String(), "sealed anew")
}

func TestTheCreateTimeOfAReplyIsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		r := readReply(t, send(newHandler(t, plainConfig, replyWith(callback.Text("hi"))), plain(scanOf("7"))).Body.String())
		assert.Equal(t, time.Now().Unix(), r.CreateTime)
	})
}

func TestEachKindOfReply(t *testing.T) {
	nasty := "a<b>&\"']]> ]]]]>> 码 😀\n\t]]"
	get := func(r callback.Reply) replied {
		return readReply(t, send(newHandler(t, plainConfig, replyWith(r)), plain(scanOf("7"))).Body.String())
	}
	r := get(callback.Text(nasty))
	assert.Equal(t, "text", r.MsgType)
	assert.Equal(t, nasty, *r.Content)

	r = get(callback.Image(nasty))
	assert.Equal(t, "image", r.MsgType)
	assert.Equal(t, nasty, *r.MediaID)
	assert.Nil(t, r.Content)

	r = get(callback.News(callback.Article{Title: nasty, Description: "d" + nasty, PicURL: "https://p?a=1&b=" + nasty, URL: "https://u?a=1&b=" + nasty}, callback.Article{}))
	assert.Equal(t, "news", r.MsgType)
	assert.Equal(t, 2, *r.ArticleCount)
	require.Len(t, r.Articles, 2)
	assert.Equal(t, struct{ Title, Description, PicUrl, Url string }{nasty, "d" + nasty, "https://p?a=1&b=" + nasty, "https://u?a=1&b=" + nasty}, r.Articles[0]) //nolint:revive // WeChat's names

	assert.Equal(t, "<xml>whatever</xml>", send(newHandler(t, plainConfig, replyWith(callback.Raw([]byte("<xml>whatever</xml>")))), plain(scanOf("7"))).Body.String())
}

func TestLimitsOfReplies(t *testing.T) {
	articles := func(n int) callback.Reply { return callback.News(make([]callback.Article, n)...) }
	click, text, scan := eventXML("CLICK", "menu"), textXML("hello"), scanOf("7")
	for name, tt := range map[string]struct {
		push  string
		reply callback.Reply
		why   string // empty if it is sent
	}{
		"a text of 1 byte":                    {scan, callback.Text("x"), ""},
		"a text as long as it may be":         {scan, callback.Text(strings.Repeat("x", 2048)), ""},
		"a text one byte too long":            {scan, callback.Text(strings.Repeat("x", 2049)), "Text is 2049 bytes long; 1 to 2048 are allowed"},
		"a Chinese text too long":             {scan, callback.Text(strings.Repeat("码", 683)), "Text is 2049 bytes long; 1 to 2048 are allowed"},
		"an empty text":                       {scan, callback.Text(""), "Text is 0 bytes long; 1 to 2048 are allowed"},
		"a picture without an id":             {scan, callback.Image(""), "Image has no media id"},
		"no article":                          {scan, articles(0), "News has 0 articles; 1 to 8 are allowed"},
		"8 articles to a scan":                {scan, articles(8), ""},
		"9 articles to a scan":                {scan, articles(9), "News has 9 articles; 1 to 8 are allowed"},
		"8 articles to a click":               {click, articles(8), ""},
		"9 articles to a click":               {click, articles(9), "News has 9 articles; 1 to 8 are allowed"},
		"1 article to a text":                 {text, articles(1), ""},
		"2 articles to a text":                {text, articles(2), "News has 2 articles; in answer to a message it must have 1"},
		"a text to JSON":                      {scanJSON("7"), callback.Text("hi"), "the push was JSON, to which only Raw and nil replies exist"},
		"a picture to JSON":                   {scanJSON("7"), callback.Image("id"), "the push was JSON, to which only Raw and nil replies exist"},
		"an article to JSON":                  {scanJSON("7"), articles(1), "the push was JSON, to which only Raw and nil replies exist"},
		"Raw to JSON":                         {scanJSON("7"), callback.Raw([]byte(`{"MsgType":"text"}`)), ""},
		"a text of what XML cannot hold":      {scan, callback.Text("\x00"), ""},
		"a text too long once it is replaced": {scan, callback.Text(strings.Repeat("\x00", 683)), "Text is 2049 bytes long; 1 to 2048 are allowed"},
	} {
		for _, key := range []string{"", aesKey} {
			t.Run(name+key, func(t *testing.T) {
				var log logbook
				runs := 0
				cfg := callback.Config{Token: token, AppID: appID, EncodingAESKey: key, Logger: log.logger()}
				cfg.OnMessage = func(context.Context, callback.Message) (callback.Reply, error) { runs++; return tt.reply, nil }
				h := newHandler(t, cfg, func(context.Context, *wxqrcode.Event) (callback.Reply, error) { runs++; return tt.reply, nil })
				l := (&letter{message: tt.push, key: key, json: tt.push[0] == '{'}).sign()
				for range 2 {
					w := send(h, l)
					assert.Equal(t, http.StatusOK, w.Code)
					assert.Equal(t, tt.why != "", w.Body.String() == "success")
				}
				assert.Equal(t, 1, runs, "the handler succeeded: it is not run again")
				lines := log.lines(t)
				require.Len(t, lines, 2)
				assert.Equal(t, "handled", lines[0]["outcome"])
				if tt.why == "" {
					assert.NotContains(t, lines[0], "reply_error")
					assert.Equal(t, "INFO", lines[0]["level"])
				} else {
					assert.Equal(t, tt.why, lines[0]["reply_error"])
					assert.Equal(t, "ERROR", lines[0]["level"])
				}
			})
		}
	}
}

func TestJSONPushesAreAnsweredInJSON(t *testing.T) {
	want := `{"ToUserName":"o1","MsgType":"text","Content":"<&>"}` // byte for byte
	h := newHandler(t, secureConfig, replyWith(callback.Raw([]byte(want))))
	w := send(h, (&letter{message: scanJSON("7"), key: aesKey, json: true}).sign())
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.Equal(t, want, openReply(t, w.Body.String(), aesKey))

	w = send(h, (&letter{message: scanOf("7"), key: aesKey, json: true}).sign())
	assert.Equal(t, want, openReply(t, w.Body.String(), aesKey))
	assert.Equal(t, "{", w.Body.String()[:1], "the envelope is as that of the push, whatever is in it")

	w = send(newHandler(t, plainConfig, replyWith(callback.Raw([]byte(want)))), plain(scanJSON("7")))
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.Equal(t, want, w.Body.String())
}

func TestRawKeepsWhatItWasGiven(t *testing.T) {
	message := []byte("<xml>1</xml>")
	h := newHandler(t, plainConfig, func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
		r := callback.Raw(message)
		copy(message, "<xml>2</xml>") // its buffer is used again
		return r, nil
	})
	assert.Equal(t, "<xml>1</xml>", send(h, plain(scanOf("7"))).Body.String())
	assert.Equal(t, "<xml>1</xml>", send(h, plain(scanOf("7"))).Body.String(), "the repeat too")
}

// Any text comes out as it went in, but for what XML cannot hold.
func FuzzText(f *testing.F) {
	for _, s := range []string{"hi", "]]>", "]]]]>>", "]]", "\x00", "\xff]]>", "\r\n", "￾", "<![CDATA[x]]>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, content string) {
		if content == "" || len(content) > 2048/3 {
			return
		}
		h := newHandler(t, plainConfig, replyWith(callback.Text(content)))
		r := readReply(t, send(h, plain(scanOf("7"))).Body.String())
		want := strings.Map(func(r rune) rune {
			if r < ' ' && !strings.ContainsRune("\t\n\r", r) || r == 0xFFFE || r == 0xFFFF {
				return utf8.RuneError
			}
			return r
		}, content)
		want = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(want) // so does every reader of XML
		assert.Equal(t, want, *r.Content)
	})
}
