package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// A subject is a handler under load.
type subject struct {
	name   string
	sealed bool
	open   func(s *subject, runs []atomic.Int32) (http.Handler, error)
	check  func(p push, a answer, key wxcrypt.Key) error // nil: "success" for everything
	counts bool                                          // it counts in runs what it has heard
}

var (
	bare   = subject{name: "reads the body", open: newBare}
	plain  = subject{name: "callback, plain", open: newCallback, check: checkPlain, counts: true}
	secure = subject{name: "callback, AES", open: newCallback, check: checkSecure, counts: true, sealed: true}
)

// newBare is the floor: what HTTP itself takes.
func newBare(*subject, []atomic.Int32) (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			_, _ = io.WriteString(w, "success")
		}
	}), nil
}

// newCallback answers each push with the scene that it heard.
func newCallback(s *subject, runs []atomic.Int32) (http.Handler, error) {
	cfg := callback.Config{Token: token, Logger: slog.New(slog.DiscardHandler)}
	if s.sealed {
		cfg.AppID, cfg.EncodingAESKey = appID, aesKey
	}
	hear := func(heard string) {
		if n, err := strconv.Atoi(heard[strings.LastIndexByte(heard, '<')+1:]); err == nil && n >= 0 && n < len(runs) {
			runs[n].Add(1)
		}
	}
	cfg.OnMessage = func(_ context.Context, m callback.Message) (callback.Reply, error) {
		content := m.Field("Content")
		hear(content)
		return callback.Text("you wrote " + content), nil
	}
	cfg.OnEvent = func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		heard, ok := e.SceneKey()
		if !ok {
			return nil, errors.New("the event has no scene")
		}
		hear(heard)
		return callback.Text("you scanned " + heard), nil
	}
	return callback.New(cfg)
}

// checkPlain tells what is wrong with the answer to a push.
func checkPlain(p push, a answer, _ wxcrypt.Key) error {
	if p.kind == forged {
		return checkRefused(a)
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("status %d", a.status)
	}
	return checkReply(p, a.body)
}

// checkSecure is checkPlain behind the envelope.
func checkSecure(p push, a answer, key wxcrypt.Key) error {
	if p.kind == forged {
		return checkRefused(a)
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("status %d", a.status)
	}
	var envelope struct{ Encrypt, MsgSignature, TimeStamp, Nonce string }
	if err := xml.Unmarshal(a.body, &envelope); err != nil {
		return fmt.Errorf("no envelope: %w", err)
	}
	if !wxcrypt.Verify(envelope.MsgSignature, token, envelope.TimeStamp, envelope.Nonce, []byte(envelope.Encrypt)) {
		return errors.New("the signature of the reply is wrong")
	}
	reply, err := key.Decrypt([]byte(envelope.Encrypt), appID, wxcrypt.PaddingBlock)
	if err != nil {
		return err
	}
	return checkReply(p, reply)
}

func checkRefused(a answer) error {
	if a.status != http.StatusForbidden {
		return fmt.Errorf("a forged push got status %d", a.status)
	}
	return nil
}

func checkReply(p push, body []byte) error {
	var got struct{ ToUserName, FromUserName, MsgType, Content string }
	if err := xml.Unmarshal(body, &got); err != nil {
		return fmt.Errorf("no reply: %w", err)
	}
	want := got
	want.ToUserName, want.FromUserName, want.MsgType = openID(p.number), account, "text"
	want.Content = "you scanned " + scene(p.number)
	if p.kind == message {
		want.Content = "you wrote " + scene(p.number)
	}
	if got != want {
		return fmt.Errorf("the reply is %+v, not %+v", got, want)
	}
	return nil
}
