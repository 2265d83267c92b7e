package wxqrcode_test

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// FuzzTicketInspect: what Inspect tells is all that a ticket holds, so that the
// ticket can be laid out again from it; what it refuses tells nothing; and any
// ticket comes out of its address as it went in.
func FuzzTicketInspect(f *testing.F) {
	for _, p := range publicTickets(f) {
		f.Add(string(p.Ticket))
		f.Add(strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(string(p.Ticket)), "="))
	}
	for _, b := range [][]byte{
		ticketBytes(codeURL, 1_700_000_000, 0),
		ticketBytes(codeURL, 1_700_000_000, 60),
		ticketBytes(codeURL, 1_700_000_000, 1_700_000_000),
		ticketBytes(codeURL, math.MaxUint32, math.MaxUint32-1),
		ticketBytes("https://w", 0, 0),
		ticketBytes("https://w", 0, 1),
		ticketBytes("http:///x", 1, 1),
		ticketBytes("", 1, 1),
		append(ticketBytes(codeURL, 1, 1), 0),
		ticketBytes(codeURL, 1, 1)[:40],
		{0x81, 0x01},
		{},
	} {
		f.Add(string(ticketOf(b)))
	}
	f.Add("gQ%2B%3D")
	f.Add("gQ a\r\n")
	f.Add("=")

	f.Fuzz(func(t *testing.T, text string) {
		ticket := wxqrcode.Ticket(text)
		address, err := url.Parse(ticket.ImageURL())
		require.NoError(t, err)
		assert.Equal(t, url.Values{"ticket": {text}}, address.Query())

		info, err := ticket.Inspect()
		if err != nil {
			assertMalformedTicket(t, ticket)
			assert.Less(t, len(err.Error()), 1500)
			return
		}

		held := decodeTicket(t, text)
		require.GreaterOrEqual(t, len(held), 12)
		assert.Equal(t, []byte{0x81, 0x01}, held[:2])
		created := info.CreatedAt.Unix()
		last := int64(binary.LittleEndian.Uint32(held[len(held)-4:])) // a lifetime, or the time of the end
		require.Equal(t, layOut(t, info.URL, created, last), held[12:])
		switch {
		case last == 0:
			assert.Zero(t, info.Lifetime)
			assert.True(t, info.ExpiresAt.IsZero())
		case last < created:
			assert.Equal(t, time.Duration(last)*time.Second, info.Lifetime)
			assert.True(t, info.ExpiresAt.Equal(time.Unix(created+last, 0)))
		default:
			assert.Equal(t, time.Duration(last-created)*time.Second, info.Lifetime)
			assert.True(t, info.ExpiresAt.Equal(time.Unix(last, 0)))
		}

		u, err := url.Parse(info.URL)
		require.NoError(t, err)
		assert.Contains(t, []string{"http", "https"}, u.Scheme)
		assert.NotEmpty(t, u.Host)
		assert.NotContains(t, info.URL, " ")

		life := int64(info.Lifetime / time.Second)
		if !info.ExpiresAt.IsZero() && (life == 0 || life >= created) {
			life = info.ExpiresAt.Unix() // which as a lifetime would be read as an end
		}
		again, err := ticketOf(append(held[:12:12], layOut(t, info.URL, created, life)...)).Inspect()
		require.NoError(t, err)
		assert.Equal(t, info, again)
	})
}

// layOut lays out the three fields of a ticket, without its header.
func layOut(t *testing.T, address string, created, life int64) []byte {
	t.Helper()
	require.GreaterOrEqual(t, created, int64(0))
	require.LessOrEqual(t, created, int64(math.MaxUint32))
	require.LessOrEqual(t, life, int64(math.MaxUint32))
	require.Less(t, len(address), 255)
	return ticketBytes(address, uint32(created), uint32(life))[12:]
}

func decodeTicket(t *testing.T, text string) []byte {
	t.Helper()
	bare := strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(text), "=")
	b, err := base64.RawURLEncoding.DecodeString(bare)
	require.NoError(t, err)
	return b
}
