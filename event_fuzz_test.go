package wxqrcode_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

// FuzzParseEvent: what ParseEvent accepts is what encoding/xml and encoding/json
// read, under the rules for a push, and it reads the same; what it refuses leaves
// no event; its memory is bounded by the input; and how a push is written makes
// no difference.
func FuzzParseEvent(f *testing.F) {
	plain, opened := jsonPushes(f)
	f.Add(plain)
	f.Add(opened)
	for _, name := range []string{"subscribe.xml", "scan.xml", "subscribe_after_payment.xml", "unsubscribe.xml"} {
		f.Add(readFixture(f, name))
	}
	for _, seed := range []string{
		"",
		"<xml></xml>",
		"{}",
		pushXML,
		pushJSON,
		"<?xml version='1.0' encoding='UTF-8'?>\r\n" + pushXML + "\r\n<!-- a -->",
		"<!DOCTYPE xml [<!ENTITY a 'b'>]>" + pushXML,
		pushXML + pushXML,
		pushXML + "<![CDATA[ ]]>",
		pushXML + "&#32;",
		"x" + pushXML,
		edit(f, pushXML, "event", "text"),
		edit(f, pushXML, "1000", "测试，\uFFFD\uFFFE"),
		edit(f, pushXML, "1000", "a]b]]"),
		edit(f, pushXML, keyElement, "<EventKey>a&amp;b&#x6d4b;\r\n</EventKey>"),
		edit(f, pushXML, keyElement, "<EventKey><![CDATA[a]]]]><![CDATA[>b]]></EventKey>"),
		edit(f, pushXML, keyElement, "<EventKey>a]]>b</EventKey>"),
		edit(f, pushXML, keyElement, "<wx:EventKey a='b'>1<b>2</b>3<!-- 4 --></wx:EventKey >"),
		edit(f, pushXML, keyElement, "<EventKey/><a><EventKey>1</EventKey></a>"),
		edit(f, pushXML, keyElement, keyElement+"<EventKey></EventKey>"),
		edit(f, pushXML, "</xml>", strings.Repeat("<a>", 64)),
		edit(f, pushXML, "1389684184", "99999999999"),
		edit(f, pushXML, "1389684184", "100000000000"),
		edit(f, pushJSON, "1000", `\u6d4b\ud83d\ude00\ud800\"\\\/`),
		edit(f, pushJSON, `"1000"`, "null"),
		edit(f, pushJSON, `"Ticket"`, `"\u0045ventKey":"2","Ticket"`),
		edit(f, pushJSON, `"Ticket"`, `"eventkey":[[{}]],"Ticket"`),
		edit(f, pushJSON, "1389684184", " 1.389684184e9 "),
		pushJSON + "\n",
		pushJSON + "{}",
	} {
		f.Add([]byte(seed))
	}

	f.Fuzz(func(t *testing.T, body []byte) {
		original := bytes.Clone(body)
		var e *wxqrcode.Event
		var err error
		taken := allocated(func() { e, err = wxqrcode.ParseEvent(body) })
		assert.LessOrEqual(t, taken, uint64(64<<10+128*len(body)), "memory out of proportion")
		assert.Equal(t, original, body, "the body was changed")
		if err != nil {
			assertMalformed(t, body)
		}

		isJSON := bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{"))
		read := readByEncodingXML
		if isJSON {
			read = readByEncodingJSON
		}
		want, refusal := read(body)
		if refusal != nil {
			require.Error(t, err, "the reference says: %v", refusal)
		} else {
			require.NoError(t, err)
			require.Equal(t, want, *e)
		}

		if !isJSON { // a comment changes nothing but the way that the push takes through the parser
			other, otherErr := wxqrcode.ParseEvent(append([]byte("<!---->"), body...))
			assert.Equal(t, err == nil, otherErr == nil, "%v and %v", err, otherErr)
			assert.Equal(t, e, other)
		}
	})
}

var eventFields = []string{"ToUserName", "FromUserName", "CreateTime", "MsgType", "Event", "EventKey", "Ticket"}

// readByEncodingXML reads a push with [xml.Unmarshal], after a look at the rules
// that it does not check: one root named xml and nothing around it, no DTD, 64
// levels, no field twice.
func readByEncodingXML(body []byte) (wxqrcode.Event, error) {
	if !utf8.Valid(body) {
		return wxqrcode.Event{}, errors.New("invalid UTF-8")
	}
	dec := xml.NewDecoder(bytes.NewReader(body))
	depth := 0
	var elements [3]map[string]int // how many there are of each name, by depth
	elements[1], elements[2] = map[string]int{}, map[string]int{}
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return wxqrcode.Event{}, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			if depth++; depth < len(elements) {
				elements[depth][token.Name.Local]++
			}
			if depth > 64 {
				return wxqrcode.Event{}, errors.New("too deep")
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && strings.Trim(string(token), " \t\n") != "" {
				return wxqrcode.Event{}, errors.New("text around the root")
			}
		case xml.Directive:
			return wxqrcode.Event{}, errors.New("a DTD")
		}
	}
	if len(elements[1]) != 1 || elements[1]["xml"] != 1 {
		return wxqrcode.Event{}, errors.New("not one root named xml")
	}
	for _, name := range eventFields {
		if elements[2][name] > 1 {
			return wxqrcode.Event{}, errors.New(name + " twice")
		}
	}
	var push eventXML
	if err := xml.Unmarshal(body, &push); err != nil {
		return wxqrcode.Event{}, err
	}
	return push.event()
}

// readByEncodingJSON reads a push with [json.Unmarshal] into a map, after a look
// for fields that are there twice.
func readByEncodingJSON(body []byte) (wxqrcode.Event, error) {
	if !utf8.Valid(body) {
		return wxqrcode.Event{}, errors.New("invalid UTF-8")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return wxqrcode.Event{}, err
	}
	for _, name := range eventFields {
		if countMembers(body, name) > 1 {
			return wxqrcode.Event{}, errors.New(name + " twice")
		}
	}
	push := eventXML{CreateTime: string(members["CreateTime"])}
	for name, s := range map[string]*string{
		"ToUserName": &push.ToUserName, "FromUserName": &push.FromUserName, "MsgType": &push.MsgType,
		"Event": &push.Event, "EventKey": &push.EventKey, "Ticket": &push.Ticket,
	} {
		if value, ok := members[name]; ok {
			if value[0] != '"' {
				return wxqrcode.Event{}, errors.New(name + " is no text")
			}
			if err := json.Unmarshal(value, s); err != nil {
				return wxqrcode.Event{}, err
			}
			if strings.Count(*s, "\uFFFD") != bytes.Count(value, []byte("\uFFFD")) {
				return wxqrcode.Event{}, errors.New(name + " has half a surrogate pair")
			}
			if xml.Unmarshal([]byte("<x>"+strings.NewReplacer("<", "", "&", "", "]", "").Replace(*s)+"</x>"), new(string)) != nil {
				return wxqrcode.Event{}, errors.New(name + " has what XML cannot hold")
			}
		}
	}
	return push.event()
}

// countMembers counts the members of that name in an object that is valid.
func countMembers(object []byte, name string) (n int) {
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil {
		panic(err)
	}
	for dec.More() {
		member, err := dec.Token()
		if err != nil {
			panic(err)
		}
		if member == name {
			n++
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			panic(err)
		}
	}
	return n
}

var createTimePattern = regexp.MustCompile(`^[0-9]{1,11}$`)

// event makes the event that the fields stand for, if they do for one.
func (m *eventXML) event() (wxqrcode.Event, error) {
	if m.ToUserName == "" || m.FromUserName == "" || m.MsgType == "" || m.MsgType == "event" && m.Event == "" {
		return wxqrcode.Event{}, errors.New("a field is missing")
	}
	if !createTimePattern.MatchString(m.CreateTime) {
		return wxqrcode.Event{}, errors.New("CreateTime is no number")
	}
	seconds, err := strconv.ParseInt(m.CreateTime, 10, 64)
	if err != nil {
		return wxqrcode.Event{}, err
	}
	e := wxqrcode.Event{
		ToUserName: m.ToUserName, OpenID: m.FromUserName, CreateTime: time.Unix(seconds, 0),
		MsgType: m.MsgType, EventKey: m.EventKey, Ticket: wxqrcode.Ticket(m.Ticket),
	}
	if m.MsgType == "event" {
		e.Type = wxqrcode.EventType(m.Event)
	}
	return e, nil
}
