package main

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A callbackServer is what WeChat pushes to.
type callbackServer struct {
	url    string
	push   wxtest.CallbackConfig // how WeChat must sign and encrypt
	events chan *wxqrcode.Event  // what was heard of
	server *http.Server
}

// listen starts a callback server on loopback, with a token and a key that nobody
// else knows.
func listen(ctx context.Context, appID string) (*callbackServer, error) {
	c := &callbackServer{
		push:   wxtest.RandomCallbackConfig(wxtest.Secure),
		events: make(chan *wxqrcode.Event, 1),
	}
	handler, err := callback.New(callback.Config{Token: c.push.Token, AppID: appID, EncodingAESKey: c.push.EncodingAESKey},
		func(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
			c.events <- e
			return nil, nil
		})
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c.url = "http://" + l.Addr().String() + "/wechat"
	mux := http.NewServeMux()
	mux.Handle("/wechat", handler)
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = c.server.Serve(l) }() // until close
	return c, nil
}

func (c *callbackServer) close() { _ = c.server.Close() }
