package wxqrcode

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An Option configures [New], [NewClient], [NewTokenSource] and
// [NewCloudHosting]. A nil Option is ignored. If two options set the same
// value, the later one wins.
type Option func(*config) error

// config holds what the options set.
type config struct {
	httpClient  *http.Client
	apiURLs     []string
	imageURL    string
	retry       RetryPolicy
	log         *slog.Logger
	userAgent   string
	tokenStore  TokenStore
	legacyToken bool
}

// WithHTTPClient sends all requests through a copy of c that does not follow
// redirects.
//
// The transport of c sees the access token in the query parameter access_token
// of each request, and the AppSecret in the parameter secret with
// [WithLegacyToken]. otelhttp and other transports for tracing record the whole
// URL, in the attributes url.full, url.query or http.url: remove the query from
// these attributes, or both parameters, before spans are exported. The same
// applies to a transport that logs requests.
//
// The default, also for a nil c, is a client with its own transport, which
// keeps 64 idle connections per host and dials for at most 3 s. Limit the dial
// of your own transport too: an attempt takes at most 10 s, and a dial that
// takes longer leaves no time for a fallback host.
func WithHTTPClient(c *http.Client) Option {
	return func(cfg *config) error {
		cfg.httpClient = c
		return nil
	}
}

// WithAPIURL sets the base URL of the API, such as
// "https://sh.api.weixin.qq.com" (Shanghai; sz and hk are the other regions),
// and the fallback hosts, in order, for when it cannot be reached or times out.
// A fallback host stays active for a minute. A URL may have a path, such as
// that of a reverse proxy. The default is https://api.weixin.qq.com with the
// fallback
// https://api2.weixin.qq.com.
//
// See https://developers.weixin.qq.com/doc/offiaccount/Basic_Information/Interface_field_description.html.
func WithAPIURL(primary string, fallback ...string) Option {
	return func(cfg *config) error {
		urls := make([]string, 0, 1+len(fallback))
		for _, u := range append([]string{primary}, fallback...) {
			base, err := parseBaseURL("API URL", u)
			if err != nil {
				return err
			}
			urls = append(urls, base)
		}
		cfg.apiURLs = urls
		return nil
	}
}

// WithImageURL sets the base URL that [Client.Image], [Client.WriteImage],
// [Client.SaveImage] and [Client.ImageURL] use, for a reverse proxy or a test.
// It may have a path. The default is https://mp.weixin.qq.com.
func WithImageURL(base string) Option {
	return func(cfg *config) (err error) {
		cfg.imageURL, err = parseBaseURL("image URL", base)
		return err
	}
}

// A RetryPolicy is how often and how soon a request is retried after a failed
// connection, HTTP 429 or 5xx, and errcode -1. The limit of the delay is
// BaseDelay, 2×BaseDelay, 4×BaseDelay and so on up to MaxDelay; each delay is
// random between 0 and its limit. A delay that would outlast the context is not
// started.
type RetryPolicy struct {
	MaxAttempts int           // zero means 3; 1 means no retry
	BaseDelay   time.Duration // zero means 200 ms
	MaxDelay    time.Duration // zero means 2 s
}

// WithRetry sets the retry policy. A negative value is a [*ValidationError].
func WithRetry(p RetryPolicy) Option {
	return func(cfg *config) error {
		switch {
		case p.MaxAttempts < 0:
			return invalidConfig("MaxAttempts", strconv.Itoa(p.MaxAttempts), "must not be negative; 0 means 3")
		case p.BaseDelay < 0:
			return invalidConfig("BaseDelay", p.BaseDelay.String(), "must not be negative; 0 means 200ms")
		case p.MaxDelay < 0:
			return invalidConfig("MaxDelay", p.MaxDelay.String(), "must not be negative; 0 means 2s")
		}
		cfg.retry = p
		return nil
	}
}

// WithLogger sets the logger of retried requests and failed token refreshes.
// Nothing logged contains a token or a secret. The default, also for a nil l,
// is [slog.Default] at Warn and above, which is all that this package logs.
func WithLogger(l *slog.Logger) Option {
	return func(cfg *config) error {
		cfg.log = l
		return nil
	}
}

// WithUserAgent sets the User-Agent header to "<product> wxqrcode/<version>".
// The default is "wxqrcode/<version>". The product must be printable ASCII.
func WithUserAgent(product string) Option {
	return func(cfg *config) error {
		if strings.ContainsFunc(product, func(r rune) bool { return r < ' ' || r > '~' }) {
			return invalidConfig("User-Agent", product, "must be printable ASCII")
		}
		cfg.userAgent = product
		return nil
	}
}

// WithTokenStore makes a [TokenSource] share its token through s. The default,
// also for a nil s, keeps the token in memory. [NewClient] and
// [NewCloudHosting] reject this option.
func WithTokenStore(s TokenStore) Option {
	return func(cfg *config) error {
		cfg.tokenStore = s
		return nil
	}
}

// WithLegacyToken makes a [TokenSource] use cgi-bin/token in place of
// stable_token. Each such request creates a new token, and the previous token
// expires five minutes later: two programs that do so for one account
// invalidate each other's tokens, unless they share a [TokenStore]. [NewClient]
// and [NewCloudHosting] reject this option.
//
// See https://developers.weixin.qq.com/doc/service/api/base/api_getaccesstoken.html.
func WithLegacyToken() Option {
	return func(cfg *config) error {
		cfg.legacyToken = true
		return nil
	}
}

const (
	apiURL         = "https://api.weixin.qq.com"
	apiFallbackURL = "https://api2.weixin.qq.com"
	imageURL       = "https://mp.weixin.qq.com"
	cloudAPIURL    = "http://api.weixin.qq.com"
)

// newConfig applies opts to the defaults.
func newConfig(opts []Option) (*config, error) {
	cfg := &config{imageURL: imageURL}
	for _, o := range opts {
		if o == nil {
			continue
		}
		if err := o(cfg); err != nil {
			return nil, err
		}
	}
	if cfg.httpClient == nil {
		cfg.httpClient = &http.Client{Transport: newTransport()}
	}
	cfg.log = cmp.Or(cfg.log, slog.Default())
	cfg.retry.MaxAttempts = cmp.Or(cfg.retry.MaxAttempts, 3)
	cfg.retry.BaseDelay = cmp.Or(cfg.retry.BaseDelay, 200*time.Millisecond)
	cfg.retry.MaxDelay = cmp.Or(cfg.retry.MaxDelay, 2*time.Second)
	return cfg, nil
}

// rejectTokenOptions returns an error if an option configures a TokenSource,
// which constructor does not create.
func (cfg *config) rejectTokenOptions(constructor string) error {
	switch {
	case cfg.tokenStore != nil:
		return invalidConfig("WithTokenStore", "", "does not apply to "+constructor+"; use it with New or NewTokenSource")
	case cfg.legacyToken:
		return invalidConfig("WithLegacyToken", "", "does not apply to "+constructor+"; use it with New or NewTokenSource")
	}
	return nil
}

// api returns a client of the API.
func (cfg *config) api() *apiClient {
	if cfg.apiURLs == nil {
		return cfg.apiClient(apiURL, apiFallbackURL)
	}
	return cfg.apiClient(cfg.apiURLs...)
}

func (cfg *config) apiClient(hosts ...string) *apiClient {
	c := &apiClient{http: *cfg.httpClient, timeout: cfg.httpClient.Timeout, hosts: hosts, retry: cfg.retry, log: cfg.log}
	c.http.Timeout = 0
	c.userAgent = []string{strings.TrimSpace(cfg.userAgent + " wxqrcode/" + version())}
	c.http.Transport = secretTransport{cmp.Or(c.http.Transport, http.DefaultTransport)}
	return c
}

// version returns the version of this module in the running program.
var version = sync.OnceValue(func() string {
	const path = "github.com/seed-0142d113/wxqrcode"
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == path && m.Version != "" && m.Version != "(devel)" {
				return strings.TrimPrefix(m.Version, "v")
			}
		}
	}
	return "devel"
})

// dialTimeout is well below jsonTimeout, so that there is time for a fallback
// host.
const dialTimeout = 3 * time.Second

func newTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // the program replaced it, to trace or to test
		return http.DefaultTransport
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = 64
	if dial := t.DialContext; dial != nil {
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			return dial(ctx, network, address)
		}
	}
	return t
}

// parseBaseURL checks a base URL and returns it without a trailing slash.
func parseBaseURL(field, base string) (string, error) {
	u, err := url.Parse(base)
	if err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && !strings.ContainsAny(base, "?#") {
		return u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/"), nil
	}
	// A password may precede the @, and a token may follow the question mark.
	shown := base[strings.LastIndexByte(base, '@')+1:]
	if i := strings.IndexAny(shown, "?#"); i >= 0 {
		shown = shown[:i]
	}
	return "", invalidConfig(field, shown, "must be http or https, a host and an optional path, without user, query and fragment, such as "+apiURL)
}
