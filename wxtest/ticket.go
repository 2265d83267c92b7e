package wxtest

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// newTicket returns a ticket of the layout that [wxqrcode.Ticket.Inspect] reads:
// a header of 12 bytes, then three fields, each a tag, a length and that many
// bytes. WeChat does not document it; it was read off public tickets.
func newTicket(url string, created time.Time, lifetime time.Duration) wxqrcode.Ticket {
	var fields []byte
	fields = append(fields, 1, byte(len(url)+1))
	fields = append(fields, url...)
	fields = append(fields, 0)
	fields = append(fields, 2, 4)
	fields = binary.LittleEndian.AppendUint32(fields, uint32(created.Unix()))
	fields = append(fields, 3, 4)
	fields = binary.LittleEndian.AppendUint32(fields, uint32(lifetime/time.Second))

	// The bytes after 81 01 vary in real tickets. Here they put a + and a / into
	// each, so that a program which forgets to escape tickets fails at once and not
	// some day.
	r := randomBytes(2)
	ticket := []byte{0x81, 0x01, r[0]&0xC0 | 0x3E, r[1] | 0xFC, byte(len(fields)), 0, 0, 0, 0, 0, 0, 0}
	ticket = append(ticket, fields...)
	return wxqrcode.Ticket(base64.StdEncoding.EncodeToString(ticket))
}
