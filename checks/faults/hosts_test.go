package faults

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

var errDeadline = context.DeadlineExceeded

func hostFaults() []fault {
	return []fault{
		{name: "the first host is down", calls: apiCalls, begin: hostsDown(1)},
		{name: "all hosts are down", calls: apiCalls, is: []error{syscall.ECONNREFUSED}, begin: hostsDown(2)},
	}
}

// hostsDown gives the calls two hosts, of which the first so many are down.
func hostsDown(down int) func(*env) {
	return func(e *env) {
		spare := newWeChat()
		e.closers = append(e.closers, spare.close)
		e.hosts = append(e.hosts, spare.URL)
		closed := []string{closedPort(), closedPort()}
		var mu sync.Mutex
		var dialled []string
		e.ownTransport().DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			host := 0
			if address == spare.Listener.Addr().String() {
				host = 1
			}
			dialled = append(dialled, []string{"host", "spare"}[host])
			isDown := host < down
			mu.Unlock()
			if isDown {
				_, err := new(net.Dialer).DialContext(ctx, network, closed[host])
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		e.shown = append(e.shown, closed[0], "host", closed[1], "spare")
		e.end = func() {
			mu.Lock()
			defer mu.Unlock()
			down = 0
		}
		e.retried = func() string {
			mu.Lock()
			defer mu.Unlock()
			n := map[string]int{}
			for _, d := range dialled {
				n[d]++
			}
			return fmt.Sprintf("dials: %d of host, %d of spare", n["host"], n["spare"])
		}
	}
}
