package callback_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

func assertInvalid(t *testing.T, err error, want string) {
	t.Helper()
	require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
	var invalid *wxqrcode.ValidationError
	require.ErrorAs(t, err, &invalid)
	assert.ErrorContains(t, err, "wxqrcode: invalid request: "+want)
	for _, secret := range []string{token, aesKey[1:20], oldKey[1:20]} {
		assert.NotContains(t, err.Error(), secret)
	}
}

// assertForbidden checks that an answer tells nothing.
func assertForbidden(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	assert.Equal(t, http.StatusForbidden, w.Code)
	assert.Equal(t, "Forbidden\n", w.Body.String())
	assert.Equal(t, http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, w.Header())
}

func TestTheOfficialExamplesAreTaken(t *testing.T) {
	o := loadOfficial(t)
	cfg := callback.Config{Token: o.Token, MaxAge: -1}
	var got callback.Message
	cfg.OnMessage = func(_ context.Context, m callback.Message) (callback.Reply, error) {
		got = m
		return nil, nil
	}
	query := "?signature=" + o.Plain.Signature + "&timestamp=" + o.Plain.Timestamp + "&nonce=" + o.Plain.Nonce
	w := serve(newHandler(t, cfg, never(t)), httptest.NewRequest(http.MethodPost, "/revice"+query, strings.NewReader(o.Plain.Body)))
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, callback.Message{MsgType: "event", Event: "debug_demo", Raw: []byte(o.Plain.Body)}, got)

	cfg.AppID, cfg.EncodingAESKey = o.AppID, o.EncodingAESKey
	query = "?signature=" + o.Secure.Signature + "&timestamp=" + o.Secure.Timestamp + "&nonce=" + o.Secure.Nonce +
		"&encrypt_type=aes&msg_signature=" + o.Secure.MsgSignature
	body := `{"ToUserName":"gh_97417a04a28d","Encrypt":"` + o.Secure.Encrypt + `"}`
	w = serve(newHandler(t, cfg, never(t)), httptest.NewRequest(http.MethodPost, "/revice"+query, strings.NewReader(body)))
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, callback.Message{MsgType: "event", Event: "debug_demo", Raw: []byte(o.Secure.Message)}, got)
}

// Every bit of what the signature covers.
func TestASingleBitFlippedIsRefused(t *testing.T) {
	good := sealed(scanOf("7"))
	var heard heard
	h := newHandler(t, secureConfig, heard.on)
	refused := 0
	flip := func(s string, try func(string)) {
		for i := range len(s) {
			for bit := range 8 {
				b := []byte(s)
				b[i] ^= 1 << bit
				try(string(b))
				refused++
			}
		}
	}
	encrypt := between(good.body, "<Encrypt><![CDATA[", "]]>")
	flip(encrypt, func(s string) {
		r := httptest.NewRequest(http.MethodPost, "/?"+good.query.Encode(), strings.NewReader(strings.Replace(good.body, encrypt, s, 1)))
		assertForbidden(t, serve(h, r))
	})
	for _, name := range []string{"msg_signature", "timestamp", "nonce"} {
		flip(good.query.Get(name), func(s string) {
			query := maps.Clone(good.query)
			query.Set(name, s)
			r := httptest.NewRequest(http.MethodPost, "/?"+query.Encode(), strings.NewReader(good.body))
			assertForbidden(t, serve(h, r))

			r = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(good.body))
			r.URL.RawQuery = strings.Replace(good.query.Encode(), name+"="+good.query.Get(name), name+"="+s, 1) // as it stands
			assertForbidden(t, serve(h, r))
		})
	}
	assert.Empty(t, heard.scenes())
	assert.Equal(t, 8*(len(encrypt)+40+10+9), refused)

	assert.Equal(t, http.StatusOK, send(h, good).Code, "and the push itself is good")
	assert.Equal(t, []string{"7"}, heard.scenes())
}

func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, after)
	return s
}

// signedSeal seals bytes that are no good envelope, and signs them well.
func signedSeal(plaintext string) *letter {
	key, err := base64.RawStdEncoding.DecodeString(aesKey)
	must(err)
	block, err := aes.NewCipher(key)
	must(err)
	b := []byte(plaintext)
	cipher.NewCBCEncrypter(block, key[:16]).CryptBlocks(b, b)
	return signedEncrypt(base64.StdEncoding.EncodeToString(b))
}

func signedEncrypt(encrypt string) *letter {
	l := plain("")
	l.seal(encrypt)
	return l
}

func TestAPushThatIsNotAsItShouldBeIsRefused(t *testing.T) {
	change := func(l *letter, f func(*letter)) *letter {
		f(l)
		return l
	}
	envelope := func(message string, length uint32, padding byte) string {
		s := strings.Repeat("r", 16) + string([]byte{byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)}) + message + appID
		n := 32 - len(s)%32
		return s + strings.Repeat(string([]byte{byte(n)}), n-1) + string([]byte{padding})
	}
	message := scanOf("7")
	size := uint32(len(message))
	padding := byte(32 - (20+len(message)+len(appID))%32)
	require.Equal(t, http.StatusOK, send(newHandler(t, secureConfig, new(heard).on), signedSeal(envelope(message, size, padding))).Code)

	for name, l := range map[string]*letter{
		"a push in the clear":    plain(message),
		"no body":                change(sealed(message), func(l *letter) { l.body = "" }),
		"no XML":                 change(sealed(message), func(l *letter) { l.body = "nonsense" }),
		"half the body":          change(sealed(message), func(l *letter) { l.body = l.body[:len(l.body)/2] }),
		"no end":                 change(sealed(message), func(l *letter) { l.body = strings.TrimSuffix(l.body, "</xml>") }),
		"half of JSON":           change((&letter{message: message, key: aesKey, json: true}).sign(), func(l *letter) { l.body = l.body[:len(l.body)-1] }),
		"another root":           change(sealed(message), func(l *letter) { l.body = strings.ReplaceAll(l.body, "xml>", "xm1>") }),
		"no msg_signature":       change(sealed(message), func(l *letter) { l.query.Del("msg_signature") }),
		"an empty msg_signature": change(sealed(message), func(l *letter) { l.query.Set("msg_signature", "") }),
		"the signature alone":    change(sealed(message), func(l *letter) { l.query.Set("msg_signature", l.query.Get("signature")) }),
		"msg_signature twice":    change(sealed(message), func(l *letter) { l.query.Add("msg_signature", l.query.Get("msg_signature")) }),
		"timestamp twice":        change(sealed(message), func(l *letter) { l.query.Add("timestamp", l.query.Get("timestamp")) }),
		"nonce twice":            change(sealed(message), func(l *letter) { l.query.Add("nonce", "") }),
		"no nonce":               change(sealed(message), func(l *letter) { l.query.Del("nonce") }),
		"no timestamp":           change(sealed(message), func(l *letter) { l.query.Del("timestamp") }),
		"a nonce too long":       (&letter{message: message, key: aesKey, nonce: strings.Repeat("1", 101)}).sign(),
		"Encrypt twice":          change(sealed(message), func(l *letter) { l.body = strings.Replace(l.body, "</xml>", "<Encrypt>x</Encrypt></xml>", 1) }),
		"Encrypt twice, the same": change(sealed(message), func(l *letter) {
			e := between(l.body, "<Encrypt>", "</Encrypt>")
			l.body = strings.Replace(l.body, "</xml>", "<Encrypt>"+e+"</Encrypt></xml>", 1)
		}),
		"Encrypt twice in JSON":        change((&letter{message: message, key: aesKey, json: true}).sign(), func(l *letter) { l.body = strings.Replace(l.body, "{", `{"Encrypt":"x",`, 1) }),
		"an Encrypt that is no string": change((&letter{message: message, key: aesKey, json: true}).sign(), func(l *letter) { l.body = `{"Encrypt":7}` }),
		"Encrypt deeper":               change(sealed(message), func(l *letter) { l.body = "<xml>" + l.body + "</xml>" }),
		"an empty Encrypt":             signedEncrypt(""),
		"an Encrypt that is no base64": signedEncrypt("!!!!"),
		"an Encrypt of 16 bytes":       signedEncrypt(base64.StdEncoding.EncodeToString(make([]byte, 16))),
		"an Encrypt of 48 bytes":       signedEncrypt(base64.StdEncoding.EncodeToString(make([]byte, 48))),
		"an Encrypt of zeros":          signedEncrypt(base64.StdEncoding.EncodeToString(make([]byte, 64))),
		"a length one too long":        signedSeal(envelope(message, size+1, padding)),
		"a length one too short":       signedSeal(envelope(message, size-1, padding)),
		"a length beyond the end":      signedSeal(envelope(message, 1<<31, padding)),
		"the greatest length":          signedSeal(envelope(message, 1<<32-1, padding)),
		"another padding":              signedSeal(envelope(message, size, padding-1)),
		"padding of 0":                 signedSeal(envelope(message, size, 0)),
		"padding of 33":                signedSeal(envelope(message, size, 33)),
		"padding of 255":               signedSeal(envelope(message, size, 255)),
		"another account's":            (&letter{message: message, key: aesKey, appID: "wx0000000000000000"}).sign(),
		"another key's":                (&letter{message: message, key: oldKey}).sign(),
	} {
		t.Run(name, func(t *testing.T) {
			var log logbook
			cfg := secureConfig
			cfg.Logger = log.logger()
			cfg.OnMessage = func(context.Context, callback.Message) (callback.Reply, error) {
				t.Error("OnMessage was called")
				return nil, nil
			}
			assertForbidden(t, send(newHandler(t, cfg, never(t)), l))
			lines := log.lines(t)
			require.Len(t, lines, 1)
			assert.Equal(t, "refused", lines[0]["outcome"])
			assert.NotEmpty(t, lines[0]["error"], "whoever runs the program is told why")
		})
	}
}

// What is beside Encrypt is not read: no signature covers it.
func TestASealedPushIsJudgedByItsEncryptAlone(t *testing.T) {
	for name, l := range map[string]*letter{
		"compatible mode":            {beside: strings.TrimSuffix(strings.TrimPrefix(scanOf("evil"), "<xml>"), "</xml>")},
		"elements that repeat":       {beside: "<EventKey>evil</EventKey><EventKey>eviler</EventKey>"},
		"a control character beside": {beside: "<Content><![CDATA[\x1dc]]></Content>"},
		"another Encrypt deeper":     {beside: "<A><Encrypt>evil</Encrypt></A>"},
		"an Encrypt in a text":       {beside: "<Content><![CDATA[<Encrypt><![CDATA[evil]]>]]&gt;</Content>"},
		"JSON":                       {json: true},
		"secure mode, as it is sent": {},
	} {
		t.Run(name, func(t *testing.T) {
			for _, allow := range []bool{false, true} {
				cfg := secureConfig
				cfg.AllowPlain = allow
				var heard heard
				l.message, l.key = scanOf("7"), aesKey
				assert.Equal(t, http.StatusOK, send(newHandler(t, cfg, heard.on), l.sign()).Code)
				assert.Equal(t, []string{"7"}, heard.scenes())
			}
		})
	}
}

func TestBlanksAroundTheElementsDoNotCount(t *testing.T) {
	l := sealed(scanOf("7"))
	l.body = "\r\n " + strings.NewReplacer("<ToUser", "\n\t <ToUser", "</xml>", "\r\n</xml>\n\n").Replace(l.body)
	var heard heard
	assert.Equal(t, http.StatusOK, send(newHandler(t, secureConfig, heard.on), l).Code)
	assert.Equal(t, []string{"7"}, heard.scenes())
}

func TestAllowPlainTakesBoth(t *testing.T) {
	cfg := secureConfig
	cfg.AllowPlain = true
	var heard heard
	h := newHandler(t, cfg, heard.on)
	assert.Equal(t, http.StatusOK, send(h, plain(scanOf("in-the-clear"))).Code)
	assert.Equal(t, http.StatusOK, send(h, sealed(scanOf("sealed"))).Code)
	assert.Equal(t, http.StatusOK, send(h, (&letter{message: scanJSON("json"), nonce: "1"}).sign()).Code)
	assert.Equal(t, []string{"in-the-clear", "sealed", "json"}, heard.scenes())

	l := plain(scanOf("forged"))
	l.query.Set("signature", strings.Repeat("0", 40))
	assertForbidden(t, send(h, l))
	l = sealed(scanOf("forged"))
	l.query.Set("msg_signature", l.query.Get("signature"))
	assertForbidden(t, send(h, l))
	l = plain(strings.Replace(scanOf("forged"), "</xml>", "<Encrypt>a</Encrypt><Encrypt>b</Encrypt></xml>", 1))
	assertForbidden(t, send(h, l))
	l = plain(strings.Replace(scanOf("forged"), "</xml>", "<Encrypt></Encrypt></xml>", 1))
	assertForbidden(t, send(h, l))
	assert.Len(t, heard.scenes(), 3)
}

func TestAPushForWhichThereIsNoKeyNamesTheFix(t *testing.T) {
	var log logbook
	cfg := plainConfig
	cfg.Logger = log.logger()
	for _, l := range []*letter{sealed(scanOf("7")), (&letter{message: scanOf("7"), key: aesKey, json: true}).sign()} {
		w := send(newHandler(t, cfg, never(t)), l)
		assert.Equal(t, http.StatusBadRequest, w.Code)
		assert.Equal(t, "Bad Request\n", w.Body.String())
	}
	for _, line := range log.lines(t) {
		assert.Equal(t, "the push is encrypted and there is no key; set EncodingAESKey and AppID in callback.Config", line["error"])
	}
	assert.Len(t, log.lines(t), 2)

	// In compatible mode everything is there in the clear too.
	var heard heard
	l := &letter{message: scanOf("7"), key: aesKey, beside: strings.TrimSuffix(strings.Replace(scanOf("7"), "<xml><ToUserName><![CDATA["+account+"]]></ToUserName>", "", 1), "</xml>")}
	assert.Equal(t, http.StatusOK, send(newHandler(t, plainConfig, heard.on), l.sign()).Code)
	assert.Equal(t, []string{"7"}, heard.scenes())
}

func TestBothKeysOpenAndTheOneThatOpenedAnswers(t *testing.T) {
	cfg := secureConfig
	cfg.PreviousAESKey = oldKey
	h := newHandler(t, cfg, func(context.Context, *wxqrcode.Event) (callback.Reply, error) { return callback.Text("hi"), nil })
	for i, key := range []string{aesKey, oldKey} {
		w := send(h, (&letter{message: scanOf(fmt.Sprint(i)), key: key}).sign())
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Contains(t, openReply(t, w.Body.String(), key), "<Content><![CDATA[hi]]></Content>")
	}
	assertForbidden(t, send(h, (&letter{message: scanOf("3"), key: strings.Repeat("A", 43)}).sign()))
	assertForbidden(t, send(newHandler(t, secureConfig, never(t)), (&letter{message: scanOf("4"), key: oldKey}).sign()))
}

func TestTimestampsMustBeNear(t *testing.T) {
	for name, tt := range map[string]struct {
		maxAge time.Duration
		off    time.Duration
		ok     bool
	}{
		"now":                         {0, 0, true},
		"as old as it may be":         {0, -5 * time.Minute, true},
		"a second older":              {0, -5*time.Minute - time.Second, false},
		"as far ahead as it may be":   {0, 5 * time.Minute, true},
		"a second farther ahead":      {0, 5*time.Minute + time.Second, false},
		"a repeat":                    {20 * time.Second, -20 * time.Second, true},
		"older than its own limit":    {20 * time.Second, -21 * time.Second, false},
		"a year, unchecked":           {-1, -365 * 24 * time.Hour, true},
		"a year ahead, unchecked":     {-time.Hour, 365 * 24 * time.Hour, true},
		"a limit without end":         {1<<63 - 1, -24 * time.Hour, true},
		"the beginning of time":       {0, -946684800 * time.Second, false},
		"a nanosecond is less than 1": {time.Nanosecond, 0, true},
	} {
		for _, key := range []string{"", aesKey} {
			t.Run(name+key, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // it is 2000-01-01 00:00:00
					cfg := callback.Config{Token: token, AppID: appID, EncodingAESKey: key, MaxAge: tt.maxAge}
					var heard heard
					w := send(newHandler(t, cfg, heard.on), (&letter{message: scanOf("7"), key: key, at: time.Now().Add(tt.off)}).sign())
					if tt.ok {
						assert.Equal(t, http.StatusOK, w.Code)
						assert.Len(t, heard.scenes(), 1)
					} else {
						assertForbidden(t, w)
						assert.Empty(t, heard.scenes())
					}
				})
			})
		}
	}
}

func TestATimestampIsDigitsAlone(t *testing.T) {
	cfg := plainConfig
	cfg.MaxAge = -1
	for _, timestamp := range []string{"+1714036504", "-1", " 1714036504", "1714036504.0", "0x10", "1e9", "１７"} {
		l := &letter{message: scanOf("7")}
		l.sign()
		l.query.Set("timestamp", timestamp)
		l.query.Set("signature", sign(timestamp, l.nonce))
		assertForbidden(t, send(newHandler(t, cfg, never(t)), l))
	}
}

// The two limits together: as long as a captured push is young enough it is known.
func TestACapturedPushNeverRunsTwice(t *testing.T) {
	for _, key := range []string{"", aesKey} {
		for _, maxAge := range []time.Duration{time.Second, 5 * time.Minute, time.Hour} {
			for _, ahead := range []time.Duration{-1, 0, 1} { // of WeChat's clock, in MaxAge
				synctest.Test(t, func(t *testing.T) {
					cfg := callback.Config{Token: token, AppID: appID, EncodingAESKey: key, MaxAge: maxAge}
					var heard, texts heard
					cfg.OnMessage = func(ctx context.Context, _ callback.Message) (callback.Reply, error) {
						return texts.on(ctx, &wxqrcode.Event{})
					}
					h := newHandler(t, cfg, heard.on)
					event := (&letter{message: scanOf("7"), key: key, at: time.Now().Add(ahead * maxAge)}).sign()
					text := (&letter{message: textXML("hello"), key: key, nonce: "2", at: event.at}).sign()
					require.Equal(t, http.StatusOK, send(h, event).Code)
					require.Equal(t, http.StatusOK, send(h, text).Code)
					for range 100 {
						time.Sleep(maxAge / 40)
						young := time.Since(time.Unix(event.at.Unix(), 0)).Abs() <= maxAge
						for _, l := range []*letter{event, text} {
							want := http.StatusForbidden
							if young {
								want = http.StatusOK
							}
							require.Equal(t, want, send(h, l).Code, "after %v", time.Since(event.at))
						}
					}
					assert.Len(t, heard.scenes(), 1)
					assert.Len(t, texts.scenes(), 1)
				})
			}
		}
	}
}

func TestInPlainModeOneSignatureIsGoodForOneBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard heard
		h := newHandler(t, plainConfig, heard.on)
		first := (&letter{message: scanOf("7"), at: time.Now().Add(5 * time.Minute)}).sign()
		forged := func(message string) *letter {
			l := *first
			l.body = message
			return &l
		}
		assert.Equal(t, http.StatusBadRequest, send(h, forged("nonsense")).Code, "does not take the signature")
		assert.Equal(t, http.StatusOK, send(h, first).Code)
		for range 10 {
			assertForbidden(t, send(h, forged(scanOf("8"))))
			assertForbidden(t, send(h, forged(textXML("hello"))))
			assertForbidden(t, send(h, forged(scanOf("7")+" ")))
			assert.Equal(t, http.StatusOK, send(h, first).Code, "a repeat")
			time.Sleep(time.Minute) // to the last moment at which the timestamp is good
		}
		assert.Equal(t, http.StatusOK, send(h, first).Code)
		assertForbidden(t, send(h, forged(scanOf("8"))))
		assert.Equal(t, []string{"7"}, heard.scenes())

		// What timestamp and nonce give when they are cut elsewhere is the same signature.
		cfg := plainConfig
		cfg.MaxAge = -1
		h = newHandler(t, cfg, heard.on)
		assert.Equal(t, http.StatusOK, send(h, first).Code)
		shifted := forged(scanOf("9"))
		timestamp := first.query.Get("timestamp")
		shifted.query = url.Values{"timestamp": {timestamp[:9]}, "nonce": {timestamp[9:] + first.nonce}, "signature": first.query["signature"]}
		if sign(timestamp[:9], timestamp[9:]+first.nonce) == first.query.Get("signature") {
			assertForbidden(t, send(h, shifted))
		} else {
			t.Error("choose a nonce for which the two sort alike")
		}
	})
}

// Timestamp and nonce are signed in the order of their letters, joined without a mark:
// the signature does not say which is which, and where one ends.
func TestACapturedPushIsNotMadeYoungAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		timestamp, nonce string // as WeChat signed them
		again, rest      string // as somebody names them later
	}{
		"they change places":                       {"1795000000", "1795003600", "1795003600", "1795000000"},
		"cut one character later":                  {"1795000001", "795123456", "1795123456", "179500000"},
		"cut many characters later":                {"1795000179", "5123456", "1795123456", "1795000"},
		"change places, in less than MaxAge twice": {"1795000000", "1795000700", "1795000700", "1795000000"},
	} {
		for _, key := range []string{"", aesKey} {
			t.Run(name+key, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cfg := callback.Config{Token: "zz-token", AppID: appID, EncodingAESKey: key}
					sleepUntil := func(seconds string) {
						n, err := strconv.ParseInt(seconds, 10, 64)
						require.NoError(t, err)
						time.Sleep(time.Until(time.Unix(n, 0)))
					}
					sleepUntil(tt.timestamp)
					message := strings.Replace(scanOf("7"), fmt.Sprint(created), tt.timestamp, 1)
					captured := (&letter{message: message, key: key, nonce: tt.nonce, token: cfg.Token}).sign()
					var heard heard
					h := newHandler(t, cfg, heard.on)
					require.Equal(t, http.StatusOK, send(h, captured).Code)
					require.True(t, wxcrypt.Verify(captured.query.Get("signature"), cfg.Token, tt.again, tt.rest), "the case proves nothing")

					sleepUntil(tt.again)
					captured.query.Set("timestamp", tt.again)
					captured.query.Set("nonce", tt.rest)
					assertForbidden(t, send(h, captured))
					assert.Len(t, heard.scenes(), 1)

					// A push of that time is taken, whatever its nonce.
					message = strings.Replace(message, tt.timestamp, tt.again, 1)
					assert.Equal(t, http.StatusOK, send(newHandler(t, cfg, heard.on), (&letter{message: message, key: key, nonce: tt.rest, token: cfg.Token}).sign()).Code)
					assert.Len(t, heard.scenes(), 2)
				})
			})
		}
	}
}

// Events whose CreateTime is far from the timestamp, as those of tests are, are taken
// with any nonce that does not look like that very time.
func TestAnOldEventIsTaken(t *testing.T) {
	for nonce, status := range map[string]int{
		"1": 200, "13896": 200, "138968": 200, "1389684": 200, "": 403,
		fmt.Sprint(created - 61): 200, fmt.Sprint(created - 60): 403, fmt.Sprint(created): 403, fmt.Sprint(created + 60): 403, fmt.Sprint(created + 61): 200,
		strings.Repeat("9", 100): 200, "nonce": 200, "-": 200,
	} {
		t.Run(nonce, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(time.Unix(1795192295, 0)))
				l := (&letter{message: scanOf("7"), nonce: nonce}).sign()
				l.query.Set("nonce", nonce)
				assert.Equal(t, status, send(newHandler(t, plainConfig, new(heard).on), l).Code)
				cfg := plainConfig
				cfg.MaxAge = -1
				if nonce != "" {
					assert.Equal(t, http.StatusOK, send(newHandler(t, cfg, new(heard).on), l).Code, "unchecked")
				}
			})
		})
	}
}

func TestAnEventOlderThanWeChatIsTaken(t *testing.T) {
	for at, status := range map[int64]int{0: 200, 1: 200, 41567074: 200, 1_295_567_999: 200, 1_295_568_000: 403} {
		message := strings.Replace(scanOf("7"), fmt.Sprint(created), fmt.Sprint(at), 1)
		assert.Equal(t, status, send(newHandler(t, plainConfig, new(heard).on), (&letter{message: message, nonce: fmt.Sprint(at)}).sign()).Code, at)
	}
}

func TestAnEventOfTheFarFutureIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in 2000, when a timestamp had 9 digits
		message := strings.Replace(scanOf("7"), fmt.Sprint(created), "99999999999", 1)
		assert.Equal(t, http.StatusOK, send(newHandler(t, plainConfig, new(heard).on), (&letter{message: message, nonce: "1"}).sign()).Code)
	})
}

// A body that trickles in until the push is forgotten.
func TestACapturedPushDoesNotRunAgainByTakingItsTime(t *testing.T) {
	for _, key := range []string{"", aesKey} {
		for _, trickle := range []time.Duration{0, 4 * time.Minute, 10 * time.Minute, 10*time.Minute + 1, time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				cfg := callback.Config{Token: token, AppID: appID, EncodingAESKey: key}
				var heard heard
				h := newHandler(t, cfg, heard.on)
				l := (&letter{message: scanOf("7"), key: key, at: time.Now().Add(5 * time.Minute)}).sign()
				require.Equal(t, http.StatusOK, send(h, l).Code)
				r := l.request()
				r.Body = io.NopCloser(io.MultiReader(readerFunc(func([]byte) (int, error) {
					time.Sleep(trickle)
					return 0, io.EOF
				}), strings.NewReader(l.body)))
				w := serve(h, r)
				if trickle > 10*time.Minute {
					assertForbidden(t, w)
				} else {
					assert.Equal(t, http.StatusOK, w.Code)
				}
				assert.Len(t, heard.scenes(), 1)
			})
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// A stranger's Content-Length takes no memory, however much is allowed.
func TestALengthThatIsOnlyClaimedTakesNoMemory(t *testing.T) {
	cfg := secureConfig
	cfg.MaxBody = math.MaxInt64
	h := newHandler(t, cfg, never(t))
	for _, length := range []int64{1 << 30, 1 << 50, math.MaxInt64} {
		r := sealed(scanOf("7")).request()
		r.ContentLength = length
		r.Body = io.NopCloser(strings.NewReader("forged"))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		assertForbidden(t, serve(h, r))
		runtime.ReadMemStats(&after)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
	}
}

func TestALongBodyIsRefused(t *testing.T) {
	for _, limit := range []int64{0, 1000} {
		cfg := plainConfig
		cfg.MaxBody = limit
		if limit == 0 {
			limit = 64 << 10
		}
		message := scanOf("7")
		for _, tt := range []struct {
			length int64
			status int
		}{{limit, http.StatusOK}, {limit + 1, http.StatusRequestEntityTooLarge}, {10 * limit, http.StatusRequestEntityTooLarge}} {
			for _, known := range []bool{true, false} {
				var heard heard
				r := plain(message + strings.Repeat(" ", int(tt.length)-len(message))).request()
				if !known {
					r.ContentLength = -1
				}
				w := serve(newHandler(t, cfg, heard.on), r)
				assert.Equal(t, tt.status, w.Code, "%d of %d bytes", tt.length, limit)
				assert.Equal(t, tt.status == http.StatusOK, len(heard.scenes()) == 1)
			}
		}
	}
}

// A stream is a body of which the end is not known.
type stream struct {
	io.Reader
	err error
}

func (s stream) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if err == io.EOF {
		err = s.err
	}
	return n, err
}

func TestABodyThatDoesNotComeInIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		status int
	}{
		"cut":      {io.ErrUnexpectedEOF, http.StatusBadRequest},
		"too slow": {&os.PathError{Err: os.ErrDeadlineExceeded}, http.StatusRequestTimeout},
		"broken":   {errors.New("broken"), http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			l := plain(scanOf("7"))
			r := l.request()
			r.Body = io.NopCloser(stream{strings.NewReader(l.body), tt.err})
			assert.Equal(t, tt.status, serve(newHandler(t, plainConfig, never(t)), r).Code)
		})
	}
	r := plain(scanOf("7")).request()
	r.Body = nil
	assert.Equal(t, http.StatusBadRequest, serve(newHandler(t, plainConfig, never(t)), r).Code)
}

func TestALengthThatLiesDoesNoHarm(t *testing.T) {
	for _, length := range []int64{-1, 0, 1, 100, 1 << 40, 1<<63 - 1, -1 << 63} {
		l := plain(scanOf("7"))
		r := l.request()
		r.ContentLength = length
		r.Body = io.NopCloser(stream{strings.NewReader(l.body), io.EOF})
		var heard heard
		assert.Equal(t, http.StatusOK, serve(newHandler(t, plainConfig, heard.on), r).Code, length)
		assert.Len(t, heard.scenes(), 1)
	}
}

func TestAHandlerThatNobodyMadeTakesNothing(t *testing.T) {
	l := plain(scanOf("7"))
	l.query.Set("signature", sign("", ""))
	assert.Equal(t, http.StatusInternalServerError, send(new(callback.Handler), l).Code)
	assert.Equal(t, http.StatusInternalServerError, send((*callback.Handler)(nil), l).Code)
}

func TestNoSecretIsPrinted(t *testing.T) {
	cfg := secureConfig
	cfg.PreviousAESKey = oldKey
	h := newHandler(t, cfg, never(t))
	var log logbook
	logger := log.logger()
	for _, v := range []any{cfg, &cfg, h, struct{ H *callback.Handler }{h}, struct{ h *callback.Handler }{h}, []any{cfg, h}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			_, err := fmt.Fprintf(&log, verb+"\n", v)
			require.NoError(t, err)
		}
		logger.Info("value", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("value", "v", v)
	}
	_, err := fmt.Fprintln(&log, (*callback.Handler)(nil), new(callback.Handler))
	require.NoError(t, err)
	raw, err := base64.RawStdEncoding.DecodeString(aesKey)
	require.NoError(t, err)
	text := log.String()
	for _, secret := range []string{token, aesKey, oldKey, string(raw[:12]), fmt.Sprintf("%x", token), fmt.Sprintf("%X", aesKey[:12]),
		strings.Trim(fmt.Sprint(raw[:8]), "[]"), strings.Trim(fmt.Sprint([]byte(token)[:8]), "[]")} {
		assert.NotContains(t, text, secret)
	}
	assert.Contains(t, text, "callback.Config(appid wx5823bf96d3bd56c7, 2 keys)")
	assert.Contains(t, text, "callback.Handler(appid wx5823bf96d3bd56c7, 2 keys)")
	assert.Contains(t, text, "callback.Handler(nil)")
}
