package wxqrcode

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// The errors of this package match these variables with [errors.Is].
var (
	// ErrInvalidRequest: a value of a request is out of range. Either this package
	// rejected it before anything was sent ([*ValidationError]), or WeChat did
	// ([*APIError]: 40003, 40033, 40035, 40038, 40052, 40053, 40066, 40097, 40201,
	// 40202, 40203, 43001, 43002, 43003, 44002, 47001, 47002, 76003, 76021,
	// 76022).
	ErrInvalidRequest = errors.New("wxqrcode: invalid request")

	// ErrInvalidConfig: an option, a setting or a constructor argument is invalid
	// ([*ValidationError]).
	ErrInvalidConfig = errors.New("wxqrcode: invalid configuration")

	// ErrInvalidToken: the access token is invalid, expired or missing (40001,
	// 40014, 41001, 42001), and no other token was available.
	ErrInvalidToken = errors.New("wxqrcode: invalid access token")

	// ErrInvalidCredential: the AppID or the AppSecret is wrong or frozen (40002,
	// 40013, 40125, 40243, 41002, 41004, 61024, and 40001 of a token request), or
	// those of a third-party platform are (41018, 61005, 61006, 61011, 61023).
	ErrInvalidCredential = errors.New("wxqrcode: invalid appid or secret")

	// ErrIPNotAllowed: the IP allowlist of the account does not contain this
	// machine (40164, 61004, 89501, 89503, 89506, 89507). The text of the error
	// names the address.
	ErrIPNotAllowed = errors.New("wxqrcode: ip address not allowed")

	// ErrQuotaExceeded: a quota is used up: the requests of the day (45009), the
	// permanent codes of the account (45029), or the quota resets of the month
	// (48006). [APIError] has the Code and, where it is known, RetryAt.
	ErrQuotaExceeded = errors.New("wxqrcode: quota exceeded")

	// ErrRateLimited: too many requests within a minute (45011, HTTP 429).
	ErrRateLimited = errors.New("wxqrcode: rate limited")

	// ErrUnauthorized: the account may not use this API (48001, 48004, 50001,
	// 50002, 50004, 50007, 45103), has not authorized the third-party platform
	// (61003, 61007), or has not enabled the API in cloud hosting (85107, 85113).
	ErrUnauthorized = errors.New("wxqrcode: not authorized")

	// ErrSystemBusy: WeChat was busy at every attempt (-1).
	ErrSystemBusy = errors.New("wxqrcode: system busy")

	// ErrTicketNotFound: there is no image for the ticket (HTTP 404). The ticket
	// is wrong, or its code expired.
	ErrTicketNotFound = errors.New("wxqrcode: ticket not found")

	// ErrMalformedEvent: the body is not a valid WeChat message. See [ParseEvent].
	ErrMalformedEvent = errors.New("wxqrcode: malformed event")

	// ErrMalformedTicket: the ticket does not have the known layout. See
	// [Ticket.Inspect].
	ErrMalformedTicket = errors.New("wxqrcode: malformed ticket")

	// ErrUnexpectedResponse: the response does not come from the API
	// ([*ResponseError]), is truncated, or has an unknown errcode.
	ErrUnexpectedResponse = errors.New("wxqrcode: unexpected response")

	// ErrTokenNotFound: the [TokenStore] has no token for the key.
	ErrTokenNotFound = errors.New("wxqrcode: token not found")

	// ErrNotAttempted: a request of a batch was not attempted because the batch
	// stopped. The error wraps the cause. See [Client.CreateAll].
	ErrNotAttempted = errors.New("wxqrcode: not attempted")
)

// A ValidationError reports a value that is out of range.
type ValidationError struct {
	Field  string // as the caller or WeChat names it, such as Lifetime or scene_str
	Value  string // as it was given; empty for a secret
	Reason string // what is allowed
	Err    error  // ErrInvalidRequest or ErrInvalidConfig
}

// Error names the field, what is allowed and the value.
func (e *ValidationError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("wxqrcode: invalid %s: %s", e.Field, e.Reason)
	}
	return fmt.Sprintf("wxqrcode: invalid %s: %s, got %q", e.Field, e.Reason, truncate(e.Value))
}

// Unwrap returns e.Err.
func (e *ValidationError) Unwrap() error { return e.Err }

func invalidRequest(field, value, reason string) error {
	return &ValidationError{Field: field, Value: value, Reason: reason, Err: ErrInvalidRequest}
}

func invalidConfig(field, value, reason string) error {
	return &ValidationError{Field: field, Value: value, Reason: reason, Err: ErrInvalidConfig}
}

// An APIError is an error response of WeChat. It matches the error of this
// package to which Code belongs.
//
// See https://developers.weixin.qq.com/doc/oplatform/developers/errCode/errCode.html.
type APIError struct {
	Op         string // the operation: create, image, token or stable_token
	Code       int    // errcode
	Message    string // errmsg without the request ID
	RequestID  string // rid, hint or req_id: quote it when asking WeChat; may be empty
	HTTPStatus int
	RetryAt    time.Time // when the quota (45009) or the rate limit (45011) resets; else zero
}

// Error contains the operation, the errcode, the errmsg and what to do about
// it.
func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "wxqrcode: %s: errcode %d: %s; %s", e.Op, e.Code, e.Message, e.hint())
	if !e.RetryAt.IsZero() {
		fmt.Fprintf(&b, "; it resets at %s", e.RetryAt.Format(time.RFC3339))
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (rid %s)", e.RequestID)
	}
	return b.String()
}

// Is reports whether target is the error to which Code belongs.
func (e *APIError) Is(target error) bool { return target == e.info().sentinel }

func (e *APIError) hint() string {
	info := e.info()
	if ip := rejectedIP(e.Message); ip != "" {
		return strings.Replace(info.hint, thisMachine, ip, 1)
	}
	return info.hint
}

func (e *APIError) info() errcodeInfo {
	if e.Code == errcodeInvalidCredential && (e.Op == opToken || e.Op == opStableToken) {
		return errcodes[40125]
	}
	if info, ok := errcodes[e.Code]; ok {
		return info
	}
	return errcodeInfo{ErrUnexpectedResponse, "look up the errcode in WeChat's table"}
}

// A ResponseError reports a response that does not come from the API, such as
// the error page of a proxy. It describes the response and never quotes it.
//
// It matches [ErrUnexpectedResponse]; with HTTP status 429 [ErrRateLimited]
// too, and with 404 for an image [ErrTicketNotFound] too.
type ResponseError struct {
	Op          string // the operation, as in [APIError]
	HTTPStatus  int
	ContentType string // media type without parameters; may be empty
	Length      int64  // bytes of the body, as far as known
	Reason      string // why the response is unexpected
}

// Error describes the response and says what to do about it.
func (e *ResponseError) Error() string {
	text := fmt.Sprintf("wxqrcode: %s: unexpected response: HTTP status %d, %s, %d bytes: %s",
		e.Op, e.HTTPStatus, cmp.Or(e.ContentType, "no content type"), e.Length, e.Reason)
	switch {
	case errors.Is(e, ErrRateLimited):
		return text + "; " + errcodes[errcodeMinuteLimit].hint
	case errors.Is(e, ErrTicketNotFound):
		return text + "; the ticket is wrong or its code expired, create a new one"
	}
	return text + "; does a proxy or a login page respond in place of WeChat?"
}

// Is reports whether the response matches target.
func (e *ResponseError) Is(target error) bool {
	return target == ErrUnexpectedResponse ||
		target == ErrRateLimited && e.HTTPStatus == http.StatusTooManyRequests ||
		target == ErrTicketNotFound && e.HTTPStatus == http.StatusNotFound && e.Op == opImage
}

// The operations, as [APIError.Op] names them.
const (
	opCreate      = "create"
	opImage       = "image"
	opToken       = "token"
	opStableToken = "stable_token"
)

// The errcodes that this package acts on.
const (
	errcodeBusy              = -1
	errcodeInvalidCredential = 40001 // the access token, or the AppSecret of a token request
	errcodeInvalidToken      = 40014
	errcodeTokenExpired      = 42001
	errcodeDailyQuota        = 45009
	errcodeMinuteLimit       = 45011
	errcodePermanentQuota    = 45029
)

// errcodeInfo is the meaning of an errcode.
type errcodeInfo struct {
	sentinel error
	hint     string // what to do
}

const (
	thisMachine = "the IP address of this machine"

	hintToken = "another program fetched a token for this account, or the token belongs to another account: " +
		"share one TokenSource, or use stable_token everywhere"
	hintAppID    = "the AppID is wrong: correct the configuration"
	hintSecret   = "the AppSecret is wrong: correct the configuration"
	hintIP       = "add " + thisMachine + " to the IP allowlist of the account (微信开发者平台 > 基础信息 > IP白名单)"
	hintRequest  = "the request is wrong: report this with the scene to the maintainers of wxqrcode"
	hintAccount  = "this needs a verified service account in good standing: see the account at mp.weixin.qq.com"
	hintPlatform = "the third-party platform must have the account authorize it again"
)

// errcodes are the errcodes that have a meaning here: those of the calls that
// this library makes, and those of a token that a third-party platform
// provides.
// See https://developers.weixin.qq.com/doc/oplatform/developers/errCode/errCode.html.
var errcodes = map[int]errcodeInfo{
	errcodeBusy: {ErrSystemBusy, "WeChat is busy: retry later"},

	errcodeInvalidCredential: {ErrInvalidToken, hintToken},
	errcodeInvalidToken:      {ErrInvalidToken, hintToken},
	errcodeTokenExpired:      {ErrInvalidToken, "the token expired: request a new one"},
	41001:                    {ErrInvalidToken, "no access token was sent; in cloud hosting, add the path of the API to the list of 云调用 in the cloud console"},

	40002: {ErrInvalidCredential, "the grant type is wrong"},
	40013: {ErrInvalidCredential, hintAppID},
	41002: {ErrInvalidCredential, "the AppID is missing: correct the configuration"},
	40125: {ErrInvalidCredential, hintSecret},
	41004: {ErrInvalidCredential, "the AppSecret is missing: correct the configuration"},
	41018: {ErrInvalidCredential, "the AppID of the third-party platform is missing: correct the configuration"},
	40243: {ErrInvalidCredential, "the AppSecret is frozen: unfreeze it on 微信开发者平台, which takes 10 minutes"},
	61024: {ErrInvalidCredential, "a third-party platform acts for the account: use the token that the platform provides"},
	61005: {ErrInvalidCredential, "the component_verify_ticket expired: use the newest one that WeChat pushed"},
	61006: {ErrInvalidCredential, "the component_verify_ticket is wrong: use the newest one that WeChat pushed"},
	61011: {ErrInvalidCredential, "the AppID of the third-party platform is wrong: correct the configuration"},
	61023: {ErrInvalidCredential, "the refresh token is wrong: " + hintPlatform},

	40164: {ErrIPNotAllowed, hintIP},
	61004: {ErrIPNotAllowed, hintIP},
	89501: {ErrIPNotAllowed, hintIP + "; an administrator was asked and must confirm"},
	89503: {ErrIPNotAllowed, hintIP + "; an administrator must confirm this request"},
	89506: {ErrIPNotAllowed, hintIP + "; an administrator rejected it for a day"},
	89507: {ErrIPNotAllowed, hintIP + "; an administrator rejected it for an hour"},

	40003: {ErrInvalidRequest, "the OpenID does not belong to this account"},
	40033: {ErrInvalidRequest, hintRequest},
	40035: {ErrInvalidRequest, hintRequest},
	40038: {ErrInvalidRequest, hintRequest},
	40052: {ErrInvalidRequest, hintRequest},
	40053: {ErrInvalidRequest, hintRequest},
	40097: {ErrInvalidRequest, hintRequest},
	47001: {ErrInvalidRequest, hintRequest},
	47002: {ErrInvalidRequest, hintRequest},
	40066: {ErrInvalidRequest, "the URL is wrong: check WithAPIURL"},
	43001: {ErrInvalidRequest, "the request must be a GET: does a proxy change it?"},
	43002: {ErrInvalidRequest, "the request must be a POST: does a proxy change it?"},
	43003: {ErrInvalidRequest, "the request must use HTTPS: check WithAPIURL"},
	44002: {ErrInvalidRequest, "the body was empty: does a proxy drop it?"},
	76003: {ErrInvalidRequest, "the path of the API is malformed: it begins with a slash and has no host"},
	76021: {ErrInvalidRequest, "there is no API with this path"},
	76022: {ErrInvalidRequest, "the API does not belong to this account"},
	40201: {ErrInvalidRequest, "the account has no callback URL: set it on 微信开发者平台 > 消息推送"},
	40202: {ErrInvalidRequest, "the action of the check is unknown"},
	40203: {ErrInvalidRequest, "the network operator of the check is unknown"},

	errcodeDailyQuota:     {ErrQuotaExceeded, "the requests of the day are used up: wait for the next day, or reset the quota (10 times a month)"},
	errcodePermanentQuota: {ErrQuotaExceeded, "the permanent codes of the account are used up: use temporary codes"},
	48006:                 {ErrQuotaExceeded, "the 10 quota resets of the month are used up: wait for the next month"},

	errcodeMinuteLimit: {ErrRateLimited, "too many requests within a minute: wait for the next minute"},

	48001: {ErrUnauthorized, hintAccount},
	48004: {ErrUnauthorized, "the API is banned for this account: " + hintAccount},
	50001: {ErrUnauthorized, hintAccount},
	50002: {ErrUnauthorized, "the account is restricted: " + hintAccount},
	50004: {ErrUnauthorized, "the account may not request tokens: " + hintAccount},
	50007: {ErrUnauthorized, "the account is frozen: " + hintAccount},
	45103: {ErrUnauthorized, "the API is not available for the account of the token: does the token belong to another account?"},
	61003: {ErrUnauthorized, "the account has not authorized the third-party platform: " + hintPlatform},
	61007: {ErrUnauthorized, "the account has not authorized this permission set: " + hintPlatform},
	85107: {ErrUnauthorized, "cloud hosting is not enabled: enable 云调用 in the cloud console"},
	85113: {ErrUnauthorized, "the API is not on the list of 云调用: add its path in the cloud console"},
}

// retryAt returns when the quota or the rate limit of code resets, if known.
func retryAt(code int, now time.Time) time.Time {
	switch code {
	case errcodeMinuteLimit:
		return now.Truncate(time.Minute).Add(time.Minute)
	case errcodeDailyQuota:
		year, month, day := now.In(shanghai).Date()
		return time.Date(year, month, day+1, 0, 0, 0, 0, shanghai)
	}
	return time.Time{}
}

// shanghai has no daylight saving time.
var shanghai = time.FixedZone("CST", 8*60*60)

// requestID matches the end of an errmsg: "rid: …" or, in older responses,
// "hint: […]" and "hints: [ req_id: … ]".
var requestID = regexp.MustCompile(`\s*\b(?:rid: (\S+)|hints?: \[\s*(?:req_id: *)?([^\]]*?)\s*\])`)

// splitRequestID separates the request ID from an errmsg.
func splitRequestID(message string) (rest, id string) {
	m := requestID.FindStringSubmatch(message)
	if m == nil {
		return message, ""
	}
	return strings.Replace(message, m[0], "", 1), m[1] + m[2]
}

// rejectedIP finds the address in the errmsg of a rejected one, such as
// "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist" or "requestIP:
// 1.2.3.4".
func rejectedIP(message string) string {
	for _, word := range strings.FieldsFunc(message, func(r rune) bool { return r == ' ' || r == ',' || r == ';' }) {
		if ip, err := netip.ParseAddr(strings.TrimPrefix(word, "requestIP:")); err == nil {
			return ip.Unmap().String()
		}
	}
	return ""
}

// isRejectedToken reports whether WeChat rejected the access token itself, so
// that another token may work.
func isRejectedToken(err error) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && (e.Code == errcodeInvalidCredential || e.Code == errcodeInvalidToken || e.Code == errcodeTokenExpired)
}

var errZeroClient = invalidConfig("Client", "", "must not be the zero Client; use New")
