package wxqrcode_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// A publicTicket is a published ticket with its content.
type publicTicket struct {
	Ticket          wxqrcode.Ticket `json:"ticket"`
	URL             string          `json:"url"`
	CreatedUnix     int64           `json:"created_unix"`
	LifetimeSeconds int64           `json:"lifetime_seconds"`
}

func publicTickets(t testing.TB) []publicTicket {
	t.Helper()
	b, err := os.ReadFile("testdata/tickets.json")
	require.NoError(t, err)
	var tickets []publicTicket
	require.NoError(t, json.Unmarshal(b, &tickets))
	require.Len(t, tickets, 5)
	return tickets
}

func TestTicket_ImageURL(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ticket wxqrcode.Ticket
		want   string
	}{
		{"plus, slash and equals sign", "gQ+a/b==", "https://mp.weixin.qq.com/cgi-bin/showqrcode?ticket=gQ%2Ba%2Fb%3D%3D"},
		{"URL-safe alphabet", "gQ-a_b", "https://mp.weixin.qq.com/cgi-bin/showqrcode?ticket=gQ-a_b"},
		{"parameter separators", "a&b=c#d?e", "https://mp.weixin.qq.com/cgi-bin/showqrcode?ticket=a%26b%3Dc%23d%3Fe"},
		{"HTML", `"><script>`, "https://mp.weixin.qq.com/cgi-bin/showqrcode?ticket=%22%3E%3Cscript%3E"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.ticket.ImageURL())
		})
	}

	for _, p := range publicTickets(t) {
		u, err := url.Parse(p.Ticket.ImageURL())
		require.NoError(t, err)
		assert.Equal(t, url.Values{"ticket": {string(p.Ticket)}}, u.Query())
	}
}

func TestTicket_InspectPublicTickets(t *testing.T) {
	for _, p := range publicTickets(t) {
		t.Run(p.URL, func(t *testing.T) {
			bare := strings.TrimRight(string(p.Ticket), "=")
			for name, ticket := range map[string]string{
				"as published":                        string(p.Ticket),
				"without padding":                     bare,
				"in the URL-safe alphabet":            strings.NewReplacer("+", "-", "/", "_").Replace(string(p.Ticket)),
				"in the URL-safe alphabet and bare":   strings.NewReplacer("+", "-", "/", "_").Replace(bare),
				"in the standard alphabet":            strings.NewReplacer("-", "+", "_", "/").Replace(string(p.Ticket)),
				"in the standard alphabet, and bare ": strings.NewReplacer("-", "+", "_", "/").Replace(bare),
			} {
				info, err := wxqrcode.Ticket(ticket).Inspect()
				require.NoError(t, err, name)
				assertTicketInfo(t, info, p.URL, p.CreatedUnix, p.LifetimeSeconds)
			}
		})
	}
}

// assertTicketInfo expects a lifetime of seconds, 0 for a permanent code.
func assertTicketInfo(t *testing.T, info wxqrcode.TicketInfo, address string, created, seconds int64) {
	t.Helper()
	assert.Equal(t, address, info.URL)
	assert.Equal(t, created, info.CreatedAt.Unix())
	assert.Zero(t, info.CreatedAt.Nanosecond())
	assert.Equal(t, time.Duration(seconds)*time.Second, info.Lifetime)
	if seconds == 0 {
		assert.True(t, info.ExpiresAt.IsZero(), "a permanent code expires at %v", info.ExpiresAt)
		return
	}
	assert.Equal(t, created+seconds, info.ExpiresAt.Unix())
}

const codeURL = "http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI"

// ticketBytes returns the bytes of a ticket. value is its lifetime or expiry,
// in seconds.
func ticketBytes(address string, created, value uint32) []byte {
	b := []byte{0x81, 0x01, 0xF0, 0x3A, 0, 0, 0, 0, 0, 0, 0, 0}
	b = append(b, 1, byte(len(address)+1))
	b = append(b, address...)
	b = append(b, 0, 2, 4)
	b = binary.LittleEndian.AppendUint32(b, created)
	b = append(b, 3, 4)
	return binary.LittleEndian.AppendUint32(b, value)
}

func ticketOf(b []byte) wxqrcode.Ticket {
	return wxqrcode.Ticket(base64.StdEncoding.EncodeToString(b))
}

func TestTicket_InspectLifetimeOrExpiry(t *testing.T) {
	for _, tt := range []struct {
		name           string
		created, value uint32
		lifetime       int64
		expires        int64 // Unix seconds; -1 for never
	}{
		{"0 is permanent", 1_700_000_000, 0, 0, -1},
		{"a second", 1_700_000_000, 1, 1, 1_700_000_001},
		{"30 days", 1_700_000_000, 2_592_000, 2_592_000, 1_702_592_000},
		{"one below the creation: a lifetime", 1_000_000, 999_999, 999_999, 1_999_999},
		{"the creation: an expiry", 1_000_000, 1_000_000, 0, 1_000_000},
		{"one above the creation: an expiry", 1_000_000, 1_000_001, 1, 1_000_001},
		{"unsigned numbers", math.MaxUint32 - 1, math.MaxUint32, 1, math.MaxUint32},
		{"expiry above 32 bits", math.MaxUint32, 60, 60, math.MaxUint32 + 60},
		{"created in 1970, permanent", 0, 0, 0, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			info, err := ticketOf(ticketBytes(codeURL, tt.created, tt.value)).Inspect()
			require.NoError(t, err)
			assert.Equal(t, codeURL, info.URL)
			assert.Equal(t, int64(tt.created), info.CreatedAt.Unix())
			assert.Equal(t, time.Duration(tt.lifetime)*time.Second, info.Lifetime)
			if tt.expires == -1 {
				assert.True(t, info.ExpiresAt.IsZero())
				return
			}
			assert.Equal(t, tt.expires, info.ExpiresAt.Unix())
		})
	}
}

func TestTicket_InspectAnyHeader(t *testing.T) {
	b := ticketBytes(codeURL, 1_700_000_000, 60)
	for i := 2; i < 12; i++ {
		b[i] = byte(0xFF - i)
	}
	info, err := ticketOf(b).Inspect()
	require.NoError(t, err)
	assertTicketInfo(t, info, codeURL, 1_700_000_000, 60)
}

func TestTicket_InspectBothAlphabets(t *testing.T) {
	b := ticketBytes(codeURL, 1_700_000_000, 60)
	copy(b[2:12], "?\xFB\xEF\xBE\xFF\xFF\xFF\xFB\xEF\xBE")
	standard, urlSafe := base64.StdEncoding.EncodeToString(b), base64.URLEncoding.EncodeToString(b)
	require.Regexp(t, `\+.*/.*\+`, standard)
	require.Regexp(t, `-.*_.*-`, urlSafe)
	for _, ticket := range []string{standard, urlSafe, strings.Replace(standard, "+", "-", 1), strings.Replace(urlSafe, "_", "/", 1)} {
		info, err := wxqrcode.Ticket(ticket).Inspect()
		require.NoError(t, err, ticket)
		assertTicketInfo(t, info, codeURL, 1_700_000_000, 60)
	}
}

func TestTicket_InspectURLs(t *testing.T) {
	for _, address := range []string{
		codeURL,
		"https://weixin.qq.com/q/kZgf",
		"http://w",
		"http://w/!~",
		"http://w/" + strings.Repeat("a", 254-len("http://w/")), // 255 bytes with the NUL
	} {
		info, err := ticketOf(ticketBytes(address, 1_700_000_000, 60)).Inspect()
		require.NoError(t, err, address)
		assertTicketInfo(t, info, address, 1_700_000_000, 60)
	}
	for _, address := range []string{
		"",
		"weixin.qq.com/q/kZgf",
		"/q/kZgf",
		"//weixin.qq.com/q/kZgf",
		"ftp://weixin.qq.com/q/kZgf",
		"javascript:alert(1)",
		"http:",
		"http:///q/kZgf",
		"https:weixin",
		"http://weixin.qq.com/%zz",
		"http://weixin.qq.com/ q",
		"http://weixin.qq.com/\x00",
		"http://weixin.qq.com/\n",
		"http://weixin.qq.com/\x7f",
		"http://weixin.qq.com/\x80",
		"http://weixin.qq.com/扫",
	} {
		assertMalformedTicket(t, ticketOf(ticketBytes(address, 1_700_000_000, 60)))
	}
}

func TestTicket_InspectTruncated(t *testing.T) {
	whole := ticketBytes(codeURL, 1_700_000_000, 60)
	_, err := ticketOf(whole).Inspect()
	require.NoError(t, err)
	for n := range whole {
		assertMalformedTicket(t, ticketOf(whole[:n]))
	}
}

func TestTicket_InspectOtherLayouts(t *testing.T) {
	whole := ticketBytes(codeURL, 1_700_000_000, 60)
	urlField, createdField, lifetimeField := 12, len(whole)-12, len(whole)-6
	with := func(at int, value byte) wxqrcode.Ticket {
		b := bytes.Clone(whole)
		b[at] = value
		return ticketOf(b)
	}
	good := string(ticketOf(whole))
	for _, tt := range []struct {
		name   string
		ticket wxqrcode.Ticket
	}{
		{"empty", ""},
		{"padding alone", "=="},
		{"not base64", "gQ!!"},
		{"URL-escaped", wxqrcode.Ticket(url.QueryEscape(good))},
		{"a space instead of a plus", wxqrcode.Ticket(good[:20] + " " + good[21:])},
		{"a line feed, which package base64 ignores", wxqrcode.Ticket(good[:40] + "\n" + good[40:])},
		{"a carriage return", wxqrcode.Ticket(good[:40] + "\r" + good[40:])},
		{"a line feed at the end", wxqrcode.Ticket(good + "\n")},
		{"padding in the middle", wxqrcode.Ticket(good[:40] + "=" + good[40:])},
		{"another first byte", with(0, 0x80)},
		{"another second byte", with(1, 0x02)},
		{"another tag for the URL", with(urlField, 4)},
		{"another tag for the creation", with(createdField, 4)},
		{"another tag for the lifetime", with(lifetimeField, 4)},
		{"the length of the URL is too small", with(urlField+1, whole[urlField+1]-1)},
		{"the length of the URL is too large", with(urlField+1, whole[urlField+1]+1)},
		{"the length of the URL is beyond the end", with(urlField+1, 255)},
		{"the length of the URL is 0", with(urlField+1, 0)},
		{"the length of the creation is 3", ticketOf(slices.Delete(withLength(whole, createdField, 3), createdField+5, createdField+6))},
		{"the length of the creation is 5", ticketOf(slices.Insert(withLength(whole, createdField, 5), createdField+6, 0))},
		{"the length of the lifetime is 3", ticketOf(withLength(whole, lifetimeField, 3)[:len(whole)-1])},
		{"the length of the lifetime is 5", ticketOf(append(withLength(whole, lifetimeField, 5), 0))},
		{"the length of the lifetime is 0", ticketOf(withLength(whole, lifetimeField, 0)[:len(whole)-4])},
		{"the URL has no NUL at its end", with(createdField-1, '/')},
		{"the URL ends before its NUL", with(createdField-2, 0)},
		{"a byte after the last field", ticketOf(append(bytes.Clone(whole), 0))},
		{"a field after the last one", ticketOf(append(bytes.Clone(whole), 4, 1, 0))},
		{"the creation comes before the URL", ticketOf(slices.Concat(whole[:12], whole[createdField:lifetimeField], whole[12:createdField], whole[lifetimeField:]))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assertMalformedTicket(t, tt.ticket)
		})
	}
}

// withLength returns a copy of a ticket in which the field has another length
// byte.
func withLength(whole []byte, field int, n byte) []byte {
	b := bytes.Clone(whole)
	b[field+1] = n
	return b
}

func TestTicket_InspectEveryLastCharacter(t *testing.T) {
	for _, address := range []string{codeURL, codeURL + "a", codeURL + "ab"} { // every place in a group of four characters
		for last := range uint32(256) {
			ticket := ticketOf(ticketBytes(address, math.MaxUint32, last<<24))
			info, err := ticket.Inspect()
			require.NoError(t, err, ticket)
			assertTicketInfo(t, info, address, math.MaxUint32, int64(last<<24))

			for _, c := range []string{"!", "%", " ", "扫", "A", "AAAA"} {
				assertMalformedTicket(t, ticket+wxqrcode.Ticket(c))
				assertMalformedTicket(t, wxqrcode.Ticket(strings.TrimRight(string(ticket), "="))+wxqrcode.Ticket(c))
			}
		}
	}
}

func TestTicket_InspectHints(t *testing.T) {
	ticket := ticketOf(ticketBytes(codeURL, 1_700_000_000, 60)) + "+/=="
	for text, hint := range map[wxqrcode.Ticket]string{
		wxqrcode.Ticket(ticket.ImageURL()):                            "URL",
		wxqrcode.Ticket(url.QueryEscape(string(ticket))):              "unescape",
		wxqrcode.Ticket(strings.ReplaceAll(string(ticket), "+", " ")): "space",
	} {
		_, err := text.Inspect()
		require.ErrorIs(t, err, wxqrcode.ErrMalformedTicket)
		assert.ErrorContains(t, err, hint)
		assert.NotContains(t, err.Error(), "base64")
	}
}

func TestTicket_InspectErrorQuotesTheBeginning(t *testing.T) {
	_, err := wxqrcode.Ticket("gQ?nonsense").Inspect()
	require.ErrorIs(t, err, wxqrcode.ErrMalformedTicket)
	assert.Regexp(t, `^wxqrcode: inspect ticket "gQ\?nonsense": `, err.Error())

	_, err = wxqrcode.Ticket("gQ\n" + strings.Repeat("\xff\x00", 1<<16)).Inspect()
	require.ErrorIs(t, err, wxqrcode.ErrMalformedTicket)
	assert.Less(t, len(err.Error()), 1000)
}

// The result of Inspect determines the fields of the ticket, an error has no
// result, and the image URL of any string contains the string.
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

		raw := decodeTicket(t, text)
		require.GreaterOrEqual(t, len(raw), 12)
		assert.Equal(t, []byte{0x81, 0x01}, raw[:2])
		created := info.CreatedAt.Unix()
		last := int64(binary.LittleEndian.Uint32(raw[len(raw)-4:])) // a lifetime or an expiry
		require.Equal(t, ticketFields(t, info.URL, created, last), raw[12:])
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

		value := int64(info.Lifetime / time.Second)
		if !info.ExpiresAt.IsZero() && (value == 0 || value >= created) {
			value = info.ExpiresAt.Unix() // as a lifetime it would be read as an expiry
		}
		again, err := ticketOf(append(raw[:12:12], ticketFields(t, info.URL, created, value)...)).Inspect()
		require.NoError(t, err)
		assert.Equal(t, info, again)
	})
}

// ticketFields returns the fields of a ticket without its header.
func ticketFields(t *testing.T, address string, created, value int64) []byte {
	t.Helper()
	require.GreaterOrEqual(t, created, int64(0))
	require.LessOrEqual(t, created, int64(math.MaxUint32))
	require.LessOrEqual(t, value, int64(math.MaxUint32))
	require.Less(t, len(address), 255)
	return ticketBytes(address, uint32(created), uint32(value))[12:]
}

func decodeTicket(t *testing.T, text string) []byte {
	t.Helper()
	bare := strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(text), "=")
	b, err := base64.RawURLEncoding.DecodeString(bare)
	require.NoError(t, err)
	return b
}

func assertMalformedTicket(t *testing.T, ticket wxqrcode.Ticket) {
	t.Helper()
	info, err := ticket.Inspect()
	assert.ErrorIs(t, err, wxqrcode.ErrMalformedTicket, "%q", ticket)
	assert.Equal(t, wxqrcode.TicketInfo{}, info, "partly read: %q", ticket)
	if err != nil {
		assert.True(t, utf8.ValidString(err.Error()))
		assert.NotContains(t, err.Error(), "\n")
	}
}
