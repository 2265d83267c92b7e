package wxqrcode_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// everySentinel is what errors of the package may match.
var everySentinel = map[string]error{
	"ErrInvalidRequest":     wxqrcode.ErrInvalidRequest,
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
	"ErrNoToken":            wxqrcode.ErrNoToken,
}

// matched names the sentinels that err matches.
func matched(err error) []string {
	names := []string{}
	for name, sentinel := range everySentinel {
		if errors.Is(err, sentinel) {
			names = append(names, name)
		}
	}
	return names
}

func TestSentinelsAreDifferentAndSayWhoseTheyAre(t *testing.T) {
	texts := map[string]bool{}
	for name, sentinel := range everySentinel {
		assert.Equal(t, []string{name}, matched(sentinel))
		assert.Regexp(t, `^wxqrcode: [a-z]`, sentinel.Error())
		texts[sentinel.Error()] = true
	}
	assert.Len(t, texts, len(everySentinel))
}

func TestAPIErrorMatchesWhatItsCodeStandsForAndAdvises(t *testing.T) {
	const (
		forCreate = "create"
		forImage  = "image"
		forToken  = "token"
		forStable = "stable_token"
	)
	share := []string{"another program", "share one TokenSource", "stable_token"}
	account := []string{"verified service account", "mp.weixin.qq.com"}
	allow := []string{"IP address", "allowlist", "IP白名单"}
	report := []string{"report this"}
	for _, tt := range []struct {
		op       string
		code     int
		sentinel string
		advice   []string
	}{
		{forCreate, -1, "ErrSystemBusy", []string{"WeChat is busy", "try again"}},
		{forStable, -1, "ErrSystemBusy", []string{"WeChat is busy", "try again"}},

		{forCreate, 40001, "ErrInvalidToken", share},
		{forImage, 40001, "ErrInvalidToken", share},
		{"", 40001, "ErrInvalidToken", share},
		{forCreate, 40014, "ErrInvalidToken", share},
		{forToken, 40014, "ErrInvalidToken", share},
		{forCreate, 42001, "ErrInvalidToken", []string{"expired", "fetch a new one"}},
		{forCreate, 41001, "ErrInvalidToken", []string{"no access token"}},

		{forToken, 40001, "ErrInvalidCredential", []string{"AppSecret is wrong", "configuration"}},
		{forStable, 40001, "ErrInvalidCredential", []string{"AppSecret is wrong", "configuration"}},
		{forStable, 40002, "ErrInvalidCredential", []string{"grant type"}},
		{forStable, 40013, "ErrInvalidCredential", []string{"AppID is wrong", "configuration"}},
		{forStable, 41002, "ErrInvalidCredential", []string{"AppID is missing", "configuration"}},
		{forStable, 40125, "ErrInvalidCredential", []string{"AppSecret is wrong", "configuration"}},
		{forStable, 41004, "ErrInvalidCredential", []string{"AppSecret is missing", "configuration"}},
		{forToken, 40243, "ErrInvalidCredential", []string{"AppSecret is frozen", "unfreeze"}},
		{forCreate, 61024, "ErrInvalidCredential", []string{"third-party platform"}},

		{forStable, 40164, "ErrIPNotAllowed", allow},
		{forStable, 61004, "ErrIPNotAllowed", allow},
		{forStable, 89501, "ErrIPNotAllowed", append([]string{"administrator", "must confirm"}, allow...)},
		{forStable, 89503, "ErrIPNotAllowed", append([]string{"administrator", "must confirm"}, allow...)},
		{forStable, 89506, "ErrIPNotAllowed", append([]string{"administrator", "refused", "a day"}, allow...)},
		{forStable, 89507, "ErrIPNotAllowed", append([]string{"administrator", "refused", "an hour"}, allow...)},

		{forCreate, 40033, "ErrInvalidRequest", report},
		{forCreate, 40035, "ErrInvalidRequest", report},
		{forCreate, 40038, "ErrInvalidRequest", report},
		{forCreate, 40052, "ErrInvalidRequest", report},
		{forCreate, 40053, "ErrInvalidRequest", report},
		{forCreate, 47001, "ErrInvalidRequest", report},
		{forCreate, 47002, "ErrInvalidRequest", report},
		{forCreate, 40066, "ErrInvalidRequest", []string{"URL is wrong", "WithAPIURL"}},
		{forStable, 43002, "ErrInvalidRequest", []string{"POST", "proxy"}},
		{forCreate, 43003, "ErrInvalidRequest", []string{"HTTPS", "WithAPIURL"}},
		{forCreate, 44002, "ErrInvalidRequest", []string{"body was empty", "proxy"}},

		{forCreate, 45009, "ErrQuotaExceeded", []string{"next day", "clear the quota", "10 times a month"}},
		{forCreate, 45029, "ErrQuotaExceeded", []string{"permanent codes", "use temporary codes"}},
		{forCreate, 45011, "ErrRateLimited", []string{"minute", "wait"}},

		{forCreate, 48001, "ErrUnauthorized", account},
		{forCreate, 48004, "ErrUnauthorized", append([]string{"banned"}, account...)},
		{forCreate, 50001, "ErrUnauthorized", account},
		{forCreate, 50002, "ErrUnauthorized", append([]string{"restricted"}, account...)},
		{forToken, 50004, "ErrUnauthorized", append([]string{"may not fetch tokens"}, account...)},
		{forToken, 50007, "ErrUnauthorized", append([]string{"frozen"}, account...)},
		{forCreate, 45103, "ErrUnauthorized", []string{"another account's token"}},
	} {
		t.Run(fmt.Sprintf("%d from %q", tt.code, tt.op), func(t *testing.T) {
			err := &wxqrcode.APIError{Op: tt.op, Code: tt.code, Message: "what WeChat said", HTTPStatus: http.StatusOK}
			assert.Equal(t, []string{tt.sentinel}, matched(err))
			assert.Equal(t, []string{tt.sentinel}, matched(fmt.Errorf("shop: %w", err)))
			assert.True(t, strings.HasPrefix(err.Error(), fmt.Sprintf("wxqrcode: %s: errcode %d: what WeChat said: ", tt.op, tt.code)), err)
			for _, words := range tt.advice {
				assert.ErrorContains(t, err, words)
			}
		})
	}
}

func TestAPIErrorOfAnErrcodeDoesNotLookAtTheStatus(t *testing.T) {
	for _, status := range []int{0, http.StatusNotFound, http.StatusTooManyRequests, http.StatusBadGateway} {
		err := &wxqrcode.APIError{Op: "image", Code: 45009, Message: "quota", HTTPStatus: status}
		assert.Equal(t, []string{"ErrQuotaExceeded"}, matched(err), status)
		assert.Regexp(t, `^wxqrcode: image: errcode 45009: quota: `, err.Error())
	}
}

func TestAPIErrorWithoutAnErrcodeGoesByTheStatus(t *testing.T) {
	for _, tt := range []struct {
		name     string
		err      wxqrcode.APIError
		sentinel string
		text     string // as a pattern
	}{
		{
			"429 from a call is a limit", wxqrcode.APIError{Op: "create", HTTPStatus: 429, Message: "an error page"}, "ErrRateLimited",
			`^wxqrcode: create: HTTP status 429: an error page: too many calls within a minute: wait`,
		},
		{
			"429 from the image host is a limit", wxqrcode.APIError{Op: "image", HTTPStatus: 429, Message: "an error page"}, "ErrRateLimited",
			`^wxqrcode: image: HTTP status 429: an error page: too many calls within a minute: wait`,
		},
		{
			"404 for an image means the ticket", wxqrcode.APIError{Op: "image", HTTPStatus: 404, Message: "no image"}, "ErrTicketNotFound",
			`^wxqrcode: image: HTTP status 404: no image: the ticket is wrong, or its code is dead: make a new one$`,
		},
		{
			"404 from another call means the URL", wxqrcode.APIError{Op: "create", HTTPStatus: 404, Message: "an error page"}, "ErrUnexpectedResponse",
			`^wxqrcode: create: unexpected response: HTTP status 404: an error page$`,
		},
		{
			"502", wxqrcode.APIError{Op: "create", HTTPStatus: 502, Message: "an error page"}, "ErrUnexpectedResponse",
			`^wxqrcode: create: unexpected response: HTTP status 502: an error page$`,
		},
		{
			"502 for an image", wxqrcode.APIError{Op: "image", HTTPStatus: 502, Message: "an error page"}, "ErrUnexpectedResponse",
			`^wxqrcode: image: unexpected response: HTTP status 502: an error page$`,
		},
		{
			"200 and no ticket", wxqrcode.APIError{Op: "create", HTTPStatus: 200, Message: "no ticket"}, "ErrUnexpectedResponse",
			`^wxqrcode: create: unexpected response: HTTP status 200: no ticket$`,
		},
		{
			"the zero APIError", wxqrcode.APIError{}, "ErrUnexpectedResponse",
			`^wxqrcode: : unexpected response: HTTP status 0: $`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, []string{tt.sentinel}, matched(&tt.err))
			assert.Regexp(t, tt.text, tt.err.Error())
		})
	}
}

func TestAPIErrorOfAnUnknownCodeMatchesOneSentinelToo(t *testing.T) {
	for _, op := range []string{"create", "image", "token", "stable_token"} {
		for _, status := range []int{http.StatusOK, http.StatusNotFound, http.StatusTooManyRequests} {
			err := &wxqrcode.APIError{Op: op, Code: 99999, Message: "something new", HTTPStatus: status}
			assert.Equal(t, []string{"ErrUnexpectedResponse"}, matched(err))
			assert.EqualError(t, err, "wxqrcode: "+op+": errcode 99999: something new: look the code up in WeChat's table of errcodes")
		}
	}
}

func TestAPIErrorNamesTheRequestIDLast(t *testing.T) {
	err := &wxqrcode.APIError{
		Op: "stable_token", Code: 40013, Message: "invalid appid",
		RequestID: "5f69b2e4-53f3fc1f-093ca3a3", HTTPStatus: http.StatusOK,
	}
	assert.EqualError(t, err, "wxqrcode: stable_token: errcode 40013: invalid appid: "+
		"the AppID is wrong: correct the configuration (rid 5f69b2e4-53f3fc1f-093ca3a3)")

	err.RequestID = ""
	assert.NotContains(t, err.Error(), "rid")
}

func TestAPIErrorNamesTheAddressToAllow(t *testing.T) {
	const nobody = "this machine's IP address"
	for _, tt := range []struct {
		name, message, address string
	}{
		{"the form of the token call", "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist", "1.2.3.4"},
		{"an IPv4 address alone", "invalid ip 36.110.1.2, not in whitelist", "36.110.1.2"},
		{"an IPv4 address in the dress of IPv6", "invalid ip ::ffff:1.2.3.4, not in whitelist", "1.2.3.4"},
		{"an IPv6 address", "invalid ip 2408:4003:1094:1::b ipv6 2408:4003:1094:1::b, not in whitelist", "2408:4003:1094:1::b"},
		{"an IPv6 address where the IPv4 one is missing", "invalid ip  ipv6 2408:4003:1094:1::b, not in whitelist", "2408:4003:1094:1::b"},
		{"requestIP", "access clientip is not registered requestIP: 36.110.1.2", "36.110.1.2"},
		{"requestIP without a blank", "access clientip is not registered requestIP:36.110.1.2", "36.110.1.2"},
		{"requestIP with IPv6", "access clientip is not registered requestIP: 2408:4003:1094:1::b", "2408:4003:1094:1::b"},
		{"requestIP with IPv6 and no blank", "not registered requestIP:2408:4003:1094:1::b", "2408:4003:1094:1::b"},
		{"a semicolon behind it", "requestIP: 36.110.1.2; not registered", "36.110.1.2"},
		{"no address", "not in whitelist", nobody},
		{"what is no address", "invalid ip 1.2.3.400, not in whitelist", nobody},
	} {
		for _, code := range []int{40164, 61004, 89501, 89503, 89506, 89507} {
			t.Run(fmt.Sprintf("%s, %d", tt.name, code), func(t *testing.T) {
				err := &wxqrcode.APIError{Op: "stable_token", Code: code, Message: tt.message, HTTPStatus: http.StatusOK}
				assert.Equal(t, []string{"ErrIPNotAllowed"}, matched(err))
				assert.ErrorContains(t, err, ": "+tt.message+": add "+tt.address+" to the account's IP allowlist")
				if tt.address != nobody {
					assert.NotContains(t, err.Error(), nobody)
				}
			})
		}
	}
}

func TestAPIErrorLooksForAnAddressOnlyWhereOneWasRefused(t *testing.T) {
	err := &wxqrcode.APIError{Op: "create", Code: 40038, Message: "invalid ip 1.2.3.4", HTTPStatus: http.StatusOK}
	assert.EqualError(t, err, "wxqrcode: create: errcode 40038: invalid ip 1.2.3.4: the request is wrong: please report this, with the scene")
}

func TestValidationErrorNamesFieldValueAndReason(t *testing.T) {
	long := strings.Repeat("扫", 100) // 300 bytes
	for _, tt := range []struct {
		name string
		err  wxqrcode.ValidationError
		want string
	}{
		{
			"a value", wxqrcode.ValidationError{Field: "scene_id", Value: "0", Reason: "must be 1 to 100000"},
			`wxqrcode: invalid request: scene_id "0" must be 1 to 100000`,
		},
		{
			"no value", wxqrcode.ValidationError{Field: "scene_str", Reason: "must be 1 to 64 bytes long"},
			`wxqrcode: invalid request: scene_str must be 1 to 64 bytes long`,
		},
		{
			"a value with a quote", wxqrcode.ValidationError{Field: "scene_str", Value: `a"b`, Reason: "is odd"},
			`wxqrcode: invalid request: scene_str "a\"b" is odd`,
		},
		{
			"a value on two lines comes on one", wxqrcode.ValidationError{Field: "scene_str", Value: "a\nb", Reason: "is odd"},
			`wxqrcode: invalid request: scene_str "a\nb" is odd`,
		},
		{
			"a long value is cut between characters", wxqrcode.ValidationError{Field: "scene_str", Value: long, Reason: "is long"},
			`wxqrcode: invalid request: scene_str "` + strings.Repeat("扫", 66) + `…" is long`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.EqualError(t, &tt.err, tt.want)
			assert.True(t, utf8.ValidString(tt.err.Error()))
			assert.Equal(t, []string{"ErrInvalidRequest"}, matched(&tt.err))
			assert.Equal(t, []string{"ErrInvalidRequest"}, matched(fmt.Errorf("shop: %w", &tt.err)))
		})
	}
}

func TestErrorsCanBeTakenApart(t *testing.T) {
	wrapped := fmt.Errorf("shop: %w", error(&wxqrcode.APIError{
		Op: "create", Code: 45009, Message: "reach max api daily quota limit", RequestID: "rid-1", HTTPStatus: http.StatusOK,
	}))
	var api *wxqrcode.APIError
	require.ErrorAs(t, wrapped, &api)
	assert.Equal(t, wxqrcode.APIError{
		Op: "create", Code: 45009, Message: "reach max api daily quota limit", RequestID: "rid-1", HTTPStatus: http.StatusOK,
	}, *api)
	var invalid *wxqrcode.ValidationError
	assert.NotErrorAs(t, wrapped, &invalid)
}
