package faults

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// A call is a function of the library that a fault can affect.
type call struct {
	name string
	path string // of the request
	// begin creates a client or a token source, and returns the call.
	begin func(e *env) (func(ctx context.Context) error, error)
}

var (
	create = &call{"`Create`", "/cgi-bin/qrcode/create", func(e *env) (func(context.Context) error, error) {
		client, err := e.client()
		return func(ctx context.Context) error {
			_, err := client.Create(ctx, request)
			return err
		}, err
	}}
	stableToken = &call{"`stable_token`", "/cgi-bin/stable_token", tokenCall()}
	legacyToken = &call{"`token`", "/cgi-bin/token", tokenCall(wxqrcode.WithLegacyToken())}
	image       = &call{"`Image`", showPath, func(e *env) (func(context.Context) error, error) {
		client, err := e.client()
		return func(ctx context.Context) error {
			got, err := client.Image(ctx, ticket)
			if err == nil {
				e.imageSize = len(got.Data)
			}
			return err
		}, err
	}}
	writeImage = &call{"`WriteImage`", showPath, func(e *env) (func(context.Context) error, error) {
		client, err := e.client()
		return func(ctx context.Context) error {
			e.written.Reset()
			_, err := client.WriteImage(ctx, &e.written, ticket)
			e.imageSize = e.written.Len()
			return err
		}, err
	}}
	saveNew  = saveCall("`SaveImage`, new file", newFile)
	saveOver = saveCall("`SaveImage`, existing file", oldFile)

	allCalls   = []*call{create, stableToken, legacyToken, image, writeImage, saveNew, saveOver}
	apiCalls   = []*call{create, stableToken, legacyToken}
	imageCalls = []*call{image, writeImage, saveNew, saveOver}
	tokenCalls = []*call{stableToken, legacyToken}
)

var request = wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), time.Hour)

const (
	newFile  = "new.jpg"
	oldFile  = "old.jpg"
	oldImage = "the old image."
)

func tokenCall(opts ...wxqrcode.Option) func(e *env) (func(context.Context) error, error) {
	return func(e *env) (func(context.Context) error, error) {
		source, err := wxqrcode.NewTokenSource(appID, appSecret, append(e.options(), opts...)...)
		return func(ctx context.Context) error {
			_, err := source.AccessToken(ctx)
			return err
		}, err
	}
}

func saveCall(name, file string) *call {
	return &call{name, showPath, func(e *env) (func(context.Context) error, error) {
		client, err := e.client()
		return func(ctx context.Context) error {
			path := filepath.Join(e.saveDir, file)
			err := client.SaveImage(ctx, path, ticket)
			if info, gone := os.Stat(path); err == nil && gone == nil {
				e.imageSize = int(info.Size())
			}
			return err
		}, err
	}}
}

// An env is the environment of a call with a fault.
type env struct {
	call      *call
	wechat    *wechat
	hosts     []string     // of WithAPIURL; the first one serves images, too
	http      *http.Client // nil: the default of the library
	retry     wxqrcode.RetryPolicy
	log       logBuffer
	replaced  []string     // pairs for strings.NewReplacer: addresses and their names
	folder    string       // of the images
	saveDir   string       // where images are saved
	written   bytes.Buffer // what WriteImage wrote
	imageSize int          // bytes received
	ctx       context.Context
	cancel    context.CancelFunc

	endFault   func()        // ends the fault
	attempts   func() int    // number of attempts, as the other side counts
	unit       string        // of what is counted
	retried    func() string // replaces the text about attempts
	checkAfter func() error  // an additional check, or nil
	release    func()        // releases a held response, or nil
	closers    []func()
}

// newEnv creates the environment of a call, with one image in the folder.
func newEnv(ctx context.Context, c *call, folder string) *env {
	e := &env{call: c, wechat: newWeChat(), retry: wxqrcode.RetryPolicy{BaseDelay: 1, MaxDelay: 1}, folder: folder, saveDir: folder, unit: "request"}
	e.closers = append(e.closers, e.wechat.close)
	e.hosts = []string{e.wechat.URL}
	e.endFault = e.wechat.reset
	e.attempts = e.wechat.requests
	e.ctx, e.cancel = context.WithCancel(ctx)
	if err := os.WriteFile(filepath.Join(folder, oldFile), []byte(oldImage), 0o640); err != nil {
		panic(err)
	}
	return e
}

func (e *env) options() []wxqrcode.Option {
	return []wxqrcode.Option{wxqrcode.WithHTTPClient(e.http), wxqrcode.WithAPIURL(e.hosts[0], e.hosts[1:]...), wxqrcode.WithImageURL(e.hosts[0]),
		wxqrcode.WithRetry(e.retry), wxqrcode.WithLogger(e.log.logger())}
}

func (e *env) client() (*wxqrcode.Client, error) {
	return wxqrcode.NewClient(wxqrcode.StaticToken(token), e.options()...)
}

// ownTransport sets a custom http.Client.
func (e *env) ownTransport() *http.Transport {
	t := &http.Transport{}
	e.http = &http.Client{Transport: t}
	e.closers = append(e.closers, t.CloseIdleConnections)
	return t
}

// dialTo dials the address that where returns instead, and counts dials.
func (e *env) dialTo(where func(address string) string) {
	var mu sync.Mutex
	dials := 0
	e.ownTransport().DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		dials++
		mu.Unlock()
		return new(net.Dialer).DialContext(ctx, network, where(address))
	}
	e.unit = "dial"
	e.attempts = func() int {
		mu.Lock()
		defer mu.Unlock()
		return dials
	}
}

func (e *env) close() {
	e.cancel()
	for _, f := range e.closers {
		f()
	}
}

// files returns names, modes and contents in the folder.
func (e *env) files() string {
	var b strings.Builder
	entries, err := os.ReadDir(e.folder)
	if err != nil {
		return err.Error()
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err.Error()
		}
		text, err := os.ReadFile(filepath.Join(e.folder, entry.Name()))
		fmt.Fprintf(&b, "%s %v %q %v\n", entry.Name(), info.Mode(), text, err)
	}
	return b.String()
}
