package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/scanstats"
	"github.com/seed-0142d113/wxqrcode/wxtest"
	"github.com/spf13/cobra"
)

func newDemoCommand(g *globalFlags) *cobra.Command {
	d := demoCommand{globalFlags: g}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole workflow against a WeChat simulator",
		Long: `Create a code of each of the four kinds, save the images, let a new follower and a follower scan, and
print the events. All requests use real HTTP to a WeChat simulator inside this process: no account
and no phone are needed.

The two scans, and a generated month of others, are counted in scans.db in the folder, which each run
replaces. The report of that month is printed, and a page shows it until you press Enter, the input
ends or the demo is interrupted. With --json there is no page.

--live creates the codes and images with WeChat itself, and shows no scans. It uses two of the
100,000 permanent codes of the account, the same two in every run.`,
		Example: `  wxqrcode demo
  wxqrcode demo </dev/null
  wxqrcode demo --out /tmp/codes --json
  wxqrcode demo --live`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.stdin, d.stdout, d.stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&d.dir, "out", "wxqrcode-demo", "`folder` for the images and the database, created if needed")
	cmd.Flags().BoolVar(&d.live, "live", false, "create the codes with WeChat itself")
	return cmd
}

// A demoCommand is a run of the demo command.
type demoCommand struct {
	*globalFlags
	dir            string
	live           bool
	stdin          io.Reader
	stdout, stderr io.Writer

	report demoOutput
}

// A demoOutput is the JSON output.
type demoOutput struct {
	Live  bool           `json:"live"`
	API   string         `json:"api"`
	Codes []createOutput `json:"codes"`
	Scans []demoScan     `json:"scans,omitempty"`

	Statistics *scanstats.Report `json:"statistics,omitempty"`
}

type demoScan struct {
	User     string             `json:"user"`
	File     string             `json:"file"` // the scanned image
	Event    wxqrcode.EventType `json:"event"`
	EventKey string             `json:"event_key"`
	Scene    string             `json:"scene"`
}

// step adds the name of the failed step to err.
func step(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("demo failed at step %q: %w", name, err)
}

func (d *demoCommand) run(ctx context.Context) error {
	if d.dir == "" {
		return usageError{step("arguments", errors.New("--out must name a folder"))}
	}
	d.report.Live = d.live
	if d.live {
		return d.runLive(ctx)
	}
	return d.runSandbox(ctx)
}

// printResult prints the end of the output.
func (d *demoCommand) printResult() error {
	if d.json {
		return step("print", printJSON(d.stdout, d.report))
	}
	return step("print", d.printf("\nDone. The images are in the folder %s.\n", d.dir))
}

// runLive creates the codes with WeChat itself.
func (d *demoCommand) runLive(ctx context.Context) error {
	s, err := d.open()
	if err != nil {
		return step("credentials", err)
	}
	defer s.close()
	if err := d.createCodes(ctx, s); err != nil {
		return err
	}
	return d.printResult()
}

// runSandbox creates the codes with a simulator, scans them and counts the scans.
func (d *demoCommand) runSandbox(ctx context.Context) (err error) {
	s, err := openSandbox()
	if err != nil {
		return step("start the WeChat simulator", err)
	}
	defer s.close()
	if err := d.createCodes(ctx, s); err != nil {
		return err
	}
	stats, err := d.openStats(ctx)
	if err != nil {
		return step("create the database", err)
	}
	defer closeStats(stats, &err)
	if err := d.simulateScans(ctx, s.wechat, stats); err != nil {
		return err
	}
	if err := d.report30Days(ctx, stats); err != nil {
		return err
	}
	if err := d.printResult(); err != nil || d.json {
		return err
	}
	return step("serve the page", d.showPage(ctx, stats))
}

// createCodes fetches a token, creates a code of each kind and saves the images.
func (d *demoCommand) createCodes(ctx context.Context, s *session) error {
	d.report.API = s.api
	token, err := s.client.TokenSource().AccessToken(ctx)
	if err != nil {
		return step("fetch an access token", err)
	}
	if err := d.printf("WeChat     %s\nToken      %d characters, fetched once and cached\n\n", d.report.API, len(token)); err != nil {
		return step("print", err)
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return step("create the folder", err)
	}

	for _, c := range []struct {
		request wxqrcode.Request
		file    string
	}{
		{wxqrcode.Temporary(wxqrcode.SceneID(20261120), time.Hour), "temporary-id.jpg"},
		{wxqrcode.Temporary(wxqrcode.RandomScene("login-"), 5*time.Minute), "temporary-text.jpg"},
		{wxqrcode.Permanent(wxqrcode.SceneID(99_999)), "permanent-id.jpg"},
		{wxqrcode.Permanent(wxqrcode.SceneStr("海报-地铁站&展位=7")), "permanent-text.jpg"},
	} {
		code, err := s.client.Create(ctx, c.request)
		if err != nil {
			return step("create the code "+string(c.request.Action()), err)
		}
		file := filepath.Join(d.dir, c.file)
		if err := s.client.SaveImage(ctx, file, code.Ticket); err != nil {
			return step("save the image of "+string(c.request.Action()), err)
		}
		d.report.Codes = append(d.report.Codes, createOutput{c.request.Action(), c.request.Scene().Key(), code, file})
	}

	rows := make([]table.Row, 0, len(d.report.Codes))
	for _, c := range d.report.Codes {
		rows = append(rows, table.Row{c.Action, c.Scene, localTime(c.Code.ExpiresAt), filepath.Base(c.File)})
	}
	return step("print", d.table(table.Row{"action", "scene", "expires", "image"}, rows))
}

// simulateScans connects a callback handler that records events, and scans as a new
// follower and as a follower.
func (d *demoCommand) simulateScans(ctx context.Context, wechat *wxtest.Server, stats *scanstats.Store) error {
	events := make(chan *wxqrcode.Event, 1)
	cfg := wechat.CallbackConfig(wxtest.Secure)
	cfg.Logger = newLog(d.stderr)
	cfg.OnEvent = func(ctx context.Context, e *wxqrcode.Event) (callback.Reply, error) {
		if err := stats.Record(ctx, e); err != nil {
			return nil, err
		}
		events <- e
		return nil, nil
	}
	handler, err := callback.New(cfg)
	if err != nil {
		return step("create the callback handler", err)
	}
	if err := wechat.Connect(handler); err != nil {
		return step("verify the callback URL", err)
	}

	poster, login := d.report.Codes[3], d.report.Codes[1]
	const newFollower, follower = "o-new-follower", "o-follower"
	wechat.Follow(follower)
	for _, s := range []struct {
		who, openID string
		code        createOutput
		want        wxqrcode.EventType
	}{
		{"new follower", newFollower, poster, wxqrcode.EventSubscribe},
		{"follower", follower, login, wxqrcode.EventScan},
	} {
		event, err := scan(ctx, wechat, events, s.code, s.openID, s.want)
		if err != nil {
			return step("scan as "+s.who, err)
		}
		scene, _ := event.SceneKey()
		d.report.Scans = append(d.report.Scans, demoScan{s.who, s.code.File, event.Type, event.EventKey, scene})
	}

	rows := make([]table.Row, 0, len(d.report.Scans))
	for _, s := range d.report.Scans {
		rows = append(rows, table.Row{s.User, filepath.Base(s.File), s.Event, s.Scene})
	}
	if err := d.printf("\nCallback   secure mode: pushes are signed and encrypted\n\n"); err != nil {
		return step("print", err)
	}
	return step("print", d.table(table.Row{"user", "image", "event", "scene of the event"}, rows))
}

// scan scans a code as a user, and returns the event that the callback received. It
// fails if that is not the event that is wanted.
func scan(ctx context.Context, wechat *wxtest.Server, events <-chan *wxqrcode.Event, c createOutput, openID string, want wxqrcode.EventType) (*wxqrcode.Event, error) {
	delivery, err := wechat.Scan(ctx, c.Code.Ticket, openID)
	if err != nil {
		return nil, err
	}
	if delivery.Status != http.StatusOK {
		return nil, fmt.Errorf("the callback responded %d: %s", delivery.Status, delivery.Body)
	}
	event := <-events // sent before the response
	if scene, ok := event.SceneKey(); !ok || event.Type != want || scene != c.Scene || event.OpenID != openID {
		return nil, fmt.Errorf("the callback received %s %q by %s; expected %s of scene %q by %s",
			event.Type, event.EventKey, event.OpenID, want, c.Scene, openID)
	}
	return event, nil
}

// printf prints to stdout, unless the output is JSON.
func (d *demoCommand) printf(format string, args ...any) error {
	if d.json {
		return nil
	}
	_, err := fmt.Fprintf(d.stdout, format, args...)
	return err
}

func (d *demoCommand) table(header table.Row, rows []table.Row) error {
	if d.json {
		return nil
	}
	return printTable(d.stdout, header, rows)
}
