// The scanlogin program is a web page with "scan to log in", to be copied. Try it
// without a WeChat account:
//
//	go run ./examples/scanlogin
//
// WeChat is then played by package wxtest, and buttons on the page play the phone.
// With an account in the environment it is the real thing, whose callback URL ends in
// /wechat; put TLS before it and say so with -secure:
//
//	WXQRCODE_APPID=wx… WXQRCODE_SECRET=… WXQRCODE_TOKEN=… WXQRCODE_AES_KEY=… \
//		scanlogin -site https://shop.example -secure
//
// login.go is the part to take along; main.go wires it up.
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
	site := flags.String("site", "", "the page's `URL`, as followers are told it; by default where it listens")
	secure := flags.Bool("secure", false, "visitors come over https: TLS ends before this program")
	flags.Usage = func() {
		_, _ = fmt.Fprintf(flags.Output(), "usage: scanlogin [flags]\n\nWithout an account it plays one. An account is %s in the environment.\n\n", strings.Join(accountEnv, ", "))
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	a, isReal, err := accountFrom(getenv)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // the server has, unless it never began
	url := "http://" + listener.Addr().String()
	if *site == "" {
		*site = url
	}

	var box *sandbox
	if !isReal {
		if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
			return errors.New("without an account anybody can log in as anybody: listen on loopback")
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
		who := "of " + a.callback.AppID
		if box != nil {
			who = "of an account that this program plays"
			if err := box.connect(ctx, url+callbackPath); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(stdout, "%s/ logs in followers %s; the callback is %s%s\n", url, who, url, callbackPath)
		return err
	})
}

// An account is the service account whose followers log in.
type account struct {
	client   *wxqrcode.Client
	callback callback.Config
}

var accountEnv = []string{"WXQRCODE_APPID", "WXQRCODE_SECRET", "WXQRCODE_TOKEN", "WXQRCODE_AES_KEY"}

// accountFrom returns the account that the environment names, if it names one.
func accountFrom(getenv func(string) string) (a account, ok bool, err error) {
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
		return account{}, false, fmt.Errorf("an account needs %s too", strings.Join(missing, ", "))
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

// newApp returns the app of an account. Box, if it is not nil, plays the phone.
func newApp(a account, site string, box *sandbox) (*app, error) {
	waiter := new(callback.Waiter)
	login, err := newLogin(a.client, waiter)
	if err != nil {
		return nil, err
	}
	a.callback.OnEvent = receive(login, waiter, site)
	handler, err := callback.New(a.callback)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", login)
	mux.Handle(callbackPath, handler)
	if box != nil {
		login.sandbox = true
		mux.Handle("POST /play", http.NewCrossOriginProtection().Handler(box))
	}
	return &app{login, mux}, nil
}

// receive returns what is called for each event of the account.
func receive(login *login, waiter *callback.Waiter, site string) func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
	return func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		if e.Type == wxqrcode.EventUnsubscribe {
			login.forget(ctx, e.OpenID)
			return nil, nil
		}
		waiter.Notify(e)
		if scene, _ := e.SceneKey(); strings.HasPrefix(scene, scenePrefix) {
			// Not "you are logged in": the code may be another's, scanned a second time.
			return callback.Text("You are logging in to " + site + " in the browser that shows this code. " +
				"If that was not you, or not your browser, unfollow this account: that ends the login."), nil
		}
		return nil, nil
	}
}

// serve serves until ctx ends, and calls ready once it does.
func (a *app) serve(ctx context.Context, l net.Listener, ready func() error) error {
	server := &http.Server{
		Handler:     a.mux,
		ReadTimeout: 10 * time.Second, // no WriteTimeout, which would end the streams of events
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
	// A push that is being answered takes up to 15 s.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(ctx))
}
