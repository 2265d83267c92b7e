package wxqrcode_test

import (
	"errors"
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
)

var sentinels = map[string]error{
	"ErrInvalidRequest":     wxqrcode.ErrInvalidRequest,
	"ErrInvalidConfig":      wxqrcode.ErrInvalidConfig,
	"ErrInvalidToken":       wxqrcode.ErrInvalidToken,
	"ErrInvalidCredential":  wxqrcode.ErrInvalidCredential,
	"ErrIPNotAllowed":       wxqrcode.ErrIPNotAllowed,
	"ErrQuotaExceeded":      wxqrcode.ErrQuotaExceeded,
	"ErrRateLimited":        wxqrcode.ErrRateLimited,
	"ErrUnauthorized":       wxqrcode.ErrUnauthorized,
	"ErrSystemBusy":         wxqrcode.ErrSystemBusy,
	"ErrTicketNotFound":     wxqrcode.ErrTicketNotFound,
	"ErrMalformedEvent":     wxqrcode.ErrMalformedEvent,
	"ErrMalformedTicket":    wxqrcode.ErrMalformedTicket,
	"ErrUnexpectedResponse": wxqrcode.ErrUnexpectedResponse,
	"ErrTokenNotFound":      wxqrcode.ErrTokenNotFound,
	"ErrNotAttempted":       wxqrcode.ErrNotAttempted,
}

// matched returns the names of the sentinels that err matches.
func matched(err error) []string {
	names := []string{}
	for name, sentinel := range sentinels {
		if errors.Is(err, sentinel) {
			names = append(names, name)
		}
	}
	return names
}

func TestSentinels_Distinct(t *testing.T) {
	texts := map[string]bool{}
	for name, sentinel := range sentinels {
		assert.Equal(t, []string{name}, matched(sentinel))
		assert.Regexp(t, `^wxqrcode: [a-z]`, sentinel.Error())
		texts[sentinel.Error()] = true
	}
	assert.Len(t, texts, len(sentinels))
}

func TestAPIError_MatchesTheSentinelOfItsCode(t *testing.T) {
	for _, test := range []struct {
		op       string
		sentinel string
		codes    []int
	}{
		{"create", "ErrSystemBusy", []int{-1}},
		{"stable_token", "ErrSystemBusy", []int{-1}},
		{"create", "ErrInvalidToken", []int{40001, 40014, 41001, 42001}},
		{"image", "ErrInvalidToken", []int{40001}},
		{"", "ErrInvalidToken", []int{40001}},
		{"token", "ErrInvalidToken", []int{40014}},
		{"token", "ErrInvalidCredential", []int{40001, 40243}},
		{"stable_token", "ErrInvalidCredential", []int{40001, 40002, 40013, 40125, 41002, 41004}},
		{"create", "ErrInvalidCredential", []int{61024, 41018, 61005, 61006, 61011, 61023}},
		{"stable_token", "ErrIPNotAllowed", []int{40164, 61004, 89501, 89503, 89506, 89507}},
		{"create", "ErrInvalidRequest", []int{40003, 40033, 40035, 40038, 40052, 40053, 40066, 40097, 43001, 43002, 43003, 44002, 47001, 47002}},
		{"quota", "ErrInvalidRequest", []int{76003, 76021, 76022, 40201, 40202, 40203}},
		{"create", "ErrQuotaExceeded", []int{45009, 45029, 48006}},
		{"create", "ErrRateLimited", []int{45011}},
		{"create", "ErrUnauthorized", []int{48001, 48004, 50001, 50002, 50004, 50007, 45103, 61003, 61007, 85107, 85113}},
		{"create", "ErrUnexpectedResponse", []int{99999, 1}},
	} {
		for _, code := range test.codes {
			t.Run(fmt.Sprintf("%d of %q", code, test.op), func(t *testing.T) {
				for _, status := range []int{0, http.StatusOK, http.StatusNotFound, http.StatusTooManyRequests} { // which does not matter
					err := &wxqrcode.APIError{Op: test.op, Code: code, Message: "what WeChat said", HTTPStatus: status}
					assert.Equal(t, []string{test.sentinel}, matched(err))
					assert.Equal(t, []string{test.sentinel}, matched(fmt.Errorf("shop: %w", err)))
					prefix := fmt.Sprintf("wxqrcode: %s: errcode %d: what WeChat said; ", test.op, code)
					assert.True(t, strings.HasPrefix(err.Error(), prefix), err)
					assert.Greater(t, len(err.Error()), len(prefix), "a hint")
				}
			})
		}
	}
}

// The exact texts, once.
func TestErrors_Texts(t *testing.T) {
	long := strings.Repeat("扫", 100) // 300 bytes
	for _, test := range []struct {
		err  error
		want string
	}{
		{
			&wxqrcode.APIError{Op: "stable_token", Code: 40013, Message: "invalid appid", RequestID: "5f69b2e4-53f3fc1f-093ca3a3"},
			"wxqrcode: stable_token: errcode 40013: invalid appid; the AppID is wrong: correct the configuration (rid 5f69b2e4-53f3fc1f-093ca3a3)",
		},
		{
			&wxqrcode.APIError{Op: "create", Code: 45011, Message: "limit", RetryAt: time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)},
			"wxqrcode: create: errcode 45011: limit; too many requests within a minute: wait for the next minute; it resets at 2026-01-01T00:01:00Z",
		},
		{
			&wxqrcode.APIError{Op: "create", Code: 40001, Message: "invalid credential"},
			"wxqrcode: create: errcode 40001: invalid credential; another program fetched a token for this account, " +
				"or the token belongs to another account: share one TokenSource, or use stable_token everywhere",
		},
		{
			&wxqrcode.APIError{Op: "create", Code: 40038, Message: "invalid ip 1.2.3.4"},
			"wxqrcode: create: errcode 40038: invalid ip 1.2.3.4; the request is wrong: report this with the scene to the maintainers of wxqrcode",
		},
		{
			&wxqrcode.APIError{Op: "create", Code: 99999, Message: "something new"},
			"wxqrcode: create: errcode 99999: something new; look up the errcode in WeChat's table",
		},
		{
			&wxqrcode.ResponseError{Op: "create", HTTPStatus: 502, ContentType: "text/html", Length: 12, Reason: "not JSON"},
			"wxqrcode: create: unexpected response: HTTP status 502, text/html, 12 bytes: not JSON; " +
				"does a proxy or a login page respond in place of WeChat?",
		},
		{
			&wxqrcode.ResponseError{Op: "create", HTTPStatus: 429, Reason: "not JSON"},
			"wxqrcode: create: unexpected response: HTTP status 429, no content type, 0 bytes: not JSON; " +
				"too many requests within a minute: wait for the next minute",
		},
		{
			&wxqrcode.ResponseError{Op: "image", HTTPStatus: 404, Reason: "not an image"},
			"wxqrcode: image: unexpected response: HTTP status 404, no content type, 0 bytes: not an image; " +
				"the ticket is wrong or its code expired, create a new one",
		},
		{
			&wxqrcode.ValidationError{Field: "scene_id", Value: "0", Reason: "must be 1 to 100000"},
			`wxqrcode: invalid scene_id: must be 1 to 100000, got "0"`,
		},
		{
			&wxqrcode.ValidationError{Field: "scene_str", Reason: "must be 1 to 64 bytes long"},
			`wxqrcode: invalid scene_str: must be 1 to 64 bytes long`,
		},
		{
			&wxqrcode.ValidationError{Field: "scene_str", Value: "a\"b\n", Reason: "must be even"},
			`wxqrcode: invalid scene_str: must be even, got "a\"b\n"`,
		},
		{
			&wxqrcode.ValidationError{Field: "scene_str", Value: long, Reason: "must be short"},
			`wxqrcode: invalid scene_str: must be short, got "` + strings.Repeat("扫", 66) + `…"`,
		},
	} {
		assert.EqualError(t, test.err, test.want)
		assert.True(t, utf8.ValidString(test.err.Error()))
	}
}

func TestResponseError_Matches(t *testing.T) {
	for _, test := range []struct {
		op     string
		status int
		want   []string
	}{
		{"create", 200, []string{"ErrUnexpectedResponse"}},
		{"create", 404, []string{"ErrUnexpectedResponse"}},
		{"create", 502, []string{"ErrUnexpectedResponse"}},
		{"image", 502, []string{"ErrUnexpectedResponse"}},
		{"image", 404, []string{"ErrUnexpectedResponse", "ErrTicketNotFound"}},
		{"create", 429, []string{"ErrUnexpectedResponse", "ErrRateLimited"}},
		{"image", 429, []string{"ErrUnexpectedResponse", "ErrRateLimited"}},
		{"", 0, []string{"ErrUnexpectedResponse"}},
	} {
		err := &wxqrcode.ResponseError{Op: test.op, HTTPStatus: test.status}
		assert.ElementsMatch(t, test.want, matched(fmt.Errorf("shop: %w", err)))
	}
}

func TestValidationError_MatchesItsErr(t *testing.T) {
	for name, err := range map[string]error{"ErrInvalidRequest": wxqrcode.ErrInvalidRequest, "ErrInvalidConfig": wxqrcode.ErrInvalidConfig} {
		assert.Equal(t, []string{name}, matched(fmt.Errorf("shop: %w", &wxqrcode.ValidationError{Err: err})))
	}
	assert.Empty(t, matched(&wxqrcode.ValidationError{}))
}

func TestAPIError_NamesTheRejectedIPAddress(t *testing.T) {
	const unknown = "the IP address of this machine"
	for _, test := range []struct{ name, message, address string }{
		{"the form of a token request", "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist", "1.2.3.4"},
		{"an IPv4 address alone", "invalid ip 36.110.1.2, not in whitelist", "36.110.1.2"},
		{"an IPv4-mapped IPv6 address", "invalid ip ::ffff:1.2.3.4, not in whitelist", "1.2.3.4"},
		{"an IPv6 address", "invalid ip 2408:4003:1094:1::b ipv6 2408:4003:1094:1::b, not in whitelist", "2408:4003:1094:1::b"},
		{"an IPv6 address without the IPv4 one", "invalid ip  ipv6 2408:4003:1094:1::b, not in whitelist", "2408:4003:1094:1::b"},
		{"requestIP", "access clientip is not registered requestIP: 36.110.1.2", "36.110.1.2"},
		{"requestIP without a space", "access clientip is not registered requestIP:36.110.1.2", "36.110.1.2"},
		{"requestIP with IPv6", "access clientip is not registered requestIP: 2408:4003:1094:1::b", "2408:4003:1094:1::b"},
		{"requestIP with IPv6 without a space", "not registered requestIP:2408:4003:1094:1::b", "2408:4003:1094:1::b"},
		{"a semicolon after it", "requestIP: 36.110.1.2; not registered", "36.110.1.2"},
		{"no address", "not in whitelist", unknown},
		{"an invalid address", "invalid ip 1.2.3.400, not in whitelist", unknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, code := range []int{40164, 61004, 89501, 89503, 89506, 89507} {
				err := &wxqrcode.APIError{Op: "stable_token", Code: code, Message: test.message}
				assert.ErrorContains(t, err, "add "+test.address+" to the IP allowlist")
			}
		})
	}
}

func TestAPIError_RetryAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // starts at 2000-01-01 00:00 UTC, 08:00 in Shanghai
		time.Sleep(15*time.Hour + 59*time.Minute + 30*time.Second)
		for code, want := range map[int]time.Time{
			45011: time.Date(2000, 1, 1, 16, 0, 0, 0, time.UTC),
			45009: time.Date(2000, 1, 1, 16, 0, 0, 0, time.UTC), // midnight in Shanghai
			45029: {},
			40013: {},
		} {
			client := newStubClient(t, func(*http.Request) (*http.Response, error) { return respond(200, fmt.Sprintf(`{"errcode":%d}`, code)) })
			_, err := client.Create(t.Context(), aCode)
			apiErr, ok := errors.AsType[*wxqrcode.APIError](err)
			require.True(t, ok)
			assert.True(t, apiErr.RetryAt.Equal(want), "%d: %v", code, apiErr.RetryAt)
		}
		time.Sleep(30 * time.Second) // midnight itself belongs to the next day
		client := newStubClient(t, func(*http.Request) (*http.Response, error) { return respond(200, `{"errcode":45009}`) })
		_, err := client.Create(t.Context(), aCode)
		apiErr, ok := errors.AsType[*wxqrcode.APIError](err)
		require.True(t, ok)
		assert.True(t, apiErr.RetryAt.Equal(time.Date(2000, 1, 2, 16, 0, 0, 0, time.UTC)), apiErr.RetryAt)
	})
}
