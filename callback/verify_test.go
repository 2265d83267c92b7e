package callback_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/leak"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

func verification(echo string) url.Values {
	return url.Values{
		"timestamp": {"1714036504"}, // years ago: WeChat does not say how old one may be
		"nonce":     {"1514711492"},
		"signature": {wxcrypt.Signature(token, "1714036504", "1514711492")},
		"echostr":   {echo},
	}
}

func TestAURLThatIsTriedOutEchoes(t *testing.T) {
	for _, cfg := range []callback.Config{plainConfig, secureConfig} {
		h := newHandler(t, cfg, never(t))
		for _, echo := range []string{
			"4375120948345356249", "0", "a b+c%20&=;#", "<script>alert(1)</script>", "码\r\n\x00", strings.Repeat("e", 1024),
		} {
			w := serve(h, httptest.NewRequest(http.MethodGet, "/wechat?"+verification(echo).Encode(), nil))
			assert.Equal(t, http.StatusOK, w.Code)
			assert.Equal(t, echo, w.Body.String())
			assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
			assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		}
	}
}

func TestTheOfficialExampleIsVerified(t *testing.T) {
	o := loadOfficial(t)
	h := newHandler(t, callback.Config{Token: o.Token, AppID: o.AppID, EncodingAESKey: o.EncodingAESKey}, never(t))
	v := o.VerifyURL
	w := serve(h, httptest.NewRequest(http.MethodGet,
		"/?signature="+v.Signature+"&echostr="+v.Echostr+"&timestamp="+v.Timestamp+"&nonce="+v.Nonce, nil))
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, v.Echostr, w.Body.String())
}

func TestWhoeverElseTriesTheURLOutIsRefused(t *testing.T) {
	good := verification("echo-me").Encode()
	change := func(name, value string) string {
		v := verification("echo-me")
		v.Set(name, value)
		return v.Encode()
	}
	without := func(name string) string {
		v := verification("echo-me")
		v.Del(name)
		return v.Encode()
	}
	signed := func(timestamp, nonce string) string {
		v := verification("echo-me")
		v.Set("timestamp", timestamp)
		v.Set("nonce", nonce)
		v.Set("signature", wxcrypt.Signature(token, timestamp, nonce))
		return v.Encode()
	}
	h := newHandler(t, secureConfig, never(t))
	require.Equal(t, http.StatusOK, serve(h, httptest.NewRequest(http.MethodGet, "/?"+good, nil)).Code)
	require.Equal(t, http.StatusOK, serve(h, httptest.NewRequest(http.MethodGet, "/?"+signed("1", strings.Repeat("n", 100)), nil)).Code)
	for name, query := range map[string]string{
		"no query":                      "",
		"no timestamp":                  without("timestamp"),
		"no nonce":                      without("nonce"),
		"no signature":                  without("signature"),
		"no echostr":                    without("echostr"),
		"an empty echostr":              change("echostr", ""),
		"an empty timestamp":            signed("", "1514711492"),
		"an empty nonce":                signed("1714036504", ""),
		"another timestamp":             change("timestamp", "1714036505"),
		"another nonce":                 change("nonce", "1514711493"),
		"another signature":             change("signature", wxcrypt.Signature("another", "1714036504", "1514711492")),
		"an upper-case signature":       change("signature", strings.ToUpper(verification("").Get("signature"))),
		"half a signature":              change("signature", verification("").Get("signature")[:20]),
		"a signature too long":          change("signature", verification("").Get("signature")+"0"),
		"a signature of no token":       change("signature", wxcrypt.Signature("1714036504", "1514711492")),
		"a msg_signature in its place":  "msg_" + change("openid", ""),
		"timestamp twice":               good + "&timestamp=1714036504",
		"nonce twice":                   good + "&nonce=1514711492",
		"signature twice":               good + "&signature=" + verification("").Get("signature"),
		"echostr twice":                 good + "&echostr=echo-me",
		"timestamp twice, once empty":   good + "&timestamp",
		"timestamp twice, once escaped": good + "&%74imestamp=1714036504",
		"a broken escape":               good + "&msg_signature=%zz",
		"a timestamp too long":          signed("171403650400", "1514711492"),
		"a nonce too long":              signed("1714036504", strings.Repeat("n", 101)),
		"an echostr too long":           change("echostr", strings.Repeat("e", 1025)),
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(h, httptest.NewRequest(http.MethodGet, "/wechat?"+query, nil))
			assert.Equal(t, http.StatusForbidden, w.Code)
			assert.Equal(t, "Forbidden\n", w.Body.String())
			assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
		})
	}
}

func TestOtherParametersDoNotCount(t *testing.T) {
	h := newHandler(t, plainConfig, never(t))
	for _, more := range []string{"&openid=o1&openid=o2", "&%zz=1", "&a=%zz", "&;&&=&", "&" + strings.Repeat("x", 5000) + "=1"} {
		w := serve(h, httptest.NewRequest(http.MethodGet, "/wechat?"+verification("echo").Encode()+more, nil))
		assert.Equal(t, http.StatusOK, w.Code, more)
		assert.Equal(t, "echo", w.Body.String())
	}
}

func TestOtherMethodsAreRefused(t *testing.T) {
	h := newHandler(t, plainConfig, never(t))
	for _, method := range []string{http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions, "BREW"} {
		w := serve(h, httptest.NewRequest(method, "/wechat?"+verification("echo").Encode(), strings.NewReader(scanOf("7"))))
		assert.Equal(t, http.StatusMethodNotAllowed, w.Code, method)
		assert.Equal(t, "GET, POST", w.Header().Get("Allow"))
		assert.NotContains(t, w.Body.String(), "echo")
	}
}

func TestWeChatAcceptsTheURL(t *testing.T) {
	leak.Check(t)
	for _, cfg := range []wxtest.CallbackConfig{{Token: token}, {Token: token, EncodingAESKey: aesKey, Mode: wxtest.Secure}} {
		wechat := wxtest.NewServer()
		t.Cleanup(wechat.Close)
		server := httptest.NewServer(newHandler(t, callback.Config{Token: token, AppID: wechat.AppID(), EncodingAESKey: cfg.EncodingAESKey}, never(t)))
		t.Cleanup(server.Close)
		wechat.SetCallback(server.URL+"/wechat?tenant=7", cfg)
		assert.NoError(t, wechat.VerifyCallback(t.Context()))
		cfg.Token = "another"
		wechat.SetCallback(server.URL, cfg)
		assert.ErrorContains(t, wechat.VerifyCallback(t.Context()), "403")
	}
}

func TestSettingsThatCannotWorkAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  callback.Config
		want string
	}{
		"no token":                    {callback.Config{}, "Token is empty"},
		"a key and no appid":          {callback.Config{Token: token, EncodingAESKey: aesKey}, "AppID is empty"},
		"an old key and no new one":   {callback.Config{Token: token, AppID: appID, PreviousAESKey: oldKey}, "EncodingAESKey is empty"},
		"a key too short":             {callback.Config{Token: token, AppID: appID, EncodingAESKey: aesKey[1:]}, "EncodingAESKey has 42 characters; it must have 43"},
		"an old key too long":         {callback.Config{Token: token, AppID: appID, EncodingAESKey: aesKey, PreviousAESKey: oldKey + "="}, "PreviousAESKey has 44 characters; it must have 43"},
		"a key that is no base64":     {callback.Config{Token: token, AppID: appID, EncodingAESKey: "!" + aesKey[1:]}, "EncodingAESKey is no base64: illegal base64 data at input byte 0"},
		"a token from a file":         {callback.Config{Token: token + "\n"}, "Token begins or ends with white space"},
		"an appid with a blank":       {callback.Config{Token: token, AppID: " " + appID}, "AppID begins or ends with white space"},
		"a key from a file":           {callback.Config{Token: token, AppID: appID, EncodingAESKey: aesKey + "\n"}, "EncodingAESKey begins or ends with white space"},
		"an old key with a tab":       {callback.Config{Token: token, AppID: appID, EncodingAESKey: aesKey, PreviousAESKey: "\t" + oldKey}, "PreviousAESKey begins or ends with white space"},
		"a negative limit of bodies":  {callback.Config{Token: token, MaxBody: -1}, `MaxBody "-1" must not be negative; 0 means 64 KiB`},
		"a negative time for onEvent": {callback.Config{Token: token, Timeout: -time.Second}, `Timeout "-1s" must not be negative; 0 means 14s`},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := callback.New(tt.cfg, never(t))
			assert.Nil(t, h)
			assertInvalid(t, err, tt.want)
		})
	}
	_, err := callback.New(plainConfig, nil)
	assertInvalid(t, err, "onEvent is nil")
}
