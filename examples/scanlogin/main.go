// The scanlogin program is a web page with "scan to log in", as a program to
// copy. Try it without a WeChat account:
//
//	go run ./examples/scanlogin
//
// Package wxtest then simulates WeChat, and buttons on the page simulate the
// phone. With an account in the environment, the page uses WeChat; the callback
// URL ends in /wechat. Put a TLS proxy in front of it and set -secure:
//
//	WXQRCODE_APPID=wx… WXQRCODE_SECRET=… WXQRCODE_TOKEN=… WXQRCODE_AES_KEY=… \
//		scanlogin -site https://shop.example -secure
//
// login.go is the part to copy; main.go connects it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "scanlogin:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("scanlogin", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:8080", "the `address` to listen on")
	site := flags.String("site", "", "the `URL` of the page in the reply to followers; the default is the address that it listens on")
	secure := flags.Bool("secure", false, "cookies require https: a proxy in front of this program terminates TLS")
	flags.Usage = func() {
		_, _ = fmt.Fprintf(flags.Output(), "usage: scanlogin [flags]\n\nThe account is configured by %s in the environment. Without them the program simulates one.\n\n", strings.Join(accountEnv, ", "))
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	a, configured, err := accountFromEnv(getenv)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // already closed by the server, unless it did not start
	url := "http://" + listener.Addr().String()
	if *site == "" {
		*site = url
	}

	var box *sandbox
	if !configured {
		if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
			return errors.New("the simulator lets everyone log in as anyone: listen on loopback, or configure an account")
		}
		box = newSandbox()
		defer box.Close()
		a = box.account()
	}
	app, err := newApp(a, *site, box)
	if err != nil {
		return err
	}
	app.login.secure = *secure
	return app.serve(ctx, listener, func() error {
		account := "of " + a.callback.AppID
		if box != nil {
			account = "of a simulated account"
			if err := box.connect(ctx, url+callbackPath); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(stdout, "%s/ logs in followers %s; the callback is %s%s\n", url, account, url, callbackPath)
		return err
	})
}

// An account is the service account whose followers log in.
type account struct {
	client   *wxqrcode.Client
	callback callback.Config
}

var accountEnv = []string{"WXQRCODE_APPID", "WXQRCODE_SECRET", "WXQRCODE_TOKEN", "WXQRCODE_AES_KEY"}

// accountFromEnv returns the account of the environment, if one is configured.
func accountFromEnv(getenv func(string) string) (a account, ok bool, err error) {
	values := make([]string, len(accountEnv))
	var missing []string
	for i, name := range accountEnv {
		if values[i] = getenv(name); values[i] == "" {
			missing = append(missing, name)
		}
	}
	switch len(missing) {
	case 0:
	case len(accountEnv):
		return account{}, false, nil
	default:
		return account{}, false, fmt.Errorf("%s missing in the environment; set all of %s", strings.Join(missing, ", "), strings.Join(accountEnv, ", "))
	}
	a.client, err = wxqrcode.New(values[0], values[1])
	a.callback = callback.Config{AppID: values[0], Token: values[2], EncodingAESKey: values[3], Logger: slog.Default()}
	return a, true, err
}

const callbackPath = "/wechat"

// An app is the page and the callback behind one server.
type app struct {
	login *login
	mux   *http.ServeMux
}

// newApp returns the app of an account. A box that is not nil simulates phones.
func newApp(a account, site string, box *sandbox) (*app, error) {
	waiter := new(callback.Waiter)
	login, err := newLogin(a.client, waiter)
	if err != nil {
		return nil, err
	}
	a.callback.OnEvent = newOnEvent(login, waiter, site)
	handler, err := callback.New(a.callback)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", login)
	mux.Handle(callbackPath, handler)
	if box != nil {
		login.sandbox = true
		mux.Handle("POST /sandbox/scan", http.NewCrossOriginProtection().Handler(box))
	}
	return &app{login, mux}, nil
}

// newOnEvent returns the OnEvent of the callback.
func newOnEvent(login *login, waiter *callback.Waiter, site string) func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
	return func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		if e.Type == wxqrcode.EventUnsubscribe {
			login.deleteFollower(ctx, e.OpenID)
			return nil, nil
		}
		waiter.Notify(e)
		if scene, _ := e.SceneKey(); strings.HasPrefix(scene, scenePrefix) {
			// Not "you are logged in": the code can be of another browser, or used
			// already.
			return callback.Text("You are logging in to " + site + " in the browser that shows this code. " +
				"If that was not you, or not your browser, unfollow this account: that ends the login."), nil
		}
		return nil, nil
	}
}

// serve calls ready when it serves, and serves until ctx ends.
func (a *app) serve(ctx context.Context, l net.Listener, ready func() error) error {
	server := &http.Server{
		Handler:     a.mux,
		ReadTimeout: 10 * time.Second, // no WriteTimeout, which would end the event streams
		IdleTimeout: time.Minute,
	}
	server.RegisterOnShutdown(a.login.Close)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	err := ready()
	if err == nil {
		select {
		case err = <-served:
			return err
		case <-ctx.Done():
		}
	}
	// A push in flight takes up to 15 s.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(ctx))
}
