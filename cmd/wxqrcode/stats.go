package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // a database may be of any zone, and the machine without a table of them

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-0142d113/wxqrcode/scanstats"
)

func newStatsCommand(a *app) *cobra.Command {
	c := statsCommand{app: a}
	cmd := &cobra.Command{
		Use:   "stats FILE",
		Short: "Report what the codes brought",
		Long: `Stats reports what wxqrcode listen --stats has recorded, also while that runs: how often each code was
scanned and by how many people, how many followers it brought, how many of these left, and how many
still followed after 1, 7 and 30 days. Without --from, --to and --days these are the last 30 days, today
included; days begin in the database's time zone, Asia/Shanghai unless a program chose another.

A scene of wxqrcode create --random is counted without its random end, as login-*. Followers whom no
code brought have a row of their own. A scene that the table has no room for is cut, and text that
could upset a terminal is quoted; JSON and CSV have all of it. With --csv there is a row for each
scene, and with --each one for each scene and bucket; a text that a spreadsheet would take for a formula
gets an apostrophe in front.

--page serves the same as a page, with charts, until it is interrupted. Its address has a token in it;
without that nobody is let in. No OpenIDs are in the database, but hashes of them.`,
		Example: `  wxqrcode stats scans.db
  wxqrcode stats scans.db --from 2026-11-01 --to 2026-11-11 --by hour --scene poster-7
  wxqrcode stats scans.db --days 365 --by month --group 上海
  wxqrcode stats scans.db --csv --each > scans.csv
  wxqrcode stats scans.db --page
  wxqrcode stats label scans.db poster-7 南京路店 --group 上海`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&c.from, "from", "", "the first `day`, such as 2026-11-01")
	flags.StringVar(&c.to, "to", "", "the last `day`, which is included")
	flags.IntVar(&c.days, "days", 0, "the last `days`, today included, in place of --from and --to")
	flags.StringVar(&c.by, "by", string(scanstats.Day), "the `interval`, how long a bucket is: hour, day, week or month")
	flags.StringArrayVar(&c.scenes, "scene", nil, "only this `scene`; can be given again")
	flags.StringVar(&c.group, "group", "", "only scenes of this `group`")
	flags.StringVar(&c.search, "search", "", "only scenes that have this `text` in them, in their name or in their group")
	flags.IntVar(&c.limit, "limit", 0, "at most so many `scenes`, those with the most scans (default 20 in the table, else all)")
	flags.BoolVar(&c.each, "each", false, "with --json or --csv: the buckets of each scene")
	flags.BoolVar(&c.csv, "csv", false, "print CSV")
	flags.BoolVar(&c.page, "page", false, "serve the report as a page")
	flags.StringVar(&c.addr, "addr", "127.0.0.1:0", "with --page: its `address`")
	completes(cmd, "by", intervals...)
	cmd.AddCommand(newStatsLabelCommand(a))
	return cmd
}

const (
	defaultStatsAddr = "127.0.0.1:8091"
	shownScenes      = 20 // in the table, unless --limit says another number
)

var intervals = []string{string(scanstats.Hour), string(scanstats.Day), string(scanstats.Week), string(scanstats.Month)}

// A statsCommand is one run of the command.
type statsCommand struct {
	*app
	from, to, by      string
	days, limit       int
	scenes            []string
	group, search     string
	each, csv, page   bool
	addr              string
	fromDay, untilDay time.Time // in UTC; zero: not given
}

func (c *statsCommand) run(cmd *cobra.Command, path string) (err error) {
	if err := c.check(cmd.Flags()); err != nil {
		return usageError{err}
	}
	show := newShow(cmd)
	defer show.end(nil)
	stats, err := openStatsToRead(show.ctx, path, show.log)
	if err != nil {
		return err
	}
	defer closeStats(stats, &err)
	if c.page {
		return c.serve(show, stats)
	}
	query, err := c.query(show, stats)
	if err != nil {
		return err
	}
	report, err := stats.Report(show.ctx, query)
	if err != nil {
		return statsError(err)
	}
	switch {
	case c.csv:
		return report.WriteCSV(show.stdout)
	case c.json:
		return printJSON(show.stdout, report)
	}
	return printReport(show.stdout, report)
}

// closeStats closes a store; its error counts if there is no other.
func closeStats(stats *scanstats.Store, err *error) {
	if closeErr := stats.Close(); *err == nil {
		*err = closeErr
	}
}

// check reports what flags cannot be meant.
func (c *statsCommand) check(flags *pflag.FlagSet) (err error) {
	if c.page {
		for _, name := range []string{"from", "to", "days", "by", "scene", "group", "search", "limit", "each", "csv"} {
			if flags.Changed(name) {
				return fmt.Errorf("--%s has no place beside --page, which lets its reader choose", name)
			}
		}
		return nil
	}
	switch {
	case flags.Changed("addr"):
		return errors.New("--addr counts with --page only")
	case slices.Contains(c.scenes, ""):
		return errors.New("--scene is empty")
	case c.csv && c.json:
		return errors.New("choose one of --csv and --json")
	case c.each && !c.csv && !c.json:
		return errors.New("--each counts with --json or --csv only: the table has no room for it")
	case flags.Changed("limit") && c.limit < 1:
		return fmt.Errorf("--limit is %d; it must be at least 1", c.limit)
	case !slices.Contains(intervals, c.by):
		return fmt.Errorf("--by is %q; it must be hour, day, week or month", c.by)
	case flags.Changed("days") && (flags.Changed("from") || flags.Changed("to")):
		return errors.New("--days takes the place of --from and --to: give one or the other")
	case flags.Changed("days") && (c.days < 1 || c.days > scanstats.MaxDays):
		return fmt.Errorf("--days is %d; it must be 1 to %d", c.days, scanstats.MaxDays)
	}
	if c.fromDay, err = readDay(flags, "from"); err != nil {
		return err
	}
	c.untilDay, err = readDay(flags, "to")
	return err
}

func readDay(flags *pflag.FlagSet, name string) (day time.Time, err error) {
	if !flags.Changed(name) {
		return day, nil
	}
	value := flags.Lookup(name).Value.String()
	if day, err = time.Parse(time.DateOnly, value); err != nil {
		return day, fmt.Errorf("--%s is %q; it must be a day such as 2026-11-21", name, value)
	}
	return day, nil
}

// query returns what the flags ask for.
func (c *statsCommand) query(show *show, stats *scanstats.Store) (scanstats.Query, error) {
	q := scanstats.Query{
		Interval: scanstats.Interval(c.by), Scenes: c.scenes, Group: c.group, Search: c.search,
		Limit: cmp.Or(c.limit, shownScenes), PerScene: c.each,
	}
	if c.limit == 0 && (c.json || c.csv) {
		q.Limit = -1
	}
	if c.fromDay.IsZero() && c.untilDay.IsZero() && c.days == 0 {
		return q, nil
	}
	zone, err := stats.Location(show.ctx)
	if err != nil {
		return q, err
	}
	if c.days > 0 {
		q.From = noon(time.Now().In(zone), zone).AddDate(0, 0, 1-c.days)
	}
	if !c.fromDay.IsZero() {
		q.From = noon(c.fromDay, zone)
	}
	if !c.untilDay.IsZero() {
		q.To = noon(c.untilDay, zone)
	}
	return q, nil
}

// noon is on the day in any case: a midnight may be skipped by a change of clocks.
func noon(day time.Time, zone *time.Location) time.Time {
	y, m, d := day.Date()
	return time.Date(y, m, d, 12, 0, 0, 0, zone)
}

// serve serves the page until the command is interrupted.
func (c *statsCommand) serve(show *show, stats *scanstats.Store) error {
	page, err := openStatsPage("--addr", c.addr, stats)
	if err != nil {
		return err
	}
	page.warnIfOpen(show)
	if c.json {
		err = show.printJSON(struct {
			Page string `json:"page"`
		}{page.address()})
	} else {
		err = show.print("The page is " + page.address())
	}
	if err != nil {
		page.close()
		return err
	}
	return show.run(page.site)
}

func newStatsLabelCommand(a *app) *cobra.Command {
	var label scanstats.Label
	cmd := &cobra.Command{
		Use:   "label FILE SCENE NAME",
		Short: "Name a scene",
		Long: `Label gives a scene a name, such as that of a shop, and a group, such as a city, which reports show
and can be limited to. The scene need not have been scanned yet. What it was called before is forgotten,
its group too: without --group it is in none, and an empty NAME takes its name away.`,
		Example: `  wxqrcode stats label scans.db poster-7 南京路店 --group 上海
  wxqrcode stats label scans.db poster-7 ""`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			label.Name = args[2]
			return labelScene(cmd, a.json, args[0], args[1], label)
		},
	}
	cmd.Flags().StringVar(&label.Group, "group", "", "the scene's `group`")
	return cmd
}

// A labelled is what --json prints.
type labelled struct {
	Scene string `json:"scene"`
	Name  string `json:"name"`
	Group string `json:"group"`
}

func labelScene(cmd *cobra.Command, asJSON bool, path, scene string, label scanstats.Label) (err error) {
	show := newShow(cmd)
	defer show.end(nil)
	stats, err := openStatsToRead(show.ctx, path, show.log)
	if err != nil {
		return err
	}
	defer closeStats(stats, &err)
	if err := stats.Label(show.ctx, scene, label); err != nil {
		return statsError(err)
	}
	if asJSON {
		return printJSON(show.stdout, labelled{scene, label.Name, label.Group})
	}
	return printFields(show.stdout, [2]string{"scene", printable(scene)}, [2]string{"name", printable(label.Name)}, [2]string{"group", printable(label.Group)})
}
