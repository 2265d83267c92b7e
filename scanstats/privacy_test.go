package scanstats

import (
	"bytes"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// known returns how many events of a user are in the database.
func storedEvents(t *testing.T, s *Store, openID string) int {
	t.Helper()
	p := s.personHash(openID)
	var stored []byte
	err := s.db.QueryRowContext(t.Context(), s.writer.dialect.sql("SELECT history FROM scanstats_person WHERE person = ?"), p[:]).Scan(&stored)
	if !errors.Is(err, sql.ErrNoRows) {
		require.NoError(t, err)
	}
	return len(decodeHistory(stored))
}

func TestStore_PurgeDeletesUsersWhoUnfollowed(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			s := newTestStore(t, newDatabase(t, dialect), testConfig())
			at := func(days int) time.Time { return now.AddDate(0, 0, days) }
			for _, openID := range []string{"o-1", "o-2", "o-3"} {
				require.NoError(t, s.Record(t.Context(), followed(openID, "poster", at(-10))))
				require.NoError(t, s.Record(t.Context(), scanned(openID, "shop", at(-9))))
			}
			require.NoError(t, s.Record(t.Context(), unfollowed("o-1", at(-5))))
			require.NoError(t, s.Record(t.Context(), unfollowed("o-3", at(-5))))
			require.NoError(t, s.Record(t.Context(), scanned("o-3", "shop", at(-4))))
			want := withDerived(Counts{Scans: 7, NewFollowers: 3, UniqueUsers: 4, Unfollows: 2, Retention: [3]Retention{{1, 3, 3}, {7, 3, 1}, {30, 0, 0}}})
			assert.Equal(t, want, total(t, s))
			s.now = func() time.Time { return at(-5).Add(unfollowRetention) }
			require.NoError(t, s.purge(t.Context()))
			assert.Equal(t, 3, storedEvents(t, s, "o-1"), "for late events")
			s.now = func() time.Time { return now }
			require.NoError(t, s.purge(t.Context()))
			assert.Zero(t, storedEvents(t, s, "o-1"))
			assert.Equal(t, 2, storedEvents(t, s, "o-2"))
			assert.Equal(t, 2, storedEvents(t, s, "o-3"), "the time of the unfollow, and the scan since then")
			assert.Equal(t, want, total(t, s))
			require.NoError(t, s.Record(t.Context(), scanned("o-3", "shop", at(-3))))
			assert.EqualValues(t, 4, total(t, s).UniqueUsers, "the same user")

			// Late beyond what is kept: the scan and the follower count, the user does not.
			require.NoError(t, s.Record(t.Context(), followed("o-3", "poster", at(-8))))
			late := total(t, s)
			assert.EqualValues(t, 9, late.Scans)
			assert.EqualValues(t, 4, late.NewFollowers)
			assert.EqualValues(t, 4, late.UniqueUsers)
		})
	}
}

func TestStore_Forget(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			s := newTestStore(t, newDatabase(t, dialect), testConfig())
			require.NoError(t, s.Record(t.Context(), followed("o-1", "poster", now.Add(-time.Hour))))
			want := withDerived(Counts{Scans: 1, NewFollowers: 1, UniqueUsers: 1, Retention: emptyRetention()})
			for range 2 {
				require.NoError(t, s.Forget(t.Context(), "o-1"))
				assert.Zero(t, storedEvents(t, s, "o-1"))
				assert.Equal(t, want, total(t, s))
			}
			require.NoError(t, s.Forget(t.Context(), "nobody"))
			require.ErrorIs(t, s.Forget(t.Context(), ""), ErrInvalidEvent)
			require.NoError(t, s.Record(t.Context(), unfollowed("o-1", now)))
			r, err := s.Report(t.Context(), Query{})
			require.NoError(t, err)
			assert.Equal(t, want, r.Total)
			assert.Equal(t, int64(1), r.Unattributed.Unfollows, "the scene is forgotten")
		})
	}
}

// Forget is about what was recorded before it, whatever the clocks say.
func TestStore_ForgetInABatch(t *testing.T) {
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	scans, _, err := s.entry(scanned("o-1", "poster", now.Add(time.Hour)))
	require.NoError(t, err)
	again, _, err := s.entry(scanned("o-2", "poster", now.Add(-time.Hour)))
	require.NoError(t, err)
	require.NoError(t, s.apply(t.Context(), []entry{scans, {kind: forget, at: now.Unix(), person: s.personHash("o-1")}, again, {kind: forget, at: 1, person: s.personHash("o-3")}}))
	assert.Zero(t, storedEvents(t, s, "o-1"))
	assert.Equal(t, 1, storedEvents(t, s, "o-2"))
	assert.Equal(t, int64(2), total(t, s).Scans)
}

func TestStore_ScansExtendPersonRetention(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			c := testConfig()
			c.PersonRetention, c.DedupWindow = 40*24*time.Hour, 100*24*time.Hour
			s := newTestStore(t, newDatabase(t, dialect), c)
			long := now.AddDate(0, 0, -45)
			for _, openID := range []string{"o-stays", "o-sleeps", "o-0", "o-1", "o-2", "o-3"} {
				require.NoError(t, s.Record(t.Context(), followed(openID, "poster", long)))
			}
			require.NoError(t, s.Record(t.Context(), scanned("o-stays", "shop", now.AddDate(0, 0, -1))))
			require.NoError(t, s.purge(t.Context()))
			assert.NotZero(t, storedEvents(t, s, "o-sleeps"), "earlier events can still arrive")
			s.cfg.DedupWindow = 30 * 24 * time.Hour
			s.now = func() time.Time { return now.AddDate(0, 0, 1) } // the next purge
			require.NoError(t, s.purge(t.Context()))
			s.now = func() time.Time { return now }
			assert.Zero(t, storedEvents(t, s, "o-sleeps"))
			require.NoError(t, s.Record(t.Context(), unfollowed("o-stays", now)))
			require.NoError(t, s.Record(t.Context(), unfollowed("o-sleeps", now)))
			r, err := s.Report(t.Context(), Query{})
			require.NoError(t, err)
			assert.Equal(t, int64(1), r.Total.Unfollows)
			assert.Equal(t, int64(1), r.Unattributed.Unfollows)
		})
	}
}

func TestStore_RetentionIsExactToTheSecond(t *testing.T) {
	s := newTestStore(t, newDatabase(t, SQLite), testConfig())
	came := now.AddDate(0, 0, -34)
	s.cfg.DedupWindow = 100 * 24 * time.Hour
	for i, days := range retentionDays {
		for j, moment := range []time.Duration{-time.Second, 0} {
			openID := fmt.Sprint("o-", i, "-", j)
			require.NoError(t, s.Record(t.Context(), followed(openID, "poster", came)))
			require.NoError(t, s.Record(t.Context(), unfollowed(openID, came.Add(time.Duration(days)*24*time.Hour+moment))))
		}
	}
	r, err := s.Report(t.Context(), Query{From: came})
	require.NoError(t, err)
	assert.Equal(t, [3]Retention{{1, 6, 5}, {7, 6, 3}, {30, 6, 1}}, r.Total.Retention)

	// A day is told when the last who could have come on it came long enough ago.
	day := zone{shanghai}.dayOf(came)
	for i, days := range retentionDays {
		ends := zone{shanghai}.start(day + 1).Add(time.Duration(days) * 24 * time.Hour)
		for _, tt := range []struct {
			now time.Time
			of  int64
		}{{ends.Add(-time.Second), 0}, {ends, 6}} {
			s.now = func() time.Time { return tt.now }
			r, err := s.Report(t.Context(), Query{From: came, To: came})
			require.NoError(t, err)
			assert.Equal(t, tt.of, r.Total.Retention[i].Cohort, "%d days, at %v", days, tt.now)
			assert.Equal(t, tt.of, r.Buckets[0].Retention[i].Cohort)
			assert.Equal(t, tt.of, r.Scenes[0].Retention[i].Cohort)
		}
	}
}

func TestStore_StoresNoOpenID(t *testing.T) {
	const openID = "o7Lp5t6n59DeX3U0C7Kric9qEx-Q"
	folder := t.TempDir()
	c := testConfig()
	c.Timeout = 100 * time.Millisecond
	c.Spool = filepath.Join(folder, "spool")
	d := database{SQLite, dataSource(filepath.Join(folder, "scans.db")), "sqlite"}
	s := newTestStore(t, d, c)
	e := followed(openID, "a-scene-to-be-found", now)
	require.NoError(t, s.Record(t.Context(), e))
	holdLock(t, d)
	require.NoError(t, s.Record(t.Context(), scanned(openID, "a-scene-to-be-found", now)))
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	require.NoError(t, err)
	var all string
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all += string(text)
	}
	require.Contains(t, all, "a-scene-to-be-found", "the files are those")
	key, err := hex.DecodeString(e.DedupKey())
	require.NoError(t, err)
	for _, secret := range []string{openID, string(testKey), e.DedupKey(), string(key[:12])} {
		assert.NotContains(t, all, secret)
	}
}

func TestStore_PurgesAutomatically(t *testing.T) {
	d := newDatabase(t, SQLite)
	old := newTestStore(t, d, testConfig())
	require.NoError(t, old.Record(t.Context(), scanned("o-1", "poster", now)))
	count := func() (n int) {
		require.NoError(t, old.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM scanstats_event WHERE id < x'01'").Scan(&n))
		return n
	}
	_, err := old.db.ExecContext(t.Context(), "INSERT INTO scanstats_event (id) VALUES (x'00')") // of 1970
	require.NoError(t, err)

	reader := testConfig()
	reader.Key = nil
	s, err := Open(t.Context(), d.open(t), SQLite, reader)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Equal(t, 1, count(), "who only reads leaves it to others")

	s, err = Open(t.Context(), d.open(t), SQLite, testConfig())
	require.NoError(t, err)
	defer s.Close()
	require.Eventually(t, func() bool { return count() == 0 }, 10*time.Second, 10*time.Millisecond)
}

func TestStore_PurgeDeletesExpiredRows(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDatabase(t, dialect)
			c := testConfig()
			c.PersonRetention = 40 * 24 * time.Hour
			c.DedupWindow = 40 * 24 * time.Hour
			s := newTestStore(t, d, c)
			at := func(days int) time.Time { return now.AddDate(0, 0, days) }
			for i := range 300 { // so that hashes begin with many bytes
				require.NoError(t, s.Record(t.Context(), followed(fmt.Sprint("o-old-", i), "poster", at(-39))))
			}
			require.NoError(t, s.Record(t.Context(), followed("o-new", "poster", at(-20))))
			require.NoError(t, s.Record(t.Context(), scanned("o-old-7", "poster", at(-10))))
			all, err := s.Report(t.Context(), Query{From: at(-60)})
			require.NoError(t, err)

			count := func(table string) (n int) {
				require.NoError(t, s.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n))
				return n
			}
			s.now = func() time.Time { return at(3) }
			require.NoError(t, s.purge(t.Context()))
			assert.Equal(t, 2, count("scanstats_person"), "who scanned since, and the new one")
			assert.Equal(t, 2, count("scanstats_event"))

			s.now = func() time.Time { return now }
			after, err := s.Report(t.Context(), Query{From: at(-60)})
			require.NoError(t, err)
			assert.Equal(t, all, after, "what was counted stays")

			_, err = s.db.ExecContext(t.Context(), "DELETE FROM scanstats_event")
			require.NoError(t, err)
			s.now = func() time.Time { return at(3).Add(time.Hour) }
			require.NoError(t, s.Record(t.Context(), scanned("o-new", "poster", at(-19))))
			require.NoError(t, s.purge(t.Context()))
			assert.Equal(t, 1, count("scanstats_event"), "once a day is enough")
			s.now = func() time.Time { return at(22) }
			require.NoError(t, s.purge(t.Context()))
			assert.Zero(t, count("scanstats_event"))
		})
	}
}

// hashesIn returns how many of the hashes of users are in a file or its log.
func hashesIn(t *testing.T, s *Store, path string, openIDs []string) (n int) {
	t.Helper()
	var all []byte
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(path + suffix)
		if !errors.Is(err, os.ErrNotExist) {
			require.NoError(t, err)
		}
		all = append(all, content...)
	}
	for _, openID := range openIDs {
		hash := s.personHash(openID)
		if bytes.Contains(all, hash[:]) {
			n++
		}
	}
	return n
}

func TestStore_ErasesDeletedHashes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scans.db")
	d := database{SQLite, dataSource(path), "sqlite"}
	s := newTestStore(t, d, testConfig())
	var others, unfollowers, forgotten []string
	record := func(openIDs []string, event func(openID string) *wxqrcode.Event) {
		var callers sync.WaitGroup
		for _, openID := range openIDs {
			callers.Go(func() { assert.NoError(t, s.Record(t.Context(), event(openID))) })
		}
		callers.Wait()
	}
	for i := range 3000 {
		others = append(others, fmt.Sprint("o-other-", i))
	}
	for i := range 150 {
		unfollowers = append(unfollowers, fmt.Sprint("o-unfollower-", i))
		forgotten = append(forgotten, fmt.Sprint("o-forgotten-", i))
	}
	all := slices.Concat(others[:1500], unfollowers, forgotten)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for part := range slices.Chunk(all, 100) {
		record(part, func(openID string) *wxqrcode.Event { return followed(openID, "poster", now.AddDate(0, 0, -6)) })
		record(part, func(openID string) *wxqrcode.Event { return scanned(openID, "shop", now.AddDate(0, 0, -5)) })
	}
	record(others[1500:], func(openID string) *wxqrcode.Event { return followed(openID, "poster", now.AddDate(0, 0, -5)) })
	record(unfollowers, func(openID string) *wxqrcode.Event { return unfollowed(openID, now.AddDate(0, 0, -4)) })
	assert.Equal(t, 300, hashesIn(t, s, path, slices.Concat(unfollowers, forgotten)))

	require.NoError(t, s.purge(t.Context()))
	assert.Zero(t, hashesIn(t, s, path, unfollowers), "after the purge")
	for _, openID := range forgotten {
		require.NoError(t, s.Forget(t.Context(), openID))
	}
	assert.Zero(t, hashesIn(t, s, path, forgotten), "after Forget")
	assert.Equal(t, 3000, hashesIn(t, s, path, others))
}

func TestSpool_ErasesDrainedHashes(t *testing.T) {
	d := newDatabase(t, SQLite)
	c := spoolConfig(t)
	s := newTestStore(t, d, c)
	release := holdLock(t, d)
	openIDs := make([]string, 200)
	for i := range openIDs {
		openIDs[i] = fmt.Sprint("o-", i)
		require.NoError(t, s.Record(t.Context(), scanned(openIDs[i], "poster", now)))
	}
	assert.Equal(t, 200, hashesIn(t, s, c.Spool, openIDs))
	release()
	drained(t, s)
	assert.Zero(t, hashesIn(t, s, c.Spool, openIDs))
}
