package scanstats

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOpen_Concurrent(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			const instances = 8
			stores := make([]*Store, instances)
			errs := make([]error, instances)
			var starting sync.WaitGroup
			for i := range instances {
				db := d.open(t)
				starting.Go(func() { stores[i], errs[i] = Open(t.Context(), db, d.dialect, testConfig()) })
			}
			starting.Wait()
			for i, s := range stores {
				require.NoError(t, errs[i])
				require.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", i), "poster", time.Now())))
			}
			r, err := stores[0].Report(t.Context(), Query{})
			require.NoError(t, err)
			assert.Equal(t, int64(instances), r.Total.Scans)
			for _, s := range stores {
				require.NoError(t, s.Close())
			}
		})
	}
}

func TestOpen_RejectsInvalidConfig(t *testing.T) {
	db := newDatabase(t, SQLite).open(t)
	single := newDatabase(t, SQLite).open(t)
	single.SetMaxOpenConns(1)
	for name, tt := range map[string]struct {
		db     *sql.DB
		d      Dialect
		change func(*Config)
		says   string
	}{
		"no database":                 {nil, SQLite, func(*Config) {}, "db is nil"},
		"one connection":              {single, SQLite, func(*Config) {}, "allow at least two"},
		"no dialect":                  {db, 0, func(*Config) {}, "Dialect(0)"},
		"another dialect":             {db, 4, func(*Config) {}, "must be SQLite, Postgres or MySQL"},
		"a short key":                 {db, SQLite, func(c *Config) { c.Key = make([]byte, 15) }, "15 bytes; it must have at least 16"},
		"the machine's zone":          {db, SQLite, func(c *Config) { c.Location = time.Local }, `is "Local"`},
		"people for too short":        {db, SQLite, func(c *Config) { c.PersonRetention = 31*24*time.Hour - 1 }, "Config.PersonRetention is 743h59m59.999999999s; it must be at least 744h0m0s"},
		"a zone of no name":           {db, SQLite, func(c *Config) { c.Location = time.FixedZone("here", 3600) }, "use time.LoadLocation"},
		"another zone's name":         {db, SQLite, func(c *Config) { c.Location = time.FixedZone("Europe/Berlin", 3600) }, "use time.LoadLocation"},
		"events for too short":        {db, SQLite, func(c *Config) { c.DedupWindow = time.Hour - 1 }, "Config.DedupWindow"},
		"no time":                     {db, SQLite, func(c *Config) { c.Timeout = -1 }, "Config.Timeout"},
		"a spool in a missing folder": {db, SQLite, func(c *Config) { c.Spool = filepath.Join(t.TempDir(), "none", "spool") }, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig()
			tt.change(&c)
			_, err := Open(t.Context(), tt.db, tt.d, c)
			require.ErrorContains(t, err, tt.says)
			require.ErrorContains(t, err, "scanstats: open: ")
		})
	}
}

func TestOpen_RejectsConfigMismatch(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			berlin, err := time.LoadLocation("Europe/Berlin")
			require.NoError(t, err)
			c := testConfig()
			c.Location = berlin
			require.NoError(t, newTestStore(t, d, c).Close())

			t.Run("on the key", func(t *testing.T) {
				c := c
				c.Key = []byte("another key for tests")
				_, err := Open(t.Context(), d.open(t), d.dialect, c)
				require.ErrorIs(t, err, ErrConfigMismatch)
				require.NotContains(t, err.Error(), "another key")
			})
			t.Run("on the zone", func(t *testing.T) {
				c := c
				c.Location = shanghai
				_, err := Open(t.Context(), d.open(t), d.dialect, c)
				require.ErrorIs(t, err, ErrConfigMismatch)
				require.ErrorContains(t, err, "Europe/Berlin")
			})
			t.Run("and take the zone that is there", func(t *testing.T) {
				c := c
				c.Location = nil
				s := newTestStore(t, d, c)
				r, err := s.Report(t.Context(), Query{})
				require.NoError(t, err)
				assert.Equal(t, "Europe/Berlin", r.Zone)
			})
			t.Run("and need no key for reports", func(t *testing.T) {
				c := c
				c.Key = nil
				s := newTestStore(t, d, c)
				_, err := s.Report(t.Context(), Query{})
				require.NoError(t, err)
				require.ErrorIs(t, s.Record(t.Context(), scanned("o-1", "poster", now)), ErrInvalidEvent)
				require.ErrorIs(t, s.Forget(t.Context(), "o-1"), ErrInvalidEvent)
			})
		})
	}
}

func TestOpenSQLite_CreatesAPrivateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd ?#%20 name 统计.db")
	s, err := OpenSQLite(t.Context(), path, testConfig())
	require.NoError(t, err)
	require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", time.Now())))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), suffix)
	}
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "twice")

	again, err := OpenSQLite(t.Context(), path, testConfig())
	require.NoError(t, err)
	defer again.Close()
	r, err := again.Report(t.Context(), Query{})
	require.NoError(t, err)
	assert.Equal(t, int64(1), r.Total.Scans)
}

func TestOpenSQLite_RejectsOtherFiles(t *testing.T) {
	folder := t.TempDir()
	text := filepath.Join(folder, "text")
	require.NoError(t, os.WriteFile(text, []byte("This is no database, but long enough to look like a header of one."), 0o600))
	other := filepath.Join(folder, "other.db")
	db, err := sql.Open("sqlite", dataSource(other))
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), "CREATE TABLE mine (id INTEGER)")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	for path, want := range map[string]error{
		"":     ErrInvalidConfig,
		text:   ErrInvalidConfig,
		other:  ErrInvalidConfig,
		folder: ErrUnavailable,
		filepath.Join(folder, "none", "scans.db"): ErrUnavailable,
	} {
		_, err := OpenSQLite(t.Context(), path, testConfig())
		require.ErrorIs(t, err, want, path)
	}
	left, err := os.ReadFile(text)
	require.NoError(t, err)
	assert.Contains(t, string(left), "This is no database")
}

func TestStore_CopiesTheKey(t *testing.T) {
	d := newDatabase(t, SQLite)
	c := testConfig()
	c.Key = slices.Clone(testKey)
	s := newTestStore(t, d, c)
	before := s.personHash("o-1")
	clear(c.Key)
	assert.Equal(t, before, s.personHash("o-1"))
}

func TestOpen_RejectsTheWrongDialect(t *testing.T) {
	for _, dialect := range dialects {
		for _, wrong := range dialects {
			if wrong == dialect {
				continue
			}
			t.Run(dialect.String()+" as "+wrong.String(), func(t *testing.T) {
				c := testConfig()
				c.Spool = filepath.Join(t.TempDir(), "spool")
				_, err := Open(t.Context(), newDatabase(t, dialect).open(t), wrong, c)
				require.ErrorIs(t, err, ErrInvalidConfig)
				require.ErrorContains(t, err, "the database is not "+wrong.String())
			})
		}
	}
}

func TestOpen_EndsWithItsContext(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := Open(ctx, d.open(t), d.dialect, testConfig())
			require.ErrorIs(t, err, context.Canceled)
		})
	}
}

func TestStore_PrintsNoKey(t *testing.T) {
	c := testConfig()
	s := newTestStore(t, newDatabase(t, SQLite), c)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		for _, v := range []any{c, s, []Config{c}, map[string]any{"s": s}} {
			text := fmt.Sprintf(verb, v)
			assert.NotContains(t, text, string(testKey), verb)
			assert.NotContains(t, text, fmt.Sprintf("%x", testKey), verb)
			assert.NotContains(t, text, fmt.Sprint(testKey[0], testKey[1], testKey[2]), verb)
		}
	}
	assert.Equal(t, "scanstats.Store(SQLite)", fmt.Sprint(s))
	assert.Equal(t, "scanstats.Store(nil)", fmt.Sprint((*Store)(nil)))
}

// If this variable names a file, the test program opens it, records an event and
// exits.
const envOpen = "WXQRCODE_TEST_OPEN"

func openAndRecord() {
	ctx := context.Background()
	s, err := OpenSQLite(ctx, os.Getenv(envOpen), testConfig())
	if err == nil {
		err = errors.Join(s.Record(ctx, scanned(fmt.Sprint("o-", os.Getpid()), "poster", time.Now())), s.Close())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func TestOpenSQLite_ManyProcesses(t *testing.T) {
	for range 5 { // new files
		path := filepath.Join(t.TempDir(), "scans.db")
		const processes = 12
		var running sync.WaitGroup
		for range processes {
			running.Go(func() {
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), envOpen+"="+path)
				out, err := cmd.CombinedOutput()
				assert.NoError(t, err, "%s", out)
			})
		}
		running.Wait()
		s, err := OpenSQLite(t.Context(), path, testConfig())
		require.NoError(t, err)
		assert.Equal(t, int64(processes), total(t, s).Scans)
		require.NoError(t, s.Close())
	}
}
