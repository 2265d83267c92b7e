package wxqrcode_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

const month = 30 * 24 * time.Hour // the longest lifetime of a temporary code

func TestRequest_Body(t *testing.T) {
	for _, tt := range []struct {
		name    string
		request wxqrcode.Request
		want    string
	}{
		{
			"a temporary number, as in the official example",
			wxqrcode.Temporary(wxqrcode.SceneID(123), 604800*time.Second),
			`{"expire_seconds":604800,"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":123}}}`,
		},
		{
			"a temporary text",
			wxqrcode.Temporary(wxqrcode.SceneStr("test"), time.Minute),
			`{"expire_seconds":60,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"test"}}}`,
		},
		{
			"a permanent number has no expire_seconds",
			wxqrcode.Permanent(wxqrcode.SceneID(100000)),
			`{"action_name":"QR_LIMIT_SCENE","action_info":{"scene":{"scene_id":100000}}}`,
		},
		{
			"a permanent text has no expire_seconds, as in the official example",
			wxqrcode.Permanent(wxqrcode.SceneStr("test")),
			`{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"test"}}}`,
		},
		{
			"the highest temporary number and the longest lifetime",
			wxqrcode.Temporary(wxqrcode.SceneID(math.MaxUint32), month),
			`{"expire_seconds":2592000,"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":4294967295}}}`,
		},
		{
			"a text of digits",
			wxqrcode.Permanent(wxqrcode.SceneStr("123")),
			`{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"123"}}}`,
		},
		{
			"HTML characters are not escaped",
			wxqrcode.Permanent(wxqrcode.SceneStr("a=1&b=<2>")),
			`{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"a=1&b=<2>"}}}`,
		},
		{
			"Unicode line separators are not escaped",
			wxqrcode.Permanent(wxqrcode.SceneStr("a\u2028b\u2029c")),
			"{\"action_name\":\"QR_LIMIT_STR_SCENE\",\"action_info\":{\"scene\":{\"scene_str\":\"a\u2028b\u2029c\"}}}",
		},
		{
			"Chinese, emoji and U+FFFD are not escaped",
			wxqrcode.Permanent(wxqrcode.SceneStr("测试😀\uFFFD")),
			"{\"action_name\":\"QR_LIMIT_STR_SCENE\",\"action_info\":{\"scene\":{\"scene_str\":\"\u6d4b\u8bd5\U0001F600\uFFFD\"}}}",
		},
		{
			"quotes and backslashes are escaped, slashes are not",
			wxqrcode.Temporary(wxqrcode.SceneStr(`"a"\b/c'`), time.Second),
			`{"expire_seconds":1,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"\"a\"\\b/c'"}}}`,
		},
		{
			"a backslash before u2028",
			wxqrcode.Permanent(wxqrcode.SceneStr(`\u2028`)),
			`{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"\\u2028"}}}`,
		},
		{
			"a backslash before a quote",
			wxqrcode.Permanent(wxqrcode.SceneStr(`\"`)),
			`{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"\\\""}}}`,
		},
		{
			"64 characters that all need an escape",
			wxqrcode.Temporary(wxqrcode.SceneStr(strings.Repeat(`"`, 64)), month),
			`{"expire_seconds":2592000,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"` + strings.Repeat(`\"`, 64) + `"}}}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body, err := wxqrcode.RequestBody(tt.request)
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(body))
			assert.True(t, json.Valid(body))
		})
	}
}

func TestRequest_Fields(t *testing.T) {
	id, str := wxqrcode.SceneID(7), wxqrcode.SceneStr("seven")
	for _, tt := range []struct {
		name     string
		request  wxqrcode.Request
		action   wxqrcode.Action
		wire     string
		scene    wxqrcode.Scene
		lifetime time.Duration
	}{
		{"a temporary number", wxqrcode.Temporary(id, time.Hour), wxqrcode.ActionTemporaryID, "QR_SCENE", id, time.Hour},
		{"a temporary text", wxqrcode.Temporary(str, time.Hour), wxqrcode.ActionTemporaryStr, "QR_STR_SCENE", str, time.Hour},
		{"a permanent number", wxqrcode.Permanent(id), wxqrcode.ActionPermanentID, "QR_LIMIT_SCENE", id, 0},
		{"a permanent text", wxqrcode.Permanent(str), wxqrcode.ActionPermanentStr, "QR_LIMIT_STR_SCENE", str, 0},
		{"a temporary code without a scene has no action", wxqrcode.Temporary(wxqrcode.Scene{}, time.Hour), "", "", wxqrcode.Scene{}, time.Hour},
		{"a permanent code without a scene has no action", wxqrcode.Permanent(wxqrcode.Scene{}), "", "", wxqrcode.Scene{}, 0},
		{"the zero Request has none of it", wxqrcode.Request{}, "", "", wxqrcode.Scene{}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.action, tt.request.Action())
			assert.Equal(t, tt.wire, string(tt.request.Action()))
			assert.Equal(t, tt.scene, tt.request.Scene())
			assert.Equal(t, tt.lifetime, tt.request.Lifetime())
		})
	}
}

func TestRequest_Comparable(t *testing.T) {
	s := wxqrcode.SceneID(1)
	same := map[wxqrcode.Request]string{
		wxqrcode.Temporary(s, time.Hour):                      "an hour",
		wxqrcode.Temporary(s, time.Minute):                    "a minute",
		wxqrcode.Temporary(wxqrcode.SceneStr("1"), time.Hour): "a text",
		wxqrcode.Permanent(s):                                 "permanent",
		{}:                                                    "nothing",
	}
	assert.Len(t, same, 5)
	assert.Equal(t, "an hour", same[wxqrcode.Temporary(wxqrcode.SceneID(1), time.Hour)])
	assert.Equal(t, "permanent", same[wxqrcode.Permanent(wxqrcode.SceneID(1))])
}

func TestRequest_ValidateAccepts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		request wxqrcode.Request
	}{
		{"the lowest temporary number", wxqrcode.Temporary(wxqrcode.SceneID(1), time.Hour)},
		{"the highest temporary number", wxqrcode.Temporary(wxqrcode.SceneID(4294967295), time.Hour)},
		{"a temporary number above the permanent ones", wxqrcode.Temporary(wxqrcode.SceneID(100001), time.Hour)},
		{"the lowest permanent number", wxqrcode.Permanent(wxqrcode.SceneID(1))},
		{"the highest permanent number", wxqrcode.Permanent(wxqrcode.SceneID(100000))},
		{"one byte", wxqrcode.Permanent(wxqrcode.SceneStr("a"))},
		{"64 bytes, permanent", wxqrcode.Permanent(wxqrcode.SceneStr(strings.Repeat("a", 64)))},
		{"64 bytes, temporary", wxqrcode.Temporary(wxqrcode.SceneStr(strings.Repeat("a", 64)), time.Hour)},
		{"64 bytes in 22 characters", wxqrcode.Permanent(wxqrcode.SceneStr(strings.Repeat("扫", 21) + "a"))},
		{"64 bytes in 16 emoji", wxqrcode.Temporary(wxqrcode.SceneStr(strings.Repeat("😀", 16)), time.Hour)},
		{"a blank", wxqrcode.Permanent(wxqrcode.SceneStr(" "))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.NoError(t, tt.request.Validate())
			body, err := wxqrcode.RequestBody(tt.request)
			require.NoError(t, err)
			assert.NotEmpty(t, body)
		})
	}
}

func TestRequest_ValidateErrors(t *testing.T) {
	id := wxqrcode.SceneID(1)
	long := strings.Repeat("a", 65)
	longest := strings.Repeat("扫", 1000)
	for _, tt := range []struct {
		name    string
		request wxqrcode.Request
		field   string
		value   string
		limits  []string // words of the reason
	}{
		{"the zero Request", wxqrcode.Request{}, "request", "", []string{"Temporary", "Permanent"}},
		{"a temporary code without a scene", wxqrcode.Temporary(wxqrcode.Scene{}, time.Hour), "scene", "", []string{"SceneID", "SceneStr"}},
		{"a permanent code without a scene", wxqrcode.Permanent(wxqrcode.Scene{}), "scene", "", []string{"SceneID", "SceneStr"}},

		{"a temporary 0", wxqrcode.Temporary(wxqrcode.SceneID(0), time.Hour), "scene_id", "0", []string{"1 to 4294967295"}},
		{"a permanent 0", wxqrcode.Permanent(wxqrcode.SceneID(0)), "scene_id", "0", []string{"1 to 100000", "permanent"}},
		{"a permanent 100001", wxqrcode.Permanent(wxqrcode.SceneID(100001)), "scene_id", "100001", []string{"1 to 100000", "permanent", "scene_str"}},
		{"the highest number, permanent", wxqrcode.Permanent(wxqrcode.SceneID(4294967295)), "scene_id", "4294967295", []string{"1 to 100000"}},

		{"an empty text", wxqrcode.Permanent(wxqrcode.SceneStr("")), "scene_str", "", []string{"1 to 64 bytes"}},
		{"65 bytes, permanent", wxqrcode.Permanent(wxqrcode.SceneStr(long)), "scene_str", long, []string{"1 to 64 bytes", "65"}},
		{"65 bytes, temporary", wxqrcode.Temporary(wxqrcode.SceneStr(long), time.Hour), "scene_str", long, []string{"1 to 64 bytes", "65"}},
		{
			"65 bytes in 59 characters, which WeChat rejects",
			wxqrcode.Permanent(wxqrcode.SceneStr(strings.Repeat("a", 56) + "扫扫扫")),
			"scene_str", strings.Repeat("a", 56) + "扫扫扫", []string{"1 to 64 bytes", "65"},
		},
		{"3000 bytes", wxqrcode.Permanent(wxqrcode.SceneStr(longest)), "scene_str", longest, []string{"1 to 64 bytes", "3000"}},
		{"invalid UTF-8", wxqrcode.Permanent(wxqrcode.SceneStr("a\xff")), "scene_str", "a\xff", []string{"valid UTF-8"}},
		{"a part of a character", wxqrcode.Permanent(wxqrcode.SceneStr("\xe6\x89")), "scene_str", "\xe6\x89", []string{"valid UTF-8"}},
		{"a surrogate", wxqrcode.Permanent(wxqrcode.SceneStr("\xed\xa0\x80")), "scene_str", "\xed\xa0\x80", []string{"valid UTF-8"}},
		{"an overlong NUL", wxqrcode.Permanent(wxqrcode.SceneStr("\xc0\x80")), "scene_str", "\xc0\x80", []string{"valid UTF-8"}},
		{"a line break", wxqrcode.Temporary(wxqrcode.SceneStr("a\nb"), time.Hour), "scene_str", "a\nb", []string{"control character", "U+000A"}},
		{"an end of CDATA and a tag", wxqrcode.Temporary(wxqrcode.SceneStr("a]]><b"), time.Hour), "scene_str", "a]]><b", []string{"]]>"}},
		{"an end of CDATA, spaces and a tag", wxqrcode.Permanent(wxqrcode.SceneStr("]]>  </EventKey>")), "scene_str", "]]>  </EventKey>", []string{"]]>"}},

		{"no lifetime", wxqrcode.Temporary(id, 0), "lifetime", "0s", []string{"1s", "720h0m0s", "30 days"}},
		{"no lifetime for a text", wxqrcode.Temporary(wxqrcode.SceneStr("a"), 0), "lifetime", "0s", []string{"1s", "30 days"}},
		{"a lifetime of a nanosecond", wxqrcode.Temporary(id, 1), "lifetime", "1ns", []string{"1s"}},
		{"a nanosecond less than 1 s", wxqrcode.Temporary(id, time.Second-1), "lifetime", "999.999999ms", []string{"1s"}},
		{"a nanosecond more than 30 days", wxqrcode.Temporary(id, month+1), "lifetime", "720h0m0.000000001s", []string{"720h0m0s", "30 days"}},
		{"a second more than 30 days", wxqrcode.Temporary(id, month+time.Second), "lifetime", "720h0m1s", []string{"30 days"}},
		{"negative", wxqrcode.Temporary(id, -time.Hour), "lifetime", "-1h0m0s", []string{"1s"}},
		{"the longest duration", wxqrcode.Temporary(id, math.MaxInt64), "lifetime", "2562047h47m16.854775807s", []string{"30 days"}},
		{"the most negative duration", wxqrcode.Temporary(id, math.MinInt64), "lifetime", "-2562047h47m16.854775808s", []string{"1s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.request.Validate()
			require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
			var invalid *wxqrcode.ValidationError
			require.ErrorAs(t, err, &invalid)
			assert.Equal(t, tt.field, invalid.Field)
			assert.Equal(t, tt.value, invalid.Value)
			for _, limit := range tt.limits {
				assert.Contains(t, invalid.Reason, limit)
				assert.ErrorContains(t, err, limit, "the limit")
			}
			assert.ErrorContains(t, err, "wxqrcode: invalid "+tt.field+": ")

			body, bodyErr := wxqrcode.RequestBody(tt.request)
			assert.Nil(t, body)
			assert.Equal(t, err, bodyErr, "body and Validate")
		})
	}
}

func TestRequest_ValidateRejectsControlCharacters(t *testing.T) {
	var rejected []rune
	for r := rune(0x00); r <= 0x1F; r++ {
		rejected = append(rejected, r)
	}
	for r := rune(0x7F); r <= 0x9F; r++ { // DEL and C1
		rejected = append(rejected, r)
	}
	rejected = append(rejected, 0xFFFE, 0xFFFF) // not allowed in XML
	for _, r := range rejected {
		for _, scene := range []string{string(r), string(r) + "b", "a" + string(r) + "b", "扫" + string(r)} {
			err := wxqrcode.Permanent(wxqrcode.SceneStr(scene)).Validate()
			var invalid *wxqrcode.ValidationError
			if assert.ErrorAs(t, err, &invalid, "%+q", scene) {
				assert.Equal(t, "scene_str", invalid.Field)
				assert.Equal(t, scene, invalid.Value)
				assert.Contains(t, invalid.Reason, fmt.Sprintf("control character U+%04X", r))
			}
		}
	}

	for _, r := range []rune{
		0x20, 0x7E, 0xA0, 0xAD, // next to the control characters
		0x200B, 0x2028, 0x2029, 0xFEFF, // invisible, but no control characters
		0xD7FF, 0xE000, // next to the surrogates
		0xFFFD, 0x10000, // next to the two noncharacters
		0x1FFFE, 0x10FFFF, // noncharacters that XML allows
	} {
		assert.NoError(t, wxqrcode.Permanent(wxqrcode.SceneStr("a"+string(r))).Validate(), "%U", r)
	}
}

func TestRequest_LifetimeIsTruncated(t *testing.T) {
	for _, tt := range []struct {
		name     string
		lifetime time.Duration
		seconds  int64
	}{
		{"a second", time.Second, 1},
		{"a second and a nanosecond", time.Second + 1, 1},
		{"a nanosecond before two seconds", 2*time.Second - 1, 1},
		{"time.Until of an hour", time.Hour - 42*time.Microsecond, 3599},
		{"time.Until of 30 days", month - 1, 2591999},
		{"30 days", month, 2592000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := wxqrcode.Temporary(wxqrcode.SceneID(1), tt.lifetime)
			assert.Equal(t, time.Duration(tt.seconds)*time.Second, r.Lifetime())
			body, err := wxqrcode.RequestBody(r)
			require.NoError(t, err)
			assert.Equal(t,
				`{"expire_seconds":`+strconv.FormatInt(tt.seconds, 10)+`,"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":1}}}`,
				string(body))
		})
	}
}

func TestRequest_JSON(t *testing.T) {
	for _, tt := range []struct {
		name    string
		request wxqrcode.Request
		json    string
	}{
		{"a temporary number", wxqrcode.Temporary(wxqrcode.SceneID(123), 90*time.Second+1),
			`{"expire_seconds":90,"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":123}}}`},
		{"a temporary text", wxqrcode.Temporary(wxqrcode.SceneStr("测试"), month),
			`{"expire_seconds":2592000,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"测试"}}}`},
		{"a permanent number", wxqrcode.Permanent(wxqrcode.SceneID(1)), `{"action_name":"QR_LIMIT_SCENE","action_info":{"scene":{"scene_id":1}}}`},
		{"a permanent text", wxqrcode.Permanent(wxqrcode.SceneStr("1")), `{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"1"}}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := json.Marshal(map[string]wxqrcode.Request{"request": tt.request})
			require.NoError(t, err)
			assert.Equal(t, `{"request":`+tt.json+`}`, string(b))
			var back map[string]wxqrcode.Request
			require.NoError(t, json.Unmarshal(b, &back))
			assert.Equal(t, tt.request, back["request"])
		})
	}
}

func TestRequest_JSONNull(t *testing.T) {
	r := wxqrcode.Permanent(wxqrcode.SceneID(1))
	s := wxqrcode.SceneID(1)
	require.NoError(t, json.Unmarshal([]byte("null"), &r))
	require.NoError(t, json.Unmarshal([]byte("null"), &s))
	assert.Equal(t, wxqrcode.Permanent(wxqrcode.SceneID(1)), r)
	assert.Equal(t, wxqrcode.SceneID(1), s)
}

func TestRequest_MarshalRejectsInvalidRequests(t *testing.T) {
	for _, value := range []any{wxqrcode.Request{}, wxqrcode.Scene{}, wxqrcode.SceneStr("a\xff"), wxqrcode.SceneStr(""), wxqrcode.SceneID(0), wxqrcode.Permanent(wxqrcode.SceneID(0)), wxqrcode.Temporary(wxqrcode.SceneID(1), 0)} {
		_, err := json.Marshal(value)
		require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
	}
}

func TestRequest_InvalidJSON(t *testing.T) {
	const scene = `"action_info":{"scene":{"scene_id":1}}`
	for name, text := range map[string]string{
		"not JSON":                         `{"action_name":`,
		"an array":                         `[]`,
		"empty":                            `{}`,
		"no scene":                         `{"action_name":"QR_LIMIT_SCENE"}`,
		"an empty scene":                   `{"action_name":"QR_LIMIT_SCENE","action_info":{"scene":{}}}`,
		"scene_id under action_info":       `{"action_name":"QR_LIMIT_SCENE","action_info":{"scene_id":1}}`,
		"no action":                        `{` + scene + `}`,
		"an unknown action":                `{"action_name":"QR","expire_seconds":60,` + scene + `}`,
		"an action for a text":             `{"action_name":"QR_LIMIT_STR_SCENE",` + scene + `}`,
		"two scenes":                       `{"action_name":"QR_LIMIT_SCENE","action_info":{"scene":{"scene_id":1,"scene_str":"1"}}}`,
		"permanent with expire_seconds":    `{"action_name":"QR_LIMIT_SCENE","expire_seconds":60,` + scene + `}`,
		"temporary without expire_seconds": `{"action_name":"QR_SCENE",` + scene + `}`,
		"expire_seconds 0":                 `{"action_name":"QR_SCENE","expire_seconds":0,` + scene + `}`,
		"negative expire_seconds":          `{"action_name":"QR_SCENE","expire_seconds":-1,` + scene + `}`,
		"expire_seconds too large":         `{"action_name":"QR_SCENE","expire_seconds":2592001,` + scene + `}`,
		"expire_seconds that overflow":     `{"action_name":"QR_SCENE","expire_seconds":9223372036854775807,` + scene + `}`,
		"expire_seconds as text":           `{"action_name":"QR_SCENE","expire_seconds":"60",` + scene + `}`,
		"scene_id 0":                       `{"action_name":"QR_SCENE","expire_seconds":60,"action_info":{"scene":{"scene_id":0}}}`,
		"scene_id above 32 bits":           `{"action_name":"QR_SCENE","expire_seconds":60,"action_info":{"scene":{"scene_id":4294967296}}}`,
		"a permanent scene_id too large":   `{"action_name":"QR_LIMIT_SCENE","action_info":{"scene":{"scene_id":100001}}}`,
		"a scene_str too long":             `{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"` + strings.Repeat("x", 65) + `"}}}`,
		"a control character":              `{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"\u0001"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			before := wxqrcode.Permanent(wxqrcode.SceneID(7))
			r := before
			err := r.UnmarshalJSON([]byte(text))
			require.ErrorIs(t, err, wxqrcode.ErrInvalidRequest)
			_, ok := errors.AsType[*wxqrcode.ValidationError](err)
			assert.True(t, ok)
			assert.Equal(t, before, r, "partly read")
		})
	}
}

// A request has a body if and only if it is valid. encoding/json decodes the
// same request from the body, in which only quotes and backslashes are escaped.
// A valid request survives JSON, and an invalid one cannot be marshaled.
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
		assert.Equal(t, r.Validate(), err, "body and Validate")
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
		assert.Equal(t, int64(len(body)), dec.InputOffset(), "data after the body")
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

const ( // kinds of requests and of scenes; 0 is the zero value
	asTemporary = uint8(1)
	asPermanent = uint8(2)
	asID        = uint8(1)
	asText      = uint8(2)
)

var actionNames = [3][3]string{
	asTemporary: {asID: "QR_SCENE", asText: "QR_STR_SCENE"},
	asPermanent: {asID: "QR_LIMIT_SCENE", asText: "QR_LIMIT_STR_SCENE"},
}

// requestJSON is the body of qrcode/create.
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

// isAllowed is an independent implementation of the rules of WeChat.
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
