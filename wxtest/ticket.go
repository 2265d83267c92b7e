package wxtest

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// newTicket returns a ticket in the layout that [wxqrcode.Ticket.Inspect]
// reads: a header of 12 bytes, then three fields, each a tag, a length and that
// many bytes. WeChat does not document the layout; it was found in public
// tickets.
//
// A ticket contains "+" and "/", so that a program that does not escape tickets
// fails at once. 42 public tickets since 2017 contain neither, and neither does
// a realistic one: it is base64 of the URL-safe alphabet.
func newTicket(url string, created time.Time, lifetime time.Duration, realistic bool) wxqrcode.Ticket {
	var fields []byte
	fields = append(fields, 1, byte(len(url)+1))
	fields = append(fields, url...)
	fields = append(fields, 0)
	fields = append(fields, 2, 4)
	fields = binary.LittleEndian.AppendUint32(fields, uint32(created.Unix()))
	fields = append(fields, 3, 4)
	fields = binary.LittleEndian.AppendUint32(fields, uint32(lifetime/time.Second))

	// The bytes after 81 01 vary in real tickets.
	random := randomBytes(2)
	header := []byte{0x81, 0x01, random[0]&0xC0 | 0x3E, random[1] | 0xFC, byte(len(fields)), 0, 0, 0, 0, 0, 0, 0} // "+" and "/"
	alphabet := base64.StdEncoding
	if realistic {
		header[2], header[3] = random[0], 0xF0
		alphabet = base64.URLEncoding
	}
	return wxqrcode.Ticket(alphabet.EncodeToString(append(header, fields...)))
}
