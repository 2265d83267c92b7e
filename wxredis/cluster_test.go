package wxredis_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/wxredis"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

const (
	nodeTimeout = 1000 // milliseconds, where a master is killed
	longTimeout = 10 * nodeTimeout
)

func TestCluster_RecommendedUser(t *testing.T) {
	t.Parallel()
	c := startCluster(t, false, longTimeout)
	var nodes []redis.UniversalClient
	for _, s := range c.masters {
		nodes = append(nodes, s)
	}
	testRecommendedUser(t, c.testRedis, nodes, "+cluster|slots", "+asking")
}

func TestCluster_Conformance(t *testing.T) {
	t.Parallel()
	testConformance(t, startCluster(t, false, longTimeout).testRedis)
}

func TestSentinel_Conformance(t *testing.T) {
	t.Parallel()
	rdb, _, _ := startSentinel(t)
	testConformance(t, rdb)
}

func testConformance(t *testing.T, rdb testRedis) {
	t.Helper()
	t.Run("TokenStore", func(t *testing.T) {
		wxtest.TestTokenStore(t, func() wxqrcode.TokenStore { return wxredis.NewTokenStore(rdb) })
	})
	t.Run("Dedup", func(t *testing.T) {
		wxtest.TestDeduplicator(t, func() callback.Deduplicator { return wxredis.NewDedup(rdb) })
	})
	t.Run("Bus", func(t *testing.T) { testBus(t, rdb) })
}

// Slots move to another node and back while callers use their keys.
func TestCluster_Reshard(t *testing.T) {
	t.Parallel()
	const slots, pushSlots = 16384, 50 // of all pushes
	c := startCluster(t, false, longTimeout)
	w := startWorkload(t, c.testRedis, pushSlots)
	slotsToMove := []int{slotOf(string(w.token)), slotOf(string(w.bus))}
	for slot := range pushSlots {
		slotsToMove = append(slotsToMove, slot)
	}
	start := time.Now()
	for _, back := range []bool{false, true} {
		for i, slot := range slotsToMove {
			owner := slot * len(c.masters) / slots
			from, to := c.masters[owner], c.masters[(owner+1)%len(c.masters)]
			if back {
				from, to = to, from
			}
			c.moveSlot(t, slot, from, to, func() {
				if i < 4 {
					time.Sleep(200 * time.Millisecond) // requests meet a slot that is on two nodes
				}
			})
		}
	}
	end := time.Now()
	r := w.stop(t, end, end)
	t.Logf("%d slots moved to another node and back in %v: %v", len(slotsToMove), end.Sub(start).Round(time.Millisecond), r)
	assert.LessOrEqual(t, r.before.twice, w.warned(), "events handled twice without a warning")
	assert.Zero(t, r.notReceived, "events published and not received")
	assert.LessOrEqual(t, r.fetchedTwice, r.updateErrors, "tokens fetched twice without an error")
}

func TestSentinel_Failover(t *testing.T) {
	t.Parallel()
	t.Run("replica up to date", func(t *testing.T) {
		t.Parallel()
		rdb, master, _ := startSentinel(t)
		testFailover(t, rdb, master, func() {})
	})
	t.Run("replica 200 ms behind", func(t *testing.T) {
		t.Parallel()
		if suspend == nil {
			t.Skip("cannot suspend the replica")
		}
		rdb, master, replica := startSentinel(t)
		testFailover(t, rdb, master, func() {
			resume := suspend(replica)
			t.Cleanup(resume)
			assert.NoError(t, master.ClientKillByFilter(t.Context(), "TYPE", "replica").Err())
			time.AfterFunc(500*time.Millisecond, resume)
		})
	})
}

func TestCluster_Failover(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true, nodeTimeout)
	testFailover(t, c.testRedis, c.masters[0], func() {})
}

// testFailover kills a master, 200 ms after a call of before, while callers use it.
func testFailover(t *testing.T, rdb testRedis, master *server, before func()) {
	t.Helper()
	const pushSlots = 5000 // all of the first master in a cluster
	w := startWorkload(t, rdb, pushSlots)
	time.Sleep(time.Second) // of load
	before()
	w.keepToken.Store(true) // after the failover callers want the last one
	w.revoked.Add(1)
	time.Sleep(200 * time.Millisecond)
	killed := time.Now()
	master.kill()
	w.waitForRecovery(t)
	recovered, warned := time.Now(), w.warned()
	time.Sleep(time.Second) // of load
	r := w.stop(t, killed, recovered)
	t.Logf("unavailable for %v after kill -9 of the master: %v", recovered.Sub(killed).Round(time.Millisecond), r)
	assert.LessOrEqual(t, r.after.twice, w.warned()-warned, "events after the failover handled twice without a warning")
	assert.Zero(t, r.notReceivedAfter, "events published after the failover and not received")
}
