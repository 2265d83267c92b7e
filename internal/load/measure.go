package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// An answer is what came back for a push, and how long it took.
type answer struct {
	status int
	body   []byte
	took   time.Duration
	err    error // of the connection
}

// A report is what a run showed; times are in nanoseconds in JSON.
type report struct {
	Handler                 string
	Rate                    int // a second; 0: as fast as it goes
	Pushes, Wrong           int
	FirstWrong              string
	PerSecond               float64
	P50, P99, P999, Slowest time.Duration
}

// measure sends the pushes to the subject and looks at each answer once all have come, as
// looking takes time too.
func measure(ctx context.Context, s subject, p plan, rate int) (report, error) {
	key, err := wxcrypt.ParseKey(aesKey)
	if err != nil {
		return report{}, err
	}
	all, err := pushes(p.pushes, key, s.sealed)
	if err != nil {
		return report{}, err
	}
	runs := make([]atomic.Int32, len(all))
	handler, err := s.open(&s, runs)
	if err != nil {
		return report{}, err
	}
	address, stop, err := serve(ctx, handler)
	if err != nil {
		return report{}, err
	}
	runtime.GC() // what was made for this run is not its work
	start := time.Now()
	answers, err := send(ctx, address, all, p.connections, rate)
	elapsed := time.Since(start)
	if err := errors.Join(err, stop()); err != nil {
		return report{}, err
	}
	r := report{Handler: s.name, Rate: rate, Pushes: len(all), PerSecond: float64(len(all)) / elapsed.Seconds()}
	r.times(answers)
	r.faults(s, all, answers, runs, key)
	return r, nil
}

// serve answers on loopback until stop is called.
func serve(ctx context.Context, h http.Handler) (address string, stop func() error, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	return listener.Addr().String(), func() error {
		err := server.Close()
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}

// send sends all pushes over the connections, each of which waits for one answer before it
// sends the next. With a rate, push i is due at i/rate, and its time counts from then: what
// waits for a free connection is slow, too.
func send(ctx context.Context, address string, all []push, connections, rate int) ([]answer, error) {
	answers := make([]answer, len(all))
	var next atomic.Int64
	var lanes sync.WaitGroup
	start := time.Now()
	for range connections {
		lanes.Go(func() {
			var l lane
			defer l.close()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) || ctx.Err() != nil {
					return
				}
				due := time.Now()
				if rate > 0 {
					due = start.Add(time.Duration(i) * time.Second / time.Duration(rate))
					select {
					case <-time.After(time.Until(due)):
					case <-ctx.Done():
						return
					}
				}
				answers[i] = l.exchange(ctx, address, all[i].raw)
				answers[i].took = time.Since(due)
			}
		})
	}
	lanes.Wait()
	return answers, ctx.Err()
}

// A lane is one connection after another: a new one takes the place of one that broke. It
// writes requests as they are, since a client that makes them would take more time than the
// handler.
type lane struct {
	conn net.Conn
	in   *bufio.Reader
}

func (l *lane) exchange(ctx context.Context, address string, request []byte) (a answer) {
	defer func() {
		if a.err != nil {
			l.close()
		}
	}()
	if l.conn == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return answer{err: err}
		}
		l.conn, l.in = conn, bufio.NewReader(conn)
	}
	if err := l.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return answer{err: err}
	}
	if _, err := l.conn.Write(request); err != nil {
		return answer{err: err}
	}
	res, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return answer{err: err}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if res.Close {
		l.close()
	}
	return answer{status: res.StatusCode, body: body, err: errors.Join(err, res.Body.Close())}
}

func (l *lane) close() {
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

func (r *report) times(answers []answer) {
	took := make([]time.Duration, 0, len(answers))
	for _, a := range answers {
		took = append(took, a.took)
	}
	slices.Sort(took)
	at := func(part float64) time.Duration { return took[min(int(part*float64(len(took))), len(took)-1)] }
	r.P50, r.P99, r.P999, r.Slowest = at(0.5), at(0.99), at(0.999), at(1)
}

// faults counts the pushes whose answer is wrong, that were lost, or that ran more than
// once.
func (r *report) faults(s subject, all []push, answers []answer, runs []atomic.Int32, key wxcrypt.Key) {
	for i, p := range all {
		if err := s.fault(p, answers[i], key); err != nil {
			r.wrong(fmt.Errorf("push %d: %w", i, err))
		}
		if !s.counts || p.number != i { // a repeat was counted with the push that it repeats
			continue
		}
		want := int32(1)
		if p.kind == forged {
			want = 0
		}
		if n := runs[i].Load(); n != want {
			r.wrong(fmt.Errorf("push %d ran %d times, not %d", i, n, want))
		}
	}
}

func (s subject) fault(p push, a answer, key wxcrypt.Key) error {
	switch {
	case a.err != nil:
		return a.err
	case s.check != nil:
		return s.check(p, a, key)
	case a.status != http.StatusOK || !bytes.Equal(a.body, []byte("success")):
		return fmt.Errorf("status %d, %q", a.status, a.body)
	}
	return nil
}

func (r *report) wrong(err error) {
	if r.Wrong++; r.Wrong == 1 {
		r.FirstWrong = err.Error()
	}
}
