package wxtest

import (
	"slices"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// A Code is one that the server made, with what WeChat knows of it.
type Code struct {
	Ticket    wxqrcode.Ticket
	URL       string // what the picture holds
	Action    wxqrcode.Action
	Scene     string    // as events carry it, which for a bad request is not what was asked for
	CreatedAt time.Time // of a permanent code: when it was asked for first
	ExpiresAt time.Time // zero for a permanent code
}

// Codes returns the codes that can be scanned now, newest first.
func (s *Server) Codes() []Code { return s.codes.living(s.now()) }

func (c *codes) living(now time.Time) []Code {
	c.mu.Lock()
	made := c.made // only ever appended to
	c.mu.Unlock()
	var living []Code
	for _, q := range slices.Backward(made) {
		if !q.dead(now) {
			living = append(living, Code{q.ticket, q.url, q.action, q.scene, q.created, q.end})
		}
	}
	return living
}
