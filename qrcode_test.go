package wxqrcode_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

const month = 30 * 24 * time.Hour // the longest life of a temporary code

func TestBodyIsTheJSONThatWeChatTakes(t *testing.T) {
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
			"the highest temporary number and the longest life",
			wxqrcode.Temporary(wxqrcode.SceneID(math.MaxUint32), month),
			`{"expire_seconds":2592000,"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":4294967295}}}`,
		},
		{
			"a text of digits stays a text",
			wxqrcode.Permanent(wxqrcode.SceneStr("123")),
			`{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"123"}}}`,
		},
		{
			"what HTML would escape goes out as itself",
			wxqrcode.Permanent(wxqrcode.SceneStr("a=1&b=<2>")),
			`{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"a=1&b=<2>"}}}`,
		},
		{
			"the line separators of Unicode go out as themselves",
			wxqrcode.Permanent(wxqrcode.SceneStr("a\u2028b\u2029c")),
			"{\"action_name\":\"QR_LIMIT_STR_SCENE\",\"action_info\":{\"scene\":{\"scene_str\":\"a\u2028b\u2029c\"}}}",
		},
		{
			"Chinese, emoji and the replacement character go out as themselves",
			wxqrcode.Permanent(wxqrcode.SceneStr("测试😀\uFFFD")),
			"{\"action_name\":\"QR_LIMIT_STR_SCENE\",\"action_info\":{\"scene\":{\"scene_str\":\"\u6d4b\u8bd5\U0001F600\uFFFD\"}}}",
		},
		{
			"quotes and backslashes are escaped, slashes are not",
			wxqrcode.Temporary(wxqrcode.SceneStr(`"a"\b/c'`), time.Second),
			`{"expire_seconds":1,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"\"a\"\\b/c'"}}}`,
		},
		{
			"six characters that look like an escape stay six characters",
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
			body, err := tt.request.Body()
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(body))
			assert.True(t, json.Valid(body))
		})
	}
}

func TestBodyBelongsToTheCaller(t *testing.T) {
	r := wxqrcode.Permanent(wxqrcode.SceneStr("test"))
	first, err := r.Body()
	require.NoError(t, err)
	clear(first)
	second, err := r.Body()
	require.NoError(t, err)
	assert.JSONEq(t, `{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"test"}}}`, string(second))
}

func TestRequestTellsWhatItAsksFor(t *testing.T) {
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

func TestRequestsAreEqualOnlyIfTheyAskForTheSame(t *testing.T) {
	s := wxqrcode.SceneID(1)
	same := map[wxqrcode.Request]string{
		wxqrcode.Temporary(s, time.Hour):                      "an hour",
		wxqrcode.Temporary(s, time.Minute):                    "a minute",
		wxqrcode.Temporary(wxqrcode.SceneStr("1"), time.Hour): "a text",
		wxqrcode.Permanent(s):                                 "for ever",
		{}:                                                    "nothing",
	}
	assert.Len(t, same, 5)
	assert.Equal(t, "an hour", same[wxqrcode.Temporary(wxqrcode.SceneID(1), time.Hour)])
	assert.Equal(t, "for ever", same[wxqrcode.Permanent(wxqrcode.SceneID(1))])
}

func TestValidateAcceptsWhatWeChatAccepts(t *testing.T) {
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
			body, err := tt.request.Body()
			require.NoError(t, err)
			assert.NotEmpty(t, body)
		})
	}
}

func TestValidateNamesFieldValueAndLimit(t *testing.T) {
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
		{"a temporary code without a scene", wxqrcode.Temporary(wxqrcode.Scene{}, time.Hour), "scene", "", []string{"missing", "SceneID", "SceneStr"}},
		{"a permanent code without a scene", wxqrcode.Permanent(wxqrcode.Scene{}), "scene", "", []string{"missing", "SceneID", "SceneStr"}},

		{"a temporary 0", wxqrcode.Temporary(wxqrcode.SceneID(0), time.Hour), "scene_id", "0", []string{"1 to 4294967295"}},
		{"a permanent 0", wxqrcode.Permanent(wxqrcode.SceneID(0)), "scene_id", "0", []string{"1 to 100000", "permanent"}},
		{"a permanent 100001", wxqrcode.Permanent(wxqrcode.SceneID(100001)), "scene_id", "100001", []string{"1 to 100000", "permanent", "SceneStr"}},
		{"the highest number, permanent", wxqrcode.Permanent(wxqrcode.SceneID(4294967295)), "scene_id", "4294967295", []string{"1 to 100000"}},

		{"an empty text", wxqrcode.Permanent(wxqrcode.SceneStr("")), "scene_str", "", []string{"1 to 64 bytes"}},
		{"65 bytes, permanent", wxqrcode.Permanent(wxqrcode.SceneStr(long)), "scene_str", long, []string{"65 bytes", "at most 64"}},
		{"65 bytes, temporary", wxqrcode.Temporary(wxqrcode.SceneStr(long), time.Hour), "scene_str", long, []string{"65 bytes", "at most 64"}},
		{
			"65 bytes in 59 characters, which WeChat has refused",
			wxqrcode.Permanent(wxqrcode.SceneStr(strings.Repeat("a", 56) + "扫扫扫")),
			"scene_str", strings.Repeat("a", 56) + "扫扫扫", []string{"65 bytes", "at most 64"},
		},
		{"3000 bytes", wxqrcode.Permanent(wxqrcode.SceneStr(longest)), "scene_str", longest, []string{"3000 bytes", "at most 64"}},
		{"invalid UTF-8", wxqrcode.Permanent(wxqrcode.SceneStr("a\xff")), "scene_str", "a\xff", []string{"valid UTF-8"}},
		{"half a character", wxqrcode.Permanent(wxqrcode.SceneStr("\xe6\x89")), "scene_str", "\xe6\x89", []string{"valid UTF-8"}},
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
		{"a past end", wxqrcode.Temporary(id, -time.Hour), "lifetime", "-1h0m0s", []string{"1s"}},
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
				assert.ErrorContains(t, err, limit, "the text leaves out the limit")
			}
			assert.ErrorContains(t, err, ": "+tt.field+" ")

			body, bodyErr := tt.request.Body()
			assert.Nil(t, body)
			assert.Equal(t, err, bodyErr, "Body and Validate disagree")
		})
	}
}

func TestValidateRefusesEveryControlCharacter(t *testing.T) {
	var refused []rune
	for r := rune(0x00); r <= 0x1F; r++ {
		refused = append(refused, r)
	}
	for r := rune(0x7F); r <= 0x9F; r++ { // DEL and C1
		refused = append(refused, r)
	}
	refused = append(refused, 0xFFFE, 0xFFFF) // which XML forbids
	for _, r := range refused {
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
		0x20, 0x7E, 0xA0, 0xAD, // beside the control characters
		0x200B, 0x2028, 0x2029, 0xFEFF, // invisible, but no control characters
		0xD7FF, 0xE000, // beside the surrogates
		0xFFFD, 0x10000, // beside the two noncharacters
		0x1FFFE, 0x10FFFF, // noncharacters that XML allows
	} {
		assert.NoError(t, wxqrcode.Permanent(wxqrcode.SceneStr("a"+string(r))).Validate(), "%U", r)
	}
}

func TestLifetimeIsCheckedThenRoundedDown(t *testing.T) {
	for _, tt := range []struct {
		name     string
		lifetime time.Duration
		seconds  int64
	}{
		{"a second", time.Second, 1},
		{"a second and a nanosecond", time.Second + 1, 1},
		{"a nanosecond before two seconds", 2*time.Second - 1, 1},
		{"what time.Until gives for an hour from now", time.Hour - 42*time.Microsecond, 3599},
		{"what time.Until gives for 30 days from now", month - 1, 2591999},
		{"30 days", month, 2592000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := wxqrcode.Temporary(wxqrcode.SceneID(1), tt.lifetime)
			assert.Equal(t, time.Duration(tt.seconds)*time.Second, r.Lifetime())
			body, err := r.Body()
			require.NoError(t, err)
			assert.Equal(t,
				`{"expire_seconds":`+strconv.FormatInt(tt.seconds, 10)+`,"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":1}}}`,
				string(body))
		})
	}
}

func TestQRCodeReadsItsOwnJSON(t *testing.T) {
	expires := time.Date(2026, 2, 28, 23, 59, 59, 123456789, time.UTC)
	for _, tt := range []struct {
		name string
		code wxqrcode.QRCode
		json string
	}{
		{
			"a temporary code",
			wxqrcode.QRCode{Ticket: "gQH4/+==", URL: "http://weixin.qq.com/q/kZgf", Lifetime: 90 * time.Second, ExpiresAt: expires},
			`{"ticket":"gQH4/+==","url":"http://weixin.qq.com/q/kZgf","expire_seconds":90,"expires_at":"2026-02-28T23:59:59.123456789Z"}`,
		},
		{
			"a permanent code has no end",
			wxqrcode.QRCode{Ticket: "gQH4", URL: "http://weixin.qq.com/q/kZgf"},
			`{"ticket":"gQH4","url":"http://weixin.qq.com/q/kZgf"}`,
		},
		{
			"a code of an early server, without a URL",
			wxqrcode.QRCode{Ticket: "gQH4", Lifetime: month, ExpiresAt: expires},
			`{"ticket":"gQH4","url":"","expire_seconds":2592000,"expires_at":"2026-02-28T23:59:59.123456789Z"}`,
		},
		{
			"a code of one second",
			wxqrcode.QRCode{Ticket: "gQH4", URL: "u", Lifetime: time.Second, ExpiresAt: expires},
			`{"ticket":"gQH4","url":"u","expire_seconds":1,"expires_at":"2026-02-28T23:59:59.123456789Z"}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			value, err := json.Marshal(tt.code)
			require.NoError(t, err)
			assert.Equal(t, tt.json, string(value))
			pointer, err := json.Marshal(&tt.code)
			require.NoError(t, err)
			assert.Equal(t, tt.json, string(pointer))

			back := wxqrcode.QRCode{Ticket: "old", URL: "old", Lifetime: 1, ExpiresAt: time.Unix(1, 0)}
			require.NoError(t, json.Unmarshal(value, &back))
			assert.Equal(t, tt.code, back)

			var list []wxqrcode.QRCode
			require.NoError(t, json.Unmarshal([]byte("["+tt.json+"]"), &list))
			assert.Equal(t, []wxqrcode.QRCode{tt.code}, list)
		})
	}
}

func TestQRCodeIsLeftAsItIsByNull(t *testing.T) {
	code := wxqrcode.QRCode{Ticket: "t"}
	require.NoError(t, json.Unmarshal([]byte("null"), &code))
	assert.Equal(t, wxqrcode.QRCode{Ticket: "t"}, code)
}

func TestQRCodeWritesWholeSeconds(t *testing.T) {
	b, err := json.Marshal(wxqrcode.QRCode{Ticket: "t", Lifetime: 2*time.Second - 1})
	require.NoError(t, err)
	assert.JSONEq(t, `{"ticket":"t","url":"","expire_seconds":1}`, string(b))
}

func TestQRCodeRefusesJSONThatIsNone(t *testing.T) {
	for _, tt := range []struct {
		name, json string
		value      string // of expire_seconds, if that is what is wrong
	}{
		{"a negative lifetime", `{"ticket":"t","expire_seconds":-1}`, "-1"},
		{"a lifetime of more than 30 days", `{"ticket":"t","expire_seconds":2592001}`, "2592001"},
		{"a lifetime that would overflow a Duration", `{"ticket":"t","expire_seconds":9223372036854775807}`, "9223372036854775807"},
		{"a lifetime in words", `{"ticket":"t","expire_seconds":"60"}`, ""},
		{"a fraction of a second", `{"ticket":"t","expire_seconds":1.5}`, ""},
		{"an end that is no time", `{"ticket":"t","expires_at":"tomorrow"}`, ""},
		{"a ticket that is no text", `{"ticket":1}`, ""},
		{"a list", `[]`, ""},
		{"half an object", `{"ticket":"t"`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := wxqrcode.QRCode{Ticket: "old", URL: "old", Lifetime: time.Hour, ExpiresAt: time.Unix(1, 0)}
			code := before
			err := code.UnmarshalJSON([]byte(tt.json))
			require.Error(t, err)
			assert.Equal(t, before, code, "half read")
			assert.Regexp(t, `^wxqrcode: `, err.Error())
			var invalid *wxqrcode.ValidationError
			if tt.value == "" {
				assert.NotErrorAs(t, err, &invalid)
				return
			}
			require.ErrorAs(t, err, &invalid)
			assert.Equal(t, "expire_seconds", invalid.Field)
			assert.Equal(t, tt.value, invalid.Value)
			assert.Contains(t, invalid.Reason, "0 to 2592000")
		})
	}
}
