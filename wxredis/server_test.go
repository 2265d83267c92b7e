package wxredis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// A server is a redis-server that a test has started.
type server struct {
	*redis.Client
	addr string
	cmd  *exec.Cmd
}

// What Linux can do beside: end a server even if the test is killed, and suspend a
// server.
var (
	endWithTest = func(*exec.Cmd) {}
	suspend     func(*server) (resume func())
)

// startServer starts a redis-server on a free port of the loopback interface. It
// ends with the test. Without a redis-server on the PATH the test is skipped, or
// fails if a real Redis is required.
func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv(envRequired) != "" {
			require.NoError(t, err, "%s requires redis-server", envRequired)
		}
		t.Skip("no redis-server on the PATH")
	}
	const attempts = 5 // another program may take the port first
	for range attempts {
		if s := tryServer(t, path, args); s != nil {
			return s
		}
	}
	require.FailNow(t, "redis-server does not start")
	return nil
}

func tryServer(t *testing.T, path string, args []string) *server {
	t.Helper()
	port, dir := freePort(t), t.TempDir()
	config := filepath.Join(dir, "redis.conf") // Sentinel writes it
	text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nsave \"\"\nappendonly no\nrepl-diskless-sync-delay 0\nlogfile redis.log\n", port, dir)
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	s := &server{addr: net.JoinHostPort("127.0.0.1", port), cmd: exec.Command(path, append([]string{config}, args...)...)}
	endWithTest(s.cmd)
	require.NoError(t, s.cmd.Start())
	s.Client = redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { s.Close(); s.kill() })
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		info, err := s.Info(t.Context(), "server").Result()
		if err == nil && strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.cmd.Process.Pid)) {
			return s
		}
	}
	return nil
}

// freePort returns a port that is free, as is the port of the cluster bus.
func freePort(t *testing.T) string {
	t.Helper()
	const busOffset, maxPort = 10_000, 65_535
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if port+busOffset > maxPort {
			continue
		}
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+busOffset))); err == nil {
			l.Close()
			return strconv.Itoa(port)
		}
	}
}

// kill ends the server with SIGKILL.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *server) host() (host, port string) {
	host, port, _ = net.SplitHostPort(s.addr)
	return host, port
}

// startSentinel starts a master with a replica and a Sentinel that fails over.
func startSentinel(t *testing.T) (rdb testRedis, master, replica *server) {
	t.Helper()
	master = startServer(t)
	host, port := master.host()
	replica = startServer(t, "--replicaof", host, port)
	waitFor(t, "the replica", replica.isReplicating) // Sentinel looks for replicas every 10 s only
	sentinel := startServer(t, "--sentinel",
		"--sentinel", "monitor", "main", host, port, "1", // a quorum of one
		"--sentinel", "down-after-milliseconds", "main", "1000")
	waitFor(t, "Sentinel", func(ctx context.Context) bool {
		replicas, _ := sentinel.Do(ctx, "SENTINEL", "REPLICAS", "main").Slice()
		return len(replicas) == 1
	})
	return connect(t, redis.UniversalOptions{MasterName: "main", Addrs: []string{sentinel.addr}}), master, replica
}

func (s *server) isReplicating(ctx context.Context) bool {
	return strings.Contains(s.Info(ctx, "replication").Val(), "master_link_status:up")
}

// A cluster is a Redis Cluster of three masters, the first of which may have a
// replica.
type cluster struct {
	testRedis
	masters []*server
}

// startCluster starts a cluster with a node timeout in milliseconds.
func startCluster(t *testing.T, replica bool, nodeTimeout int) cluster {
	t.Helper()
	const slots, size = 16384, 3
	start := func() *server {
		return startServer(t, "--cluster-enabled", "yes", "--cluster-node-timeout", strconv.Itoa(nodeTimeout))
	}
	var c cluster
	var addrs []string
	for i := range size {
		s := start()
		require.NoError(t, s.Do(t.Context(), "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		require.NoError(t, s.ClusterAddSlotsRange(t.Context(), i*slots/size, (i+1)*slots/size-1).Err())
		c.masters, addrs = append(c.masters, s), append(addrs, s.addr)
	}
	nodes := c.masters
	if replica {
		nodes = append(nodes[:size:size], start())
	}
	host, port := nodes[0].host()
	for _, s := range nodes[1:] {
		require.NoError(t, s.ClusterMeet(t.Context(), host, port).Err())
	}
	waitFor(t, "the cluster", func(ctx context.Context) bool {
		for _, s := range nodes {
			info := s.ClusterInfo(ctx).Val()
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r\n", len(nodes))) {
				return false
			}
		}
		return true
	})
	if replica {
		require.NoError(t, nodes[size].ClusterReplicate(t.Context(), nodes[0].id(t)).Err())
		waitFor(t, "the replica", func(ctx context.Context) bool {
			return nodes[size].isReplicating(ctx) && strings.Contains(nodes[1].ClusterNodes(ctx).Val(), "slave")
		})
	}
	c.testRedis = connect(t, redis.UniversalOptions{Addrs: addrs, IsClusterMode: true})
	return c
}

func (s *server) id(t *testing.T) string {
	t.Helper()
	id, err := s.ClusterMyID(t.Context()).Result()
	require.NoError(t, err)
	return id
}

// moveSlot moves a slot from one master to another, as redis-cli does, and calls
// halfway between the two.
func (c cluster) moveSlot(t *testing.T, slot int, from, to *server, halfway func()) {
	t.Helper()
	fromID, toID := from.id(t), to.id(t)
	host, port := to.host()
	set := func(s *server, args ...any) {
		t.Helper()
		require.NoError(t, s.Do(t.Context(), append([]any{"CLUSTER", "SETSLOT", slot}, args...)...).Err())
	}
	set(to, "IMPORTING", fromID)
	set(from, "MIGRATING", toID)
	for first := true; ; first = false {
		keys, err := from.ClusterGetKeysInSlot(t.Context(), slot, 10).Result()
		require.NoError(t, err)
		if len(keys) == 0 {
			break
		}
		migrate := []any{"MIGRATE", host, port, "", 0, 10_000, "KEYS"}
		for _, key := range keys {
			migrate = append(migrate, key)
		}
		require.NoError(t, from.Do(t.Context(), migrate...).Err())
		if first {
			halfway()
		}
	}
	set(to, "NODE", toID)
	set(from, "NODE", toID)
	for _, s := range c.masters {
		if s != from && s != to {
			set(s, "NODE", toID)
		}
	}
}

func waitFor(t *testing.T, what string, condition func(context.Context) bool) {
	t.Helper()
	require.Eventually(t, func() bool { return condition(t.Context()) }, 30*time.Second, 10*time.Millisecond, what)
}
