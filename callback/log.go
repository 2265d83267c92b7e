package callback

import (
	"errors"
	"log/slog"
	"time"
	"unicode/utf8"
)

// An outcome is how a push ended.
type outcome string

const (
	verified outcome = "verified" // WeChat tried the URL out
	handled  outcome = "handled"  // onEvent or OnMessage ran and ended well
	repeated outcome = "repeated" // it had run, or ran, for the same push
	ignored  outcome = "ignored"  // a message, and no OnMessage
	refused  outcome = "refused"
	failed   outcome = "failed"

	// abandoned: it waited for a run of the same push, and WeChat did not.
	abandoned outcome = "abandoned"
)

const (
	maxLogged = 128 // bytes of a text that is not ours
	maxError  = 500
	maxOpenID = 6 // bytes of an OpenID, enough to follow somebody through a log
)

// log writes the one line of a push.
func (p *push) log(status int) {
	level := slog.LevelInfo
	switch p.outcome {
	case refused, abandoned:
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
	if e := p.event; e != nil {
		attrs = append(attrs, slog.String("openid", shorten(e.OpenID, min(maxOpenID, len(e.OpenID)/2))))
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
		attrs = append(attrs, slog.String("reply", p.replyErr.Error()))
	}
	if panicked, ok := errors.AsType[*panicError](p.err); ok {
		attrs = append(attrs, slog.String("stack", string(panicked.stack)))
	}
	log.LogAttrs(ctx, level, "wxqrcode: push", attrs...)
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
