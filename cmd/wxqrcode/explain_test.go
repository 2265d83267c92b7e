package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// goIdentifier matches words that only Go programmers know.
const goIdentifier = `\b(With[A-Z]\w+|(New|Token|Client|Scene)[A-Z]\w+|use New|[a-z]+\.[A-Z]\w+|PreviousAESKey|AllowPlain|CloudHostingSecret)\b`

func invalid(field, value, reason string) error {
	return &wxqrcode.ValidationError{Field: field, Value: value, Reason: reason, Err: wxqrcode.ErrInvalidConfig}
}

func TestPlain_Translates(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"the library":          {wxqrcode.ErrNotAttempted, "not attempted"},
		"the statistics":       {errors.New("scanstats: the store is closed"), "the store is closed"},
		"the sandbox":          {errors.New("wxtest: reply: there is no delivery"), "reply: there is no delivery"},
		"one inside another":   {errors.New("start: wxtest: scan: wxqrcode: no"), "start: scan: no"},
		"none of the packages": {errors.New("read the logo: no"), "read the logo: no"},

		"a field without an input": {invalid("Rate", "-1", "must be positive"), `invalid Rate: must be positive, got "-1"`},
		"a flag":                   {invalid("API URL", "x", "must be a URL"), `--api-url must be a URL, got "x"`},
		"a variable":               {fmt.Errorf("start: %w", invalid("Token", "", "is empty; set it")), "start: WXQRCODE_TOKEN is empty; set it"},
		"a reason with a field":    {invalid("EncodingAESKey", "", "is empty although PreviousAESKey is set"), "WXQRCODE_AES_KEY is empty although WXQRCODE_PREVIOUS_AES_KEY is set"},
		"a number":                 {invalid("scene_id", "0", "must be 1 to 2; see SceneStr"), `the scene must be 1 to 2; without --number it is a text, got "0"`},

		"an errcode without a hint of this program": {
			&wxqrcode.APIError{Op: "create", Code: 48001, Message: "api unauthorized"},
			"create: errcode 48001: api unauthorized; this needs a verified service account in good standing: see the account at mp.weixin.qq.com",
		},
		"the URL": {
			&wxqrcode.APIError{Op: "create", Code: 40066, Message: "invalid url", RequestID: "r1"},
			"create: errcode 40066: invalid url; the URL is wrong: check --api-url (rid r1)",
		},
		"the token": {
			fmt.Errorf("line 2: %w", &wxqrcode.APIError{Op: "create", Code: 40001, Message: "invalid credential"}),
			"line 2: create: errcode 40001: invalid credential; " + hintToken,
		},
		"the secret": {
			&wxqrcode.APIError{Op: "stable_token", Code: 40001, Message: "invalid credential"},
			"stable_token: errcode 40001: invalid credential; the AppSecret is wrong: correct WXQRCODE_SECRET or the file of --credentials",
		},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, plain(test.err)) })
	}
}

// Create wraps the error of a token request.
func TestPlain_TranslatesTokenErrors(t *testing.T) {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	client, err := wxqrcode.New(wechat.AppID(), "wrong", append(wechat.Options(), wxqrcode.WithLogger(slog.New(slog.DiscardHandler)))...)
	require.NoError(t, err)
	_, err = client.Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneID(1)))
	require.ErrorIs(t, err, wxqrcode.ErrInvalidCredential)
	assert.Contains(t, plain(err), "correct WXQRCODE_SECRET or the file of --credentials")
}

func TestPlain_NoGoIdentifierForAnyErrcode(t *testing.T) {
	texts := make(map[string]bool)
	for code := -1; code < 100_000; code++ {
		e := &wxqrcode.APIError{Op: "create", Message: "m", Code: code}
		if errors.Is(e, wxqrcode.ErrUnexpectedResponse) { // unknown
			continue
		}
		texts[plain(e)] = true
		e.Op = "stable_token"
		texts[plain(e)] = true
	}
	require.Greater(t, len(texts), 40)
	for text := range texts {
		assert.NotRegexp(t, goIdentifier, text)
	}
}

func TestNewLog_Translates(t *testing.T) {
	var b bytes.Buffer
	newLog(&b).Warn("wxqrcode: callback", "error", "the push is encrypted; set EncodingAESKey and AppID in callback.Config")
	assert.Contains(t, b.String(), `error="the push is encrypted; set WXQRCODE_AES_KEY and WXQRCODE_APPID"`)
}
