package wxredis_test

import (
	"testing"
	"time"

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
	assert.Zero(t, r.before.twice, "events handled twice")
	assert.Zero(t, r.notReceived, "events published and not received")
	assert.Zero(t, r.fetchedTwice, "tokens fetched twice")
	assert.Empty(t, w.warnings.String())
}

func TestSentinel_Failover(t *testing.T) {
	t.Parallel()
	rdb, master, _ := startSentinel(t)
	testFailover(t, rdb, master)
}

func TestCluster_Failover(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true, nodeTimeout)
	testFailover(t, c.testRedis, c.masters[0])
}

// testFailover kills a master while callers use it.
func testFailover(t *testing.T, rdb testRedis, master *server) {
	t.Helper()
	const pushSlots = 5000 // all of the first master in a cluster
	w := startWorkload(t, rdb, pushSlots)
	time.Sleep(time.Second) // of load
	killed := time.Now()
	master.kill()
	w.waitForRecovery(t)
	recovered := time.Now()
	time.Sleep(time.Second) // of load
	r := w.stop(t, killed, recovered)
	t.Logf("unavailable for %v after kill -9 of the master: %v", recovered.Sub(killed).Round(time.Millisecond), r)
	assert.Zero(t, r.after.twice, "events after the failover handled twice")
	assert.Zero(t, r.notReceivedAfter, "events published after the failover and not received")
}
