package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/seed-0142d113/wxqrcode/scanstats"
)

// envStatsKey holds the key of the hashes that stand for OpenIDs.
const envStatsKey = "WXQRCODE_STATS_KEY"

const maxStatsKey = 4 << 10 // bytes of a file

// openStats opens a database of scans, or makes it, to record in it.
func openStats(ctx context.Context, path string, log *slog.Logger) (*scanstats.Store, error) {
	key, err := statsKey(path)
	if err != nil {
		return nil, err
	}
	stats, err := scanstats.OpenSQLite(ctx, path, scanstats.Config{Key: key, Spool: path + ".spool", Logger: log})
	if errors.Is(err, scanstats.ErrConfigMismatch) {
		source := statsKeyFile(path)
		if os.Getenv(envStatsKey) != "" {
			source = envStatsKey
		}
		return nil, usageError{fmt.Errorf("%w; the key comes from %s", err, source)}
	}
	return stats, statsError(err)
}

// openStatsToRead opens a database of scans that is there. It takes no key.
func openStatsToRead(ctx context.Context, path string, log *slog.Logger) (*scanstats.Store, error) {
	begun, err := isBegun(path)
	if err != nil {
		return nil, err
	}
	if !begun {
		return nil, usageError{fmt.Errorf("there are no statistics in %q; wxqrcode listen --stats %[1]q makes them", path)}
	}
	stats, err := scanstats.OpenSQLite(ctx, path, scanstats.Config{Logger: log})
	return stats, statsError(err)
}

// statsError marks what the user can mend by giving something else.
func statsError(err error) error {
	if isOneOf(err, scanstats.ErrInvalidConfig, scanstats.ErrInvalidQuery, scanstats.ErrInvalidLabel) {
		return usageError{err}
	}
	return err
}

// isBegun reports whether there is something in a database.
func isBegun(path string) (bool, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, usageError{fmt.Errorf("%q is no file that could hold statistics", path)}
	}
	return info.Size() > 0, nil
}

func statsKeyFile(path string) string { return path + ".key" }

// statsKey returns the key of a database: from the environment, or from the file beside it,
// which it makes for a database that is not there yet.
func statsKey(path string) ([]byte, error) {
	if key := os.Getenv(envStatsKey); key != "" {
		if len(key) < scanstats.MinKey {
			return nil, usageError{fmt.Errorf("%s holds %d bytes; the key must have at least %d", envStatsKey, len(key), scanstats.MinKey)}
		}
		return []byte(key), nil
	}
	file := statsKeyFile(path)
	key, err := readStatsKey(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	begun, err := isBegun(path)
	if err != nil {
		return nil, err
	}
	if begun {
		return nil, usageError{fmt.Errorf("%q is there, but there is no key for it: if it holds statistics, set %s, or put back %q; else name another file",
			path, envStatsKey, file)}
	}
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	key = hex.AppendEncode(nil, random[:])
	return key, writeStatsKey(file, key)
}

// readStatsKey reads a file whose text is the key, as the environment's is.
func readStatsKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the key of the statistics: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil {
		err = checkPrivate(path, info)
	}
	var text []byte
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(f, maxStatsKey+1))
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of the statistics: %w", err)
	}
	key := strings.TrimSpace(string(text))
	if len(key) < scanstats.MinKey || len(text) > maxStatsKey {
		return nil, fmt.Errorf("read the key of the statistics: %q must hold a text of %d to %d bytes", path, scanstats.MinKey, maxStatsKey)
	}
	return []byte(key), nil
}

// writeStatsKey writes a key that must not be lost: before the database, and to a file that is
// not there.
func writeStatsKey(path string, key []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make a key for the statistics: %w", err)
	}
	_, err = f.Write(append(slices.Clip(key), '\n'))
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("make a key for the statistics: %w", err)
	}
	return nil
}
