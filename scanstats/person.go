package scanstats

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/seed-0142d113/wxqrcode"
)

// A personHash is a keyed hash of an OpenID.
type personHash [16]byte

// An eventID identifies an event. It begins with the time of the event in Unix
// seconds, so that new rows are adjacent and old ones can be deleted by range; the
// rest is a keyed hash.
type eventID [16]byte

func (s *Store) personHash(openID string) (p personHash) {
	copy(p[:], s.hash("person", openID))
	return p
}

func (s *Store) eventID(e *wxqrcode.Event) (id eventID) {
	binary.BigEndian.PutUint32(id[:4], uint32(e.CreatedAt.Unix()))
	copy(id[4:], s.hash("event", e.DedupKey()))
	return id
}

// fingerprint identifies the key without revealing it.
func (s *Store) fingerprint() string { return hex.EncodeToString(s.hash("key", "")[:8]) }

// hash returns a keyed hash of text. Different uses have different hashes.
func (s *Store) hash(use, text string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(use + "\x00" + text))
	return h.Sum(nil)
}
