package callback

import (
	"hash/maphash"
	"log/slog"
	"sync"
	"time"
)

// A signatureMemory remembers which body came with a signature of the plain mode, which
// does not cover it: one signature is good for one body. Each instance has its own.
type signatureMemory struct {
	seed  maphash.Seed
	start time.Time
	full  fullWarning

	mu     sync.Mutex // guards bodies
	bodies recent[uint64, uint64]
}

func newSignatureMemory(log *slog.Logger) *signatureMemory {
	return &signatureMemory{
		seed:   maphash.MakeSeed(),
		start:  time.Now(),
		full:   fullWarning{log: log, what: "signatures"},
		bodies: newRecent[uint64, uint64](maxRemembered),
	}
}

// admit reports whether no other body came with the signature within ttl.
func (m *signatureMemory) admit(signature string, body []byte, at time.Time, ttl time.Duration) bool {
	id, hash := maphash.String(m.seed, signature), maphash.Bytes(m.seed, body)
	now := at.Sub(m.start)
	full := false
	m.mu.Lock()
	known, ok := m.bodies.get(id, now)
	if !ok {
		full = m.bodies.put(id, hash, 1, now, now+ttl)
	}
	m.mu.Unlock()
	if full {
		m.full.warn(now)
	}
	return !ok || known == hash
}
