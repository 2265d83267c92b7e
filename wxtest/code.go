package wxtest

import (
	"fmt"
	"sync"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// maxPermanent is how many permanent codes an account may hold, ever.
const maxPermanent = 100_000

// codes are the account's codes. None is ever forgotten.
type codes struct {
	mu        sync.Mutex // guards what follows
	byTicket  map[wxqrcode.Ticket]*code
	permanent map[permanentKey]*code
	made      []*code // in the order they were made
}

type code struct {
	ticket   wxqrcode.Ticket
	url      string
	action   wxqrcode.Action
	scene    string
	created  time.Time
	end      time.Time // zero for a permanent code
	lifetime time.Duration
}

// permanentKey is what a permanent code is known by: asked for again, it is the
// same code.
type permanentKey struct {
	action wxqrcode.Action
	scene  string
}

func newCodes() *codes {
	return &codes{byTicket: make(map[wxqrcode.Ticket]*code), permanent: make(map[permanentKey]*code)}
}

// make makes the code that is wished for, or finds it.
func (c *codes) make(w wish, now time.Time) (q *code, errcode int) {
	if w.hollow {
		return newCode(w, now), 0 // nobody will know this ticket
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := permanentKey{w.action, w.scene}
	if w.permanent() {
		if q := c.permanent[key]; q != nil {
			return q, 0
		}
		if len(c.permanent) >= maxPermanent {
			return nil, errcodePermanentQuota
		}
	}
	q = newCode(w, now)
	c.byTicket[q.ticket] = q
	c.made = append(c.made, q)
	if w.permanent() {
		c.permanent[key] = q
	}
	return q, 0
}

func newCode(w wish, now time.Time) *code {
	q := &code{
		url:      "http://weixin.qq.com/q/02" + randomText(20),
		action:   w.action,
		scene:    w.scene,
		created:  now,
		lifetime: w.lifetime,
	}
	q.ticket = newTicket(q.url, now, w.lifetime)
	if !w.permanent() {
		q.end = now.Add(w.lifetime)
	}
	return q
}

// find returns the living code of a ticket, or an error that wraps
// [wxqrcode.ErrTicketNotFound].
func (c *codes) find(t wxqrcode.Ticket, now time.Time) (*code, error) {
	c.mu.Lock()
	q := c.byTicket[t]
	c.mu.Unlock()
	if q == nil {
		return nil, fmt.Errorf("ticket %q has no code at this server: %w", t, wxqrcode.ErrTicketNotFound)
	}
	if q.dead(now) {
		return nil, fmt.Errorf("ticket %q: its code lived for %v, until %v: %w",
			t, q.lifetime, q.end.Format(time.RFC3339), wxqrcode.ErrTicketNotFound)
	}
	return q, nil
}

func (q *code) dead(now time.Time) bool { return !q.end.IsZero() && !now.Before(q.end) }
