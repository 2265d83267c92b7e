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

// A call is what a program does with the library, and a fault may befall.
type call struct {
	name string
	path string // of the request
	// begin makes a client, or a source, and returns what calls it.
	begin func(e *env) (func(ctx context.Context) error, error)
}

var (
	create = &call{"`Create`", "/cgi-bin/qrcode/create", func(e *env) (func(context.Context) error, error) {
		client, err := e.client()
		return func(ctx context.Context) error {
			_, err := client.Create(ctx, aCode)
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
				e.taken = len(got.Data)
			}
			return err
		}, err
	}}
	writeImage = &call{"`WriteImage`", showPath, func(e *env) (func(context.Context) error, error) {
		client, err := e.client()
		return func(ctx context.Context) error {
			e.written.Reset()
			_, err := client.WriteImage(ctx, &e.written, ticket)
			e.taken = e.written.Len()
			return err
		}, err
	}}
	saveNew  = saveCall("`SaveImage`, no file there", newFile)
	saveOver = saveCall("`SaveImage`, over a file", oldFile)

	allCalls   = []*call{create, stableToken, legacyToken, image, writeImage, saveNew, saveOver}
	apiCalls   = []*call{create, stableToken, legacyToken}
	imageCalls = []*call{image, writeImage, saveNew, saveOver}
	tokenCalls = []*call{stableToken, legacyToken}
)

var aCode = wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), time.Hour)

const (
	newFile    = "new.jpg"
	oldFile    = "old.jpg"
	oldPicture = "the old picture"
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
				e.taken = int(info.Size())
			}
			return err
		}, err
	}}
}

// An env is what one call of one fault has around it.
type env struct {
	call    *call
	wechat  *wechat
	hosts   []string     // of WithAPIURL; the first one has the pictures too
	http    *http.Client // nil: the library's own
	retry   wxqrcode.RetryPolicy
	log     logbook
	shown   []string     // pairs: what a text has in place of addresses and the like
	folder  string       // where pictures are
	saveDir string       // where they are saved
	written bytes.Buffer // what WriteImage wrote
	taken   int          // the bytes of the picture that came
	ctx     context.Context
	cancel  context.CancelFunc

	end     func()        // ends the fault
	tries   func() int    // how many tries there were, as whoever met them counts
	unit    string        // of what is counted
	retried func() string // what the table says of them, if there is more to say
	extra   func() error  // what else must be
	release func()        // lets the server go on; for those that use it
	closers []func()
}

// newEnv makes the surroundings of a call, with the folder for pictures, which holds one.
func newEnv(ctx context.Context, c *call, folder string) *env {
	e := &env{call: c, wechat: newWeChat(), retry: wxqrcode.RetryPolicy{BaseDelay: 1, MaxDelay: 1}, folder: folder, saveDir: folder, unit: "request"}
	e.closers = append(e.closers, e.wechat.close)
	e.hosts = []string{e.wechat.URL}
	e.end = e.wechat.mend
	e.tries = e.wechat.requests
	e.ctx, e.cancel = context.WithCancel(ctx)
	if err := os.WriteFile(filepath.Join(folder, oldFile), []byte(oldPicture), 0o640); err != nil {
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

// ownTransport gives the calls an http.Client of the test's.
func (e *env) ownTransport() *http.Transport {
	t := &http.Transport{}
	e.http = &http.Client{Transport: t}
	e.closers = append(e.closers, t.CloseIdleConnections)
	return t
}

// dialTo makes every dialled address lead to what where returns, and counts.
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
	e.tries = func() int {
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

// files returns what is in the folder: names, modes and contents.
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
