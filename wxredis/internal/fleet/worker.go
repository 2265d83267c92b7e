package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxredis"
)

// An order is what a process is told at its start. It works until its input ends.
type order struct {
	URL, AppID, AppSecret string
	Redis                 string // address; "" to share nothing
	Legacy                bool
	Callers               int
	Scene                 uint32 // permanent, so that the WeChat need not keep more and more
}

const (
	callLimit    = 5 * time.Second // the deadline of a call
	reportPeriod = 50 * time.Millisecond
)

// A report is what a process tells: one of three things.
type report struct {
	At      time.Time
	Request bool   `json:",omitempty"` // it is about to ask WeChat for a token
	Token   string `json:",omitempty"` // it begins to use this token, of which this is a hash
	Tally   *tally `json:",omitempty"` // what it did since it told last
}

type tally struct {
	Codes, Failed           int
	Slowest                 time.Duration // call, good or failed
	FirstFailed, LastFailed time.Time     // when the first and the last failed call ended
	Error                   string        // of the last
}

// An instance is a process as its own code sees it.
type instance struct {
	source *wxqrcode.TokenSource

	mu    sync.Mutex // guards what follows
	out   *json.Encoder
	token string // the one used last
	tally tally
}

// work makes codes until in ends, and tells out what happens.
func work(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var o order
	orders := json.NewDecoder(in)
	if err := orders.Decode(&o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	i := &instance{out: json.NewEncoder(out)}
	opts := []wxqrcode.Option{
		wxqrcode.WithAPIURL(o.URL),
		wxqrcode.WithHTTPClient(&http.Client{Transport: i}),
	}
	if o.Redis != "" {
		rdb := redis.NewClient(&redis.Options{Addr: o.Redis})
		defer func() { _ = rdb.Close() }()
		opts = append(opts, wxqrcode.WithTokenStore(wxredis.NewTokenStore(rdb)))
	}
	if o.Legacy {
		opts = append(opts, wxqrcode.WithLegacyToken())
	}
	var err error
	if i.source, err = wxqrcode.NewTokenSource(o.AppID, o.AppSecret, opts...); err != nil {
		return err
	}
	client, err := wxqrcode.NewClient(i, wxqrcode.WithAPIURL(o.URL))
	if err != nil {
		return err
	}
	var callers sync.WaitGroup
	for range o.Callers {
		callers.Go(func() {
			for ctx.Err() == nil {
				i.create(ctx, client, wxqrcode.Permanent(wxqrcode.SceneID(o.Scene)))
			}
		})
	}
	for sleep(ctx, reportPeriod) == nil {
		i.tell()
	}
	callers.Wait()
	i.tell()
	return nil
}

func (i *instance) create(ctx context.Context, client *wxqrcode.Client, r wxqrcode.Request) {
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	began := time.Now()
	_, err := client.Create(call, r)
	ended := time.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tally.Slowest = max(i.tally.Slowest, ended.Sub(began))
	switch {
	case err == nil:
		i.tally.Codes++
	case ctx.Err() == nil: // the end of the run is no failure
		if i.tally.Failed == 0 {
			i.tally.FirstFailed = ended
		}
		i.tally.Failed++
		i.tally.LastFailed, i.tally.Error = ended, err.Error()
	}
}

// tell reports the tally and begins another.
func (i *instance) tell() {
	i.mu.Lock()
	defer i.mu.Unlock()
	t := i.tally
	i.tally = tally{}
	_ = i.out.Encode(report{At: time.Now(), Tally: &t}) // who has gone need not know
}

// AccessToken is that of the source, and tells of each token when it is used first.
func (i *instance) AccessToken(ctx context.Context) (string, error) {
	token, err := i.source.AccessToken(ctx)
	if err != nil {
		return "", err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if token != i.token {
		i.token = token
		sum := sha256.Sum256([]byte(token))
		_ = i.out.Encode(report{At: time.Now(), Token: hex.EncodeToString(sum[:8])})
	}
	return token, nil
}

func (i *instance) InvalidateToken(ctx context.Context, token string) {
	i.source.InvalidateToken(ctx, token)
}

// RoundTrip tells of each request for a token.
func (i *instance) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "token") {
		i.mu.Lock()
		_ = i.out.Encode(report{At: time.Now(), Request: true})
		i.mu.Unlock()
	}
	return http.DefaultTransport.RoundTrip(r)
}
