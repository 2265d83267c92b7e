package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

func newSandboxCommand(g *globalFlags) *cobra.Command {
	var c sandboxCommand
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run a local WeChat simulator",
		Long: `Run a WeChat simulator with one account, to develop against without an account or a phone. Your
program, or wxqrcode create, creates codes with the AppID and the secret that are printed. A page
shows the codes, with buttons that scan them as a new follower or as a follower.

--callback pushes the events of these scans to your program, as WeChat does, and prints its replies.
Token, EncodingAESKey and AppID are read from ` + envToken + `, ` + envAESKey + ` and
` + envAppID + `, generated if these are not set, and printed. Plain mode has no EncodingAESKey.

The output begins with export lines for a shell, followed by a line for each scan. With --json, the
first line is an object with api_url, appid, secret, token, aes_key, callback, mode, push and page; each
scan is an object with time, event, scene, openid, ticket, status, tries, reply_type, reply and error.

Nothing is stored when the simulator ends. On a loopback address it accepts requests for loopback host
names only, as protection against DNS rebinding. On any other address, anyone can scan codes.`,
		Example: `  wxqrcode sandbox
  wxqrcode sandbox --callback http://127.0.0.1:8080/wechat
  WXQRCODE_API_URL=http://127.0.0.1:8090 WXQRCODE_APPID=… WXQRCODE_SECRET=… wxqrcode create login-1 --lifetime 5m
  wxqrcode sandbox --addr 127.0.0.1:0 --json --callback http://127.0.0.1:8080/wechat --mode plain --push json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.check(cmd.Flags()); err != nil {
				return usageError{err}
			}
			return c.run(cmd, g.json)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.addr, "addr", "127.0.0.1:8090", "`address` of the API and the page")
	flags.StringVar(&c.callback, "callback", "", "push events to this `URL`")
	flags.StringVar(&c.mode, "mode", "secure", "with --callback: `mode` of pushes: plain, compatible or secure")
	flags.StringVar(&c.pushFormat, "push", "xml", "with --callback: `format` of pushes: xml or json")
	flags.DurationVar(&c.tokenLifetime, "token-lifetime", 2*time.Hour, "`lifetime` of access tokens, at least 1s")
	flags.BoolVar(&c.freshRetries, "fresh-retries", false, "with --callback: sign and encrypt each redelivery anew")
	flags.BoolVar(&c.retryStatus, "retry-status", false, "with --callback: redeliver a push if the status of the response is not 200")
	completes(cmd, "mode", sandboxModes...)
	completes(cmd, "push", "xml", "json")
	return cmd
}

// A sandboxCommand is a run of the sandbox command.
type sandboxCommand struct {
	addr, callback            string
	mode, pushFormat          string
	tokenLifetime             time.Duration
	freshRetries, retryStatus bool
}

func (c *sandboxCommand) run(cmd *cobra.Command, asJSON bool) error {
	box, err := newSandbox("--addr", c.addr, c.config(), c.options()...)
	if err != nil {
		return err
	}
	defer box.close()
	if c.callback != "" {
		if err := box.check(); err != nil {
			return err
		}
		box.setCallback(c.callback)
	}
	out := newConsole(cmd)
	defer out.end(nil)
	box.warnIfOpen(out)
	account := box.account()
	if asJSON {
		box.onScan = func(s scanOutput) error { return out.printJSON(s) }
		err = out.printJSON(account)
	} else {
		box.onScan = func(s scanOutput) error { return out.print(localTime(s.Time) + "  " + s.String()) }
		err = out.print(account.exports() + "\n# The page is " + account.Page)
	}
	if err != nil {
		return err
	}
	return out.run(box.page)
}

var sandboxModes = []string{wxtest.Plain: "plain", wxtest.Compatible: "compatible", wxtest.Secure: "secure"}

// check validates the flags.
func (c *sandboxCommand) check(flags *pflag.FlagSet) error {
	if c.callback == "" {
		for _, name := range []string{"mode", "push", "fresh-retries", "retry-status"} {
			if flags.Changed(name) {
				return fmt.Errorf("--%s requires --callback", name)
			}
		}
	} else if u, err := url.Parse(c.callback); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("--callback must be a URL such as http://127.0.0.1:8080/wechat, got %q", c.callback)
	}
	switch {
	case !slices.Contains(sandboxModes, c.mode):
		return fmt.Errorf("--mode must be plain, compatible or secure, got %q", c.mode)
	case c.pushFormat != "xml" && c.pushFormat != "json":
		return fmt.Errorf("--push must be xml or json, got %q", c.pushFormat)
	case c.tokenLifetime < time.Second:
		return fmt.Errorf("--token-lifetime must be at least 1s, got %v", c.tokenLifetime)
	}
	return nil
}

// config returns the settings of pushes from flags and environment.
func (c *sandboxCommand) config() wxtest.CallbackConfig {
	config := wxtest.RandomCallbackConfig(wxtest.Mode(slices.Index(sandboxModes, c.mode)))
	config.JSON = c.pushFormat == "json"
	if token := os.Getenv(envToken); token != "" {
		config.Token = token
	}
	// Plain mode has no key: a program with a key rejects plain pushes.
	if key := os.Getenv(envAESKey); key != "" && config.Mode != wxtest.Plain {
		config.EncodingAESKey = key
	}
	return config
}

func (c *sandboxCommand) options() []wxtest.Option {
	options := []wxtest.Option{wxtest.WithTokenLifetime(c.tokenLifetime)}
	if c.callback != "" {
		options = append(options, wxtest.WithAppID(os.Getenv(envAppID)))
	}
	if c.freshRetries {
		options = append(options, wxtest.WithFreshRetries())
	}
	if c.retryStatus {
		options = append(options, wxtest.WithRetryStatus())
	}
	return options
}

// A sandbox is a WeChat simulator with a page that scans codes.
type sandbox struct {
	wechat   *wxtest.Server
	config   wxtest.CallbackConfig // of pushes
	callback string                // URL, or empty
	page     *httpServer
	onScan   func(s scanOutput) error // called for each scan; may be nil

	mu    sync.Mutex   // guards scans
	scans []scanOutput // newest first
}

// newSandbox listens on addr, the value of flag, and starts a simulator behind it.
func newSandbox(flag, addr string, config wxtest.CallbackConfig, options ...wxtest.Option) (*sandbox, error) {
	s := &sandbox{config: config}
	var err error
	if s.page, err = listenHTTP(flag, addr, s.handler()); err != nil {
		return nil, err
	}
	if s.wechat, err = startServer(options...); err != nil {
		s.page.close()
		return nil, err
	}
	s.wechat.Follow(sandboxFollower)
	s.page.server.RegisterOnShutdown(s.wechat.Close) // cancels pushes in flight
	return s, nil
}

// startServer starts a simulator. It returns an error if no port is free, where wxtest,
// like httptest, panics.
func startServer(options ...wxtest.Option) (wechat *wxtest.Server, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("start the WeChat simulator: %v", r)
		}
	}()
	return wxtest.NewServer(options...), nil
}

func (s *sandbox) close() {
	s.page.close()
	s.wechat.Close()
}

func (s *sandbox) setCallback(url string) {
	s.callback = url
	s.wechat.SetCallback(url, s.config)
}

// check returns an error if no callback can work with the token and the key.
func (s *sandbox) check() error {
	_, err := callback.New(callback.Config{
		Token: s.config.Token, AppID: s.wechat.AppID(), EncodingAESKey: s.config.EncodingAESKey,
		OnEvent: func(context.Context, *wxqrcode.Event) (callback.Reply, error) { return nil, nil },
	})
	if err != nil {
		return fmt.Errorf("invalid callback settings in %s, %s and %s: %w", envToken, envAESKey, envAppID, err)
	}
	return nil
}

func (s *sandbox) warnIfOpen(out *console) {
	if !s.page.isLoopback() {
		out.log.Warn("the sandbox is not on loopback: anyone who can reach it can scan its codes", "address", s.page.listener.Addr().String())
	}
}

// A sandboxAccount has the settings for other programs.
type sandboxAccount struct {
	APIURL   string `json:"api_url"`
	AppID    string `json:"appid"`
	Secret   string `json:"secret"` // generated, so it may be printed
	Token    string `json:"token,omitempty"`
	AESKey   string `json:"aes_key,omitempty"`
	Callback string `json:"callback,omitempty"`
	Mode     string `json:"mode,omitempty"`
	Push     string `json:"push,omitempty"`
	Page     string `json:"page"`
}

func (s *sandbox) account() sandboxAccount {
	a := sandboxAccount{APIURL: s.page.url(), AppID: s.wechat.AppID(), Secret: s.wechat.AppSecret(), Page: s.page.url() + "/"}
	if s.callback != "" {
		a.Token, a.AESKey, a.Callback = s.config.Token, s.config.EncodingAESKey, s.callback
		a.Mode, a.Push = sandboxModes[s.config.Mode], "xml"
		if s.config.JSON {
			a.Push = "json"
		}
	}
	return a
}

// exports returns export lines for a shell. An empty key unsets that of the shell.
func (a sandboxAccount) exports() string {
	variables := [][2]string{{envAPIURL, a.APIURL}, {envAppID, a.AppID}, {envSecret, a.Secret}}
	if a.Callback != "" {
		variables = append(variables, [2]string{envToken, a.Token}, [2]string{envAESKey, a.AESKey})
	}
	lines := make([]string, len(variables))
	for i, v := range variables {
		lines[i] = "export " + v[0] + "='" + strings.ReplaceAll(v[1], "'", `'\''`) + "'"
	}
	return strings.Join(lines, "\n")
}
