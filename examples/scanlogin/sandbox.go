package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A sandbox is a WeChat simulator in this process, with an account in secure
// mode, and simulates phones.
type sandbox struct {
	wechat *wxtest.Server
	config wxtest.CallbackConfig
}

// firstFollower follows the account from the start.
const firstFollower = "o-follower"

func newSandbox() *sandbox {
	return &sandbox{wxtest.NewServer(), wxtest.RandomCallbackConfig(wxtest.Secure)}
}

func (s *sandbox) Close() { s.wechat.Close() }

// account returns the simulated account.
func (s *sandbox) account() account {
	return account{s.wechat.Client(), callback.Config{Token: s.config.Token, AppID: s.wechat.AppID(), EncodingAESKey: s.config.EncodingAESKey}}
}

// connect sets and verifies the callback, as 微信开发者平台 does, and adds the first
// follower.
func (s *sandbox) connect(ctx context.Context, url string) error {
	s.wechat.SetCallback(url, s.config)
	if err := s.wechat.VerifyCallback(ctx); err != nil {
		return err
	}
	poster, err := s.wechat.Client().Create(ctx, wxqrcode.Permanent(wxqrcode.SceneStr("poster")))
	if err != nil {
		return err
	}
	_, err = s.wechat.Scan(ctx, poster.Ticket, firstFollower)
	return err
}

// ServeHTTP simulates a phone: it scans the code with the ticket.
func (s *sandbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	openID := firstFollower
	if query.Get("who") == "new" {
		openID = "o-" + rand.Text()
	}
	delivery, err := s.wechat.Scan(r.Context(), wxqrcode.Ticket(query.Get("ticket")), openID)
	if err == nil && delivery.Status != http.StatusOK {
		err = fmt.Errorf("the callback responded with status %d", delivery.Status)
	}
	if err != nil {
		slog.WarnContext(r.Context(), "simulate a scan", "error", err)
		http.Error(w, "the code cannot be scanned", http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
