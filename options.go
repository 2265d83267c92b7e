package wxqrcode

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A ClientOption changes what [NewClient] makes.
type ClientOption interface{ applyClient(*settings) error }

// A TokenOption changes what [NewTokenSource] makes.
type TokenOption interface{ applyToken(*settings) error }

// An Option is both a [ClientOption] and a [TokenOption]. Of two that set the
// same thing, the later one wins.
type Option interface {
	ClientOption
	TokenOption
}

// WithHTTPClient makes all calls go through a copy of c that follows no
// redirects: Go would send the access token on as Referer. A nil c is the
// default, a client with a transport of its own, which keeps 64 idle connections
// a host and gives up dialling after 3 s. A transport of yours should do so too: with
// [http.DefaultTransport], which dials for 30 s, a try is over before the second host
// has its turn.
func WithHTTPClient(c *http.Client) Option {
	return option(func(s *settings) error {
		s.httpClient = c
		return nil
	})
}

// WithAPIURL sets the scheme and host of the API, such as
// "https://sh.api.weixin.qq.com" (Shanghai; sz and hk are the other regions), and
// the hosts that stand in when it cannot be dialled or does not answer in time. A
// host that stood in stays first for a minute. The default is https://api.weixin.qq.com with
// https://api2.weixin.qq.com behind it.
//
// See https://developers.weixin.qq.com/doc/offiaccount/Basic_Information/Interface_field_description.html.
func WithAPIURL(primary string, fallback ...string) Option {
	return option(func(s *settings) error {
		hosts := make([]string, 0, 1+len(fallback))
		for _, base := range append([]string{primary}, fallback...) {
			host, err := parseBase("api url", base)
			if err != nil {
				return err
			}
			hosts = append(hosts, host)
		}
		s.apiHosts = hosts
		return nil
	})
}

// A Retry says how often and how soon a call that failed on the way is tried
// again: after a failed connection, HTTP 429 or 5xx, and errcode -1. The waits
// grow as Base, 2×Base, 4×Base and so on up to Max, each shortened at random to
// anything between 0 and all of it, and none is begun that would outlast the
// context.
type Retry struct {
	Attempts int           // tries in all; 0 means 3, 1 means no second try
	Base     time.Duration // the first wait at most; 0 means 200 ms
	Max      time.Duration // any wait at most; 0 means 2 s
}

// WithRetry sets how calls are tried again. Negative values are refused with a
// [*ValidationError].
func WithRetry(r Retry) Option {
	return option(func(s *settings) error {
		if r.Attempts < 0 || r.Base < 0 || r.Max < 0 {
			return &ValidationError{
				Field:  "retry",
				Value:  fmt.Sprintf("%+v", r),
				Reason: "must not be negative; zero values mean 3 tries, 200ms, 2s",
			}
		}
		s.retry = r
		return nil
	})
}

// WithLogger makes the library log what it does unasked: tries that are repeated
// and renewals that fail. Nothing logged contains a token or a secret. Without
// it, or with nil, nothing is logged.
func WithLogger(l *slog.Logger) Option {
	return option(func(s *settings) error {
		s.logger = l
		return nil
	})
}

// WithImageURL sets the scheme and host that [Client.Image], [Client.WriteImage],
// [Client.SaveImage] and [Client.ImageURL] use, for a proxy or a test. The
// default is https://mp.weixin.qq.com.
func WithImageURL(base string) ClientOption {
	return clientOption(func(s *settings) error {
		host, err := parseBase("image url", base)
		if err != nil {
			return err
		}
		s.imageHost = host
		return nil
	})
}

type (
	option       func(*settings) error
	clientOption func(*settings) error
	tokenOption  func(*settings) error
)

func (o option) applyClient(s *settings) error       { return o(s) }
func (o option) applyToken(s *settings) error        { return o(s) }
func (o clientOption) applyClient(s *settings) error { return o(s) }
func (o tokenOption) applyToken(s *settings) error   { return o(s) }

const (
	apiHost      = "https://api.weixin.qq.com"
	apiHostSpare = "https://api2.weixin.qq.com"
	imageHost    = "https://mp.weixin.qq.com"
)

// settings is what options set.
type settings struct {
	httpClient *http.Client
	apiHosts   []string
	imageHost  string
	retry      Retry
	logger     *slog.Logger
	legacy     bool
	store      TokenStore
}

func defaultSettings() settings {
	return settings{apiHosts: []string{apiHost, apiHostSpare}, imageHost: imageHost}
}

func (s *settings) caller(hosts []string) *caller {
	if s.httpClient == nil {
		s.httpClient = &http.Client{Transport: newTransport()}
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	c := &caller{hosts: hosts, retry: s.retry, log: s.logger}
	c.retry.Attempts = cmp.Or(c.retry.Attempts, 3)
	c.retry.Base = cmp.Or(c.retry.Base, 200*time.Millisecond)
	c.retry.Max = cmp.Or(c.retry.Max, 2*time.Second)
	c.http = *s.httpClient
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

func newTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // replaced by the program, for a test or to trace: its choice
		return http.DefaultTransport
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = 64
	if t.DialContext != nil {
		t.DialContext = limitDial(t.DialContext)
	}
	return t
}

// dialTimeout is well below the 10 s of a try, so that there is time left for the
// next host.
const dialTimeout = 3 * time.Second

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

func limitDial(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		return dial(ctx, network, address)
	}
}

// parseBase takes a scheme and host and returns them without a trailing slash.
func parseBase(field, base string) (string, error) {
	u, err := url.Parse(base)
	if err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil &&
		(u.Path == "" || u.Path == "/") && !strings.ContainsAny(base, "?#") {
		return u.Scheme + "://" + u.Host, nil
	}
	// A password or a token may stand before the @ or after the ?.
	shown := base[strings.LastIndexByte(base, '@')+1:]
	if i := strings.IndexAny(shown, "?#"); i >= 0 {
		shown = shown[:i]
	}
	return "", &ValidationError{Field: field, Value: shown, Reason: "must be a scheme and a host alone, such as " + apiHost}
}
