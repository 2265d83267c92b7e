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
		{name: "first host down", calls: apiCalls, inject: hostsDown(1)},
		{name: "all hosts down", calls: apiCalls, wantErrors: []error{syscall.ECONNREFUSED}, inject: hostsDown(2)},
	}
}

// hostsDown configures two hosts, of which the first down ones refuse connections.
func hostsDown(down int) func(*env) {
	return func(e *env) {
		spare := newWeChat()
		e.closers = append(e.closers, spare.close)
		e.hosts = append(e.hosts, spare.URL)
		closed := []string{closedPort(), closedPort()}
		var mu sync.Mutex
		var dialed []string
		e.ownTransport().DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			host := 0
			if address == spare.Listener.Addr().String() {
				host = 1
			}
			dialed = append(dialed, []string{"host", "fallback"}[host])
			isDown := host < down
			mu.Unlock()
			if isDown {
				_, err := new(net.Dialer).DialContext(ctx, network, closed[host])
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		e.replaced = append(e.replaced, closed[0], "host", closed[1], "fallback")
		e.endFault = func() {
			mu.Lock()
			defer mu.Unlock()
			down = 0
		}
		e.retried = func() string {
			mu.Lock()
			defer mu.Unlock()
			n := map[string]int{}
			for _, d := range dialed {
				n[d]++
			}
			return fmt.Sprintf("%d dials of host, %d of fallback", n["host"], n["fallback"])
		}
	}
}
