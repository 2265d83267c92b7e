package scanstats

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/seed-0142d113/wxqrcode"
)

// A person is a keyed hash that stands for an OpenID.
type person [16]byte

// An eventID tells an event from others. It begins with the event's seconds, so that new
// ones stand together in the table and old ones can be deleted from its beginning; the rest is
// a keyed hash.
type eventID [16]byte

func (s *Store) person(openID string) (p person) {
	copy(p[:], s.hash("person", openID))
	return p
}

func (s *Store) eventID(e *wxqrcode.Event) (id eventID) {
	binary.BigEndian.PutUint32(id[:4], uint32(e.CreatedAt.Unix()))
	copy(id[4:], s.hash("event", e.DedupKey()))
	return id
}

// fingerprint tells whether two instances have the same key, and does not tell the key.
func (s *Store) fingerprint() string { return hex.EncodeToString(s.hash("key", "")[:8]) }

// hash gives each use hashes of its own.
func (s *Store) hash(use, text string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(use + "\x00" + text))
	return h.Sum(nil)
}
