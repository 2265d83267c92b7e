package scanstats

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// withDerived sets the counts that derive from others.
func withDerived(c Counts) Counts {
	c.ScansByFollowers, c.NetFollowers = max(c.Scans-c.NewFollowers, 0), c.NewFollowers-c.Unfollows
	return c
}

// total returns the totals of the last 30 days.
func total(t testing.TB, s *Store) Counts {
	t.Helper()
	r, err := s.Report(t.Context(), Query{})
	require.NoError(t, err)
	return r.Total
}

func TestStore_CountsDuplicatesOnce(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			one, other := newTestStore(t, d, testConfig()), newTestStore(t, d, testConfig())
			follows := followed("o-1", "poster", now.Add(-time.Hour))
			leaves := unfollowed("o-1", now)
			var recording sync.WaitGroup
			for _, e := range []*wxqrcode.Event{follows, leaves} {
				for range 20 {
					for _, s := range []*Store{one, other} {
						recording.Go(func() { assert.NoError(t, s.Record(t.Context(), e)) })
					}
				}
				recording.Wait()
			}
			want := withDerived(Counts{Scans: 1, NewFollowers: 1, UniqueUsers: 1, Unfollows: 1, Retention: emptyRetention()})
			assert.Equal(t, want, total(t, one))
			again := newTestStore(t, d, testConfig())
			require.NoError(t, again.Record(t.Context(), follows), "after a restart")
			assert.Equal(t, want, total(t, again))
		})
	}
}

func TestStore_RecordIgnoresOtherEvents(t *testing.T) {
	payment := followed("o-pay", "", now)
	payment.EventKey = "last_trade_no_4002752001"
	menu := newEvent("o-menu", "CLICK", "menu", now)
	text := newEvent("o-text", "", "", now)
	empty := scanned("o-empty", "", now)
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	for _, e := range []*wxqrcode.Event{payment, menu, text, empty, followed("o-search", "", now), followed("o-code", "poster", now), scanned("o-code", "shop", now)} {
		require.NoError(t, s.Record(t.Context(), e))
	}
	r, err := s.Report(t.Context(), Query{})
	require.NoError(t, err)
	assert.Equal(t, withDerived(Counts{Scans: 2, NewFollowers: 1, UniqueUsers: 1, Retention: emptyRetention()}), r.Total)
	assert.Equal(t, withDerived(Counts{NewFollowers: 2, Retention: emptyRetention()}), r.Unattributed, "by search, and after a payment")
}

func TestStore_RecordRejectsInvalidEvents(t *testing.T) {
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	keep := s.cfg.DedupWindow
	for name, tt := range map[string]struct {
		event *wxqrcode.Event
		says  string
	}{
		"nothing":             {nil, "nil"},
		"nobody":              {scanned("", "poster", now), "the OpenID is empty"},
		"no time":             {scanned("o-1", "poster", time.Time{}), "CreatedAt is 0001-01-01T00:00:00Z"},
		"older than is known": {scanned("o-1", "poster", now.Add(-keep-time.Second)), "840h0m0s (Config.DedupWindow)"},
		"from the future":     {scanned("o-1", "poster", now.Add(24*time.Hour+time.Second)), "the next 24h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.Record(t.Context(), tt.event)
			require.ErrorIs(t, err, ErrInvalidEvent)
			require.ErrorContains(t, err, tt.says)
			require.NotContains(t, err.Error(), "o-1")
		})
	}
	require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", now.Add(-keep))))
	require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", now.Add(24*time.Hour))))
}

func TestStore_EventsOutOfOrder(t *testing.T) {
	at := func(hours int) time.Time { return now.Add(time.Duration(hours) * time.Hour) }
	for name, tt := range map[string]struct {
		events []*wxqrcode.Event
		want   Counts // without Retention
	}{
		"follows twice: the push about leaving was lost": {
			[]*wxqrcode.Event{followed("o", "a", at(-9)), followed("o", "b", at(-5))},
			Counts{Scans: 2, NewFollowers: 2, UniqueUsers: 1, Unfollows: 1},
		},
		"the earlier follow comes late": {
			[]*wxqrcode.Event{followed("o", "b", at(-5)), followed("o", "a", at(-9))},
			Counts{Scans: 2, NewFollowers: 2, UniqueUsers: 1, Unfollows: 1},
		},
		"the follow comes after leaving": {
			[]*wxqrcode.Event{unfollowed("o", at(-5)), followed("o", "a", at(-9))},
			Counts{Scans: 1, NewFollowers: 1, UniqueUsers: 1, Unfollows: 1},
		},
		"the scan too": {
			[]*wxqrcode.Event{followed("o", "a", at(-9)), unfollowed("o", at(-5)), scanned("o", "a", at(-7))},
			Counts{Scans: 2, NewFollowers: 1, UniqueUsers: 1, Unfollows: 1},
		},
		"an earlier follow after leaving": {
			[]*wxqrcode.Event{followed("o", "b", at(-6)), unfollowed("o", at(-5)), followed("o", "a", at(-9))},
			Counts{Scans: 2, NewFollowers: 2, UniqueUsers: 1, Unfollows: 2},
		},
		"follows again, and the first follow comes last": {
			[]*wxqrcode.Event{unfollowed("o", at(-5)), followed("o", "b", at(-2)), followed("o", "a", at(-9))},
			Counts{Scans: 2, NewFollowers: 2, UniqueUsers: 2, Unfollows: 1},
		},
		"leaving before the last follow comes late": {
			[]*wxqrcode.Event{followed("o", "a", at(-9)), followed("o", "b", at(-5)), unfollowed("o", at(-7)), unfollowed("o", at(-1))},
			Counts{Scans: 2, NewFollowers: 2, UniqueUsers: 2, Unfollows: 2},
		},
		"a scan comes after an unfollow of 5 s later": {
			[]*wxqrcode.Event{unfollowed("o", now.Add(-time.Hour)), scanned("o", "a", now.Add(-time.Hour-5*time.Second))},
			Counts{Scans: 1, UniqueUsers: 1},
		},
		"an unfollow comes after the later follow": {
			[]*wxqrcode.Event{followed("o", "a", at(-2)), unfollowed("o", at(-5))},
			Counts{Scans: 1, NewFollowers: 1, UniqueUsers: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestStore(t, newDatabase(t, SQLite), testConfig())
			for _, e := range tt.events {
				require.NoError(t, s.Record(t.Context(), e))
			}
			tt.want.Retention = emptyRetention()
			tt.want = withDerived(tt.want)
			r, err := s.Report(t.Context(), Query{})
			require.NoError(t, err)
			assert.Equal(t, tt.want, r.Total)
			assert.LessOrEqual(t, r.Unattributed.Unfollows, int64(1))
		})
	}
}

func TestStore_ManyUnfollows(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			s := newTestStore(t, newDatabase(t, dialect), testConfig())
			const people = 1500
			for _, event := range []func(openID string) *wxqrcode.Event{
				func(openID string) *wxqrcode.Event { return followed(openID, "poster", now.Add(-time.Hour)) },
				func(openID string) *wxqrcode.Event { return unfollowed(openID, now) },
			} {
				var entries []entry
				for i := range people {
					e, _, err := s.entry(event(fmt.Sprint("o-", i)))
					require.NoError(t, err)
					entries = append(entries, e)
				}
				require.NoError(t, s.apply(t.Context(), entries))
			}
			assert.Equal(t, withDerived(Counts{Scans: people, NewFollowers: people, UniqueUsers: people, Unfollows: people, Retention: emptyRetention()}), total(t, s))
			s.now = func() time.Time { return now.Add(unfollowRetention + 24*time.Hour) }
			require.NoError(t, s.purge(t.Context()))
			for _, openID := range []string{"o-0", "o-777", "o-1499"} {
				assert.Zero(t, storedEvents(t, s, openID))
			}
			s.now = func() time.Time { return now }
		})
	}
}

func TestBatchSize(t *testing.T) {
	n := batchSize(maxBatch)
	for range 20 {
		n = n.next(fmt.Errorf("wrapped: %w", ErrUnavailable))
	}
	assert.Equal(t, batchSize(1), n)
	n = n.next(nil).next(nil)
	assert.Equal(t, batchSize(4), n)
	n = n.next(errors.New("of another class"))
	assert.Equal(t, batchSize(8), n, "or an event that the database rejects would block the spool")
	for range 20 {
		n = n.next(nil)
	}
	assert.Equal(t, batchSize(maxBatch), n)
}

func TestStore_RecordWithAnEndedContext(t *testing.T) {
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	ctx, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	err := s.Record(ctx, scanned("o-1", "poster", now))
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "the event is not recorded")
	assert.Zero(t, total(t, s).Scans)
}

func TestOpenSQLite_Pragmas(t *testing.T) {
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "secure_delete": "1"} {
		var got string
		require.NoError(t, s.db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
		assert.Equal(t, want, got, pragma)
	}
}

func TestStore_TenThousandCallers(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			s := newTestStore(t, d, testConfig())
			const callers = 10_000
			var recording sync.WaitGroup
			for i := range callers {
				recording.Go(func() {
					assert.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", i), fmt.Sprint("poster-", i%100), now)))
				})
			}
			recording.Wait()
			assert.Equal(t, withDerived(Counts{Scans: callers, UniqueUsers: callers, Retention: emptyRetention()}), total(t, s))
		})
	}
}

// holdLock holds the lock that changes take until it is released.
func holdLock(t *testing.T, d database) (release func()) {
	t.Helper()
	w := newWriter(d.open(t), d.dialect)
	ready, done, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		ended <- w.update(context.Background(), func(*tx) error {
			close(ready)
			<-done
			return nil
		})
	}()
	<-ready
	release = sync.OnceFunc(func() {
		close(done)
		assert.NoError(t, <-ended)
		w.close()
	})
	t.Cleanup(release)
	return release
}

func TestStore_LockedDatabase(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			c := testConfig()
			c.Timeout = 300 * time.Millisecond
			s := newTestStore(t, d, c)
			require.NoError(t, s.Record(t.Context(), scanned("o-0", "poster", now)))
			release := holdLock(t, d)

			require.ErrorIs(t, s.Record(t.Context(), scanned("o-1", "poster", now)), ErrLocked, "after the store's time")
			require.ErrorIs(t, s.Label(t.Context(), "poster", Label{Name: "A"}), ErrLocked)

			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			err := s.Record(ctx, scanned("o-2", "poster", now))
			require.ErrorIs(t, err, ErrUnavailable, "after the caller's")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, "recording it again does not count it twice")

			ctx, cancel = context.WithCancel(t.Context())
			cancel()
			err = s.Record(ctx, scanned("o-3", "poster", now))
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorContains(t, err, "the event is not recorded")

			r, err := s.Report(t.Context(), Query{})
			require.NoError(t, err, "reports do not wait")
			assert.Equal(t, int64(1), r.Total.Scans)

			release()
			for i := range 4 {
				require.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", i), "poster", now)))
			}
			assert.Equal(t, int64(4), total(t, s).Scans)
		})
	}
}

func TestStore_FailureEndsTheQueue(t *testing.T) {
	d := newDatabase(t, SQLite)
	c := testConfig()
	c.Timeout = 3 * time.Second // many times what ten thousand callers take to come, on a slow machine
	s := newTestStore(t, d, c)
	holdLock(t, d)
	start := time.Now()
	var recording sync.WaitGroup
	for i := range 5 * maxBatch {
		recording.Go(func() {
			assert.ErrorIs(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", i), "poster", now)), ErrLocked)
		})
	}
	recording.Wait()
	assert.Less(t, time.Since(start), 5*c.Timeout/2, "one batch after the other would each have waited")
}

func TestStore_FullDatabase(t *testing.T) {
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	limit := func(pages int) {
		require.NoError(t, s.writer.update(t.Context(), func(t *tx) error {
			var n int
			return t.query(fmt.Sprint("PRAGMA max_page_count = ", pages), nil, &n)
		}))
	}
	limit(1)
	recorded, failed := 0, 0
	for i := range 2000 {
		err := s.Record(t.Context(), scanned(fmt.Sprint("o-", i), fmt.Sprint("poster-", i), now))
		if err == nil {
			recorded++
			continue
		}
		require.ErrorIs(t, err, ErrNoSpace)
		failed++
		break
	}
	require.NotZero(t, failed)
	assert.Equal(t, int64(recorded), total(t, s).Scans)
	limit(1 << 30)
	for i := range recorded + 1 {
		require.NoError(t, s.Record(t.Context(), scanned(fmt.Sprint("o-", i), fmt.Sprint("poster-", i), now)))
	}
	assert.Equal(t, int64(recorded+1), total(t, s).Scans)
}

func TestStore_ReadOnlyDatabase(t *testing.T) {
	for _, dialect := range []Dialect{SQLite, Postgres} {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			s := newTestStore(t, d, testConfig())
			require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", now)))
			require.NoError(t, s.Close())

			readOnly := d.open(t)
			if dialect == SQLite {
				var err error
				readOnly, err = sql.Open("sqlite", d.dsn+"&_pragma=query_only(1)")
				require.NoError(t, err)
				defer readOnly.Close()
			} else {
				_, err := readOnly.ExecContext(t.Context(), "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_read_only = on'; END $$")
				require.NoError(t, err)
				require.NoError(t, readOnly.Close())
				readOnly = d.open(t)
			}
			s, err := newStore(readOnly, dialect, testConfig())
			require.NoError(t, err)
			s.now = func() time.Time { return now }
			require.NoError(t, s.start(t.Context()))
			defer s.Close()
			assert.Equal(t, int64(1), total(t, s).Scans)
			require.ErrorIs(t, s.Record(t.Context(), scanned("o-2", "poster", now)), ErrReadOnly)
			require.ErrorIs(t, s.Label(t.Context(), "poster", Label{Name: "A"}), ErrReadOnly)
		})
	}
}

func TestStore_MissingFile(t *testing.T) {
	for name, remove := range map[string]func(path string) error{
		"removed": os.Remove,
		"moved":   func(path string) error { return os.Rename(path, path+".old") },
		"replaced": func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "scans.db")
			s, err := OpenSQLite(t.Context(), path, testConfig())
			require.NoError(t, err)
			defer s.Close()
			require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", time.Now())))
			require.NoError(t, remove(path))
			err = s.Record(t.Context(), scanned("o-2", "poster", time.Now()))
			require.ErrorIs(t, err, ErrUnavailable)
			require.ErrorContains(t, err, "scans.db")
			_, err = s.Report(t.Context(), Query{})
			require.ErrorIs(t, err, ErrUnavailable)
		})
	}
}

func TestStore_Reconnects(t *testing.T) {
	for _, dialect := range []Dialect{Postgres, MySQL} {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			s := newTestStore(t, d, testConfig())
			require.NoError(t, s.Record(t.Context(), scanned("o-1", "poster", now)))
			cutConnections(t, d)
			require.NoError(t, s.Record(t.Context(), scanned("o-2", "poster", now)))
			assert.Equal(t, int64(2), total(t, s).Scans)
		})
	}
}

// cutConnections ends all connections to the database but its own.
func cutConnections(t *testing.T, d database) {
	t.Helper()
	db := d.open(t)
	defer db.Close()
	if d.dialect == Postgres {
		_, err := db.ExecContext(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		require.NoError(t, err)
		return
	}
	rows, err := db.QueryContext(t.Context(), "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
	require.NoError(t, err)
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		require.NoError(t, rows.Scan(&id))
		ids = append(ids, id)
	}
	require.NoError(t, rows.Err())
	require.NotEmpty(t, ids)
	for _, id := range ids {
		_, err := db.ExecContext(t.Context(), fmt.Sprint("KILL ", id))
		require.NoError(t, err)
	}
}

func TestStore_MissingTables(t *testing.T) {
	for dialect, current := range map[Dialect]string{Postgres: "SELECT current_database()", MySQL: "SELECT DATABASE()"} {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			s := newTestStore(t, d, testConfig())
			db := d.open(t)
			var name string
			require.NoError(t, db.QueryRowContext(t.Context(), current).Scan(&name))
			if dialect == Postgres {
				cutConnections(t, d)
				_ = db.Close() // it complains that the connection had been cut
				server, err := sql.Open("pgx", fromEnv(envPostgres, defaultPostgres))
				require.NoError(t, err)
				defer server.Close()
				db = server
			}
			_, err := db.ExecContext(t.Context(), "DROP DATABASE "+name)
			require.NoError(t, err)
			require.ErrorIs(t, s.Record(t.Context(), scanned("o-1", "poster", now)), ErrUnavailable)
			_, err = s.Report(t.Context(), Query{})
			require.ErrorIs(t, err, ErrUnavailable)
		})
	}
}

func TestStore_Closed(t *testing.T) {
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Record(t.Context(), scanned("o-1", "poster", now)), ErrClosed)
	require.ErrorIs(t, s.Forget(t.Context(), "o-1"), ErrClosed)
	require.ErrorIs(t, s.Label(t.Context(), "poster", Label{}), ErrClosed)
	_, err := s.Report(t.Context(), Query{})
	require.ErrorIs(t, err, ErrClosed)
}
