package wxqrcode_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

func TestQRCode_JSON(t *testing.T) {
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

func TestQRCode_JSONNull(t *testing.T) {
	code := wxqrcode.QRCode{Ticket: "t"}
	require.NoError(t, json.Unmarshal([]byte("null"), &code))
	assert.Equal(t, wxqrcode.QRCode{Ticket: "t"}, code)
}

func TestQRCode_JSONWholeSeconds(t *testing.T) {
	b, err := json.Marshal(wxqrcode.QRCode{Ticket: "t", Lifetime: 2*time.Second - 1})
	require.NoError(t, err)
	assert.JSONEq(t, `{"ticket":"t","url":"","expire_seconds":1}`, string(b))
}

func TestQRCode_InvalidJSON(t *testing.T) {
	for _, tt := range []struct {
		name, json string
		value      string // of expire_seconds, if it is invalid
	}{
		{"a negative lifetime", `{"ticket":"t","expire_seconds":-1}`, "-1"},
		{"a lifetime of more than 30 days", `{"ticket":"t","expire_seconds":2592001}`, "2592001"},
		{"a lifetime that would overflow a Duration", `{"ticket":"t","expire_seconds":9223372036854775807}`, "9223372036854775807"},
		{"a lifetime that is a string", `{"ticket":"t","expire_seconds":"60"}`, ""},
		{"a fraction of a second", `{"ticket":"t","expire_seconds":1.5}`, ""},
		{"an invalid expiry", `{"ticket":"t","expires_at":"tomorrow"}`, ""},
		{"a ticket that is a number", `{"ticket":1}`, ""},
		{"a list", `[]`, ""},
		{"a truncated object", `{"ticket":"t"`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := wxqrcode.QRCode{Ticket: "old", URL: "old", Lifetime: time.Hour, ExpiresAt: time.Unix(1, 0)}
			code := before
			err := code.UnmarshalJSON([]byte(tt.json))
			require.Error(t, err)
			assert.Equal(t, before, code, "partly read")
			assert.Regexp(t, `^wxqrcode: `, err.Error())
			var invalid *wxqrcode.ValidationError
			if tt.value == "" {
				assert.NotErrorAs(t, err, &invalid)
				return
			}
			require.ErrorAs(t, err, &invalid)
			assert.Equal(t, "expire_seconds", invalid.Field)
			assert.Equal(t, tt.value, invalid.Value)
			assert.Contains(t, invalid.Reason, "2592000")
		})
	}
}
