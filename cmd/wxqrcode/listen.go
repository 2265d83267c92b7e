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

// The environment variables of the callback.
const (
	envToken          = "WXQRCODE_TOKEN"
	envAESKey         = "WXQRCODE_AES_KEY"
	envPreviousAESKey = "WXQRCODE_PREVIOUS_AES_KEY"
)

func newListenCommand(a *app) *cobra.Command {
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
			if err := l.check(cmd.Flags(), a.sandbox); err != nil {
				return usageError{err}
			}
			return l.run(cmd, a)
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

// A listenCommand is one run of the command.
type listenCommand struct {
	addr, path       string
	allowPlain, full bool
	sandboxAddr      string

	statsFile, statsAddr string
	stats                *scanstats.Store // nil without --stats
	page                 *statsPage       // of stats
}

// check reports what flags cannot be meant.
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

func (l *listenCommand) run(cmd *cobra.Command, a *app) (err error) {
	show := newShow(cmd)
	defer show.end(nil)
	var cfg callback.Config
	if !a.sandbox {
		if cfg, err = a.callbackConfig(); err != nil {
			return err
		}
	}
	if l.statsFile != "" {
		if err := l.openStats(show); err != nil {
			return err
		}
		defer closeStats(l.stats, &err)
		defer l.page.close()
	}
	if a.sandbox {
		return l.runSandbox(show, a.json)
	}
	cfg.AllowPlain = l.allowPlain
	server, err := l.open(show, cfg, a.json)
	if err != nil {
		return err
	}
	show.note("%s", l.toEnter(server.url(), cfg.EncodingAESKey != ""))
	return l.serve(show, server)
}

// openStats opens the database and its page.
func (l *listenCommand) openStats(show *show) (err error) {
	if l.stats, err = openStats(show.ctx, l.statsFile, show.log); err != nil {
		return err
	}
	if l.page, err = openStatsPage("--stats-addr", l.statsAddr, l.stats); err != nil {
		closeStats(l.stats, &err)
	}
	return err
}

// serve serves the sites, and the page of the statistics, until the command is interrupted.
func (l *listenCommand) serve(show *show, sites ...*site) error {
	if l.page != nil {
		l.page.warnIfOpen(show)
		show.note("The statistics are at %s", l.page.address())
		sites = append(sites, l.page.site)
	}
	return show.run(sites...)
}

// runSandbox listens to a WeChat of its own.
func (l *listenCommand) runSandbox(show *show, asJSON bool) error {
	box, err := newSandbox("--sandbox-addr", l.sandboxAddr, wxtest.RandomCallbackConfig(wxtest.Secure))
	if err != nil {
		return err
	}
	defer box.close()
	server, err := l.open(show, callback.Config{
		Token: box.config.Token, AppID: box.wechat.AppID(), EncodingAESKey: box.config.EncodingAESKey, AllowPlain: l.allowPlain,
	}, asJSON)
	if err != nil {
		return err
	}
	defer server.close()
	box.setCallback(server.url() + (&url.URL{Path: l.path}).String())
	// So that there is a button to press.
	if _, err := box.wechat.Client().Create(show.ctx, wxqrcode.Permanent(wxqrcode.SceneStr("poster"))); err != nil {
		return fmt.Errorf("create a code in the sandbox: %w", err)
	}
	box.warnIfOpen(show)
	account := box.account()
	account.Callback = "" // its token and key are for this program alone
	show.note("Listening on %s. Scan codes with the buttons at %s/\nTo create more codes, run in another shell:\n%s",
		box.callback, box.page.url(), account.exports())
	return l.serve(show, server, box.page)
}

// wrongPathInterval is how many seconds pass at least between two warnings of requests to a wrong path.
const wrongPathInterval = 10

// open starts to listen, and prints the header of the table.
func (l *listenCommand) open(show *show, cfg callback.Config, asJSON bool) (*site, error) {
	events := eventPrinter{show: show, json: asJSON, full: l.full}
	cfg.Logger, cfg.OnEvent = show.log, l.recorded(show, events.print)
	handler, err := callback.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("the callback: %w", err)
	}
	var warnedAt atomic.Int64 // in seconds
	server, err := openSite("--addr", l.addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == l.path { // and no ServeMux, to which some paths are patterns
			handler.ServeHTTP(w, r)
			return
		}
		// The URL at mp.weixin.qq.com may be wrong; but anybody can send requests, so not each is logged.
		now, last := time.Now().Unix(), warnedAt.Load()
		if now-last >= wrongPathInterval && warnedAt.CompareAndSwap(last, now) {
			show.log.WarnContext(r.Context(), "request to a path other than that of the callback", "path", r.URL.Path, "callback", l.path)
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

// An eventHandler is what a callback calls.
type eventHandler = func(context.Context, *wxqrcode.Event) (callback.Reply, error)

// recorded records each event before it is printed.
func (l *listenCommand) recorded(show *show, printed eventHandler) eventHandler {
	if l.stats == nil {
		return printed
	}
	return func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		err := l.stats.Record(ctx, e)
		if errors.Is(err, scanstats.ErrInvalidEvent) { // which it would be again
			show.log.WarnContext(ctx, "an event is not counted", "error", plain(err))
			err = nil
		}
		if err != nil {
			return nil, err
		}
		return printed(ctx, e)
	}
}

// toEnter says what to enter at WeChat.
func (l *listenCommand) toEnter(listensOn string, hasKey bool) string {
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

// callbackConfig returns the callback's settings, from the environment.
func (a *app) callbackConfig() (callback.Config, error) {
	c := callback.Config{
		Token: os.Getenv(envToken), AppID: os.Getenv(envAppID),
		EncodingAESKey: os.Getenv(envAESKey), PreviousAESKey: os.Getenv(envPreviousAESKey),
	}
	if c.Token == "" {
		return c, missingError{fmt.Errorf("no Token: set %s, and %s and %s for encrypted pushes, to the values at 微信开发者平台 > 消息推送; without an account, use --sandbox",
			envToken, envAESKey, envAppID)}
	}
	if c.AppID == "" && a.credentials != "" {
		fromFile, err := readAccount(a.credentials)
		if err != nil {
			return c, missingError{err}
		}
		c.AppID = fromFile.AppID
	}
	if c.AppID == "" && c.EncodingAESKey != "" {
		return c, missingError{fmt.Errorf("no AppID: set %s, which is required with %s", envAppID, envAESKey)}
	}
	return c, nil
}

// An eventPrinter prints an event a line.
type eventPrinter struct {
	show       *show
	json, full bool
}

// An eventLine is what --json prints.
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
		return nil, p.show.printJSON(eventLine{e.CreatedAt, e.Type, scene, fromCode, e.EventKey, openID, e.ToUserName, e.Ticket})
	}
	return nil, p.row(e.CreatedAt.Local().Format(time.DateTime), printable(string(e.Type)), printable(scene), printable(openID), printable(e.ToUserName))
}

func (p eventPrinter) printHeader() error {
	if p.json {
		return nil
	}
	return p.row("TIME", "EVENT", "SCENE", "OPENID", "ACCOUNT")
}

// row prints cells in columns of fixed width, as nobody knows what is still to come. A
// longer cell moves the rest of its line: nothing is cut.
func (p eventPrinter) row(cells ...string) error {
	widths := []int{len(time.DateTime), len(wxqrcode.EventUnsubscribe), 32, 1 + shownOpenID, 0}
	if p.full {
		widths[3] = 28 // of an OpenID
	}
	for i, w := range widths {
		cells[i] = text.Pad(cells[i], w, ' ')
	}
	return p.show.print(strings.Join(cells, "  "))
}

const shownOpenID = 6 // characters of an OpenID's end, as package callback logs

// shortOpenID returns the end of an OpenID, no more than half of it: all OpenIDs of an account
// begin alike.
func shortOpenID(openID string) string {
	r := []rune(openID)
	return "…" + string(r[len(r)-min(shownOpenID, len(r)/2):])
}
