package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// A redisServer is a Redis that can be killed and started again. It keeps nothing on disk.
type redisServer struct {
	path, dir, port string
	process         *exec.Cmd // nil while it is gone
}

func startRedis(ctx context.Context) (*redisServer, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("a real Redis is needed; install redis-server: %w", err)
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "fleet-redis-")
	if err != nil {
		return nil, err
	}
	r := &redisServer{path: path, dir: dir, port: port}
	if err := r.start(ctx); err != nil {
		r.remove()
		return nil, err
	}
	return r, nil
}

func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

func (r *redisServer) addr() string { return net.JoinHostPort("127.0.0.1", r.port) }

// start returns when the server answers.
func (r *redisServer) start(ctx context.Context) error {
	r.process = exec.CommandContext(context.WithoutCancel(ctx), r.path, "--bind", "127.0.0.1", "--port", r.port, "--save", "", "--appendonly", "no", "--dir", r.dir)
	if err := r.process.Start(); err != nil {
		r.process = nil
		return err
	}
	rdb := redis.NewClient(&redis.Options{Addr: r.addr(), MaxRetries: -1, DialerRetries: 1})
	defer func() { _ = rdb.Close() }()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		var pid string
		if pid, err = processID(ctx, rdb); err == nil {
			if pid != strconv.Itoa(r.process.Process.Pid) {
				return fmt.Errorf("another Redis answers at %s", r.addr())
			}
			return nil
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("redis-server does not answer at %s: %w", r.addr(), err)
}

func processID(ctx context.Context, rdb *redis.Client) (string, error) {
	info, err := rdb.InfoMap(ctx, "server").Result()
	return info["Server"]["process_id"], err
}

// kill ends the server as a crash would.
func (r *redisServer) kill() error {
	if r.process == nil {
		return nil
	}
	err := r.process.Process.Kill()
	_ = r.process.Wait() // which says that it was killed
	r.process = nil
	return err
}

func (r *redisServer) remove() {
	_ = r.kill()
	_ = os.RemoveAll(r.dir)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
