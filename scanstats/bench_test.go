package scanstats

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// BenchmarkRecord records events like concurrent callbacks. internal/budgets has
// its budgets.
func BenchmarkRecord(b *testing.B) {
	for _, dialect := range []Dialect{SQLite, Postgres, MySQL} {
		for _, callers := range []int{1, 100, 4000} {
			b.Run(fmt.Sprintf("%v/%d at once", dialect, callers), func(b *testing.B) { benchmarkRecord(b, dialect, callers) })
		}
	}
}

// BenchmarkRecordInstances does the same with ten instances that share the
// database, each with 400 concurrent callbacks.
func BenchmarkRecordInstances(b *testing.B) {
	for _, dialect := range []Dialect{Postgres, MySQL} {
		b.Run(dialect.String(), func(b *testing.B) {
			db := newDatabase(b, dialect)
			var stores []*Store
			for range 10 {
				stores = append(stores, newTestStore(b, db, testConfig()))
			}
			record(b, stores, 400)
		})
	}
}

func benchmarkRecord(b *testing.B, dialect Dialect, callers int) {
	record(b, []*Store{newTestStore(b, newDatabase(b, dialect), testConfig())}, callers)
}

// record records b.N events in all, with the given number of callers per store.
func record(b *testing.B, stores []*Store, callers int) {
	b.Helper()
	events := make([]*wxqrcode.Event, b.N)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range events {
		// In the last hour, by a quarter as many users as events, of a thousand scenes.
		at := now.Add(-time.Duration(rng.IntN(3600)) * time.Second)
		openID, scene := fmt.Sprint("o-", rng.IntN(1+b.N/4)), fmt.Sprint("poster-", rng.IntN(1000))
		switch n := rng.IntN(10); {
		case n == 0:
			events[i] = unfollowed(openID, at)
		case n < 4:
			events[i] = followed(openID, scene, at)
		default:
			events[i] = scanned(openID, scene, at)
		}
	}
	var next, failed atomic.Int64
	b.ResetTimer()
	var recording sync.WaitGroup
	for _, s := range stores {
		for range callers {
			recording.Go(func() {
				for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
					if s.Record(b.Context(), events[i]) != nil {
						failed.Add(1)
					}
				}
			})
		}
	}
	recording.Wait()
	b.StopTimer()
	require.Zero(b, failed.Load())
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

var benchEvents = flag.Int("events", 100_000, "number of events in the month of BenchmarkReport")

// BenchmarkReport measures reports of a month with -events events and a thousand
// scenes; a few users cause half of the events. The budget is a second for 10 million:
//
//	go test -run '^$' -bench Report/SQLite -events 10000000 -timeout 1h .
func BenchmarkReport(b *testing.B) {
	for _, dialect := range []Dialect{SQLite, Postgres, MySQL} {
		b.Run(dialect.String(), func(b *testing.B) { benchmarkReport(b, dialect) })
	}
}

func benchmarkReport(b *testing.B, dialect Dialect) {
	c := testConfig()
	c.Timeout = time.Hour
	s := newTestStore(b, newDatabase(b, dialect), c)
	start := time.Now()
	fillMonth(b, s, *benchEvents)
	b.Logf("%d events recorded in %v", *benchEvents, time.Since(start).Round(time.Second))
	for _, dim := range []string{"scanstats_day", "scanstats_hour", "scanstats_unique", "scanstats_person", "scanstats_event"} {
		var n int64
		require.NoError(b, s.db.QueryRowContext(b.Context(), "SELECT COUNT(*) FROM "+dim).Scan(&n))
		b.Logf("%s: %d rows", dim, n)
	}
	for name, q := range map[string]Query{
		"month by day":              {},
		"month by week":             {Interval: Week},
		"month by hour":             {Interval: Hour},
		"month by day, each scene":  {PerScene: true},
		"month by day, one scene":   {Scenes: []string{"poster-7"}},
		"month by week, 271 scenes": {Interval: Week, Search: "3"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r, err := s.Report(b.Context(), q)
				require.NoError(b, err)
				require.NotZero(b, r.Total.UniqueUsers)
			}
		})
	}
}

// fillMonth records n events of the last 29 days, in large batches.
func fillMonth(b *testing.B, s *Store, n int) {
	b.Helper()
	rng := rand.New(rand.NewPCG(1, 1))
	begin := now.AddDate(0, 0, -29)
	const many = 20_000
	entries := make([]entry, 0, many)
	for i := range n {
		var e entry
		e.at = begin.Unix() + int64(float64(now.Unix()-begin.Unix())*float64(i)/float64(n))
		binary.BigEndian.PutUint32(e.id[:], uint32(e.at))
		binary.BigEndian.PutUint64(e.id[8:], uint64(i))
		// Every other event is by one of a few users, who scan the same scene again.
		who, scene := rng.IntN(1+n/5), rng.IntN(1000)
		if i%2 == 0 {
			who = rng.IntN(1 + n/200)
			scene = who % 1000
		}
		binary.BigEndian.PutUint64(e.person[:], uint64(who)*0x9e3779b97f4a7c15)
		switch k := rng.IntN(20); {
		case k == 0 && i%2 == 1:
			e.kind = unfollow
		case k < 6 && i%2 == 1:
			e.kind, e.scene = follow, fmt.Sprint("poster-", scene)
		default:
			e.kind, e.scene = scan, fmt.Sprint("poster-", scene)
		}
		if entries = append(entries, e); len(entries) == many || i == n-1 {
			require.NoError(b, s.apply(b.Context(), entries))
			entries = entries[:0]
		}
	}
}
