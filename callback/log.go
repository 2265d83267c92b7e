package callback

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
	"unicode/utf8"
)

// An outcome is how a push ended. [Config] Logger documents them.
type outcome string

const (
	verified  outcome = "verified"
	handled   outcome = "handled"
	repeated  outcome = "repeated"
	abandoned outcome = "abandoned"
	ignored   outcome = "ignored"
	refused   outcome = "refused"
	failed    outcome = "failed"
)

const (
	maxLogged = 128 // bytes of a text that is not ours
	maxError  = 500
	maxOpenID = 6 // bytes of an OpenID's end, enough to follow somebody through a log
)

// logFailures is what a Config without a Logger logs to: a panic of onEvent that nobody
// hears of would be worse than a line too many.
func logFailures() *slog.Logger {
	return slog.New(failures{slog.Default().Handler()})
}

type failures struct{ slog.Handler }

func (f failures) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && f.Handler.Enabled(ctx, level)
}

// log writes the one line of a push.
func (p *push) log(status int) {
	level := slog.LevelInfo
	switch p.outcome {
	case refused:
		level = slog.LevelWarn
	case failed:
		level = slog.LevelError
	}
	if p.replyErr != nil {
		level = slog.LevelError
	}
	ctx := p.request.Context()
	log := p.handler.log
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 9)
	attrs = append(attrs, slog.String("outcome", string(p.outcome)), slog.Int("status", status), slog.Duration("duration", time.Since(p.start)))
	if m := p.request.Method; m != http.MethodPost {
		attrs = append(attrs, slog.String("method", shorten(m, maxLogged)))
	}
	if e := p.event; e != nil {
		attrs = append(attrs, slog.String("openid", ending(e.OpenID)))
		if e.Type == "" {
			attrs = append(attrs, slog.String("message", shorten(e.MsgType, maxLogged)))
		} else {
			attrs = append(attrs, slog.String("event", shorten(string(e.Type), maxLogged)))
		}
		if scene, ok := e.Scene(); ok {
			attrs = append(attrs, slog.String("scene", shorten(scene, maxLogged)))
		}
	}
	if p.err != nil {
		attrs = append(attrs, slog.String("error", shorten(p.err.Error(), maxError)))
	}
	if p.replyErr != nil {
		attrs = append(attrs, slog.String("reply_error", p.replyErr.Error()))
	}
	if panicked, ok := errors.AsType[*panicError](p.err); ok {
		attrs = append(attrs, slog.String("stack", string(panicked.stack)))
	}
	log.LogAttrs(ctx, level, "wxqrcode: push", attrs...)
}

// ending returns the end of an OpenID: all OpenIDs of an account begin alike.
func ending(openID string) string {
	begin := len(openID) - min(maxOpenID, len(openID)/2)
	for begin < len(openID) && !utf8.RuneStart(openID[begin]) {
		begin++
	}
	return "…" + openID[begin:]
}

// shorten cuts text after n bytes, at the end of a character.
func shorten(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}
