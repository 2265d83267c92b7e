package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
	"github.com/spf13/pflag"
)

// The environment variables.
const (
	envAppID       = "WXQRCODE_APPID"
	envSecret      = "WXQRCODE_SECRET"
	envCredentials = "WXQRCODE_CREDENTIALS"
	envAPIURL      = "WXQRCODE_API_URL"
)

// An app is what all commands share: the flags that each of them has.
type app struct {
	sandbox     bool
	apiURL      string
	credentials string // a file
	json        bool
}

func (a *app) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&a.sandbox, "sandbox", false, "use a WeChat simulator inside this process")
	flags.StringVar(&a.apiURL, "api-url", os.Getenv(envAPIURL),
		"`URL` of the API, such as https://sh.api.weixin.qq.com, or of a running sandbox ["+envAPIURL+"]")
	flags.StringVar(&a.credentials, "credentials", os.Getenv(envCredentials),
		"JSON `file` with appid and secret, mode 0600; the environment takes precedence ["+envCredentials+"]")
	flags.BoolVar(&a.json, "json", false, "print JSON")
	// What the environment holds must not show as a default in --help, nor in docs/cli.md.
	for _, name := range []string{"api-url", "credentials"} {
		flags.Lookup(name).DefValue = ""
	}
}

// A session is a connection to WeChat, or to a sandbox.
type session struct {
	client *wxqrcode.Client
	appID  string
	api    string         // its address
	wechat *wxtest.Server // of a sandbox in this process, else nil
}

func (s *session) close() {
	if s.wechat != nil {
		s.wechat.Close()
	}
}

// open creates the client that the flags select. It sends nothing.
func (a *app) open(opts ...wxqrcode.Option) (*session, error) {
	if a.sandbox {
		return openSandbox()
	}
	account, err := a.account()
	if err != nil {
		return nil, err
	}
	s := &session{appID: account.AppID, api: "https://api.weixin.qq.com"}
	if a.apiURL != "" {
		s.api = a.apiURL
	}
	s.client, err = wxqrcode.New(account.AppID, account.Secret, append(a.clientOptions(), opts...)...)
	return s, err
}

// clientOptions returns the options for --api-url.
func (a *app) clientOptions() []wxqrcode.Option {
	opts := []wxqrcode.Option{withoutLog}
	if a.apiURL != "" {
		opts = append(opts, wxqrcode.WithAPIURL(a.apiURL))
		if !isWeChat(a.apiURL) { // a sandbox serves the images too
			opts = append(opts, wxqrcode.WithImageURL(a.apiURL))
		}
	}
	return opts
}

// withoutLog keeps retried requests off stderr, where the progress is.
var withoutLog = wxqrcode.WithLogger(slog.New(slog.DiscardHandler))

// openSandbox starts a WeChat in this process.
func openSandbox() (*session, error) {
	wechat, err := playWeChat()
	if err != nil {
		return nil, err
	}
	return &session{client: wechat.Client(), wechat: wechat, appID: wechat.AppID(), api: wechat.URL()}, nil
}

func isWeChat(apiURL string) bool {
	u, err := url.Parse(apiURL)
	return err == nil && strings.HasSuffix("."+u.Hostname(), ".weixin.qq.com")
}

// An account is whose codes are made.
type account struct {
	AppID  string `json:"appid"`
	Secret string `json:"secret"`
}

// account returns the credentials, from the environment or from the file.
func (a *app) account() (account, error) {
	c := account{AppID: os.Getenv(envAppID), Secret: os.Getenv(envSecret)}
	if (c.AppID == "" || c.Secret == "") && a.credentials != "" {
		fromFile, err := readAccount(a.credentials)
		if err != nil {
			return account{}, missingError{err}
		}
		if c.AppID == "" {
			c.AppID = fromFile.AppID
		}
		if c.Secret == "" {
			c.Secret = fromFile.Secret
		}
	}
	var missing []string
	if c.AppID == "" {
		missing = append(missing, envAppID+" (the account's AppID)")
	}
	if c.Secret == "" {
		missing = append(missing, envSecret+" (the account's AppSecret)")
	}
	if missing == nil {
		return c, nil
	}
	return account{}, missingError{fmt.Errorf("no credentials: set %s, or pass --credentials; without an account, use --sandbox", strings.Join(missing, " and "))}
}

const maxAccountFile = 64 << 10

func readAccount(path string) (c account, err error) {
	f, err := os.Open(path)
	if err != nil {
		return c, fmt.Errorf("read the credentials: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return c, fmt.Errorf("read the credentials: %w", err)
	}
	if err := checkPrivate(path, info); err != nil {
		return c, fmt.Errorf("read the credentials: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxAccountFile))
	if err != nil {
		return c, fmt.Errorf("read the credentials: %w", err)
	}
	if json.Unmarshal(text, &c) != nil { // whose error could quote a part of it
		return account{}, fmt.Errorf(`read the credentials: %s must be JSON such as {"appid": "wx…", "secret": "…"}`, path)
	}
	if c.AppID == "" || c.Secret == "" {
		return account{}, fmt.Errorf("read the credentials: %s must contain appid and secret", path)
	}
	return c, nil
}

var errExposed = errors.New("is readable by other users")
