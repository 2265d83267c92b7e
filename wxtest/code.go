package wxtest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// A Code is a QR code of the server.
type Code struct {
	Ticket    wxqrcode.Ticket
	URL       string // the content of the image
	Action    wxqrcode.Action
	Scene     string    // as events carry it; for a bad request it differs from the requested one
	CreatedAt time.Time // of a permanent code: of the first request
	ExpiresAt time.Time // zero for a permanent code
}

// Codes returns the codes that have not expired, newest first.
func (s *Server) Codes() []Code { return s.codes.active(s.now()) }

// maxPermanent is the number of permanent codes that an account can have, ever.
const maxPermanent = 100_000

// codes are the codes of the account, expired ones included.
type codes struct {
	realTickets bool

	mu        sync.Mutex // guards the fields below
	byTicket  map[wxqrcode.Ticket]*code
	permanent map[permanentKey]*code
	created   []*code // in the order of creation
}

type code struct {
	Code
	lifetime time.Duration
}

// A permanentKey identifies a permanent code: a second request with the same
// key returns the same code.
type permanentKey struct {
	action wxqrcode.Action
	scene  string
}

func newCodes(realTickets bool) *codes {
	return &codes{
		realTickets: realTickets,
		byTicket:    make(map[wxqrcode.Ticket]*code),
		permanent:   make(map[permanentKey]*code),
	}
}

// create returns the code of a request: a new one, or the permanent code that
// the account already has.
func (c *codes) create(r createRequest, now time.Time) (q *code, errcode int) {
	if r.noCode {
		return c.newCode(r, now), 0 // the ticket is not stored
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := permanentKey{r.action, r.scene}
	if r.permanent() {
		if q := c.permanent[key]; q != nil {
			return q, 0
		}
		if len(c.permanent) >= maxPermanent {
			return nil, errcodePermanentQuota
		}
	}
	q = c.newCode(r, now)
	c.byTicket[q.Ticket] = q
	c.created = append(c.created, q)
	if r.permanent() {
		c.permanent[key] = q
	}
	return q, 0
}

func (c *codes) newCode(r createRequest, now time.Time) *code {
	q := &code{Code{
		URL:       "http://weixin.qq.com/q/02" + randomText(20),
		Action:    r.action,
		Scene:     r.scene,
		CreatedAt: now,
	}, r.lifetime}
	q.Ticket = newTicket(q.URL, now, r.lifetime, c.realTickets)
	if !r.permanent() {
		q.ExpiresAt = now.Add(r.lifetime)
	}
	return q
}

// find returns the code of a ticket, or an error that wraps
// [wxqrcode.ErrTicketNotFound].
func (c *codes) find(t wxqrcode.Ticket, now time.Time) (*code, error) {
	c.mu.Lock()
	q := c.byTicket[t]
	c.mu.Unlock()
	if q == nil {
		return nil, fmt.Errorf("ticket %q has no code on this server: %w", t, wxqrcode.ErrTicketNotFound)
	}
	if q.expired(now) {
		return nil, fmt.Errorf("ticket %q expired at %v, %v after it was created: %w",
			t, q.ExpiresAt.Format(time.RFC3339), q.lifetime, wxqrcode.ErrTicketNotFound)
	}
	return q, nil
}

// active returns the codes that have not expired, newest first.
func (c *codes) active(now time.Time) (active []Code) {
	c.mu.Lock()
	created := c.created // only appended to
	c.mu.Unlock()
	for _, q := range slices.Backward(created) {
		if !q.expired(now) {
			active = append(active, q.Code)
		}
	}
	return active
}

func (q *code) expired(now time.Time) bool { return !q.ExpiresAt.IsZero() && !now.Before(q.ExpiresAt) }
