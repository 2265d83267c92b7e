package callback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/message"
)

// A Message is a push that is not subscribe, unsubscribe or SCAN. A field is
// empty if the push has none. XML is read up to the first MsgType or InfoType,
// or, for an event, up to MsgType and Event: fields behind them stay empty.
type Message struct {
	ToUserName string    // the account: gh_…
	OpenID     string    // the user (FromUserName)
	CreatedAt  time.Time // UTC, in whole seconds; zero if CreateTime is missing
	MsgType    string    // text, image, event, …
	Event      string    // CLICK, VIEW, LOCATION, …; empty unless MsgType is "event"
	InfoType   string    // in pushes of a third-party platform: component_verify_ticket, authorized, …

	// Raw is the whole message, XML or JSON, decrypted. Read it with
	// [Message.Field], and never take an identity from it: [encoding/xml] takes
	// the last of two fields, and a follower's text can contain a second
	// FromUserName.
	Raw []byte
}

// Field returns the text of the first field at path, such as "Content" or
// "ScanCodeInfo/ScanResult", or "" if there is none. A list stands for its
// first element, and its path differs if XML puts each element into an item:
// "SendPicsInfo/PicList/item/PicMd5Sum" in XML,
// "SendPicsInfo/PicList/PicMd5Sum" in JSON.
//
// WeChat puts the text of a follower into the message as it is, so a field that
// follows such a text can be forged by the follower. The fields of Message
// cannot.
func (m Message) Field(path string) string { return message.Find(string(m.Raw), path) }

// kind names the message in a log.
func (m Message) kind() string {
	for _, name := range []string{m.InfoType, m.Event, m.MsgType} {
		if name != "" {
			return name
		}
	}
	return ""
}

// A Result says how a request ended. See [Config] OnResult. It has
// nothing of a [Message]; the log line has the type of a message and the
// stack of a panic.
type Result struct {
	Outcome  Outcome
	Status   int             // of the response
	Duration time.Duration   // of ServeHTTP
	Event    *wxqrcode.Event // subscribe, unsubscribe or SCAN; nil for a Message, and if no push was read

	// Err is why the request was rejected or failed, or, for ClientGone, the cause
	// of its context. For Handled and Duplicate, it is why the reply cannot be
	// sent; for Handled, it may also say that the push took longer than Timeout of
	// Config. Of a panic it has the value, without the stack.
	Err error

	message string // what was pushed, for the log
}

// An Outcome is how a request ended.
type Outcome string

// The outcomes.
const (
	Handled    Outcome = "handled"     // OnEvent or OnMessage was called and succeeded
	Duplicate  Outcome = "duplicate"   // it had been called for the same push, whose reply was sent again
	ClientGone Outcome = "client_gone" // the client disconnected while the push waited for a call for the same push
	Ignored    Outcome = "ignored"     // a message, and OnMessage is nil
	Rejected   Outcome = "rejected"    // the request was not accepted
	Failed     Outcome = "failed"      // OnEvent or OnMessage failed
	Verified   Outcome = "verified"    // the request verified the URL
)

// errGoexit is the error of a request whose handling did not return.
var errGoexit = errors.New("runtime.Goexit was called, or Dedup panicked")

// A lateError reports a push whose handling succeeded after Timeout.
type lateError struct{ took, timeout time.Duration }

func (e lateError) Error() string {
	return fmt.Sprintf("the push took %v, longer than Timeout (%v), so WeChat may not have waited for the reply; return from OnEvent and OnMessage when their context ends",
		e.took.Round(time.Millisecond), e.timeout)
}

// A panicError is a panic of OnEvent or OnMessage.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// Limits of what is logged, in bytes.
const (
	maxLogged = 128 // of a text that is not ours
	maxError  = 500
	maxOpenID = 6 // the end of an OpenID, enough to follow a user through a log
)

// report logs result and passes it to OnResult.
func (h *Handler) report(r *http.Request, result Result, duration time.Duration) {
	result.Duration = duration
	level := slog.LevelInfo
	switch {
	case result.Outcome == Rejected, errors.As(result.Err, new(lateError)):
		level = slog.LevelWarn
	case result.Outcome == Failed, result.Outcome == Handled && result.Err != nil:
		level = slog.LevelError
	}
	if h.log.Enabled(r.Context(), level) {
		h.log.LogAttrs(r.Context(), level, "wxqrcode: callback", result.attrs(r.Method)...)
	}
	if h.onResult != nil {
		h.onResult(r.Context(), result)
	}
}

func (r Result) attrs(method string) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("outcome", string(r.Outcome)),
		slog.Int("status", r.Status),
		slog.Duration("duration", r.Duration),
		slog.String("method", truncate(method, maxLogged)),
	}
	if r.message != "" {
		attrs = append(attrs, slog.String("message", truncate(r.message, maxLogged)))
	}
	if r.Event != nil {
		attrs = append(attrs, slog.String("openid", maskOpenID(r.Event.OpenID)))
		if scene, ok := r.Event.SceneKey(); ok {
			attrs = append(attrs, slog.String("scene", truncate(scene, maxLogged)))
		}
	}
	if r.Err != nil {
		attrs = append(attrs, slog.String("error", truncate(r.Err.Error(), maxError)))
	}
	if panicked, ok := errors.AsType[*panicError](r.Err); ok {
		attrs = append(attrs, slog.String("stack", string(panicked.stack)))
	}
	return attrs
}

// maskOpenID returns the end of an OpenID: all OpenIDs of an account begin with
// the same characters.
func maskOpenID(openID string) string {
	begin := len(openID) - min(maxOpenID, len(openID)/2)
	for begin < len(openID) && !utf8.RuneStart(openID[begin]) {
		begin++
	}
	return "…" + openID[begin:]
}

// truncate cuts text to n bytes, between two characters.
func truncate(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}

// loggerOrDefault returns log, or, if it is nil, slog.Default at Warn and
// above.
func loggerOrDefault(log *slog.Logger) *slog.Logger {
	if log != nil {
		return log
	}
	return slog.New(warnings{slog.Default().Handler()})
}

type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}
