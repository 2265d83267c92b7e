package wxqrcode_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
)

func readFixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return b
}

// jsonPushes returns the two messages of the official page, which are JSON.
func jsonPushes(t testing.TB) (plain, opened []byte) {
	t.Helper()
	var page struct {
		Plain  struct{ Body string }
		Secure struct{ Message string }
	}
	require.NoError(t, json.Unmarshal(readFixture(t, "push.json"), &page))
	return []byte(page.Plain.Body), []byte(page.Secure.Message)
}

const fixtureTicket = "gQHi8DoAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL0UweTNxNi1sdlA3RklyRnNKbUFvAAIELdnUUgMEAAAAAA=="

func TestParseEventReadsEveryFixture(t *testing.T) {
	plain, opened := jsonPushes(t)
	for _, tt := range []struct {
		name  string
		body  []byte
		want  wxqrcode.Event
		scene string // empty for none
	}{
		{
			"a follow through a code", readFixture(t, "subscribe.xml"),
			wxqrcode.Event{
				ToUserName: "gh_45072270791c", OpenID: "o7Lp5t6n59DeX3U0C7Kric9qEx-Q", CreateTime: time.Unix(1389684286, 0),
				MsgType: "event", Type: wxqrcode.EventSubscribe, EventKey: "qrscene_1000", Ticket: fixtureTicket,
			},
			"1000",
		},
		{
			"a follower's scan", readFixture(t, "scan.xml"),
			wxqrcode.Event{
				ToUserName: "gh_45072270791c", OpenID: "o7Lp5t6n59DeX3U0C7Kric9qEx-Q", CreateTime: time.Unix(1389684184, 0),
				MsgType: "event", Type: wxqrcode.EventScan, EventKey: "1000", Ticket: fixtureTicket,
			},
			"1000",
		},
		{
			"a follow after a payment", readFixture(t, "subscribe_after_payment.xml"),
			wxqrcode.Event{
				ToUserName: "gh_fcc4da210ff0", OpenID: "oiPuduCHIBb2aHvZoqSm1t7KbXtw", CreateTime: time.Unix(1493702623, 0),
				MsgType: "event", Type: wxqrcode.EventSubscribe, EventKey: "last_trade_no_4002752001201704258347703919",
			},
			"",
		},
		{
			"the end of a follow", readFixture(t, "unsubscribe.xml"),
			wxqrcode.Event{
				ToUserName: "toUser", OpenID: "FromUser", CreateTime: time.Unix(123456789, 0),
				MsgType: "event", Type: wxqrcode.EventUnsubscribe,
			},
			"",
		},
		{
			"an event in JSON", plain,
			wxqrcode.Event{
				ToUserName: "gh_97417a04a28d", OpenID: "o9AgO5Kd5ggOC-bXrbNODIiE3bGY", CreateTime: time.Unix(1714037059, 0),
				MsgType: "event", Type: "debug_demo",
			},
			"",
		},
		{
			"an event in JSON that was sealed", opened,
			wxqrcode.Event{
				ToUserName: "gh_97417a04a28d", OpenID: "o9AgO5Kd5ggOC-bXrbNODIiE3bGY", CreateTime: time.Unix(1714112445, 0),
				MsgType: "event", Type: "debug_demo",
			},
			"",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := mustParse(t, string(tt.body))
			assert.Equal(t, tt.want, *e)
			scene, ok := e.Scene()
			assert.Equal(t, tt.scene, scene)
			assert.Equal(t, tt.scene != "", ok)
		})
	}
}

func mustParse(t *testing.T, body string) *wxqrcode.Event {
	t.Helper()
	e, err := wxqrcode.ParseEvent([]byte(body))
	require.NoError(t, err)
	require.NotNil(t, e)
	return e
}

func TestEventTypesHaveWeChatsNames(t *testing.T) {
	assert.Equal(t, "subscribe", string(wxqrcode.EventSubscribe))
	assert.Equal(t, "unsubscribe", string(wxqrcode.EventUnsubscribe))
	assert.Equal(t, "SCAN", string(wxqrcode.EventScan))
}

// pushXML is a push with every field, and pushJSON the same one in JSON.
const (
	pushXML = `<xml><ToUserName><![CDATA[gh_1]]></ToUserName><FromUserName><![CDATA[oUser]]></FromUserName>` +
		`<CreateTime>1389684184</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[SCAN]]></Event>` +
		`<EventKey><![CDATA[1000]]></EventKey><Ticket><![CDATA[gQHi]]></Ticket></xml>`
	pushJSON = `{"ToUserName":"gh_1","FromUserName":"oUser","CreateTime":1389684184,"MsgType":"event","Event":"SCAN",` +
		`"EventKey":"1000","Ticket":"gQHi"}`
)

var pushed = wxqrcode.Event{
	ToUserName: "gh_1", OpenID: "oUser", CreateTime: time.Unix(1389684184, 0),
	MsgType: "event", Type: wxqrcode.EventScan, EventKey: "1000", Ticket: "gQHi",
}

func TestParseEventReadsXMLAndJSONAlike(t *testing.T) {
	assert.Equal(t, pushed, *mustParse(t, pushXML))
	assert.Equal(t, pushed, *mustParse(t, pushJSON))
}

// edit replaces old, which must be there once, in a push.
func edit(t testing.TB, push, old, replacement string) string {
	t.Helper()
	require.Equal(t, 1, strings.Count(push, old), "%s in %s", old, push)
	return strings.Replace(push, old, replacement, 1)
}

const (
	keyElement    = `<EventKey><![CDATA[1000]]></EventKey>`
	ticketElement = `<Ticket><![CDATA[gQHi]]></Ticket>`
	timeElement   = `<CreateTime>1389684184</CreateTime>`
)

func TestParseEventReadsAnElementHoweverItIsWritten(t *testing.T) {
	for _, tt := range []struct {
		name, element, want string
	}{
		{"text in CDATA", `<EventKey><![CDATA[1000]]></EventKey>`, "1000"},
		{"bare text", `<EventKey>1000</EventKey>`, "1000"},
		{"an empty element", `<EventKey></EventKey>`, ""},
		{"empty CDATA", `<EventKey><![CDATA[]]></EventKey>`, ""},
		{"an element that closes itself", `<EventKey/>`, ""},
		{"no element", ``, ""},
		{"blanks around the text belong to it", "<EventKey> \t10\n00 </EventKey>", " \t10\n00 "},
		{"blanks in CDATA belong to the text", "<EventKey><![CDATA[ 1\t\n ]]></EventKey>", " 1\t\n "},
		{"blanks around CDATA belong to the text", "<EventKey> <![CDATA[1000]]>\n</EventKey>", " 1000\n"},
		{"Chinese", `<EventKey><![CDATA[测试]]></EventKey>`, "测试"},
		{"bare Chinese", `<EventKey>测试</EventKey>`, "测试"},
		{"full-width punctuation, whose bytes begin as U+FFFE's do", `<EventKey><![CDATA[a，b]]></EventKey>`, "a，b"},
		{"the character before U+FFFE", "<EventKey>\uFFFD</EventKey>", "\uFFFD"},
		{"emoji", `<EventKey><![CDATA[😀]]></EventKey>`, "😀"},
		{"DEL and C1, which XML allows", "<EventKey>\x7f\u0085</EventKey>", "\x7f\u0085"},
		{"a carriage return becomes a line feed", "<EventKey><![CDATA[1\r2]]></EventKey>", "1\n2"},
		{"a line end of Windows becomes a line feed", "<EventKey>1\r\n2</EventKey>", "1\n2"},
		{"a carriage return that is escaped stays", "<EventKey>1&#13;2</EventKey>", "1\r2"},
		{"an ampersand that is escaped", `<EventKey>a=1&amp;b=2</EventKey>`, "a=1&b=2"},
		{"an ampersand in CDATA", `<EventKey><![CDATA[a=1&b=2]]></EventKey>`, "a=1&b=2"},
		{"what looks escaped in CDATA is not", `<EventKey><![CDATA[a&amp;b]]></EventKey>`, "a&amp;b"},
		{"angle brackets that are escaped", `<EventKey>&lt;b&gt;</EventKey>`, "<b>"},
		{"angle brackets in CDATA", `<EventKey><![CDATA[<b>a</b>]]></EventKey>`, "<b>a</b>"},
		{"an end tag in CDATA", `<EventKey><![CDATA[</EventKey></xml>]]></EventKey>`, "</EventKey></xml>"},
		{"a bare right angle bracket", `<EventKey>a>b</EventKey>`, "a>b"},
		{"a character by its number", `<EventKey>&#x6d4b;&#35797;</EventKey>`, "测试"},
		{"a square bracket in CDATA", `<EventKey><![CDATA[a]b]]></EventKey>`, "a]b"},
		{"a square bracket at the end of CDATA", `<EventKey><![CDATA[a]]]></EventKey>`, "a]"},
		{"two square brackets in CDATA", `<EventKey><![CDATA[a]]b]]></EventKey>`, "a]]b"},
		{"square brackets outside of CDATA", `<EventKey>[a]]</EventKey>`, "[a]]"},
		{"two CDATA sections", `<EventKey><![CDATA[10]]><![CDATA[00]]></EventKey>`, "1000"},
		{"the end of CDATA, split over two", `<EventKey><![CDATA[a]]]]><![CDATA[>b]]></EventKey>`, "a]]>b"},
		{"text, then CDATA", `<EventKey>10<![CDATA[00]]></EventKey>`, "1000"},
		{"CDATA, then text", `<EventKey><![CDATA[10]]>00</EventKey>`, "1000"},
		{"a comment in the text", `<EventKey>10<!-- <Event>x</Event> -->00</EventKey>`, "1000"},
		{"what looks like a comment in CDATA is none", `<EventKey><![CDATA[10<!--x-->00]]></EventKey>`, "10<!--x-->00"},
		{"a processing instruction in the text", `<EventKey>10<?php 1?>00</EventKey>`, "1000"},
		{"an attribute", `<EventKey a="b" c='d'>1000</EventKey>`, "1000"},
		{"a prefix", `<wx:EventKey>1000</wx:EventKey>`, "1000"},
		{"a name space", `<EventKey xmlns="https://example.com">1000</EventKey>`, "1000"},
		{"blanks in the tags", "<EventKey \n>1000</EventKey >", "1000"},
		{"an element in the text is not part of it", `<EventKey>10<b>x</b>00</EventKey>`, "1000"},
		{"a field in the text is not part of it", `<EventKey>10<EventKey>x</EventKey>00</EventKey>`, "1000"},
		{"elements alone are no text", `<EventKey><b>1000</b></EventKey>`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := edit(t, pushXML, keyElement, tt.element)
			want := pushed
			want.EventKey = tt.want
			assert.Equal(t, want, *mustParse(t, body))

			var reference eventXML
			require.NoError(t, xml.Unmarshal([]byte(body), &reference))
			assert.Equal(t, tt.want, reference.EventKey, "encoding/xml disagrees")

			// A comment takes the push out of the shape that WeChat sends.
			assert.Equal(t, want, *mustParse(t, "<!---->"+body), "the general reader disagrees")
		})
	}
}

// Each character may end the shape that WeChat sends, or be no XML at all.
func TestParseEventTakesACharacterWhereEncodingXMLDoes(t *testing.T) {
	var characters []string
	for b := range 256 {
		characters = append(characters, string([]byte{byte(b)}))
	}
	for _, r := range []rune{0x80, 0x85, 0x9F, 0xA0, 0xB7, 0xC0, 0xD7, 0x2028, 0xD7FF, 0xE000, 0xFEFF, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x1FFFE, 0x10FFFF} {
		characters = append(characters, string(r))
	}
	places := map[string]string{ // with a gap at _
		"text":                 edit(t, pushXML, keyElement, "<EventKey>1_2</EventKey>"),
		"CDATA":                edit(t, pushXML, keyElement, "<EventKey><![CDATA[1_2]]></EventKey>"),
		"an unknown text":      edit(t, pushXML, keyElement, "<Foo>_</Foo>"),
		"an unknown CDATA":     edit(t, pushXML, keyElement, "<Foo><![CDATA[_]]></Foo>"),
		"a name":               edit(t, pushXML, keyElement, "<a_b>1</a_b>"),
		"the begin of a name":  edit(t, pushXML, keyElement, "<_b>1</_b>"),
		"the end of a name":    edit(t, pushXML, keyElement, "<b_>1</b_>"),
		"behind a start tag":   edit(t, pushXML, keyElement, "<EventKey>_<![CDATA[1]]></EventKey>"),
		"behind CDATA":         edit(t, pushXML, keyElement, "<EventKey><![CDATA[1]]>_</EventKey>"),
		"among the elements":   edit(t, pushXML, keyElement, "_"+keyElement),
		"behind a name":        edit(t, pushXML, keyElement, "<EventKey_>1</EventKey>"),
		"behind an end's name": edit(t, pushXML, keyElement, "<EventKey>1</EventKey_>"),
		"before the root":      "_" + pushXML,
		"after the root":       pushXML + "_",
		"before the slash":     edit(t, pushXML, "</xml>", "<_/xml>"),
		"behind the slash":     edit(t, pushXML, "</xml>", "</_xml>"),
	}
	for place, pattern := range places {
		accepted := 0
		for _, c := range characters {
			body := strings.ReplaceAll(pattern, "_", c)
			want, refusal := readByEncodingXML([]byte(body))
			if refusal != nil {
				assertMalformed(t, []byte(body))
				continue
			}
			accepted++
			e, err := wxqrcode.ParseEvent([]byte(body))
			if assert.NoError(t, err, "%s: %q", place, c) {
				assert.Equal(t, want, *e, "%s: %q", place, c)
			}
		}
		if !strings.HasSuffix(place, "slash") {
			assert.Positive(t, accepted, place)
		}
		assert.Less(t, accepted, len(characters), place)
	}
}

func TestParseEventReadsADocumentHoweverItIsWritten(t *testing.T) {
	for _, tt := range []struct{ name, body string }{
		{"a declaration", `<?xml version="1.0" encoding="UTF-8"?>` + pushXML},
		{"blanks around it", "\t \n" + pushXML + "\n \t"},
		{"line ends of Windows around it", "\r\n" + pushXML + "\r\n"},
		{"line ends of Windows in it", strings.NewReplacer("></", "></", "><!", "><!", "><", ">\r\n<").Replace(pushXML)},
		{"every element on a line", strings.NewReplacer("></", "></", "><!", "><!", "><", ">\n\t <").Replace(pushXML)},
		{"comments around it", "<!-- a -->" + pushXML + "<!-- b -->"},
		{"a comment among the elements", edit(t, pushXML, keyElement, "<!-- <Event>x</Event> -->"+keyElement)},
		{"text among the elements", edit(t, pushXML, keyElement, "text"+keyElement)},
		{"prefixes everywhere", strings.NewReplacer("</", "</wx:", "<!", "<!", "<", "<wx:").Replace(pushXML)},
		{"attributes on the root", edit(t, pushXML, "<xml>", `<xml a="b" xmlns:wx="https://example.com">`)},
		{"blanks in the root's tags", strings.NewReplacer("<xml>", "<xml >", "</xml>", "</xml\n>").Replace(pushXML)},
		{"the fields in another order", "<xml>" + ticketElement + keyElement + edit(t, edit(t, pushXML, keyElement+ticketElement, ""), "<xml>", "")},
		{"unknown elements", edit(t, pushXML, "</xml>", "<MsgId>1</MsgId><Encrypt><![CDATA[x]]></Encrypt></xml>")},
		{"an unknown element twice", edit(t, pushXML, "</xml>", "<Foo>1</Foo><Foo>2</Foo></xml>")},
		{"an unknown element named as the root", edit(t, pushXML, "<xml>", "<xml><xml>1</xml>")},
		{"elements that differ from fields by case", edit(t, pushXML, "</xml>", "<eventKey>1</eventKey><EVENT>2</EVENT><event>3</event></xml>")},
		{"elements that begin or end as fields do", edit(t, pushXML, "</xml>", "<EventKeys>1</EventKeys><Even>2</Even><aEvent>3</aEvent></xml>")},
		{"fields that are nested deeper are none", edit(t, pushXML, "</xml>", "<Info><Event>x</Event><Ticket>y</Ticket><CreateTime>z</CreateTime></Info></xml>")},
		{"a list, as other messages have", edit(t, pushXML, "</xml>", "<List><item><Key>1</Key></item><item><Key>2</Key></item></List></xml>")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, pushed, *mustParse(t, tt.body))
			var reference eventXML
			require.NoError(t, xml.Unmarshal([]byte(tt.body), &reference))
			assert.Equal(t, "1000", reference.EventKey, "encoding/xml disagrees")
		})
	}
}

func TestParseEventReadsJSONHoweverItIsWritten(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		key        string
	}{
		{"blanks everywhere", "\r\n\t {\n \"ToUserName\" : \"gh_1\" , \"FromUserName\":\t\"oUser\",\r\n\"CreateTime\" : 1389684184 ,\"MsgType\":\"event\",\"Event\":\"SCAN\",\"EventKey\":\"1000\",\"Ticket\":\"gQHi\" } \n\t\r", "1000"},
		{"escaped text", edit(t, pushJSON, `"1000"`, `"\u6d4b\u8bd5\/\"\\\n\ud83d\ude00"`), "测试/\"\\\n😀"},
		{"Chinese", edit(t, pushJSON, `"1000"`, `"测试"`), "测试"},
		{"an escaped name", edit(t, pushJSON, `"EventKey"`, `"\u0045ventKey"`), "1000"},
		{"an empty text", edit(t, pushJSON, `"1000"`, `""`), ""},
		{"no EventKey", edit(t, pushJSON, `"EventKey":"1000",`, ``), ""},
		{"names in another case are other names", edit(t, pushJSON, `"Ticket"`, `"eventKey":"x","eventkey":1,"EVENT":null,"createTime":"y","Ticket"`), "1000"},
		{"unknown members of every kind", edit(t, pushJSON, `"Ticket"`, `"a":null,"b":[1,{"EventKey":"x"}],"c":{"Event":"y"},"d":1.5e3,"e":true,"f":"z","Ticket"`), "1000"},
		{"an unknown member twice", edit(t, pushJSON, `"Ticket"`, `"a":1,"a":2,"":3,"Ticket"`), "1000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := pushed
			want.EventKey = tt.key
			assert.Equal(t, want, *mustParse(t, tt.body))
		})
	}
}

func TestParseEventOfAMessageThatIsNoEvent(t *testing.T) {
	text := wxqrcode.Event{ToUserName: "gh_1", OpenID: "oUser", CreateTime: time.Unix(1348831860, 0), MsgType: "text"}
	for _, tt := range []struct{ name, body string }{
		{"a text", `<xml><ToUserName><![CDATA[gh_1]]></ToUserName><FromUserName><![CDATA[oUser]]></FromUserName><CreateTime>1348831860</CreateTime>` +
			`<MsgType><![CDATA[text]]></MsgType><Content><![CDATA[this is a test]]></Content><MsgId>1234567890123456</MsgId></xml>`},
		{"a text in JSON", `{"ToUserName":"gh_1","FromUserName":"oUser","CreateTime":1348831860,"MsgType":"text","Content":"this is a test","MsgId":1234567890123456}`},
		{"a text that pretends to be a scan", `<xml><ToUserName>gh_1</ToUserName><FromUserName>oUser</FromUserName><CreateTime>1348831860</CreateTime>` +
			`<MsgType>text</MsgType><Event>SCAN</Event></xml>`},
		{"a text that pretends to be a scan, in JSON", `{"ToUserName":"gh_1","FromUserName":"oUser","CreateTime":1348831860,"MsgType":"text","Event":"SCAN"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := mustParse(t, tt.body)
			assert.Equal(t, text, *e)
			_, ok := e.Scene()
			assert.False(t, ok)
		})
	}

	click := mustParse(t, edit(t, edit(t, pushXML, "SCAN", "CLICK"), ticketElement, ""))
	assert.Equal(t, wxqrcode.EventType("CLICK"), click.Type)
	assert.Equal(t, "1000", click.EventKey)
}

func TestParseEventNeedsEveryRequiredField(t *testing.T) {
	for _, tt := range []struct {
		name, xmlValue, jsonValue string
		required                  bool
	}{
		{"ToUserName", "<![CDATA[gh_1]]>", `"gh_1"`, true},
		{"FromUserName", "<![CDATA[oUser]]>", `"oUser"`, true},
		{"CreateTime", "1389684184", `1389684184`, true},
		{"MsgType", "<![CDATA[event]]>", `"event"`, true},
		{"Event", "<![CDATA[SCAN]]>", `"SCAN"`, true},
		{"EventKey", "<![CDATA[1000]]>", `"1000"`, false},
		{"Ticket", "<![CDATA[gQHi]]>", `"gQHi"`, false},
	} {
		element := "<" + tt.name + ">" + tt.xmlValue + "</" + tt.name + ">"
		member := `"` + tt.name + `":` + tt.jsonValue
		otherMember := `"Other":` + tt.jsonValue
		for kind, body := range map[string]string{
			"without it":                edit(t, pushXML, element, ""),
			"empty":                     edit(t, pushXML, element, "<"+tt.name+"></"+tt.name+">"),
			"in lower case":             edit(t, pushXML, element, strings.ToLower("<"+tt.name+">")+tt.xmlValue+strings.ToLower("</"+tt.name+">")),
			"nested deeper":             edit(t, pushXML, element, "<a>"+element+"</a>"),
			"commented out":             edit(t, pushXML, element, "<!--"+element+"-->"),
			"without it in JSON":        edit(t, pushJSON, member, otherMember),
			"in lower case in JSON":     edit(t, pushJSON, member, strings.ToLower(`"`+tt.name+`"`)+":"+tt.jsonValue),
			"in upper case in JSON":     edit(t, pushJSON, member, strings.ToUpper(`"`+tt.name+`"`)+":"+tt.jsonValue),
			"nested deeper in JSON":     edit(t, pushJSON, member, `"a":{`+member+`}`),
			"in a list in JSON":         edit(t, pushJSON, member, `"a":[{`+member+`}]`),
			"after a blank in JSON":     edit(t, pushJSON, member, `" `+tt.name+`":`+tt.jsonValue),
			"as the name of a blank":    edit(t, pushJSON, member, `"":`+tt.jsonValue),
			"as a value of another one": edit(t, pushJSON, member, `"a":"`+tt.name+`"`),
		} {
			t.Run(tt.name+" "+kind, func(t *testing.T) {
				if !tt.required {
					mustParse(t, body)
					return
				}
				err := malformed(t, []byte(body))
				assert.ErrorContains(t, err, tt.name)
				assert.ErrorContains(t, err, "missing")
			})
		}
	}
}

func TestParseEventRefusesAFieldGivenTwice(t *testing.T) {
	for _, name := range []string{"ToUserName", "FromUserName", "CreateTime", "MsgType", "Event", "EventKey", "Ticket"} {
		value, jsonValue := "7", `"7"`
		if name == "CreateTime" {
			jsonValue = "7"
		}
		escaped := fmt.Sprintf(`"\u%04x%s"`, name[0], name[1:])
		for kind, body := range map[string]string{
			"in XML":                         edit(t, pushXML, "</xml>", "<"+name+">"+value+"</"+name+"></xml>"),
			"in XML, the second being empty": edit(t, pushXML, "</xml>", "<"+name+"></"+name+"></xml>"),
			"in XML, the first being empty":  edit(t, pushXML, "<xml>", "<xml><"+name+"/>"),
			"in XML, with a prefix":          edit(t, pushXML, "</xml>", "<wx:"+name+">"+value+"</wx:"+name+"></xml>"),
			"in XML, with an attribute":      edit(t, pushXML, "</xml>", "<"+name+" a='b'>"+value+"</"+name+"></xml>"),
			"in XML, in a name space":        edit(t, pushXML, "</xml>", "<"+name+" xmlns='a'>"+value+"</"+name+"></xml>"),
			"in JSON":                        edit(t, pushJSON, "}", `,"`+name+`":`+jsonValue+"}"),
			"in JSON, with an escaped name":  edit(t, pushJSON, "}", `,`+escaped+`:`+jsonValue+"}"),
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				err := malformed(t, []byte(body))
				assert.ErrorContains(t, err, name+" is given twice")
			})
		}
	}
	// Empty both times, for the field that may be empty.
	assertMalformed(t, []byte(edit(t, pushXML, keyElement, "<EventKey></EventKey><EventKey></EventKey>")))
	assertMalformed(t, []byte(edit(t, pushJSON, `"EventKey":"1000"`, `"EventKey":"","EventKey":""`)))
}

func TestCreateTimeIsOneToElevenDigits(t *testing.T) {
	for _, tt := range []struct {
		text string
		want int64
		json bool // is a number in JSON too
	}{
		{"0", 0, true},
		{"9", 9, true},
		{"1389684184", 1389684184, true},
		{"99999999999", 99999999999, true},
		{"00000000007", 7, false},
	} {
		e := mustParse(t, edit(t, pushXML, timeElement, "<CreateTime>"+tt.text+"</CreateTime>"))
		assert.Equal(t, tt.want, e.CreateTime.Unix(), tt.text)
		assert.Equal(t, e, mustParse(t, edit(t, pushXML, timeElement, "<CreateTime><![CDATA["+tt.text+"]]></CreateTime>")))
		if tt.json {
			assert.Equal(t, e, mustParse(t, edit(t, pushJSON, "1389684184", tt.text)))
		}
	}
	for _, text := range []string{
		"x", "123x", "x123", "12 3", " 123", "123 ", "\n123", "+123", "-123", "1.5", "1e9", "0x10", "1_000", "１２３", "/", ":",
		"100000000000",             // 12 digits
		"000000000001",             // 12 digits too
		"18446744073709551617",     // 1 above 64 bits
		"184467440737095516160001", // the same, longer
		strings.Repeat("9", 1<<12),
	} {
		err := malformed(t, []byte(edit(t, pushXML, timeElement, "<CreateTime>"+text+"</CreateTime>")))
		assert.ErrorContains(t, err, "CreateTime", text)
		if text == strings.TrimSpace(text) { // around a number in JSON, blanks mean nothing
			assertMalformed(t, []byte(edit(t, pushJSON, "1389684184", text)))
		}
	}
	for _, value := range []string{`"1389684184"`, `""`, `null`, `true`, `[1389684184]`, `{"a":1}`, `1389684184.0`, `1389684184e0`, `-0`} {
		err := malformed(t, []byte(edit(t, pushJSON, "1389684184", value)))
		assert.ErrorContains(t, err, "CreateTime", value)
	}
}

func TestParseEventRefusesJSONValuesOfAnotherKind(t *testing.T) {
	for _, name := range []string{"ToUserName", "FromUserName", "MsgType", "Event", "EventKey", "Ticket"} {
		for _, value := range []string{"null", "7", "true", "false", "{}", `{"a":"b"}`, "[]", `["a"]`} {
			var members map[string]any
			require.NoError(t, json.Unmarshal([]byte(pushJSON), &members))
			members[name] = json.RawMessage(value)
			body, err := json.Marshal(members)
			require.NoError(t, err)
			assert.ErrorContains(t, malformed(t, body), name, value)
		}
	}
}

func TestParseEventRefusesWhatIsNoPush(t *testing.T) {
	utf16 := []byte{0xFF, 0xFE}
	for _, c := range []byte(pushXML) {
		utf16 = append(utf16, c, 0)
	}
	for _, tt := range []struct{ name, body string }{
		{"nothing", ""},
		{"blanks", " \r\n\t"},
		{"text", "success"},
		{"a form", "signature=abc&echostr=1"},
		{"an HTML page", "<!DOCTYPE html><html><body>502</body></html>"},
		{"NUL bytes", "\x00\x00\x00"},

		{"a declaration alone", `<?xml version="1.0"?>`},
		{"a comment alone", "<!-- a -->"},
		{"an empty root", "<xml></xml>"},
		{"a root that closes itself", "<xml/>"},
		{"a start tag alone", "<xml>"},
		{"an end tag alone", "</xml>"},
		{"fields without the root's start tag", edit(t, pushXML, "<xml>", "")},
		{"fields without the root's end tag", edit(t, pushXML, "</xml>", "")},
		{"fields without a root", edit(t, edit(t, pushXML, "<xml>", ""), "</xml>", "")},
		{"another root", strings.NewReplacer("<xml>", "<message>", "</xml>", "</message>").Replace(pushXML)},
		{"a root in upper case", strings.NewReplacer("<xml>", "<XML>", "</xml>", "</XML>").Replace(pushXML)},
		{"a root around the root", "<xml>" + pushXML + "</xml>"},
		{"a root around the root, of another name", "<a>" + pushXML + "</a>"},
		{"another end tag", edit(t, pushXML, "</xml>", "</xm>")},
		{"a field with another end tag", edit(t, pushXML, "</EventKey>", "</EventKez>")},
		{"a field with a shorter end tag", edit(t, pushXML, "</EventKey>", "</EventKe>")},
		{"a field with a longer end tag", edit(t, pushXML, "</EventKey>", "</EventKeys>")},
		{"a field with another prefix at its end", edit(t, pushXML, keyElement, "<a:EventKey>1</b:EventKey>")},
		{"end tags in the wrong order", edit(t, pushXML, "</Ticket></xml>", "</xml></Ticket>")},
		{"a start tag without its bracket", edit(t, pushXML, "<EventKey>", "(EventKey>")},
		{"an end tag without its bracket", edit(t, pushXML, "</EventKey>", "(/EventKey>")},
		{"an end tag without its slash", edit(t, pushXML, "</EventKey>", "<EventKey>")},
		{"an end tag without its end", edit(t, pushXML, "</EventKey>", "</EventKey")},
		{"an end tag with another end", edit(t, pushXML, "</EventKey>", "</EventKey)")},
		{"an end tag without a name", edit(t, pushXML, "</EventKey>", "</>")},
		{"a start tag without its end", edit(t, pushXML, "<EventKey>", "<EventKey")},
		{"a start tag with another end", edit(t, pushXML, "<EventKey>", "<EventKey)")},
		{"a tag without a name", edit(t, pushXML, keyElement, "<>1000</>")},
		{"an attribute without a value", edit(t, pushXML, keyElement, "<EventKey a>1000</EventKey>")},
		{"an attribute without quotes", edit(t, pushXML, keyElement, "<EventKey a=b>1000</EventKey>")},

		{"text before the root", "x" + pushXML},
		{"text after the root", pushXML + "x"},
		{"text after the root and a line end", pushXML + "\r\nx"},
		{"a NUL after the root", pushXML + "\x00"},
		{"text before a root with a comment", "x<!---->" + pushXML},
		{"text after a root with a comment", "<!---->" + pushXML + "x"},
		{"CDATA after the root", pushXML + "<![CDATA[x]]>"},
		{"a no-break space after the root", pushXML + "\u00A0"},
		{"a second root", pushXML + pushXML},
		{"a second root after a line end", pushXML + "\n" + pushXML},
		{"a second, empty root", pushXML + "<xml/>"},
		{"a second root of another name", pushXML + "<a></a>"},
		{"a first root of another name", "<a></a>" + pushXML},
		{"a second end tag", pushXML + "</xml>"},
		{"half a tag after the root", pushXML + "<"},
		{"half a comment after the root", pushXML + "<!-- a"},
		{"JSON after the root", pushXML + pushJSON},

		{"a DTD", "<!DOCTYPE xml>" + pushXML},
		{"a DTD after a declaration", `<?xml version="1.0"?><!DOCTYPE xml SYSTEM "http://example.com/evil.dtd">` + pushXML},
		{"a DTD in the root", edit(t, pushXML, keyElement, "<!DOCTYPE xml>"+keyElement)},
		{"a DTD in a field", edit(t, pushXML, keyElement, "<EventKey><!ELEMENT a ANY>1000</EventKey>")},
		{"a DTD after the root", pushXML + "<!DOCTYPE xml>"},
		{"an external entity", `<!DOCTYPE xml [<!ENTITY e SYSTEM "file:///etc/passwd">]>` + edit(t, pushXML, keyElement, "<EventKey>&e;</EventKey>")},
		{"an entity that nobody declared", edit(t, pushXML, keyElement, "<EventKey>&nbsp;</EventKey>")},
		{"a bare ampersand", edit(t, pushXML, keyElement, "<EventKey>a=1&b=2</EventKey>")},
		{"an ampersand at the end", edit(t, pushXML, keyElement, "<EventKey>a&</EventKey>")},
		{"a character whose number is none of XML's", edit(t, pushXML, keyElement, "<EventKey>&#0;</EventKey>")},
		{"a bare left angle bracket", edit(t, pushXML, keyElement, "<EventKey>a<1</EventKey>")},
		{"the end of CDATA in bare text", edit(t, pushXML, keyElement, "<EventKey>a]]>b</EventKey>")},
		{"CDATA that never ends", edit(t, pushXML, keyElement, "<EventKey><![CDATA[1000</EventKey>")},
		{"CDATA that ends too early", edit(t, pushXML, keyElement, "<EventKey><![CDATA[10]]>00]]></EventKey>")},
		{"CDATA that ends in one bracket", edit(t, pushXML, keyElement, "<EventKey><![CDATA[1000]></EventKey>")},
		{"CDATA in lower case", edit(t, pushXML, keyElement, "<EventKey><![cdata[1000]]></EventKey>")},
		{"a comment with two hyphens", edit(t, pushXML, keyElement, keyElement+"<!-- a -- b -->")},
		{"another encoding", `<?xml version="1.0" encoding="GBK"?>` + pushXML},
		{"another version", `<?xml version="1.1"?>` + pushXML},
		{"UTF-16", string(utf16)},
		{"a byte order mark", "\uFEFF" + pushXML},

		{"a NUL in a text", edit(t, pushXML, "1000", "10\x0000")},
		{"a control character in CDATA", edit(t, pushXML, "1000", "10\x0100")},
		{"a control character in bare text", edit(t, pushXML, keyElement, "<EventKey>10\x1f00</EventKey>")},
		{"an escape character in an unknown element", edit(t, pushXML, keyElement, "<Foo>\x1b</Foo>")},
		{"U+FFFE", edit(t, pushXML, "1000", "10\uFFFE00")},
		{"U+FFFF", edit(t, pushXML, "1000", "10\uFFFF00")},
		{"U+FFFF in an unknown element", edit(t, pushXML, keyElement, "<Foo>\uFFFF</Foo>")},

		{"invalid UTF-8 in CDATA", edit(t, pushXML, "1000", "10\xff00")},
		{"invalid UTF-8 in bare text", edit(t, pushXML, keyElement, "<EventKey>\xc3</EventKey>")},
		{"invalid UTF-8 in an unknown element", edit(t, pushXML, keyElement, "<Foo>\xed\xa0\x80</Foo>")},
		{"invalid UTF-8 in a comment", edit(t, pushXML, keyElement, keyElement+"<!-- \xff -->")},
		{"invalid UTF-8 in a comment before the root", "<!-- \xff -->" + pushXML},
		{"invalid UTF-8 in a name", edit(t, pushXML, keyElement, "<a\xff>1</a\xff>")},
		{"invalid UTF-8 in an attribute", edit(t, pushXML, keyElement, "<EventKey a='\xff'>1000</EventKey>")},
		{"invalid UTF-8 in a processing instruction", "<?a \xff?>" + pushXML},
		{"invalid UTF-8 among the elements", edit(t, pushXML, keyElement, "\xff"+keyElement)},
		{"invalid UTF-8 after the root", pushXML + "\xff"},
		{"invalid UTF-8 in JSON", edit(t, pushJSON, "1000", "\xff")},
		{"invalid UTF-8 in a name in JSON", edit(t, pushJSON, `"Ticket"`, "\"\xff\":1,\"Ticket\"")},

		{"Encrypt alone", "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><Encrypt><![CDATA[+qdx1OKC]]></Encrypt></xml>"},
		{"Encrypt alone in JSON", `{"ToUserName":"gh_1","Encrypt":"+qdx1OKC"}`},

		{"an empty object", "{}"},
		{"an object in a list", "[" + pushJSON + "]"},
		{"a JSON text", `"` + "a" + `"`},
		{"a JSON number", "7"},
		{"null", "null"},
		{"JSON with a second value", pushJSON + pushJSON},
		{"JSON with a second value after a line end", pushJSON + "\n{}"},
		{"JSON with text after it", pushJSON + "x"},
		{"JSON with a bracket after it", pushJSON + "}"},
		{"JSON with a NUL after it", pushJSON + "\x00"},
		{"JSON with XML after it", pushJSON + pushXML},
		{"JSON after a byte order mark", "\uFEFF" + pushJSON},
		{"JSON with a comma too many", edit(t, pushJSON, "}", ",}")},
		{"JSON with a comma too few", edit(t, pushJSON, `,"Ticket"`, `"Ticket"`)},
		{"JSON with a comment", edit(t, pushJSON, `"Ticket"`, `/* a */"Ticket"`)},
		{"JSON in single quotes", strings.ReplaceAll(pushJSON, `"`, `'`)},
		{"JSON with bare names", edit(t, pushJSON, `"Ticket"`, `Ticket`)},
		{"JSON with a bare line break in a text", edit(t, pushJSON, "1000", "10\n00")},
		{"JSON with an escape that is none", edit(t, pushJSON, "1000", `\x`)},
		{"JSON broken inside of an unknown member", edit(t, pushJSON, `"Ticket"`, `"a":[1,],"Ticket"`)},
		{"the file of fixtures, which is no push", string(readFixture(t, "push.json"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assertMalformed(t, []byte(tt.body))
		})
	}
}

func assertMalformed(t *testing.T, body []byte) {
	t.Helper()
	_ = malformed(t, body)
}

// malformed expects body to be refused whole, in a short error on one line, and
// returns that.
func malformed(t *testing.T, body []byte) error {
	t.Helper()
	e, err := wxqrcode.ParseEvent(body)
	assert.Nil(t, e, "an event and an error, or no error, from %.300q", body)
	if assert.ErrorIs(t, err, wxqrcode.ErrMalformedEvent, "%.300q", body) {
		assert.Equal(t, []string{"ErrMalformedEvent"}, matched(err))
		assert.Regexp(t, `^wxqrcode: malformed event: [^\n]`, err.Error())
		assert.NotContains(t, err.Error(), "\n")
		assert.Less(t, len(err.Error()), 500)
		assert.True(t, utf8.ValidString(err.Error()))
	}
	return err
}

func TestParseEventSaysWhatIsWrong(t *testing.T) {
	const missing = "missing (a push with Encrypt must be opened first)"
	for _, tt := range []struct{ name, body, says string }{
		{"a sealed push", "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><Encrypt><![CDATA[+qdx1OKC]]></Encrypt></xml>", "FromUserName is " + missing},
		{"a sealed push in JSON", `{"ToUserName":"gh_1","Encrypt":"+qdx1OKC"}`, "FromUserName is " + missing},
		{"nothing", "", "EOF"},
		{"invalid UTF-8", "<!-- \xff -->" + pushXML, "invalid UTF-8"},
		{"a DTD", "<!DOCTYPE xml>" + pushXML, "a DTD, which no push has"},
		{"deep nesting", "<xml>" + strings.Repeat("<a>", 64), "elements nested deeper than 64"},
		{"another root", "<html></html>", "not one root element named xml"},
		{"a second root", pushXML + pushXML, "not one root element named xml"},
		{"text after the root", pushXML + "x", "text outside the root element"},
		{"XML that ends early", "<xml><a>", "XML syntax error on line 1: unexpected EOF"},
		{"JSON that ends early", `{"a":`, "broken JSON"},
		{"a number for a text", edit(t, pushJSON, `"1000"`, "1000"), "EventKey is no string"},
		{"a field twice", edit(t, pushXML, keyElement, keyElement+keyElement), "EventKey is given twice"},
		{"a time in words", edit(t, pushXML, "1389684184", "no\n\"time\""), `CreateTime "no \"time\"" is not a number of 1 to 11 digits`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.EqualError(t, malformed(t, []byte(tt.body)), "wxqrcode: malformed event: "+tt.says)
		})
	}
}

func TestParseEventRefusesATruncationAtEveryByte(t *testing.T) {
	plain, opened := jsonPushes(t)
	for name, body := range map[string][]byte{
		"subscribe.xml":               readFixture(t, "subscribe.xml"),
		"scan.xml":                    readFixture(t, "scan.xml"),
		"subscribe_after_payment.xml": readFixture(t, "subscribe_after_payment.xml"),
		"unsubscribe.xml":             readFixture(t, "unsubscribe.xml"),
		"plain JSON":                  plain,
		"opened JSON":                 opened,
		"XML that is not WeChat's":    []byte("<?xml version='1.0'?>\r\n<xml a='b'>" + strings.TrimPrefix(pushXML, "<xml>") + "<!-- a -->\r\n"),
		"JSON with blanks":            []byte("\n" + pushJSON + "\r\n\t "),
	} {
		t.Run(name, func(t *testing.T) {
			want := mustParse(t, string(body))
			whole := len(bytes.TrimRight(body, " \t\r\n"))
			if bytes.HasSuffix(body, []byte("-->\r\n")) {
				whole = bytes.Index(body, []byte("</xml>")) + len("</xml>")
			}
			for n := range body {
				cut := bytes.Clone(body[:n])
				if n < whole {
					assertMalformed(t, cut)
					continue
				}
				if tail := cut[whole:]; bytes.ContainsAny(tail, "<") && !bytes.Contains(tail, []byte("-->")) {
					assertMalformed(t, cut) // half a comment
					continue
				}
				assert.Equal(t, want, mustParse(t, string(cut)), "white space cut off at byte %d", n)
			}
		})
	}
}

func TestParseEventTakesMemoryByTheSizeOfTheInput(t *testing.T) {
	const (
		mib  = 1 << 20
		some = 1 << 17 // for what is read to its end
	)
	fill := func(size int, pattern string) string { return strings.Repeat(pattern, size/len(pattern)) }
	bomb := `<!DOCTYPE xml [<!ENTITY a0 "ha">`
	for i := range 30 {
		bomb += fmt.Sprintf(`<!ENTITY a%d "&a%d;&a%d;">`, i+1, i, i)
	}
	bomb += "]>" + edit(t, pushXML, keyElement, "<EventKey>&a30;</EventKey>")
	for _, tt := range []struct {
		name, body string
		whole      bool
		limit      uint64 // bytes allocated in all
	}{
		{"an entity bomb", bomb, false, 1 << 16},
		{"start tags", fill(mib, "<a>"), false, 2 * mib},
		{"start tags in a root", "<xml>" + fill(mib, "<a>"), false, 2 * mib},
		{"roots in roots", fill(mib, "<xml>"), false, 2 * mib},
		{"nested elements", "<xml>" + fill(mib/2, "<a>") + fill(mib/2, "</a>") + "</xml>", false, 2 * mib},
		{"nested elements in a whole push", edit(t, pushXML, keyElement, fill(mib/2, "<a>")+fill(mib/2, "</a>")+keyElement), false, 2 * mib},
		{"start tags after a whole push", pushXML + fill(mib, "<a>"), false, 2 * mib},
		{"lists in JSON", `{"a":` + fill(mib, "["), false, 4 * mib},
		{"objects in JSON", fill(mib, `{"a":`), false, 4 * mib},
		{"nested lists in a whole push of JSON", edit(t, pushJSON, `"Ticket"`, `"a":`+fill(mib/2, "[")+fill(mib/2, "]")+`,"Ticket"`), false, 4 * mib},

		{"comments in comments", fill(some, "<!--"), false, 32 * some},
		{"one name", "<" + fill(some, "a"), false, 32 * some},
		{"one name in a root", "<xml><" + fill(some, "a") + "></xml>", false, 32 * some},
		{"a DTD", "<!DOCTYPE " + fill(some, "a"), false, 32 * some},
		{"attributes", "<xml " + fill(some, "a='' ") + ">", false, 128 * some},
		{"digits", edit(t, pushXML, "1389684184", fill(some, "1")), false, 32 * some},
		{"digits in JSON", edit(t, pushJSON, "1389684184", fill(some, "1")), false, 32 * some},
		{"text in a field", edit(t, pushXML, "1000", fill(some, "1")), true, 2 * some},
		{"text in a field after a comment", "<!---->" + edit(t, pushXML, "1000", fill(some, "1")), true, 32 * some},
		{"unknown elements", edit(t, pushXML, keyElement, fill(some, "<a></a>")+keyElement), true, 2 * some},
		{"unknown elements that close themselves", edit(t, pushXML, keyElement, fill(some, "<a/>")+keyElement), true, 128 * some},
		{"text in JSON", edit(t, pushJSON, "1000", fill(some, "1")), true, 32 * some},
		{"unknown members in JSON", edit(t, pushJSON, `"Ticket"`, fill(some, `"a":1,`)+`"Ticket"`), true, 128 * some},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := []byte(tt.body)
			var e *wxqrcode.Event
			var err error
			taken := allocated(func() { e, err = wxqrcode.ParseEvent(body) })
			assert.Less(t, taken, tt.limit)
			if tt.whole {
				assert.NoError(t, err)
				return
			}
			assert.Nil(t, e)
			require.ErrorIs(t, err, wxqrcode.ErrMalformedEvent)
			assert.Less(t, len(err.Error()), 500)
		})
	}
}

// allocated returns how many bytes f allocates in all, garbage included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestParseEventTakesElementsNestedToALimit(t *testing.T) {
	nest := func(levels int) string { // in all, the root and the innermost included
		return edit(t, pushXML, keyElement, strings.Repeat("<a>", levels-1)+strings.Repeat("</a>", levels-1)+keyElement)
	}
	for _, levels := range []int{2, 3, 6, 64} {
		assert.Equal(t, pushed, *mustParse(t, nest(levels)))
	}
	assertMalformed(t, []byte(nest(65)))
}

func TestParseEventMakesTwoAllocationsForWhatWeChatSends(t *testing.T) {
	bodies := map[string][]byte{
		"a text of two lines": []byte(edit(t, edit(t, pushXML, "[event]", "[text]"), keyElement, "<Content><![CDATA[two lines,\n\t测试]]></Content>")),
		"every letter":        []byte(edit(t, pushXML, keyElement, "<azAZ>~</azAZ>")),
		"bare text":           []byte(strings.NewReplacer("<![CDATA[", "", "]]>", "").Replace(pushXML)),
		"spread over lines":   []byte("\n\t " + strings.NewReplacer("></", "></", "><!", "><!", "><", ">\n\t <").Replace(pushXML) + "\n\t "),
	}
	for _, name := range []string{"subscribe.xml", "scan.xml", "subscribe_after_payment.xml", "unsubscribe.xml"} {
		bodies[name] = readFixture(t, name)
	}
	for name, body := range bodies {
		allocations := testing.AllocsPerRun(100, func() {
			if _, err := wxqrcode.ParseEvent(body); err != nil {
				t.Error(err)
			}
		})
		assert.LessOrEqual(t, allocations, 2.0, name)
	}
}

func TestParseEventLeavesTheBodyAlone(t *testing.T) {
	for _, push := range []string{pushXML, "<!---->" + pushXML, pushJSON} {
		body := []byte(push)
		e, err := wxqrcode.ParseEvent(body)
		require.NoError(t, err)
		assert.Equal(t, push, string(body))
		clear(body)
		assert.Equal(t, pushed, *e, "the event changes with the caller's buffer")
	}
}

func TestEventScene(t *testing.T) {
	for _, tt := range []struct {
		name      string
		eventType wxqrcode.EventType
		key       string
		scene     string
		ok        bool
	}{
		{"a follow strips the prefix", "subscribe", "qrscene_shop7", "shop7", true},
		{"a follow strips one prefix", "subscribe", "qrscene_qrscene_x", "qrscene_x", true},
		{"a follow with a number", "subscribe", "qrscene_123", "123", true},
		{"a follow with a scene of a blank", "subscribe", "qrscene_ ", " ", true},
		{"a follow with a scene that looks like a payment", "subscribe", "qrscene_last_trade_no_1", "last_trade_no_1", true},
		{"a follow with nothing behind the prefix", "subscribe", "qrscene_", "", false},
		{"a follow with half the prefix", "subscribe", "qrscene", "", false},
		{"a follow with the prefix in the middle", "subscribe", "a_qrscene_1", "", false},
		{"a follow with the prefix in upper case", "subscribe", "QRSCENE_1", "", false},
		{"a follow without a prefix", "subscribe", "shop7", "", false},
		{"a follow with a number and no prefix", "subscribe", "1000", "", false},
		{"a follow without a key", "subscribe", "", "", false},
		{"a follow after a payment", "subscribe", "last_trade_no_4002752001201704258347703919", "", false},
		{"a scan", "SCAN", "shop7", "shop7", true},
		{"a scan strips nothing", "SCAN", "qrscene_shop7", "qrscene_shop7", true},
		{"a scan of what looks like a payment", "SCAN", "last_trade_no_1", "last_trade_no_1", true},
		{"a scan without a key", "SCAN", "", "", false},
		{"the end of a follow", "unsubscribe", "qrscene_1", "", false},
		{"the end of a follow after a payment", "unsubscribe", "last_trade_no_1", "", false},
		{"a click", "CLICK", "qrscene_1", "", false},
		{"a scan by a menu", "scancode_push", "1", "", false},
		{"a scan in lower case", "scan", "1", "", false},
		{"a follow in upper case", "SUBSCRIBE", "qrscene_1", "", false},
		{"no event", "", "qrscene_1", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &wxqrcode.Event{Type: tt.eventType, EventKey: tt.key}
			scene, ok := e.Scene()
			assert.Equal(t, tt.ok, ok)
			assert.Equal(t, tt.scene, scene)
			if !tt.ok {
				_, isID := e.SceneID()
				assert.False(t, isID, "a number and yet no scene")
			}
		})
	}
}

func TestEventSceneIsTheKeyOfTheSceneThatWasMade(t *testing.T) {
	for _, s := range []wxqrcode.Scene{
		wxqrcode.SceneID(1), wxqrcode.SceneID(4294967295), wxqrcode.SceneStr("qrscene_a"), wxqrcode.SceneStr("测试"), wxqrcode.RandomScene("login_"),
	} {
		for _, e := range []wxqrcode.Event{
			{Type: wxqrcode.EventSubscribe, EventKey: "qrscene_" + s.Key()},
			{Type: wxqrcode.EventScan, EventKey: s.Key()},
		} {
			key, ok := e.Scene()
			assert.True(t, ok)
			assert.Equal(t, s.Key(), key)
			id, isID := e.SceneID()
			wantID, wantIsID := s.ID()
			assert.Equal(t, wantIsID, isID)
			assert.Equal(t, wantID, id)
		}
	}
}

func TestEventSceneID(t *testing.T) {
	for _, tt := range []struct {
		key string
		id  uint32
		ok  bool
	}{
		{"1", 1, true},
		{"9", 9, true},
		{"10", 10, true},
		{"123", 123, true},
		{"100001", 100001, true},
		{"4294967295", 4294967295, true},
		{"4294967296", 0, false},
		{"18446744073709551617", 0, false},
		{"99999999999999999999999", 0, false},
		{"0", 0, false},
		{"00", 0, false},
		{"007", 0, false},
		{"+1", 0, false},
		{"-1", 0, false},
		{" 1", 0, false},
		{"1 ", 0, false},
		{"1_000", 0, false},
		{"0x10", 0, false},
		{"1e3", 0, false},
		{"1.0", 0, false},
		{"１", 0, false},
		{"shop7", 0, false},
		{"qrscene_qrscene_1", 0, false},
		{"", 0, false},
	} {
		t.Run(fmt.Sprintf("%q", tt.key), func(t *testing.T) {
			for _, e := range []wxqrcode.Event{
				{Type: wxqrcode.EventSubscribe, EventKey: "qrscene_" + tt.key},
				{Type: wxqrcode.EventScan, EventKey: tt.key},
			} {
				id, ok := e.SceneID()
				assert.Equal(t, tt.ok, ok, e.Type)
				assert.Equal(t, tt.id, id, e.Type)
			}
			e := wxqrcode.Event{Type: "CLICK", EventKey: tt.key}
			_, ok := e.SceneID()
			assert.False(t, ok, "a click has no scene")
		})
	}
}

func TestDedupKeyIsTheSameForARepeatedPush(t *testing.T) {
	for _, name := range []string{"subscribe.xml", "scan.xml", "subscribe_after_payment.xml", "unsubscribe.xml"} {
		body := string(readFixture(t, name))
		key := mustParse(t, body).DedupKey()
		assert.Equal(t, key, mustParse(t, body).DedupKey())
		assert.Equal(t, key, mustParse(t, "<!-- written differently -->"+body).DedupKey())
	}
	assert.Equal(t, mustParse(t, pushXML).DedupKey(), mustParse(t, pushJSON).DedupKey())

	e := pushed
	e.CreateTime = e.CreateTime.In(time.FixedZone("UTC+8", 8*60*60))
	assert.Equal(t, pushed.DedupKey(), e.DedupKey(), "the zone is no part of the time")
	e.Ticket, e.MsgType = "", "other"
	assert.Equal(t, pushed.DedupKey(), e.DedupKey(), "some pushes lack the ticket")
}

func TestDedupKeyDiffersInEachOfFiveFields(t *testing.T) {
	keys := map[string]string{pushed.DedupKey(): "the event"}
	for name, change := range map[string]func(*wxqrcode.Event){
		"ToUserName": func(e *wxqrcode.Event) { e.ToUserName = "gh_2" },
		"OpenID":     func(e *wxqrcode.Event) { e.OpenID = "oOther" },
		"CreateTime": func(e *wxqrcode.Event) { e.CreateTime = e.CreateTime.Add(time.Second) },
		"Type":       func(e *wxqrcode.Event) { e.Type = wxqrcode.EventSubscribe },
		"EventKey":   func(e *wxqrcode.Event) { e.EventKey = "1001" },

		"fields that are exchanged":         func(e *wxqrcode.Event) { e.ToUserName, e.OpenID = e.OpenID, e.ToUserName },
		"an end that runs into a beginning": func(e *wxqrcode.Event) { e.ToUserName, e.OpenID = "gh_1o", "User" },
		"a beginning that runs into an end": func(e *wxqrcode.Event) { e.Type, e.EventKey = "SCAN1", "000" },
		"a field that moved":                func(e *wxqrcode.Event) { e.Type, e.EventKey = "", "SCAN1000" },
		"the next field moved in":           func(e *wxqrcode.Event) { e.Type, e.EventKey = "SCAN1000", "" },
		"a time that moved":                 func(e *wxqrcode.Event) { e.OpenID, e.CreateTime = "oUser1", time.Unix(389684184, 0) },
		"lengths in a field":                func(e *wxqrcode.Event) { e.Type, e.EventKey = "SCAN4:1000", "" },
		"a separator in a field":            func(e *wxqrcode.Event) { e.Type, e.EventKey = "SCAN\x00", "1000" },
	} {
		e := pushed
		change(&e)
		other, taken := keys[e.DedupKey()]
		assert.False(t, taken, "%s has the key of %s", name, other)
		keys[e.DedupKey()] = name
	}
}

func TestDedupKeyIsAHashThatShowsNoOpenID(t *testing.T) {
	key := pushed.DedupKey()
	assert.Regexp(t, `^[0-9a-f]{32,}$`, key)
	assert.NotContains(t, key, "oUser")
	assert.NotContains(t, key, fmt.Sprintf("%x", "oUser"), "hex is no hash")

	long := pushed
	long.OpenID = strings.Repeat("o", 10_000)
	assert.Len(t, long.DedupKey(), len(key))
}

func TestAJSONPushHoldsNothingThatAnXMLPushCannot(t *testing.T) {
	for name, key := range map[string]string{
		"half a surrogate pair":                    `\ud800`,
		"the other half":                           `a\udc00b`,
		"half a pair beside a real U+FFFD":         "\uFFFD\\ud800",
		"NUL":                                      `\u0000`,
		"the highest control character":            `\u001f`,
		"a noncharacter":                           `\ufffe`,
		"the other noncharacter":                   `\uffff`,
		"a noncharacter that is not escaped":       "\uFFFE",
		"an escaped U+FFFD, which looks like half": `\ufffd`,
	} {
		t.Run(name, func(t *testing.T) {
			assertMalformed(t, []byte(edit(t, pushJSON, "1000", key)))
		})
	}
	for name, key := range map[string]string{
		"a blank":              ` `,
		"tab and line ends":    `\t\n\r`,
		"a whole pair":         `\ud83d\ude00`,
		"a real U+FFFD":        "\uFFFD",
		"DEL, which XML takes": "\x7f",
		"U+FFFC":               `\ufffc`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wxqrcode.ParseEvent([]byte(edit(t, pushJSON, "1000", key)))
			require.NoError(t, err)
		})
	}
}
