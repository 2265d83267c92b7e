package message_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/internal/message"
)

// FuzzParsePush: where this reader and encoding/xml or encoding/json accept a
// push, they read the same values. White space around CDATA and values with
// "]]>" are apart, and so is the choice between two fields of a message that is
// not a scan.
func FuzzParsePush(f *testing.F) {
	for _, seed := range []string{
		scan, text, scanJSON, "\uFEFF" + scan, "<?xml version='1.0'?>" + scan, "", "{}", "<xml/>",
		edit(f, scan, "<![CDATA[1000]]>", "a&amp;b&#x6d4b;\r\n"),
		edit(f, scan, "1000", "a]]]]><![CDATA[>b"),
		edit(f, scan, "1000", "a]]>b"),
		edit(f, scan, "<EventKey>", "<a><b>1</b> <b/></a><EventKey>"),
		edit(f, text, "hello", "]]></Content><Event>SCAN</Event>"),
		edit(f, scanJSON, `"1000"`, `"\u6d4b\ud83d\ude00\ud800"`),
		edit(f, scanJSON, `"1000"`, `12e3`),
		edit(f, scanJSON, `"Ticket"`, `"eventkey":[{}],"\u0054icket"`),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		original := bytes.Clone(body)
		p, err := message.ParsePush(body)
		require.Equal(t, original, body, "the body was modified")
		if err != nil {
			require.Zero(t, p)
			return
		}
		if !p.IsScan() {
			require.Empty(t, p.EventKey+p.Ticket)
			return
		}
		require.NotEmpty(t, p.ToUserName)
		require.NotEmpty(t, p.FromUserName)
		_, ok := p.Created()
		require.True(t, ok)

		var reference struct {
			XMLName                                  xml.Name `xml:"xml" json:"-"`
			ToUserName, FromUserName, MsgType, Event string
			CreateTime, EventKey                     flexible
			Ticket                                   string
		}
		body = bytes.TrimPrefix(body, []byte("\uFEFF"))
		if message.IsJSON(body) {
			if foldsMembers(body) {
				return
			}
			err = json.Unmarshal(body, &reference)
		} else {
			err = xml.Unmarshal(body, &reference)
		}
		if err != nil { // it is stricter about declarations and CDATA
			return
		}
		for _, pair := range [][2]string{
			{p.ToUserName, reference.ToUserName}, {p.FromUserName, reference.FromUserName}, {p.CreateTime, string(reference.CreateTime)},
			{p.MsgType, reference.MsgType}, {p.EventKey, string(reference.EventKey)}, {p.Ticket, reference.Ticket},
		} {
			ours, theirs := pair[0], pair[1]
			if strings.Contains(ours, "]]>") || strings.TrimSpace(ours) == strings.TrimSpace(theirs) {
				continue
			}
			require.Equal(t, theirs, ours)
		}
	})
}

// A flexible is a string that may be a number or null in JSON.
type flexible string

func (f *flexible) UnmarshalJSON(b []byte) error {
	var s *string
	if json.Unmarshal(b, &s) == nil {
		if s != nil {
			*f = flexible(*s)
		}
		return nil
	}
	*f = flexible(b)
	return nil
}

// foldsMembers reports whether encoding/json, which folds case, could take
// another member for one of ours.
func foldsMembers(body []byte) bool {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(body, &members)
	for name := range members {
		for _, ours := range []string{"ToUserName", "FromUserName", "CreateTime", "MsgType", "Event", "EventKey", "Ticket"} {
			if strings.EqualFold(name, ours) && name != ours {
				return true
			}
		}
	}
	return false
}

// FuzzWrite: what the writer writes, this reader reads, and encoding/xml and
// encoding/json too.
func FuzzWrite(f *testing.F) {
	for _, seed := range []string{"", "hello", "]]>", "a]]]]>b", "]]><![CDATA[", "]]></Content>", "<&>\"'", "测试😀", "\t\n", "]]", "<xml>"} {
		f.Add(seed, int64(len(seed)))
	}
	f.Fuzz(func(t *testing.T, s string, n int64) {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, message.IsForbidden) || strings.Contains(s, "\r") {
			return // no writer of this module writes these
		}
		for _, asJSON := range []bool{false, true} {
			b := message.Write(asJSON, message.Text("A", s), message.Number("N", n),
				message.Group("G", message.Text("B", s)), message.List("L", []message.Element{message.Text("C", s)}))
			require.Equal(t, asJSON, message.IsJSON(b))
			listed := "L/item/C"
			if asJSON {
				listed = "L/C"
				require.True(t, json.Valid(b))
			} else {
				require.NoError(t, xml.Unmarshal(b, new(struct{ A string })))
			}
			for _, path := range []string{"A", "G/B", listed} {
				assert.Equal(t, s, message.Find(string(b), path), path)
			}
			r := message.NewReader(string(b))
			for r.Next() {
			}
			require.NoError(t, r.Err())
			assert.Equal(t, "L", r.Field().Name)
		}
	})
}
