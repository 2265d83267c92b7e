package scanstats

import (
	"context"
	"crypto/rand"
	"database/sql"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-0142d113/wxqrcode"
)

func TestMain(m *testing.M) {
	if os.Getenv(envCrash) != "" {
		crash()
	}
	if os.Getenv(envOpen) != "" {
		openAndRecord()
	}
	_ = mysql.SetLogger(log.New(io.Discard, "", 0)) // it logs every closed connection
	goleak.VerifyTestMain(m)
}

// The servers that tests use. Tests create their own databases there.
const (
	envPostgres     = "WXQRCODE_POSTGRES_DSN"
	envMySQL        = "WXQRCODE_MYSQL_DSN"
	envRequired     = "WXQRCODE_REQUIRE_DATABASES" // fail instead of skip without servers
	defaultPostgres = "postgres://postgres@127.0.0.1:5432/postgres"
	defaultMySQL    = "root@tcp(127.0.0.1:3306)/"
)

// A database is an empty database for one test.
type database struct {
	dialect Dialect
	dsn     string
	driver  string
}

func (d database) open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open(d.driver, d.dsn)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

// dialects are those that most tests run with.
var dialects = []Dialect{SQLite, Postgres, MySQL}

// newDatabase creates an empty database, or skips the test if there is no server.
func newDatabase(t testing.TB, dialect Dialect) database {
	t.Helper()
	name := "wxqrcode_test_" + strings.ToLower(rand.Text())
	switch dialect {
	case Postgres:
		dsn := fromEnv(envPostgres, defaultPostgres)
		config, err := pgx.ParseConfig(dsn)
		require.NoError(t, err, envPostgres)
		run(t, "pgx", dsn, "CREATE DATABASE "+name, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		config.Database = name
		return database{Postgres, stdlib.RegisterConnConfig(config), "pgx"}
	case MySQL:
		dsn := fromEnv(envMySQL, defaultMySQL)
		config, err := mysql.ParseDSN(dsn)
		require.NoError(t, err, envMySQL)
		run(t, "mysql", dsn, "CREATE DATABASE "+name, "DROP DATABASE IF EXISTS "+name)
		config.DBName = name
		return database{MySQL, config.FormatDSN(), "mysql"}
	default:
		return database{SQLite, dataSource(filepath.Join(t.TempDir(), "scans.db")), "sqlite"}
	}
}

func fromEnv(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// run runs a statement now and another after the test.
func run(t testing.TB, driver, dsn, now, after string) {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		require.Empty(t, os.Getenv(envRequired), "%s is set, but no server for %s responds; set %s or %s: %v", envRequired, driver, envPostgres, envMySQL, err)
		t.Skipf("no server for %s: %v; name one in %s and %s", driver, err, envPostgres, envMySQL)
	}
	_, err = db.ExecContext(ctx, now)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.Exec(after)
		require.NoError(t, err)
		db.Close()
	})
}

var testKey = []byte("a key for tests only")

// now is the clock of the tests, a Saturday.
var now = time.Date(2026, 11, 21, 15, 0, 0, 0, shanghai)

// testConfig is the configuration of a store in tests.
func testConfig() Config {
	return Config{Key: testKey, Logger: slog.New(slog.DiscardHandler), Timeout: 30 * time.Second}
}

// newTestStore opens a store whose clock is now, and which does not purge automatically.
func newTestStore(t testing.TB, d database, c Config) *Store {
	t.Helper()
	s, err := newStore(d.open(t), d.dialect, c)
	require.NoError(t, err)
	s.now = func() time.Time { return now }
	require.NoError(t, s.start(t.Context()))
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// Events as WeChat pushes them.
func scanned(openID, scene string, at time.Time) *wxqrcode.Event {
	return newEvent(openID, wxqrcode.EventScan, scene, at)
}

func followed(openID, scene string, at time.Time) *wxqrcode.Event {
	key := ""
	if scene != "" {
		key = "qrscene_" + scene
	}
	return newEvent(openID, wxqrcode.EventSubscribe, key, at)
}

func unfollowed(openID string, at time.Time) *wxqrcode.Event {
	return newEvent(openID, wxqrcode.EventUnsubscribe, "", at)
}

func newEvent(openID string, kind wxqrcode.EventType, key string, at time.Time) *wxqrcode.Event {
	return &wxqrcode.Event{ToUserName: "gh_test", OpenID: openID, CreatedAt: at, MsgType: "event", Type: kind, EventKey: key}
}
