package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-0142d113/wxqrcode/scanstats"
)

// demoStatsKey also tells the demo's own database, which it may delete, from that of somebody who
// has one of this name in the folder. Nobody is in it whom a key could hide.
const demoStatsKey = "the key of wxqrcode demo, whose people are made up"

func (d *demoCommand) statsFile() string { return filepath.Join(d.dir, "scans.db") }

// checkStats reports whether the demo may begin its database anew.
func (d *demoCommand) checkStats() error {
	path := d.statsFile()
	begun, err := isBegun(path)
	if err != nil {
		return err
	}
	key, err := readStatsKey(statsKeyFile(path))
	switch {
	case err == nil && string(key) == demoStatsKey, errors.Is(err, fs.ErrNotExist) && !begun:
		return nil
	}
	return usageError{fmt.Errorf("%q is not the demo's own, and stays; name another folder by --out", path)}
}

// openStats opens a new database.
func (d *demoCommand) openStats(ctx context.Context) (*scanstats.Store, error) {
	if err := d.checkStats(); err != nil {
		return nil, err
	}
	path := d.statsFile()
	for _, end := range []string{"", "-wal", "-shm", ".spool", ".spool-wal", ".key"} { // the key last
		if err := os.Remove(path + end); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if err := writeStatsKey(statsKeyFile(path), []byte(demoStatsKey)); err != nil {
		return nil, err
	}
	return scanstats.OpenSQLite(ctx, path, scanstats.Config{Key: []byte(demoStatsKey), Logger: newLog(d.stderr)})
}

// report30Days records a month that is made up beside what was scanned, and reports it.
func (d *demoCommand) report30Days(ctx context.Context, stats *scanstats.Store) error {
	zone, err := stats.Location(ctx)
	if err != nil {
		return step("record a month of scans", err)
	}
	y, m, day := time.Now().In(zone).Date()
	if err := recordMonth(ctx, stats, time.Date(y, m, day-29, 0, 0, 0, 0, zone)); err != nil { // the report's first day
		return step("record a month of scans", err)
	}
	if d.report.Statistics, err = stats.Report(ctx, scanstats.Query{}); err != nil || d.json {
		return step("report", err)
	}
	if err := d.say("\nStatistics of the two scans, and of a month that is made up\n\n"); err != nil {
		return step("print", err)
	}
	return step("print", printReport(d.stdout, d.report.Statistics))
}

// showPage serves the page until somebody presses Enter, or nobody ever can.
func (d *demoCommand) showPage(ctx context.Context, stats *scanstats.Store) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	show := newShowOf(ctx, d.stdout, d.stderr)
	defer show.end(nil)
	page, err := openStatsPage("", "127.0.0.1:0", stats)
	if err != nil {
		return err
	}
	err = show.print(fmt.Sprintf("Later, wxqrcode stats %s prints the statistics again, and with --page it shows them.\n\nThe page: %s\nPress Enter to end.",
		d.statsFile(), page.address()))
	if err != nil {
		page.close()
		return err
	}
	go func() { // which waits on if the demo is interrupted, until the process ends
		defer end()
		awaitLine(d.stdin)
	}()
	return show.run(page.site)
}

// awaitLine returns when a line or the input has ended.
func awaitLine(r io.Reader) {
	var b [1]byte
	for {
		if n, err := r.Read(b[:]); err != nil || n == 1 && b[0] == '\n' {
			return
		}
	}
}
