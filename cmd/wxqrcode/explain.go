package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/seed-0142d113/wxqrcode"
)

// plain returns the text of err for users of the command: without package names, and
// with flags and environment variables in place of Go identifiers.
func plain(err error) string {
	text := err.Error()
	if e, ok := errors.AsType[*wxqrcode.ValidationError](err); ok {
		text = strings.Replace(text, withoutPrefix(e), explainInvalid(e), 1)
	}
	if e, ok := errors.AsType[*wxqrcode.APIError](err); ok {
		text = strings.Replace(text, withoutPrefix(e), explainAPI(e), 1)
	}
	return identifiers.Replace(text)
}

// withoutPrefix returns the text of err as wrapping errors contain it.
func withoutPrefix(err error) string { return strings.TrimPrefix(err.Error(), "wxqrcode: ") }

// identifiers replaces Go identifiers in errors without an exported type.
var identifiers = strings.NewReplacer(
	"malformed ticket: ", "it is not a ticket: ",
	"wxqrcode: ", "", "scanstats: ", "", "wxtest: ", "",
	"set EncodingAESKey and AppID in callback.Config", "set "+envAESKey+" and "+envAppID,
	"set AllowPlain", "use --allow-plain",
	"; if it comes from WeChat cloud hosting, set CloudHostingSecret", "",
	"PreviousAESKey", envPreviousAESKey,
	"foreground is ", "--dark is ", "the background, which is ", "--light, which is ",
	"use a darker foreground or a lighter background", "use a darker --dark or a lighter --light",
	"in the foreground, or more in the background", "in --dark, or more in --light",
	"size is ", "--size is ", "quiet zone is ", "--quiet-zone is ", "logo is ", "--logo is ",
)

// explainLogged replaces Go identifiers in the errors of a log.
func explainLogged(_ []string, a slog.Attr) slog.Attr {
	if a.Key == "error" {
		a.Value = slog.StringValue(identifiers.Replace(a.Value.String()))
	}
	return a
}

// inputs are the flags and variables that set the fields of a ValidationError. A
// hint replaces that of the reason.
var inputs = map[string]struct{ name, hint string }{
	"API URL":        {"--api-url", ""},
	"image URL":      {"--api-url", ""},
	"AppID":          {envAppID, ""},
	"Token":          {envToken, ""},
	"EncodingAESKey": {envAESKey, ""},
	"PreviousAESKey": {envPreviousAESKey, ""},
	"lifetime":       {"--lifetime", ""},
	"scene_id":       {"the scene", "without --number it is a text"},
	"scene_str":      {"the scene", ""},
	"ticket":         {"the ticket", ""},
}

func explainInvalid(e *wxqrcode.ValidationError) string {
	input, ok := inputs[e.Field]
	if !ok {
		return e.Error()
	}
	reason := e.Reason
	if input.hint != "" {
		reason, _, _ = strings.Cut(reason, "; ")
		reason += "; " + input.hint
	}
	// The value follows.
	return strings.Replace(e.Error(), "invalid "+e.Field+": "+e.Reason, input.name+" "+reason, 1)
}

// hints replace those of an APIError, by errcode.
var hints = map[int]string{
	40001: hintToken,
	40014: hintToken,
	40013: "the AppID is wrong: correct " + envAppID + " or the file of --credentials",
	40125: hintSecret,
	40066: "the URL is wrong: check --api-url",
	43003: "the request must use HTTPS: check --api-url",
}

const (
	hintToken = "another program fetched a token for this account, or the token belongs to another account: " +
		"use stable_token everywhere"
	hintSecret = "the AppSecret is wrong: correct " + envSecret + " or the file of --credentials"
)

func explainAPI(e *wxqrcode.APIError) string {
	hint, ok := hints[e.Code]
	if !ok {
		return e.Error()
	}
	if e.Code == 40001 && errors.Is(e, wxqrcode.ErrInvalidCredential) { // of a token request
		hint = hintSecret
	}
	text := fmt.Sprintf("%s: errcode %d: %s; %s", e.Op, e.Code, e.Message, hint)
	if e.RequestID != "" {
		text += " (rid " + e.RequestID + ")"
	}
	return text
}
