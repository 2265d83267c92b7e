package wxqrcode

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
)

// What the errors of this package match with [errors.Is].
var (
	// ErrInvalidRequest: a value was out of range. Either this package said so
	// before anything was sent ([*ValidationError]) or WeChat did ([*APIError]:
	// 40033, 40035, 40038, 40052, 40053, 40066, 43002, 43003, 44002, 47001, 47002).
	ErrInvalidRequest = errors.New("wxqrcode: invalid request")

	// ErrInvalidToken: the access token is wrong, expired or missing (40001, 40014,
	// 42001, 41001), and there was no other.
	ErrInvalidToken = errors.New("wxqrcode: invalid access token")

	// ErrInvalidCredential: AppID or AppSecret is wrong or frozen (40002, 40013,
	// 40125, 40243, 41002, 41004, 61024, and 40001 where a token was asked for).
	ErrInvalidCredential = errors.New("wxqrcode: invalid appid or secret")

	// ErrIPNotAllowed: the account's settings do not allow this machine's IP
	// address (40164, 61004, 89501, 89503, 89506, 89507). The text of the error
	// says which address that is.
	ErrIPNotAllowed = errors.New("wxqrcode: ip address not allowed")

	// ErrQuotaExceeded: something is used up: the calls of the day (45009), which
	// come back the next day, or the permanent codes of the account (45029), which
	// never do. [APIError] Code tells the two apart.
	ErrQuotaExceeded = errors.New("wxqrcode: quota exceeded")

	// ErrRateLimited: too many calls within a minute (45011, HTTP 429).
	ErrRateLimited = errors.New("wxqrcode: rate limited")

	// ErrUnauthorized: the account may not use this API (48001, 48004, 50001,
	// 50002, 50004, 50007, 45103).
	ErrUnauthorized = errors.New("wxqrcode: not authorized")

	// ErrSystemBusy: WeChat is busy, and was so at every try (-1).
	ErrSystemBusy = errors.New("wxqrcode: system busy")

	// ErrTicketNotFound: there is no picture for the ticket (HTTP 404). It is
	// wrong, or its code is dead.
	ErrTicketNotFound = errors.New("wxqrcode: ticket not found")

	// ErrMalformedEvent: the body is no push of WeChat's. See [ParseEvent].
	ErrMalformedEvent = errors.New("wxqrcode: malformed event")

	// ErrMalformedTicket: the ticket is not laid out as known. See
	// [Ticket.Inspect].
	ErrMalformedTicket = errors.New("wxqrcode: malformed ticket")

	// ErrUnexpectedResponse: the answer is not one that the API gives: another
	// status, a page in place of JSON, half a body, a code without a ticket.
	ErrUnexpectedResponse = errors.New("wxqrcode: unexpected response")

	// ErrNoToken: the [TokenStore] keeps no token under that key.
	ErrNoToken = errors.New("wxqrcode: no token")

	// ErrNotTried: the request of a batch was not begun, as the batch had ended
	// before. The reason is wrapped beside it. See [Client.CreateAll].
	ErrNotTried = errors.New("wxqrcode: not tried")
)

// A ValidationError says which value is out of range. It matches
// [ErrInvalidRequest].
type ValidationError struct {
	Field  string // what was given, as the caller names it, or as WeChat does, such as scene_str
	Value  string // as it was given
	Reason string // what is allowed
}

// Error names the field, its value and what is allowed.
func (e *ValidationError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("wxqrcode: invalid request: %s %s", e.Field, e.Reason)
	}
	return fmt.Sprintf("wxqrcode: invalid request: %s %q %s", e.Field, beginning(e.Value), e.Reason)
}

// Is reports whether target is [ErrInvalidRequest].
func (e *ValidationError) Is(target error) bool { return target == ErrInvalidRequest }

// An APIError is an answer of WeChat's that brings no result: an errcode, or
// something that the API should not answer at all (Code 0, [ErrUnexpectedResponse]
// as a rule). It matches the one error of this package that Code stands for.
//
// See https://developers.weixin.qq.com/doc/oplatform/developers/errCode/errCode.html.
type APIError struct {
	Op         string // what was called: create, image, token or stable_token
	Code       int    // errcode; 0 if there was none
	Message    string // errmsg without the request id, or what was wrong with the answer
	RequestID  string // the rid or hint to name when asking WeChat about the call; may be empty
	HTTPStatus int
}

// Error says what was called, what WeChat answered and what to do about it.
func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "wxqrcode: %s: ", e.Op)
	switch {
	case e.Code != 0:
		fmt.Fprintf(&b, "errcode %d: %s", e.Code, e.Message)
	case errors.Is(e, ErrUnexpectedResponse):
		fmt.Fprintf(&b, "unexpected response: HTTP status %d: %s", e.HTTPStatus, e.Message)
	default:
		fmt.Fprintf(&b, "HTTP status %d: %s", e.HTTPStatus, e.Message)
	}
	if advice := e.advice(); advice != "" {
		fmt.Fprintf(&b, ": %s", advice)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (rid %s)", e.RequestID)
	}
	return b.String()
}

// Is reports whether target is the error that the answer stands for.
func (e *APIError) Is(target error) bool {
	return target == e.kind().is
}

func (e *APIError) advice() string {
	k := e.kind()
	if errors.Is(k.is, ErrIPNotAllowed) {
		if ip := allowIP(e.Message); ip != "" {
			return strings.Replace(k.advice, "this machine's IP address", ip, 1)
		}
	}
	return k.advice
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
	errcodeInvalidCredential = 40001 // the access token, or the secret of a token call
	errcodeInvalidToken      = 40014
	errcodeTokenExpired      = 42001
	errcodeMinuteLimit       = 45011
	errcodePermanentQuota    = 45029
)

// A kind of failure: the error that it matches, and what to do about it.
type kind struct {
	is     error
	advice string
}

func (e *APIError) kind() kind {
	if e.Code == errcodeInvalidCredential && (e.Op == opToken || e.Op == opStableToken) {
		return kind{ErrInvalidCredential, "the AppSecret is wrong: " + adviceConfig}
	}
	if e.Code != 0 {
		if k, ok := errcodes[e.Code]; ok {
			return k
		}
		return kind{ErrUnexpectedResponse, "look the code up in WeChat's table of errcodes"}
	}
	switch {
	case e.HTTPStatus == http.StatusTooManyRequests:
		return errcodes[errcodeMinuteLimit]
	case e.HTTPStatus == http.StatusNotFound && e.Op == opImage:
		return kind{ErrTicketNotFound, "the ticket is wrong, or its code is dead: make a new one"}
	}
	return kind{is: ErrUnexpectedResponse}
}

const (
	adviceToken = "another program has fetched a token for this account, or the token is of another account: " +
		"share one TokenSource, or use stable_token everywhere"
	adviceConfig  = "correct the configuration"
	adviceIP      = "add this machine's IP address to the account's IP allowlist (开发接口管理 > IP白名单)"
	adviceRequest = "the request is wrong: please report this, with the scene"
	adviceAccount = "this needs a verified service account in good standing: see the account's page at mp.weixin.qq.com"
)

// errcodes are those that have a meaning here.
// See https://developers.weixin.qq.com/doc/oplatform/developers/errCode/errCode.html.
var errcodes = map[int]kind{
	errcodeBusy: {ErrSystemBusy, "WeChat is busy: try again later"},

	errcodeInvalidCredential: {ErrInvalidToken, adviceToken},
	errcodeInvalidToken:      {ErrInvalidToken, adviceToken},
	errcodeTokenExpired:      {ErrInvalidToken, "the token has expired: fetch a new one"},
	41001:                    {ErrInvalidToken, "no access token was sent"},

	40002: {ErrInvalidCredential, "the grant type is wrong"},
	40013: {ErrInvalidCredential, "the AppID is wrong: " + adviceConfig},
	41002: {ErrInvalidCredential, "the AppID is missing: " + adviceConfig},
	40125: {ErrInvalidCredential, "the AppSecret is wrong: " + adviceConfig},
	41004: {ErrInvalidCredential, "the AppSecret is missing: " + adviceConfig},
	40243: {ErrInvalidCredential, "the AppSecret is frozen: unfreeze it at mp.weixin.qq.com"},
	61024: {ErrInvalidCredential, "the account has a third-party platform: use the token that the platform gives for it"},

	40164: {ErrIPNotAllowed, adviceIP},
	61004: {ErrIPNotAllowed, adviceIP},
	89501: {ErrIPNotAllowed, adviceIP + ": an administrator was asked and must confirm"},
	89503: {ErrIPNotAllowed, adviceIP + ": an administrator must confirm this call"},
	89506: {ErrIPNotAllowed, adviceIP + ": an administrator has refused it, for a day"},
	89507: {ErrIPNotAllowed, adviceIP + ": an administrator has refused it, for an hour"},

	40033: {ErrInvalidRequest, adviceRequest},
	40035: {ErrInvalidRequest, adviceRequest},
	40038: {ErrInvalidRequest, adviceRequest},
	40052: {ErrInvalidRequest, adviceRequest},
	40053: {ErrInvalidRequest, adviceRequest},
	47001: {ErrInvalidRequest, adviceRequest},
	47002: {ErrInvalidRequest, adviceRequest},
	40066: {ErrInvalidRequest, "the URL is wrong: check WithAPIURL"},
	43002: {ErrInvalidRequest, "the call must be a POST: does a proxy change it?"},
	43003: {ErrInvalidRequest, "the call must use HTTPS: check WithAPIURL"},
	44002: {ErrInvalidRequest, "the body was empty: does a proxy drop it?"},

	45009:                 {ErrQuotaExceeded, "the calls of the day are used up: wait for the next day, or clear the quota (10 times a month)"},
	errcodePermanentQuota: {ErrQuotaExceeded, "the account's permanent codes are used up: use temporary codes"},

	errcodeMinuteLimit: {ErrRateLimited, "too many calls within a minute: wait for the next one"},

	48001: {ErrUnauthorized, adviceAccount},
	48004: {ErrUnauthorized, "the API is banned for this account: " + adviceAccount},
	50001: {ErrUnauthorized, adviceAccount},
	50002: {ErrUnauthorized, "the account is restricted: " + adviceAccount},
	50004: {ErrUnauthorized, "the account may not fetch tokens: " + adviceAccount},
	50007: {ErrUnauthorized, "the account is frozen: " + adviceAccount},
	45103: {ErrUnauthorized, "the token's account does not have this API: is it another account's token?"},
}

// requestID finds the end of an errmsg: "rid: …" or, in older answers, "hint: […]".
var requestID = regexp.MustCompile(`\s*\b(?:rid: (\S+)|hint: \[([^\]]*)\])`)

// splitRequestID cuts the request id off an errmsg.
func splitRequestID(message string) (rest, id string) {
	m := requestID.FindStringSubmatch(message)
	if m == nil {
		return message, ""
	}
	return strings.Replace(message, m[0], "", 1), m[1] + m[2]
}

// allowIP finds the address that WeChat saw in the errmsg of a refused one, such
// as "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist" or
// "requestIP: 1.2.3.4".
func allowIP(message string) string {
	for _, word := range strings.FieldsFunc(message, func(r rune) bool { return r == ' ' || r == ',' || r == ';' }) {
		if ip, err := netip.ParseAddr(strings.TrimPrefix(word, "requestIP:")); err == nil {
			return ip.Unmap().String()
		}
	}
	return ""
}

var (
	errNotRegular = errors.New("not a regular file")
	errZeroClient = &ValidationError{Field: "Client", Reason: "is the zero value; make one with NewClient"}
)
