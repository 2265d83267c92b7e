package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A fleet is a number of processes that use one account, and what they told.
type fleet struct {
	call   string // the token call: "stable_token" or "token"
	wechat *wxtest.Server

	processes []*process
	reading   sync.WaitGroup

	mu       sync.Mutex // guards what follows
	latest   []string   // the token that each process uses
	firstUse map[string][]time.Time
	requests []time.Time
	tallies  []tally
	quietAt  time.Time // when the last of latest, firstUse and requests changed
	broken   error     // a process that ended before it was told to
}

// A process is a running copy of this program, made to work.
type process struct {
	cmd   *exec.Cmd
	input io.WriteCloser
}

// startFleet starts all the processes at once.
func startFleet(ctx context.Context, s settings, call, redisAddr string) (*fleet, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if !s.Store {
		redisAddr = ""
	}
	f := &fleet{
		call:     call,
		wechat:   wxtest.NewServer(wxtest.WithTokenLifetime(s.Life)),
		latest:   make([]string, s.Processes),
		firstUse: make(map[string][]time.Time),
	}
	for n := range s.Processes {
		err := f.start(ctx, self, n, order{
			URL: f.wechat.URL(), AppID: f.wechat.AppID(), AppSecret: f.wechat.AppSecret(),
			Redis: redisAddr, Legacy: call == "token", Callers: s.Callers, Scene: uint32(n + 1),
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start a process: %w", err), f.stop())
		}
	}
	return f, nil
}

func (f *fleet) start(ctx context.Context, self string, n int, o order) error {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "-worker") // it ends with its input
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	f.processes = append(f.processes, &process{cmd, input})
	f.reading.Go(func() { f.read(n, output) })
	return json.NewEncoder(input).Encode(o)
}

// stop ends the processes and waits for them.
func (f *fleet) stop() error {
	var errs []error
	for _, p := range f.processes {
		_ = p.input.Close()
	}
	f.reading.Wait()
	for _, p := range f.processes {
		errs = append(errs, p.cmd.Wait())
	}
	f.wechat.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(append(errs, f.broken)...)
}

// read takes in what a process tells, until it ends.
func (f *fleet) read(n int, from io.Reader) {
	lines := json.NewDecoder(bufio.NewReader(from))
	for {
		var r report
		err := lines.Decode(&r)
		f.mu.Lock()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				f.broken = fmt.Errorf("what a process tells: %w", err)
			}
			f.latest[n] = "ended"
			f.mu.Unlock()
			return
		}
		f.note(n, r)
		f.mu.Unlock()
	}
}

// note takes one report in. The caller holds mu.
func (f *fleet) note(n int, r report) {
	switch {
	case r.Request:
		f.requests = append(f.requests, r.At)
	case r.Token != "":
		f.latest[n] = r.Token
		f.firstUse[r.Token] = append(f.firstUse[r.Token], r.At)
	case r.Tally != nil:
		f.tallies = append(f.tallies, *r.Tally)
		return
	}
	f.quietAt = r.At
}

// settled reports whether all processes use one token, another than before, and were
// quiet for some time.
func (f *fleet) settled(before string) (token string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	token = f.latest[0]
	for _, t := range f.latest {
		if t == "" || t == before || t != token {
			return "", false
		}
	}
	return token, time.Since(f.quietAt) > 150*time.Millisecond
}

// take returns what came in since the last take, and forgets it.
func (f *fleet) take() (seen observed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen = observed{f.firstUse, f.requests, f.tallies}
	f.firstUse, f.requests, f.tallies = make(map[string][]time.Time), nil, nil
	return seen
}

// observed is what the processes of a fleet told in a phase.
type observed struct {
	firstUse map[string][]time.Time // of each token, in each process
	requests []time.Time
	tallies  []tally
}
