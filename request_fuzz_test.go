package wxqrcode_test

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// FuzzRequestBody: a body exists exactly for what the platform allows; encoding/json
// decodes the request from it, and nothing else; only quotes and backslashes are
// escaped; a valid Request survives its JSON, and an invalid one has none.
func FuzzRequestBody(f *testing.F) {
	const day = int64(24 * time.Hour)
	for request := range uint8(3) {
		for scene := range uint8(3) {
			f.Add(request, scene, uint32(123), "a=1&b=<2>", 7*day)
		}
	}
	for _, id := range []uint32{0, 1, 100000, 100001, math.MaxUint32} {
		f.Add(asTemporary, asID, id, "", day)
		f.Add(asPermanent, asID, id, "", int64(0))
	}
	for _, lifetime := range []int64{
		math.MinInt64, -1, 0, 1, int64(time.Second) - 1, int64(time.Second), int64(time.Second) + 1, 30*day - 1, 30 * day, 30*day + 1, math.MaxInt64,
	} {
		f.Add(asTemporary, asID, uint32(1), "", lifetime)
		f.Add(asTemporary, asText, uint32(0), "a", lifetime)
	}
	for _, text := range []string{
		"", " ", strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("扫", 21), strings.Repeat("扫", 22),
		`"`, `\`, `\"`, `\\`, `\u2028`, "\u2028\u2029", "<>&'/", "测试😀", "\x00", "\n", "\x1f", "\x7f", "\u0080", "\u009f", "\u00a0",
		"\uFEFF", "\uFFFD", "\uFFFE", "\uFFFF", "\xff", "\xed\xa0\x80", "qrscene_1", "a]]>b", "a]]><b", "a]]> <b",
	} {
		f.Add(asTemporary, asText, uint32(0), text, day)
		f.Add(asPermanent, asText, uint32(0), text, int64(0))
	}

	f.Fuzz(func(t *testing.T, request, scene uint8, id uint32, text string, lifetime int64) {
		request, scene = request%3, scene%3
		var s wxqrcode.Scene
		switch scene {
		case asID:
			s = wxqrcode.SceneID(id)
		case asText:
			s = wxqrcode.SceneStr(text)
		}
		var r wxqrcode.Request
		switch request {
		case asTemporary:
			r = wxqrcode.Temporary(s, time.Duration(lifetime))
		case asPermanent:
			r = wxqrcode.Permanent(s)
		}

		body, err := wxqrcode.RequestBody(r)
		assert.Equal(t, r.Validate(), err, "body and Validate disagree")
		if !isAllowed(request, scene, id, text, lifetime) {
			assert.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
			var invalid *wxqrcode.ValidationError
			require.ErrorAs(t, err, &invalid)
			assert.Nil(t, body)
			assert.NotEmpty(t, invalid.Field)
			assert.NotEmpty(t, invalid.Reason)
			assert.True(t, utf8.ValidString(err.Error()))
			assert.Less(t, len(err.Error()), 1500)
			_, err = json.Marshal(r)
			assert.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
			return
		}
		require.NoError(t, err)

		var got requestJSON
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		require.NoError(t, dec.Decode(&got), "%s", body)
		assert.Equal(t, int64(len(body)), dec.InputOffset(), "something follows")
		want := requestJSON{ActionName: actionNames[request][scene]}
		if request == asTemporary {
			seconds := lifetime / 1_000_000_000
			want.ExpireSeconds = &seconds
			assert.Equal(t, time.Duration(seconds)*time.Second, r.Lifetime())
		}
		if scene == asID {
			want.ActionInfo.Scene.ID = &id
		} else {
			want.ActionInfo.Scene.Str = &text
		}
		assert.Equal(t, want, got, "%s", body)
		assert.Equal(t, want.ActionName, string(r.Action()))

		stored, err := json.Marshal(r)
		require.NoError(t, err)
		for _, text := range [][]byte{stored, body} {
			var back wxqrcode.Request
			require.NoError(t, json.Unmarshal(text, &back), "%s", text)
			assert.Equal(t, r, back)
		}

		unescaped := strings.NewReplacer(`\\`, "", `\"`, "").Replace(string(body))
		assert.NotContains(t, unescaped, `\`, "an escape that WeChat reads as text")
		assert.True(t, utf8.Valid(body))
	})
}

const ( // what requests and scenes are made as; 0 is neither
	asTemporary = uint8(1)
	asPermanent = uint8(2)
	asID        = uint8(1)
	asText      = uint8(2)
)

var actionNames = [3][3]string{
	asTemporary: {asID: "QR_SCENE", asText: "QR_STR_SCENE"},
	asPermanent: {asID: "QR_LIMIT_SCENE", asText: "QR_LIMIT_STR_SCENE"},
}

// requestJSON is the body of a call that makes a code.
type requestJSON struct {
	ExpireSeconds *int64 `json:"expire_seconds"`
	ActionName    string `json:"action_name"`
	ActionInfo    struct {
		Scene struct {
			ID  *uint32 `json:"scene_id"`
			Str *string `json:"scene_str"`
		} `json:"scene"`
	} `json:"action_info"`
}

var unsafeText = regexp.MustCompile(`[\x00-\x1f\x7f-\x{9f}\x{fffe}\x{ffff}]|]]>\s*<`)

// isAllowed says the platform's rules once more.
func isAllowed(request, scene uint8, id uint32, text string, lifetime int64) bool {
	switch {
	case actionNames[request][scene] == "":
		return false
	case request == asTemporary && (lifetime < 1_000_000_000 || lifetime > 2_592_000_000_000_000):
		return false
	case scene == asID && id == 0, scene == asID && request == asPermanent && id > 100_000:
		return false
	case scene == asText:
		return text != "" && len(text) <= 64 && utf8.ValidString(text) && !unsafeText.MatchString(text)
	}
	return true
}
