package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/scanstats"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// Environment variables of the callback.
const (
	envToken          = "WXQRCODE_TOKEN"
	envAESKey         = "WXQRCODE_AES_KEY"
	envPreviousAESKey = "WXQRCODE_PREVIOUS_AES_KEY"
)

func newListenCommand(g *globalFlags) *cobra.Command {
	var l listenCommand
	cmd := &cobra.Command{
		Use:   "listen",
		Short: "Print scans as they arrive",
		Long: `Run a callback server that prints each scan, follow and unfollow. Messages are acknowledged and not
printed.

The settings are those of the account (微信开发者平台 > 消息推送) and come from the environment:

  ` + envToken + `             Token (令牌), required
  ` + envAESKey + `           EncodingAESKey, required in secure and compatible mode
  ` + envPreviousAESKey + `  the previous EncodingAESKey, during a key change
  ` + envAppID + `             AppID of the account, required with an EncodingAESKey

WeChat must reach the server from the internet on port 80 or 443, through a proxy or a tunnel if
needed. OpenIDs are personal data and are shortened, also with --json, unless --full is set. Text with
control characters is quoted. Logs go to stderr.

--stats records all events in an SQLite database, too, and serves its statistics at a second address.
The URL, with an access token, is printed to stderr; wxqrcode stats reads the same file. An event is
printed after it was recorded; if that fails, WeChat pushes it again. FILE.spool stores events while
the database cannot be written. The database has no OpenIDs but their hashes, with the key in
` + envStatsKey + ` (at least 16 bytes), or in FILE.key, which is generated if needed. Keep the key: the
database cannot be used with another one.

With --sandbox the pushes come from a WeChat simulator inside this process, with a page to scan codes;
see wxqrcode sandbox --help. Only ` + envStatsKey + ` is read from the environment then.`,
		Example: `  WXQRCODE_TOKEN=… WXQRCODE_AES_KEY=… WXQRCODE_APPID=wx… wxqrcode listen --addr :8080
  wxqrcode listen --json --full >> scans.jsonl
  wxqrcode listen --stats scans.db
  wxqrcode listen --addr 127.0.0.1:0 --sandbox --stats try.db`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := l.check(cmd.Flags(), g.sandbox); err != nil {
				return usageError{err}
			}
			return l.run(cmd, g)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&l.addr, "addr", ":8080", "`address` to listen on")
	flags.StringVar(&l.path, "path", "/wechat", "`path` of the callback URL")
	flags.BoolVar(&l.allowPlain, "allow-plain", false, "accept unencrypted pushes, too, while the mode of the account changes")
	flags.BoolVar(&l.full, "full", false, "print full OpenIDs")
	flags.StringVar(&l.statsFile, "stats", "", "record events in this `file` and serve their statistics")
	flags.StringVar(&l.statsAddr, "stats-addr", defaultStatsAddr, "with --stats: `address` of the statistics")
	flags.StringVar(&l.sandboxAddr, "sandbox-addr", "127.0.0.1:0", "with --sandbox: `address` of its page")
	return cmd
}

// A listenCommand is a run of the listen command.
type listenCommand struct {
	addr, path       string
	allowPlain, full bool
	sandboxAddr      string

	statsFile, statsAddr string
	stats                *scanstats.Store // nil without --stats
	page                 *statsPage       // nil without --stats
}

// check validates the flags.
func (l *listenCommand) check(flags *pflag.FlagSet, sandbox bool) error {
	switch {
	case !strings.HasPrefix(l.path, "/"):
		return fmt.Errorf("--path must begin with /, such as /wechat, got %q", l.path)
	case flags.Changed("stats") && l.statsFile == "":
		return errors.New("--stats is empty; it requires a file")
	case flags.Changed("stats-addr") && l.statsFile == "":
		return errors.New("--stats-addr counts with --stats only")
	case flags.Changed("sandbox-addr") && !sandbox:
		return errors.New("--sandbox-addr requires --sandbox")
	}
	return nil
}

func (l *listenCommand) run(cmd *cobra.Command, g *globalFlags) (err error) {
	out := newConsole(cmd)
	defer out.end(nil)
	var cfg callback.Config
	if !g.sandbox {
		if cfg, err = g.callbackConfig(); err != nil {
			return err
		}
	}
	if l.statsFile != "" {
		if err := l.openStats(out); err != nil {
			return err
		}
		defer closeStats(l.stats, &err)
		defer l.page.close()
	}
	if g.sandbox {
		return l.runSandbox(out, g.json)
	}
	cfg.AllowPlain = l.allowPlain
	server, err := l.open(out, cfg, g.json)
	if err != nil {
		return err
	}
	out.printNotice("%s", l.setupInstructions(server.url(), cfg.EncodingAESKey != ""))
	return l.serve(out, server)
}

// openStats opens the database and listens for its page.
func (l *listenCommand) openStats(out *console) (err error) {
	if l.stats, err = openStats(out.ctx, l.statsFile, out.log); err != nil {
		return err
	}
	if l.page, err = openStatsPage("--stats-addr", l.statsAddr, l.stats); err != nil {
		closeStats(l.stats, &err)
	}
	return err
}

// serve serves the servers and the statistics until the command is interrupted.
func (l *listenCommand) serve(out *console, sites ...*httpServer) error {
	if l.page != nil {
		l.page.warnIfOpen(out)
		out.printNotice("The statistics are at %s", l.page.address())
		sites = append(sites, l.page.site)
	}
	return out.run(sites...)
}

// runSandbox receives the pushes of a simulator.
func (l *listenCommand) runSandbox(out *console, asJSON bool) error {
	box, err := newSandbox("--sandbox-addr", l.sandboxAddr, wxtest.RandomCallbackConfig(wxtest.Secure))
	if err != nil {
		return err
	}
	defer box.close()
	server, err := l.open(out, callback.Config{
		Token: box.config.Token, AppID: box.wechat.AppID(), EncodingAESKey: box.config.EncodingAESKey, AllowPlain: l.allowPlain,
	}, asJSON)
	if err != nil {
		return err
	}
	defer server.close()
	box.setCallback(server.url() + (&url.URL{Path: l.path}).String())
	// The page has buttons for existing codes only.
	if _, err := box.wechat.Client().Create(out.ctx, wxqrcode.Permanent(wxqrcode.SceneStr("poster"))); err != nil {
		return fmt.Errorf("create a code in the sandbox: %w", err)
	}
	box.warnIfOpen(out)
	account := box.account()
	account.Callback = "" // do not print its token and key, which only this program needs
	out.printNotice("Listening on %s. Scan codes with the buttons at %s/\nTo create more codes, run in another shell:\n%s",
		box.callback, box.page.url(), account.exports())
	return l.serve(out, server, box.page)
}

// wrongPathInterval is the minimum number of seconds between warnings about requests
// to another path.
const wrongPathInterval = 10

// open listens for pushes and prints the header of the table.
func (l *listenCommand) open(out *console, cfg callback.Config, asJSON bool) (*httpServer, error) {
	events := eventPrinter{console: out, json: asJSON, full: l.full}
	cfg.Logger, cfg.OnEvent = out.log, l.withStats(out, events.print)
	handler, err := callback.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("the callback: %w", err)
	}
	var warnedAt atomic.Int64 // in seconds
	server, err := listenHTTP("--addr", l.addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == l.path { // not by a ServeMux, where some paths are patterns
			handler.ServeHTTP(w, r)
			return
		}
		// The configured URL may be wrong. Anyone can send requests, so limit the log.
		now, last := time.Now().Unix(), warnedAt.Load()
		if now-last >= wrongPathInterval && warnedAt.CompareAndSwap(last, now) {
			out.log.WarnContext(r.Context(), "request to a path other than that of the callback", "path", r.URL.Path, "callback", l.path)
		}
		http.NotFound(w, r)
	}))
	if err != nil {
		return nil, err
	}
	if err := events.printHeader(); err != nil {
		server.close()
		return nil, err
	}
	return server, nil
}

// An eventHandler is a function for callback.Config.OnEvent.
type eventHandler = func(context.Context, *wxqrcode.Event) (callback.Reply, error)

// withStats records each event in the statistics before next handles it.
func (l *listenCommand) withStats(out *console, next eventHandler) eventHandler {
	if l.stats == nil {
		return next
	}
	return func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		err := l.stats.Record(ctx, e)
		if errors.Is(err, scanstats.ErrInvalidEvent) { // a redelivery would fail again
			out.log.WarnContext(ctx, "an event is not counted", "error", plain(err))
			err = nil
		}
		if err != nil {
			return nil, err
		}
		return next(ctx, e)
	}
}

// setupInstructions returns the settings to enter on the WeChat platform.
func (l *listenCommand) setupInstructions(listensOn string, hasKey bool) string {
	path := (&url.URL{Path: l.path}).String()
	key, mode := "value of "+envAESKey, "安全模式 (secure)"
	if !hasKey {
		key, mode = "any", "明文模式 (plain: pushes can be altered in transit; set "+envAESKey+" to use secure mode)"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Listening on %s%s. Enter at 微信开发者平台 > 消息推送:\n", listensOn, path)
	for _, field := range [][2]string{
		{"URL", "http(s)://<your host>" + path + ", port 80 or 443, forwarded to this server"},
		{"Token", "value of " + envToken},
		{"EncodingAESKey", key},
		{"消息加解密方式", mode},
	} {
		fmt.Fprintf(&b, "  %s  %s\n", text.Pad(field[0], 14, ' '), field[1])
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// callbackConfig returns the settings of the callback from the environment.
func (g *globalFlags) callbackConfig() (callback.Config, error) {
	c := callback.Config{
		Token: os.Getenv(envToken), AppID: os.Getenv(envAppID),
		EncodingAESKey: os.Getenv(envAESKey), PreviousAESKey: os.Getenv(envPreviousAESKey),
	}
	if c.Token == "" {
		return c, credentialsError{fmt.Errorf("no Token: set %s, and %s and %s for encrypted pushes, to the values at 微信开发者平台 > 消息推送; without an account, use --sandbox",
			envToken, envAESKey, envAppID)}
	}
	if c.AppID == "" && g.credentials != "" {
		fromFile, err := readAccount(g.credentials)
		if err != nil {
			return c, credentialsError{err}
		}
		c.AppID = fromFile.AppID
	}
	if c.AppID == "" && c.EncodingAESKey != "" {
		return c, credentialsError{fmt.Errorf("no AppID: set %s, which is required with %s", envAppID, envAESKey)}
	}
	return c, nil
}

// An eventPrinter prints a line for each event.
type eventPrinter struct {
	console    *console
	json, full bool
}

// An eventLine is the JSON output for an event.
type eventLine struct {
	Time       time.Time          `json:"time"`
	Event      wxqrcode.EventType `json:"event"`
	Scene      string             `json:"scene"`
	FromCode   bool               `json:"from_code"`
	EventKey   string             `json:"event_key"`
	OpenID     string             `json:"openid"`
	ToUserName string             `json:"to_user_name"`
	Ticket     wxqrcode.Ticket    `json:"ticket"`
}

func (p eventPrinter) print(_ context.Context, e *wxqrcode.Event) (callback.Reply, error) {
	openID := e.OpenID
	if !p.full {
		openID = shortOpenID(openID)
	}
	scene, fromCode := e.SceneKey()
	if p.json {
		return nil, p.console.printJSON(eventLine{e.CreatedAt, e.Type, scene, fromCode, e.EventKey, openID, e.ToUserName, e.Ticket})
	}
	return nil, p.printRow(e.CreatedAt.Local().Format(time.DateTime), printable(string(e.Type)), printable(scene), printable(openID), printable(e.ToUserName))
}

func (p eventPrinter) printHeader() error {
	if p.json {
		return nil
	}
	return p.printRow("TIME", "EVENT", "SCENE", "OPENID", "ACCOUNT")
}

// printRow prints cells in columns of fixed width. A longer cell shifts the rest of
// its row.
func (p eventPrinter) printRow(cells ...string) error {
	widths := []int{len(time.DateTime), len(wxqrcode.EventUnsubscribe), 32, 1 + openIDSuffix, 0}
	if p.full {
		widths[3] = 28 // length of an OpenID
	}
	for i, w := range widths {
		cells[i] = text.Pad(cells[i], w, ' ')
	}
	return p.console.print(strings.Join(cells, "  "))
}

const openIDSuffix = 6 // characters, as in the log of package callback

// shortOpenID returns the end of an OpenID, at most half of it. All OpenIDs of an
// account have the same prefix.
func shortOpenID(openID string) string {
	r := []rune(openID)
	return "…" + string(r[len(r)-min(openIDSuffix, len(r)/2):])
}
