package callback

import (
	"context"
	"sync"
	"time"
)

// A runContext is the context of a run: it has the values of the request's context,
// ends at a deadline, and does not end with the request. It is
// [context.WithDeadline], made when somebody first looks: that takes a timer and a
// quarter of the time of a push, and many an onEvent never does.
type runContext struct {
	request context.Context
	at      time.Time

	once   sync.Once // guards the making of what follows
	made   context.Context
	cancel context.CancelFunc
}

func (c *runContext) get() context.Context {
	c.once.Do(func() {
		c.made, c.cancel = context.WithDeadline(context.WithoutCancel(c.request), c.at)
	})
	return c.made
}

// end cancels the context when the run has ended, as somebody may have kept it.
func (c *runContext) end() {
	c.once.Do(func() { c.made, c.cancel = ended, func() {} })
	c.cancel()
}

// ended is what a context is for whoever looks for the first time after the run.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Deadline implements [context.Context].
func (c *runContext) Deadline() (deadline time.Time, ok bool) { return c.at, true }

// Done implements [context.Context].
func (c *runContext) Done() <-chan struct{} { return c.get().Done() }

// Err implements [context.Context].
func (c *runContext) Err() error { return c.get().Err() }

// Value implements [context.Context]. The values outlive the run.
func (c *runContext) Value(key any) any {
	if ctx := c.get(); ctx != ended {
		return ctx.Value(key)
	}
	return context.WithoutCancel(c.request).Value(key)
}
