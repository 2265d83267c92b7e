package callback_test

import (
	"bufio"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/leak"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

func assertInvalid(t *testing.T, err error, field string) {
	t.Helper()
	var invalid *wxqrcode.ValidationError
	require.ErrorAs(t, err, &invalid)
	require.ErrorIs(t, err, wxqrcode.ErrInvalidConfig)
	assert.Equal(t, field, invalid.Field)
	for _, secret := range []string{token, aesKey[1:20], previousKey[1:20]} {
		assert.NotContains(t, err.Error(), secret)
	}
}

// assertForbidden checks that the response reveals no reason.
func assertForbidden(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	assert.Equal(t, http.StatusForbidden, w.Code)
	assert.Equal(t, "Forbidden\n", w.Body.String())
	assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
}

func TestNew_InvalidConfig(t *testing.T) {
	for name, tt := range map[string]struct {
		field  string
		change func(*callback.Config)
	}{
		"no OnEvent":               {"OnEvent", func(c *callback.Config) { c.OnEvent = nil }},
		"no Token":                 {"Token", func(c *callback.Config) { c.Token = "" }},
		"a key without an AppID":   {"AppID", func(c *callback.Config) { c.AppID = "" }},
		"only a previous key":      {"EncodingAESKey", func(c *callback.Config) { c.EncodingAESKey, c.PreviousAESKey = "", previousKey }},
		"a key too short":          {"EncodingAESKey", func(c *callback.Config) { c.EncodingAESKey = aesKey[1:] }},
		"a previous key too long":  {"PreviousAESKey", func(c *callback.Config) { c.PreviousAESKey = previousKey + "=" }},
		"a key not in base64":      {"EncodingAESKey", func(c *callback.Config) { c.EncodingAESKey = "!" + aesKey[1:] }},
		"a negative MaxBody":       {"MaxBody", func(c *callback.Config) { c.MaxBody = -1 }},
		"a negative Timeout":       {"Timeout", func(c *callback.Config) { c.Timeout = -time.Second }},
		"Token and a cloud secret": {"CloudHostingSecret", func(c *callback.Config) { c.CloudHostingSecret = cloudSecret }},
		"a short cloud secret":     {"CloudHostingSecret", func(c *callback.Config) { *c = cloudConfig(c.OnEvent); c.CloudHostingSecret = "0123456789abcde" }},
		"a cloud secret with /":    {"CloudHostingSecret", func(c *callback.Config) { *c = cloudConfig(c.OnEvent); c.CloudHostingSecret += "/" }},
		"cloud and AllowPlain":     {"CloudHostingSecret", func(c *callback.Config) { *c = cloudConfig(c.OnEvent); c.AllowPlain = true }},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := secureConfig(noEvent(t))
			tt.change(&cfg)
			h, err := callback.New(cfg)
			assert.Nil(t, h)
			assertInvalid(t, err, tt.field)
		})
	}
}

func TestNew_WhiteSpace(t *testing.T) {
	for field, change := range map[string]func(*callback.Config){
		"Token":              func(c *callback.Config) { c.Token += "\n" },
		"AppID":              func(c *callback.Config) { c.AppID += " " },
		"EncodingAESKey":     func(c *callback.Config) { c.EncodingAESKey += "\r\n" },
		"PreviousAESKey":     func(c *callback.Config) { c.PreviousAESKey = "\t" + previousKey },
		"CloudHostingSecret": func(c *callback.Config) { *c = cloudConfig(c.OnEvent); c.CloudHostingSecret += "\n" },
	} {
		cfg := secureConfig(noEvent(t))
		change(&cfg)
		_, err := callback.New(cfg)
		assertInvalid(t, err, field)
	}
}

func verification(timestamp, nonce, echo string) url.Values {
	return url.Values{"timestamp": {timestamp}, "nonce": {nonce}, "signature": {wxcrypt.Sign(token, timestamp, nonce, nil)}, "echostr": {echo}}
}

func TestHandler_VerifyURL(t *testing.T) {
	h := newHandler(t, secureConfig(noEvent(t)))
	good := verification("1714036504", "1514711492", "echo-me") // years ago: the age is not checked
	for name, echo := range map[string]string{
		"digits": "4375120948345356249", "to be escaped": "a b+c%20&=;#", "HTML": "<script>alert(1)</script>", "bytes": "码\r\n\x00", "the longest": strings.Repeat("e", 1024),
	} {
		t.Run(name, func(t *testing.T) {
			for _, more := range []string{"", "&openid=o1&openid=o2", "&%zz=1&a=%zz&;"} {
				w := serve(h, httptest.NewRequest(http.MethodGet, "/?"+verification("1714036504", "1514711492", echo).Encode()+more, nil))
				assert.Equal(t, http.StatusOK, w.Code)
				assert.Equal(t, echo, w.Body.String())
				assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
				assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
			}
		})
	}
	set := func(name, value string) string {
		q := verification("1714036504", "1514711492", "echo-me")
		q.Set(name, value)
		return q.Encode()
	}
	for name, query := range map[string]string{
		"no query":                        "",
		"no echostr":                      set("echostr", ""),
		"an echostr too long":             set("echostr", strings.Repeat("e", 1025)),
		"no signature":                    set("signature", ""),
		"another signature":               set("signature", wxcrypt.Sign("another", "1714036504", "1514711492", nil)),
		"an upper-case signature":         set("signature", strings.ToUpper(good.Get("signature"))),
		"a signature too long":            set("signature", good.Get("signature")+"0"),
		"another nonce":                   set("nonce", "1514711493"),
		"another timestamp":               set("timestamp", "1714036505"),
		"a msg_signature instead":         "msg_" + set("openid", ""),
		"timestamp repeated":              good.Encode() + "&timestamp=1714036504",
		"timestamp repeated, empty":       good.Encode() + "&timestamp",
		"signature repeated, empty first": "signature=&" + good.Encode(),
		"nonce repeated, without a value": "nonce&" + good.Encode(),
		"nonce repeated, escaped":         good.Encode() + "&%6eonce=1",
		"signature repeated":              good.Encode() + "&signature=" + good.Get("signature"),
		"msg_signature repeated":          good.Encode() + "&msg_signature=1&msg_signature=1",
		"echostr repeated":                good.Encode() + "&echostr=echo-me",
		"no timestamp":                    verification("", "1514711492", "e").Encode(),
		"a timestamp of 9 digits":         verification("171403650", "1514711492", "e").Encode(),
		"a timestamp of 11 digits":        verification("17140365040", "1514711492", "e").Encode(),
		"a signed timestamp":              verification("+714036504", "1514711492", "e").Encode(),
		"full-width digits":               verification("１714036504", "1514711492", "e").Encode(),
		"no nonce":                        verification("1714036504", "", "e").Encode(),
		"a nonce of 65 characters":        verification("1714036504", strings.Repeat("n", 65), "e").Encode(),
		"a nonce with SHA-1 padding":      verification("1714036504", "n\x80\x00", "e").Encode(),
		"a nonce with +":                  verification("1714036504", "a+b", "e").Encode(),
	} {
		t.Run("rejects "+name, func(t *testing.T) {
			assertForbidden(t, serve(h, httptest.NewRequest(http.MethodGet, "/?"+query, nil)))
		})
	}
	assert.Equal(t, http.StatusOK, serve(h, httptest.NewRequest(http.MethodGet, "/?"+verification("0000000000", strings.Repeat("_-Zz9", 12)+"abcd", "e").Encode(), nil)).Code, "64 characters")
	for _, method := range []string{http.MethodHead, http.MethodPut, http.MethodDelete, "BREW"} {
		w := serve(h, httptest.NewRequest(method, "/?"+good.Encode(), strings.NewReader(scanOf("7"))))
		assert.Equal(t, http.StatusMethodNotAllowed, w.Code, method)
		assert.Equal(t, "GET, POST", w.Header().Get("Allow"))
		assert.NotContains(t, w.Body.String(), "echo")
	}
}

func TestHandler_OfficialExamples(t *testing.T) {
	o := loadOfficial(t)
	var got callback.Message
	cfg := callback.Config{Token: o.Token, MaxAge: -1, OnEvent: noEvent(t), OnMessage: func(_ context.Context, m callback.Message) (callback.Reply, error) {
		got = m
		return nil, nil
	}}
	want := callback.Message{ToUserName: "gh_97417a04a28d", OpenID: "o9AgO5Kd5ggOC-bXrbNODIiE3bGY", MsgType: "event", Event: "debug_demo"}
	query := "/?signature=" + o.Plain.Signature + "&timestamp=" + o.Plain.Timestamp + "&nonce=" + o.Plain.Nonce
	assert.Equal(t, http.StatusOK, serve(newHandler(t, cfg), httptest.NewRequest(http.MethodPost, query, strings.NewReader(o.Plain.Body))).Code)
	want.CreatedAt, want.Raw = time.Unix(1714037059, 0).UTC(), []byte(o.Plain.Body)
	assert.Equal(t, want, got)

	cfg.AppID, cfg.EncodingAESKey = o.AppID, o.EncodingAESKey
	query = "/?signature=" + o.Secure.Signature + "&timestamp=" + o.Secure.Timestamp + "&nonce=" + o.Secure.Nonce + "&encrypt_type=aes&msg_signature=" + o.Secure.MsgSignature
	body := `{"ToUserName":"gh_97417a04a28d","Encrypt":"` + strings.ReplaceAll(o.Secure.Encrypt, "/", `\/`) + `"}`
	assert.Equal(t, http.StatusOK, serve(newHandler(t, cfg), httptest.NewRequest(http.MethodPost, query, strings.NewReader(body))).Code)
	want.CreatedAt, want.Raw = time.Unix(1714112445, 0).UTC(), []byte(o.Secure.Message)
	assert.Equal(t, want, got)

	v := o.VerifyURL
	w := serve(newHandler(t, cfg), httptest.NewRequest(http.MethodGet, "/?signature="+v.Signature+"&echostr="+v.Echostr+"&timestamp="+v.Timestamp+"&nonce="+v.Nonce, nil))
	assert.Equal(t, v.Echostr, w.Body.String())
}

// encryptRaw encrypts any bytes and signs them correctly.
func encryptRaw(plaintext string) signedPush {
	key, err := base64.RawStdEncoding.DecodeString(aesKey)
	must(err)
	block, err := aes.NewCipher(key)
	must(err)
	b := []byte(plaintext)
	cipher.NewCBCEncrypter(block, key[:16]).CryptBlocks(b, b)
	return signRaw(base64.StdEncoding.EncodeToString(b))
}

func signRaw(encrypt string) signedPush {
	return plain("").encrypted(testPush{token: token}, []byte(encrypt))
}

func TestHandler_RejectsEncryptedPush(t *testing.T) {
	envelope := func(message string, length uint32, padding byte) string {
		s := strings.Repeat("r", 16) + string([]byte{byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)}) + message + appID
		n := 32 - len(s)%32
		return s + strings.Repeat(string([]byte{byte(n)}), n-1) + string([]byte{padding})
	}
	m := scanOf("7")
	size, padding := uint32(len(m)), byte(32-(20+len(m)+len(appID))%32)
	require.Equal(t, http.StatusOK, send(newHandler(t, secureConfig(new(recorder).onEvent)), encryptRaw(envelope(m, size, padding))).Code)
	good := encrypted(m)
	withBody := func(f func(string) string) signedPush { return signedPush{good.query, f(good.body)} }
	spaced := base64.StdEncoding.EncodeToString(make([]byte, 64))
	for name, s := range map[string]signedPush{
		"a push in plaintext":         plain(m),
		"no body":                     withBody(func(string) string { return "" }),
		"not XML":                     withBody(func(string) string { return "nonsense" }),
		"an incomplete body":          withBody(func(s string) string { return s[:len(s)/2] }),
		"no Encrypt":                  withBody(func(s string) string { return strings.ReplaceAll(s, "Encrypt", "encrypt") }),
		"a second Encrypt":            withBody(func(s string) string { return s + "<Encrypt>AAAA</Encrypt>" }),
		"no msg_signature":            good.with("msg_signature", ""),
		"the signature instead":       good.with("msg_signature", good.query.Get("signature")),
		"an upper-case msg_signature": good.with("msg_signature", strings.ToUpper(good.query.Get("msg_signature"))),
		"another nonce":               good.with("nonce", "another"),
		"an empty Encrypt":            signRaw(""),
		"not base64":                  signRaw("!!!!"),
		"a line break in Encrypt":     signRaw(spaced[:8] + "\n" + spaced[8:]),
		"an Encrypt of 16 bytes":      signRaw(base64.StdEncoding.EncodeToString(make([]byte, 16))),
		"an Encrypt of 48 bytes":      signRaw(base64.StdEncoding.EncodeToString(make([]byte, 48))),
		"zeros":                       signRaw(spaced),
		"a length one too long":       encryptRaw(envelope(m, size+1, padding)),
		"a length one too short":      encryptRaw(envelope(m, size-1, padding)),
		"the largest length":          encryptRaw(envelope(m, 1<<32-1, padding)),
		"another padding":             encryptRaw(envelope(m, size, padding-1)),
		"padding of 0":                encryptRaw(envelope(m, size, 0)),
		"padding of 33":               encryptRaw(envelope(m, size, 33)),
		"another account":             testPush{message: m, key: aesKey, appID: "wx0000000000000000"}.sign(),
		"another key":                 testPush{message: m, key: previousKey}.sign(),
		"another token":               testPush{message: m, key: aesKey, token: "another"}.sign(),
	} {
		t.Run(name, func(t *testing.T) {
			var log logRecorder
			cfg := secureConfig(noEvent(t))
			cfg.Logger, cfg.OnMessage = log.logger(), noMessage(t)
			assertForbidden(t, send(newHandler(t, cfg), s))
			lines := log.lines(t)
			require.Len(t, lines, 1)
			assert.Equal(t, "rejected", lines[0]["outcome"])
			assert.NotEmpty(t, lines[0]["error"])
		})
	}
}

// Only Encrypt is read, because the signature covers nothing else.
func TestHandler_ReadsEncryptOnly(t *testing.T) {
	for name, p := range map[string]testPush{
		"secure mode":               {},
		"JSON":                      {json: true},
		"compatible mode":           {others: children(scanOf("forged"))},
		"a repeated element":        {others: "<EventKey>a</EventKey><EventKey>b</EventKey>"},
		"a control character":       {others: "<Content><![CDATA[\x1dc]]></Content>"},
		"an Encrypt in a text":      {others: "<Content><![CDATA[]]></Content><Encrypt>AAAA</Encrypt>]]></Content>"},
		"a comment that never ends": {others: "<!--"},
	} {
		t.Run(name, func(t *testing.T) {
			var events recorder
			p.message, p.key = scanOf("7"), aesKey
			assert.Equal(t, http.StatusOK, send(newHandler(t, secureConfig(events.onEvent)), p.sign()).Code)
			assert.Equal(t, []string{"7"}, events.scenes())
		})
	}
}

func TestHandler_AllowPlain(t *testing.T) {
	var events recorder
	cfg := secureConfig(events.onEvent)
	cfg.AllowPlain = true
	h := newHandler(t, cfg)
	assert.Equal(t, http.StatusOK, send(h, plain(scanOf("plain"))).Code)
	assert.Equal(t, http.StatusOK, send(h, encrypted(scanOf("encrypted"))).Code)
	assertForbidden(t, send(h, plain(scanOf("forged")).with("signature", strings.Repeat("0", 40))))
	assertForbidden(t, send(h, encrypted(scanOf("forged")).with("msg_signature", "0")))
	assert.Equal(t, []string{"plain", "encrypted"}, events.scenes())
}

func TestHandler_EncryptedWithoutKey(t *testing.T) {
	secure := testPush{message: scanOf("7"), key: aesKey}
	compatible := secure // the message is there in plaintext too
	compatible.others = children(strings.Replace(scanOf("7"), "<ToUserName><![CDATA["+account+"]]></ToUserName>", "", 1))
	for name, tt := range map[string]struct {
		push   testPush
		status int
		scenes []string
	}{
		"secure":     {secure, http.StatusBadRequest, nil},
		"compatible": {compatible, http.StatusOK, []string{"7"}},
	} {
		t.Run(name, func(t *testing.T) {
			var log logRecorder
			var events recorder
			cfg := plainConfig(events.onEvent)
			cfg.Logger = log.logger()
			h := newHandler(t, cfg)
			push := tt.push.sign()
			assertForbidden(t, send(h, push.with("signature", "forged")))
			assert.Len(t, log.lines(t), 1, "no warning about a forged push")
			for range 2 {
				assert.Equal(t, tt.status, send(h, push).Code)
			}
			assert.Equal(t, tt.scenes, events.scenes())
			lines := log.lines(t)
			require.Len(t, lines, 4, "one warning and a line for each request")
			assert.Equal(t, "WARN", lines[1]["level"])
			assert.Contains(t, lines[1]["msg"], "EncodingAESKey")
			if tt.scenes == nil {
				assert.Contains(t, lines[2]["error"], "EncodingAESKey")
			}
		})
	}
}

func TestHandler_AnotherAppID(t *testing.T) {
	for _, previous := range []string{"", previousKey} {
		var log logRecorder
		cfg := secureConfig(noEvent(t))
		cfg.PreviousAESKey, cfg.Logger = previous, log.logger()
		h := newHandler(t, cfg)
		assertForbidden(t, send(h, testPush{message: scanOf("7"), key: aesKey, appID: "wx0000000000000000"}.sign()))
		assert.Contains(t, log.lines(t)[0]["error"], "wx0000000000000000")
	}
}

func TestHandler_KeyRotation(t *testing.T) {
	cfg := secureConfig(replyWith(callback.Text("hi")))
	cfg.PreviousAESKey = previousKey
	h := newHandler(t, cfg)
	for i, key := range []string{aesKey, previousKey} {
		w := send(h, testPush{message: scanOf(fmt.Sprint(i)), key: key}.sign())
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Contains(t, decryptReply(t, w.Body.String(), key), "hi", "under the key of the push")
	}
	assertForbidden(t, send(h, testPush{message: scanOf("3"), key: strings.Repeat("A", 43)}.sign()))
}

func TestHandler_MaxAge(t *testing.T) {
	for name, tt := range map[string]struct {
		maxAge, off time.Duration
		ok          bool
	}{
		"now":                    {0, 0, true},
		"the oldest":             {0, -5 * time.Minute, true},
		"one second older":       {0, -5*time.Minute - time.Second, false},
		"the newest":             {0, 5 * time.Minute, true},
		"one second newer":       {0, 5*time.Minute + time.Second, false},
		"another limit":          {20 * time.Second, -20 * time.Second, true},
		"above another limit":    {20 * time.Second, -21 * time.Second, false},
		"any, a year ago":        {-1, -365 * 24 * time.Hour, true},
		"any, a year ahead":      {-time.Hour, 365 * 24 * time.Hour, true},
		"the largest limit":      {1<<63 - 1, -24 * time.Hour, true},
		"a limit below a second": {time.Nanosecond, 0, true},
	} {
		for _, key := range []string{"", aesKey} {
			t.Run(name+key, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					startIn2026()

					var events recorder
					p := testPush{message: scanOf("7"), key: key, at: time.Now().Add(tt.off)}
					cfg := configFor(p, events.onEvent)
					cfg.MaxAge = tt.maxAge
					w := send(newHandler(t, cfg), p.sign())
					assert.Equal(t, tt.ok, w.Code == http.StatusOK)
					assert.Equal(t, tt.ok, len(events.scenes()) == 1)
				})
			})
		}
	}
}

// A captured push is a duplicate as long as its timestamp is accepted.
func TestHandler_CapturedPushRunsOnce(t *testing.T) {
	for _, key := range []string{"", aesKey} {
		for _, maxAge := range []time.Duration{time.Second, 5 * time.Minute, time.Hour} {
			for _, ahead := range []time.Duration{-1, 0, 1} { // how far WeChat's clock is ahead, in MaxAge
				synctest.Test(t, func(t *testing.T) {
					startIn2026()

					var events recorder
					messages := 0
					scan := testPush{message: scanOf("7"), key: key, at: time.Now().Add(ahead * maxAge)}
					text := testPush{message: textXML("hello"), key: key, nonce: "2", at: scan.at}
					cfg := configFor(scan, events.onEvent)
					cfg.MaxAge = maxAge
					cfg.OnMessage = func(context.Context, callback.Message) (callback.Reply, error) { messages++; return nil, nil }
					h := newHandler(t, cfg)
					captured := []signedPush{scan.sign(), text.sign()}
					for range 100 {
						for _, s := range captured {
							fresh := time.Since(scan.at).Abs() <= maxAge
							require.Equal(t, fresh, send(h, s).Code == http.StatusOK, "%v later", time.Since(scan.at))
						}
						time.Sleep(maxAge / 40)
					}
					assert.Len(t, events.scenes(), 1)
					assert.Equal(t, 1, messages)
				})
			}
		}
	}
}

// The body is delayed until the push is forgotten.
func TestHandler_SlowCapturedPush(t *testing.T) {
	for _, key := range []string{"", aesKey} {
		for _, delay := range []time.Duration{0, 10 * time.Minute, 10*time.Minute + time.Second, time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				startIn2026()

				var events recorder
				p := testPush{message: scanOf("7"), key: key, at: time.Now().Add(5 * time.Minute)}
				h := newHandler(t, configFor(p, events.onEvent))
				s := p.sign()
				require.Equal(t, http.StatusOK, send(h, s).Code)
				r := s.request()
				r.Body = io.NopCloser(io.MultiReader(readerFunc(func([]byte) (int, error) { time.Sleep(delay); return 0, io.EOF }), strings.NewReader(s.body)))
				assert.Equal(t, delay <= 10*time.Minute, serve(h, r).Code == http.StatusOK)
				assert.Len(t, events.scenes(), 1)
			})
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestHandler_PlainSignatureAuthenticatesOneBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		startIn2026()

		var events recorder
		cfg := plainConfig(events.onEvent)
		cfg.OnMessage = noMessage(t)
		h := newHandler(t, cfg)
		first := testPush{message: scanOf("7"), at: time.Now().Add(5 * time.Minute)}.sign()
		forged := func(body string) *httptest.ResponseRecorder { return send(h, signedPush{first.query, body}) }
		assert.Equal(t, http.StatusBadRequest, forged("nonsense").Code, "the signature remains usable")
		for range 11 { // until the timestamp expires
			assert.Equal(t, http.StatusOK, send(h, first).Code)
			assertForbidden(t, forged(scanOf("8")))
			assertForbidden(t, forged(textXML("hello")))
			assertForbidden(t, forged(scanOf("7")+" "))
			time.Sleep(time.Minute)
		}
		assertForbidden(t, send(h, first))
		assert.Equal(t, []string{"7"}, events.scenes())
	})
}

// Timestamp and nonce are sorted and joined without a separator before they are
// signed, so a captured pair can be swapped, or split elsewhere.
func TestHandler_RejectsOtherSplits(t *testing.T) {
	for name, tt := range map[string]struct{ timestamp, nonce, again, rest string }{
		"swapped":                     {"1795000000", "1795003600", "1795003600", "1795000000"},
		"swapped within twice MaxAge": {"1795000000", "1795000700", "1795000700", "1795000000"},
		"swapped a day later":         {"1795000000", "1795086400", "1795086400", "1795000000"},
		"split one character later":   {"1795000001", "795123456", "1795123456", "179500000"},
		"split many characters later": {"1795000179", "5123456", "1795123456", "1795000"},
		"a letter between the two":    {"1795000000", "x1795003600", "1795003600", "1795000000x"},
	} {
		for _, key := range []string{"", aesKey} {
			for _, delay := range []int64{0, 1, 59, 60, 61, 600, 86_400} { // from the event to its push
				t.Run(fmt.Sprint(name, key, delay), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						seconds := func(s string) (n int64) { _, err := fmt.Sscan(s, &n); require.NoError(t, err); return n }
						at, again := seconds(tt.timestamp), seconds(tt.again)
						sleepUntil(at)
						var events recorder
						p := testPush{message: strings.Replace(scanOf("7"), fmt.Sprint(created), fmt.Sprint(at-delay), 1), key: key, nonce: tt.nonce, token: "zz-token"}
						cfg := configFor(p, events.onEvent)
						cfg.Token = p.token
						h := newHandler(t, cfg)
						captured := p.sign()
						require.Equal(t, http.StatusOK, send(h, captured).Code)
						require.True(t, wxcrypt.Verify(captured.query.Get("signature"), p.token, tt.again, tt.rest, nil), "the other split has the same signature")
						sleepUntil(again)
						assertForbidden(t, send(h, captured.with("timestamp", tt.again).with("nonce", tt.rest)))
						assert.Len(t, events.scenes(), 1)
					})
				})
			}
		}
	}
}

func TestHandler_SplitCheckAcceptsRealPushes(t *testing.T) {
	for name, tt := range map[string]struct {
		created int64 // seconds before the timestamp
		nonce   string
		ok      bool
	}{
		"a short nonce":                  {0, "1", true},
		"a nonce of another time":        {0, "1794000000", true},
		"the timestamp itself":           {0, "1795000000", true},
		"a later time":                   {0, "1795000001", true},
		"61 s before the message":        {0, "1794999939", true},
		"60 s before the message":        {0, "1794999940", false},
		"between a late message and now": {900, "1794999500", false},
		"letters":                        {900, "1794999500x", false},
		"letters before":                 {900, "x1794999500", false},
		"inside":                         {900, "9179499950099", true},
		"a message that is dated later":  {-30, "1794999969", true},
		"a message of 1970":              {1_795_000_000 - 999, "1794999940", false},
		"any with a negative MaxAge":     {900, "1794999500", false},
	} {
		for _, maxAge := range []time.Duration{0, -1} {
			t.Run(fmt.Sprint(name, maxAge), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					startIn2026()

					cfg := plainConfig(new(recorder).onEvent)
					cfg.MaxAge = maxAge
					m := strings.Replace(scanOf("7"), fmt.Sprint(created), fmt.Sprint(1_795_000_000-tt.created), 1)
					w := send(newHandler(t, cfg), testPush{message: m, nonce: tt.nonce}.sign())
					assert.Equal(t, tt.ok || maxAge < 0, w.Code == http.StatusOK)
				})
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		startIn2026()
		// A message without CreateTime is not checked.
		cfg := secureConfig(noEvent(t))
		m := "<xml><MsgType>event</MsgType><Event>annual_renew</Event></xml>"
		assert.Equal(t, http.StatusOK, send(newHandler(t, cfg), testPush{message: m, key: aesKey, nonce: "1794999940"}.sign()).Code)
	})
}

func TestHandler_RejectsReflectedReply(t *testing.T) {
	var events recorder
	cfg := secureConfig(func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		_, err := events.onEvent(ctx, e)
		return callback.Text("hi"), err
	})
	cfg.OnMessage = noMessage(t)
	h := newHandler(t, cfg)
	reply := send(h, encrypted(scanOf("7"))).Body.String()
	e := readEnvelope(t, reply)
	s := signedPush{url.Values{"timestamp": {fmt.Sprint(e.TimeStamp)}, "nonce": {e.Nonce}, "msg_signature": {e.MsgSignature}}, reply}
	assertForbidden(t, send(h, s))
	assert.Len(t, events.scenes(), 1)

	reordered := "<xml><MsgType>text</MsgType><ToUserName>" + openID + "</ToUserName><FromUserName>" + account + "</FromUserName><CreateTime>1</CreateTime><Content>hi</Content></xml>"
	assertForbidden(t, send(h, encrypted(reordered)))

	messages := 0
	cfg.OnMessage = func(context.Context, callback.Message) (callback.Reply, error) { messages++; return nil, nil }
	for name, to := range map[string]string{"between accounts": "gh_2", "without ToUserName": ""} {
		m := strings.NewReplacer(openID, "gh_1", account, to).Replace(textXML("hi"))
		assert.Equal(t, http.StatusOK, send(newHandler(t, cfg), testPush{message: m, key: aesKey}.sign()).Code, name)
	}
	assert.Equal(t, 2, messages)
}

const cloudSecret = "0123456789_-abcDEF"

func cloudConfig(f onEvent) callback.Config {
	cfg := plainConfig(f)
	cfg.Token, cfg.CloudHostingSecret = "", cloudSecret
	return cfg
}

func TestHandler_CloudHosting(t *testing.T) {
	const check = `{"action":"CheckContainerPath"}`
	for name, tt := range map[string]struct {
		path, source, body string
		status, events     int
	}{
		"XML":                          {"/wechat/" + cloudSecret, "other", scanOf("7"), 200, 1},
		"JSON":                         {"/" + cloudSecret, "other", scanJSON("7"), 200, 1},
		"a text":                       {"/" + cloudSecret, "other", textXML("hi"), 200, 0},
		"query parameters are ignored": {"/" + cloudSecret + "?timestamp=1&timestamp=2", "other", scanOf("7"), 200, 1},
		"no header":                    {"/" + cloudSecret, "", scanOf("7"), 403, 0},
		"another path":                 {"/wechat", "other", scanOf("7"), 403, 0},
		"the secret not last":          {"/" + cloudSecret + "/a", "other", scanOf("7"), 403, 0},
		"a part of the secret":         {"/" + cloudSecret[:9], "other", scanOf("7"), 403, 0},
		"more than the secret":         {"/a" + cloudSecret, "other", scanOf("7"), 403, 0},
		"the secret in the query":      {"/?" + cloudSecret, "other", scanOf("7"), 403, 0},
		"malformed":                    {"/" + cloudSecret, "other", "nonsense", 400, 0},
		"path verification":            {"/" + cloudSecret, "", check, 200, 0},
		"path verification in XML":     {"/" + cloudSecret, "", "<xml>\n  <action>CheckContainerPath</action>\n</xml>", 200, 0},
		"path verification elsewhere":  {"/wechat", "other", check, 403, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var events recorder
			var log logRecorder
			cfg := cloudConfig(events.onEvent)
			cfg.Logger = log.logger()
			h := newHandler(t, cfg)
			for range 2 {
				r := httptest.NewRequest(http.MethodPost, tt.path, strings.NewReader(tt.body))
				if tt.source != "" {
					r.Header.Set("X-WX-SOURCE", tt.source)
				}
				w := serve(h, r)
				assert.Equal(t, tt.status, w.Code)
				assert.Equal(t, tt.status == 200, w.Body.String() == "success")
			}
			assert.Len(t, events.scenes(), tt.events, "a duplicate is handled once")
			assert.NotContains(t, log.String(), cloudSecret)
		})
	}
	text := httptest.NewRequest(http.MethodPost, "/"+cloudSecret, strings.NewReader(textXML("]]></Content><action>CheckContainerPath</action><Content><![CDATA[")))
	text.Header.Set("X-WX-SOURCE", "other")
	handled := 0
	withMessages := cloudConfig(noEvent(t))
	withMessages.OnMessage = func(context.Context, callback.Message) (callback.Reply, error) { handled++; return nil, nil }
	assert.Equal(t, http.StatusOK, serve(newHandler(t, withMessages), text).Code)
	assert.Equal(t, 1, handled, "a text is not path verification")

	for _, method := range []string{http.MethodGet, http.MethodPut} {
		var log logRecorder
		cfg := cloudConfig(noEvent(t))
		cfg.Logger = log.logger()
		r := httptest.NewRequest(method, "/"+cloudSecret+"?"+verification("1714036504", "1", "e").Encode(), nil)
		r.Header.Set("X-WX-SOURCE", "other")
		w := serve(newHandler(t, cfg), r)
		assert.Equal(t, http.StatusMethodNotAllowed, w.Code)
		assert.Equal(t, "POST", w.Header().Get("Allow"))
		assert.Contains(t, log.lines(t)[0]["error"], "CloudHostingSecret")
	}

	var log logRecorder
	cfg := secureConfig(noEvent(t))
	cfg.Logger = log.logger()
	r := httptest.NewRequest(http.MethodPost, "/wechat", strings.NewReader(scanOf("7")))
	r.Header.Set("X-WX-SOURCE", "other")
	assertForbidden(t, serve(newHandler(t, cfg), r))
	assert.Contains(t, log.lines(t)[0]["error"], "CloudHostingSecret", "the log has the option")
}

func TestHandler_BodyLimits(t *testing.T) {
	for _, limit := range []int64{0, 1000} {
		cfg := plainConfig(new(recorder).onEvent)
		cfg.MaxBody = limit
		if limit == 0 {
			limit = 64 << 10
		}
		for length, status := range map[int64]int{limit: 200, limit + 1: 413, 10 * limit: 413} {
			for _, known := range []bool{true, false} {
				r := plain(scanOf("7") + strings.Repeat(" ", int(length)-len(scanOf("7")))).request()
				if !known {
					r.ContentLength = -1
				}
				assert.Equal(t, status, serve(newHandler(t, cfg), r).Code, "%d of %d bytes", length, limit)
			}
		}
	}
	for name, tt := range map[string]struct {
		err    error
		status int
	}{
		"truncated": {io.ErrUnexpectedEOF, 400},
		"too slow":  {&os.PathError{Err: os.ErrDeadlineExceeded}, 408},
		"other":     {errors.New("broken"), 400},
	} {
		t.Run(name, func(t *testing.T) {
			s := plain(scanOf("7"))
			r := s.request()
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(s.body), readerFunc(func([]byte) (int, error) { return 0, tt.err })))
			assert.Equal(t, tt.status, serve(newHandler(t, plainConfig(noEvent(t))), r).Code)
		})
	}
	r := plain(scanOf("7")).request()
	r.Body = nil
	assert.Equal(t, http.StatusBadRequest, serve(newHandler(t, plainConfig(noEvent(t))), r).Code)

	// A Content-Length without a body takes no memory.
	cfg := secureConfig(noEvent(t))
	cfg.MaxBody = 1<<63 - 1
	for _, length := range []int64{1 << 30, 1<<63 - 1, -1 << 63} {
		r := encrypted(scanOf("7")).request()
		r.ContentLength = length
		r.Body = io.NopCloser(strings.NewReader("forged"))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		assertForbidden(t, serve(newHandler(t, cfg), r))
		runtime.ReadMemStats(&after)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
	}
}

func TestHandler_BodyReadByMiddleware(t *testing.T) {
	closed := func(r *http.Request) {
		r.Body = io.NopCloser(readerFunc(func([]byte) (int, error) { return 0, http.ErrBodyReadAfterClose }))
	}
	empty := func(r *http.Request) { r.Body = http.NoBody }
	cloud := httptest.NewRequest(http.MethodPost, "/"+cloudSecret, nil)
	cloud.Header.Set("X-WX-SOURCE", "other")
	for name, tt := range map[string]struct {
		cfg     callback.Config
		request *http.Request
		remove  func(*http.Request)
	}{
		"plain, empty":   {plainConfig(noEvent(t)), plain(scanOf("7")).request(), empty},
		"cloud, empty":   {cloudConfig(noEvent(t)), cloud, empty},
		"plain, closed":  {plainConfig(noEvent(t)), plain(scanOf("7")).request(), closed},
		"secure, closed": {secureConfig(noEvent(t)), encrypted(scanOf("7")).request(), closed},
	} {
		t.Run(name, func(t *testing.T) {
			var log logRecorder
			tt.cfg.Logger = log.logger()
			tt.remove(tt.request)
			assert.Equal(t, http.StatusBadRequest, serve(newHandler(t, tt.cfg), tt.request).Code)
			assert.Contains(t, log.lines(t)[0]["error"], "middleware")
		})
	}
}

// The server sets no timeout itself.
func TestHandler_SlowBody(t *testing.T) {
	for name, wrapped := range map[string]bool{"net/http": false, "behind middleware": true} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			h := newHandler(t, plainConfig(noEvent(t)))
			callback.SetReadTimeout(h, 30*time.Millisecond)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if wrapped {
					w = wrapper{w}
				}
				h.ServeHTTP(w, r)
			}))
			defer server.Close()
			s := plain(scanOf("7"))
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
			_, err = fmt.Fprintf(conn, "POST /?%s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", s.query.Encode(), len(s.body), s.body[:10])
			require.NoError(t, err)
			r := bufio.NewReader(conn)
			res, err := http.ReadResponse(r, nil)
			require.NoError(t, err)
			assert.Equal(t, http.StatusRequestTimeout, res.StatusCode)
			_, err = io.Copy(io.Discard, res.Body)
			require.NoError(t, err)
			_, err = r.ReadByte()
			assert.Equal(t, io.EOF, err, "the connection is closed")
		})
	}
}

// A wrapper is a ResponseWriter of middleware.
type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }
