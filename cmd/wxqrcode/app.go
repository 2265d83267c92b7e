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

// Environment variables.
const (
	envAppID       = "WXQRCODE_APPID"
	envSecret      = "WXQRCODE_SECRET"
	envCredentials = "WXQRCODE_CREDENTIALS"
	envAPIURL      = "WXQRCODE_API_URL"
)

// globalFlags are the flags of every command.
type globalFlags struct {
	sandbox     bool
	apiURL      string
	credentials string // a file
	json        bool
}

func (g *globalFlags) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&g.sandbox, "sandbox", false, "use a WeChat simulator inside this process")
	flags.StringVar(&g.apiURL, "api-url", os.Getenv(envAPIURL),
		"`URL` of the API, such as https://sh.api.weixin.qq.com, or of a running sandbox ["+envAPIURL+"]")
	flags.StringVar(&g.credentials, "credentials", os.Getenv(envCredentials),
		"JSON `file` with appid and secret, mode 0600; the environment takes precedence ["+envCredentials+"]")
	flags.BoolVar(&g.json, "json", false, "print JSON")
	// Keep values of the environment out of --help and docs/cli.md.
	for _, name := range []string{"api-url", "credentials"} {
		flags.Lookup(name).DefValue = ""
	}
}

// A session is a client of WeChat or of a simulator.
type session struct {
	client *wxqrcode.Client
	appID  string
	api    string         // base URL
	wechat *wxtest.Server // with --sandbox, else nil
}

func (s *session) close() {
	if s.wechat != nil {
		s.wechat.Close()
	}
}

// open creates the client that the flags select. It sends nothing.
func (g *globalFlags) open(opts ...wxqrcode.Option) (*session, error) {
	if g.sandbox {
		return openSandbox()
	}
	account, err := g.account()
	if err != nil {
		return nil, err
	}
	s := &session{appID: account.AppID, api: "https://api.weixin.qq.com"}
	if g.apiURL != "" {
		s.api = g.apiURL
	}
	s.client, err = wxqrcode.New(account.AppID, account.Secret, append(g.clientOptions(), opts...)...)
	return s, err
}

// clientOptions returns the options that --api-url selects.
func (g *globalFlags) clientOptions() []wxqrcode.Option {
	opts := []wxqrcode.Option{withoutLog}
	if g.apiURL != "" {
		opts = append(opts, wxqrcode.WithAPIURL(g.apiURL))
		if !isWeChat(g.apiURL) { // a sandbox also serves images
			opts = append(opts, wxqrcode.WithImageURL(g.apiURL))
		}
	}
	return opts
}

// withoutLog keeps the log of retries out of the progress on stderr.
var withoutLog = wxqrcode.WithLogger(slog.New(slog.DiscardHandler))

// openSandbox starts a simulator in this process.
func openSandbox() (*session, error) {
	wechat, err := startServer()
	if err != nil {
		return nil, err
	}
	return &session{client: wechat.Client(), wechat: wechat, appID: wechat.AppID(), api: wechat.URL()}, nil
}

func isWeChat(apiURL string) bool {
	u, err := url.Parse(apiURL)
	return err == nil && strings.HasSuffix("."+u.Hostname(), ".weixin.qq.com")
}

// An account has the credentials of a WeChat account.
type account struct {
	AppID  string `json:"appid"`
	Secret string `json:"secret"`
}

// account returns the credentials from the environment or the file.
func (g *globalFlags) account() (account, error) {
	c := account{AppID: os.Getenv(envAppID), Secret: os.Getenv(envSecret)}
	if (c.AppID == "" || c.Secret == "") && g.credentials != "" {
		fromFile, err := readAccount(g.credentials)
		if err != nil {
			return account{}, credentialsError{err}
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
	return account{}, credentialsError{fmt.Errorf("no credentials: set %s, or pass --credentials; without an account, use --sandbox", strings.Join(missing, " and "))}
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
	if json.Unmarshal(text, &c) != nil { // the error could quote the secret
		return account{}, fmt.Errorf(`read the credentials: %s must be JSON such as {"appid": "wx…", "secret": "…"}`, path)
	}
	if c.AppID == "" || c.Secret == "" {
		return account{}, fmt.Errorf("read the credentials: %s must contain appid and secret", path)
	}
	return c, nil
}

var errNotPrivate = errors.New("is readable by other users")
