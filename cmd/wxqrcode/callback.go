package main

import (
	"context"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// A callbackServer is what WeChat pushes to.
type callbackServer struct {
	url    string
	events chan *wxqrcode.Event // what was heard of
	server *http.Server
}

const maxPush = 64 << 10 // bytes of a push

// listen starts a callback server on loopback.
func listen(ctx context.Context, token string) (*callbackServer, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &callbackServer{
		url:    "http://" + l.Addr().String() + "/wechat",
		events: make(chan *wxqrcode.Event, 1),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/wechat", func(w http.ResponseWriter, r *http.Request) {
		if !signed(token, r.URL.Query()) {
			http.Error(w, "the signature is wrong", http.StatusForbidden)
			return
		}
		if r.Method == http.MethodGet { // WeChat tries a URL out before it takes it
			io.WriteString(w, r.URL.Query().Get("echostr"))
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPush))
		if err != nil {
			http.Error(w, "the body is too long", http.StatusRequestEntityTooLarge)
			return
		}
		event, err := wxqrcode.ParseEvent(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.events <- event
		io.WriteString(w, "success")
	})
	c.server = &http.Server{Handler: mux, ReadTimeout: 5 * time.Second}
	go func() { _ = c.server.Serve(l) }() // until close
	return c, nil
}

func (c *callbackServer) close() { _ = c.server.Close() }

// signed reports whether a push in plain mode comes from somebody who knows token.
func signed(token string, query url.Values) bool {
	parts := []string{token, query.Get("timestamp"), query.Get("nonce")}
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, "")))
	return subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(query.Get("signature"))) == 1
}
