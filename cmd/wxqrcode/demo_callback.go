package main

import (
	"context"
	"log/slog"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A demoCallback is what the WeChat of the demo pushes to.
type demoCallback struct {
	*site
	config wxtest.CallbackConfig // how WeChat must sign and encrypt
	events chan *wxqrcode.Event  // what was heard of
}

// startDemoCallback starts a callback server on loopback, with a token and a key that nobody
// else knows. It records each event first.
func startDemoCallback(appID string, record func(context.Context, *wxqrcode.Event) error, log *slog.Logger) (*demoCallback, error) {
	c := &demoCallback{
		config: wxtest.RandomCallbackConfig(wxtest.Secure),
		events: make(chan *wxqrcode.Event, 1),
	}
	handler, err := callback.New(callback.Config{
		Token: c.config.Token, AppID: appID, EncodingAESKey: c.config.EncodingAESKey, Logger: log,
		OnEvent: func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
			if err := record(ctx, e); err != nil {
				return nil, err
			}
			c.events <- e
			return nil, nil
		},
	})
	if err != nil {
		return nil, err
	}
	if c.site, err = openSite("", "127.0.0.1:0", handler); err != nil {
		return nil, err
	}
	go func() { _ = c.server.Serve(c.listener) }() // until close
	return c, nil
}
