package main

import (
	"context"
	"errors"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/scanstats"
)

// The scan is counted.
func init() {
	record = func(e *wxqrcode.Event) error {
		ctx := context.Background()
		stats, err := scanstats.OpenSQLite(ctx, "scans.db", scanstats.Config{Key: []byte("sixteen bytes or")})
		if err != nil {
			return err
		}
		return errors.Join(stats.Record(ctx, e), stats.Close())
	}
}
