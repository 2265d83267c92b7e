package message_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/internal/message"
)

const (
	header = "<xml><ToUserName><![CDATA[gh_1]]></ToUserName>\n<FromUserName><![CDATA[oUser]]></FromUserName>\n<CreateTime>1389684184</CreateTime>\n"
	scan   = header + "<MsgType><![CDATA[event]]></MsgType>\n<Event><![CDATA[SCAN]]></Event>\n<EventKey><![CDATA[1000]]></EventKey>\n<Ticket><![CDATA[gQHi]]></Ticket>\n</xml>"
	text   = header + "<MsgType><![CDATA[text]]></MsgType>\n<Content><![CDATA[hello]]></Content>\n<MsgId>1</MsgId>\n</xml>"

	scanJSON = `{"ToUserName":"gh_1","FromUserName":"oUser","CreateTime":1389684184,"MsgType":"event","Event":"SCAN","EventKey":"1000","Ticket":"gQHi"}`
)

var (
	scanned = message.Push{ToUserName: "gh_1", FromUserName: "oUser", CreateTime: "1389684184", MsgType: "event", Event: "SCAN", EventKey: "1000", Ticket: "gQHi"}
	texted  = message.Push{ToUserName: "gh_1", FromUserName: "oUser", CreateTime: "1389684184", MsgType: "text"}
)

// edit replaces old, which must occur once in s.
func edit(t testing.TB, s, old, replacement string) string {
	t.Helper()
	require.Equal(t, 1, strings.Count(s, old), "%s in %s", old, s)
	return strings.Replace(s, old, replacement, 1)
}

func TestParsePush_Scan(t *testing.T) {
	const keyElement = "<EventKey><![CDATA[1000]]></EventKey>"
	withKey := func(element string) string { return edit(t, scan, keyElement, element) }
	for _, tt := range []struct{ name, body, key string }{
		{"a push of WeChat", scan, "1000"},
		{"JSON", scanJSON, "1000"},
		{"another case of the event", edit(t, scan, "SCAN", "scan"), "1000"},
		{"a declaration", `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + scan, "1000"},
		{"a BOM", "\uFEFF" + scan, "1000"},
		{"a BOM before JSON", "\uFEFF" + scanJSON, "1000"},
		{"CRLF", strings.ReplaceAll(scan, "\n", "\r\n"), "1000"},
		{"pretty-printed", strings.ReplaceAll(scan, "\n", "\n\t "), "1000"},
		{"white space around it", " \r\n" + scan + "\n\t", "1000"},
		{"white space around CDATA", edit(t, scan, "<![CDATA[event]]>", " \n<![CDATA[event]]>\t"), "1000"},
		{"white space in tags", withKey("<EventKey >1000</EventKey\n>"), "1000"},
		{"bare text", withKey("<EventKey>1000</EventKey>"), "1000"},
		{"white space in bare text", withKey("<EventKey> 1 </EventKey>"), " 1 "},
		{"entities", withKey("<EventKey>&lt;&#x6d4b;&#35797;&amp;&quot;&apos;&gt;</EventKey>"), "<测试&\"'>"},
		{"the first and last numbers", withKey("<EventKey>&#xD7FF;&#xE000;&#x10FFFF;</EventKey>"), "\uD7FF\uE000\U0010FFFF"},
		{"an escaped carriage return", withKey("<EventKey>1&#13;\r\n2\r3</EventKey>"), "1\r\n2\n3"},
		{"no entities in CDATA", withKey("<EventKey><![CDATA[a&amp;b]]></EventKey>"), "a&amp;b"},
		{"empty", withKey("<EventKey></EventKey>"), ""},
		{"an empty-element tag", withKey("<EventKey/>"), ""},
		{"absent", withKey(""), ""},
		{"]]> split", withKey("<EventKey><![CDATA[a]]]]><![CDATA[>b]]></EventKey>"), "a]]>b"},
		{"]]> unsplit", withKey("<EventKey><![CDATA[a]]>b]]></EventKey>"), "a]]>b"},
		{"]]> unsplit at the end", withKey("<EventKey><![CDATA[a]]>]]></EventKey>"), "a]]>"},
		{"another end tag in CDATA", withKey("<EventKey><![CDATA[</EventKey></xml>]]></EventKey>"), "</EventKey></xml>"},
		{"brackets in CDATA", withKey("<EventKey><![CDATA[a]]]]]></EventKey>"), "a]]]"},
		{"an unknown element", withKey("<a>1</a><a/>" + keyElement), "1000"},
		{"nested elements", withKey("<a>\n<b><EventKey>2</EventKey></b><b/> </a>" + keyElement), "1000"},
		{"64 levels", withKey(strings.Repeat("<a>", 63) + strings.Repeat("</a>", 63) + keyElement), "1000"},
		{"fields in another order", edit(t, edit(t, scan, keyElement, ""), "<xml>", "<xml>"+keyElement), "1000"},
		{"names in another case are unknown", withKey("<eventkey>2</eventkey><EVENT>3</EVENT>" + keyElement), "1000"},
		{"JSON in another order, with a string of digits", `{"EventKey":"1000","Ticket":"gQHi","Event":"SCAN","MsgType":"event","CreateTime":"1389684184","FromUserName":"oUser","ToUserName":"gh_1"}`, "1000"},
		{"a number in JSON", edit(t, scanJSON, `"1000"`, `123`), "123"},
		{"null in JSON", edit(t, scanJSON, `"1000"`, `null`), ""},
		{"escapes in JSON", edit(t, scanJSON, `1000`, `\u6d4b\/\"\ud83d\ude00`), `测/"😀`},
		{"unknown members", edit(t, scanJSON, `"Ticket"`, `"eventkey":1,"List":[{"EventKey":"2"}],"a":null,"a":{"Event":"x"},"Ticket"`), "1000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := scanned
			want.EventKey = tt.key
			p, err := message.ParsePush([]byte(tt.body))
			require.NoError(t, err)
			assert.Equal(t, want, p)
			assert.True(t, p.IsScan())
		})
	}
}

func TestParsePush_MalformedScan(t *testing.T) {
	const keyElement = "<EventKey><![CDATA[1000]]></EventKey>"
	withKey := func(element string) string { return edit(t, scan, keyElement, element) }
	for name, body := range map[string]string{
		"a control character":                     withKey("<EventKey><![CDATA[1\x1d]]></EventKey>"),
		"a control character in another field":    withKey("<a>\x02</a>" + keyElement),
		"a control character by its number":       withKey("<EventKey>&#1;</EventKey>"),
		"U+FFFE":                                  withKey("<EventKey><![CDATA[\uFFFE]]></EventKey>"),
		"invalid UTF-8":                           withKey("<EventKey><![CDATA[\xe6\xb5]]></EventKey>"),
		"an unknown entity":                       withKey("<EventKey>&nbsp;</EventKey>"),
		"an entity without an end":                withKey("<EventKey>a & b</EventKey>"),
		"an unknown entity in an unknown element": withKey("<a>&nbsp;</a>" + keyElement),
		"a low surrogate by its number":           withKey("<EventKey>&#xDFFF;</EventKey>"),
		"a number beyond Unicode":                 withKey("<EventKey>&#x110000;</EventKey>"),
		"a high surrogate by its number":          withKey("<EventKey>&#xD800;</EventKey>"),
		"a repeated field":                        withKey(keyElement + keyElement),
		"a repeated Event":                        withKey("<Event>subscribe</Event>"),
		"a DTD":                                   "<!DOCTYPE xml>" + scan,
		"a comment":                               withKey("<!-- -->" + keyElement),
		"a comment in a text":                     withKey("<EventKey>1<!-- -->2</EventKey>"),
		"a processing instruction":                withKey("<?php ?>" + keyElement),
		"a declaration that does not end":         "<?xml version=" + scan[:9],
		"an attribute":                            withKey("<EventKey a='1'>1000</EventKey>"),
		"an attribute of the root":                edit(t, scan, "<xml>", "<xml a='1'>"),
		"a colon":                                 withKey("<wx:EventKey>1000</wx:EventKey>"),
		"text between elements":                   withKey("x" + keyElement),
		"text before CDATA":                       withKey("<EventKey>x<![CDATA[1000]]></EventKey>"),
		"text before an element":                  withKey("<EventKey>1<b/></EventKey>"),
		"elements instead of a text":              withKey("<EventKey><b>1</b></EventKey>"),
		"]]> in a bare text":                      withKey("<EventKey>a]]>b</EventKey>"),
		"a second root":                           scan + scan,
		"text after the root":                     scan + "x",
		"another root":                            "<a>" + scan + "</a>",
		"no end":                                  strings.TrimSuffix(scan, "</xml>"),
		"an end tag of another element":           withKey("<EventKey>1</Ticket>"),
		"65 levels":                               withKey(strings.Repeat("<a>", 64) + strings.Repeat("</a>", 64) + keyElement),
		"13 digits":                               edit(t, scan, "1389684184", "1389684184000"),
		"a sign":                                  edit(t, scan, "1389684184", "+138968418"),
		"an empty CreateTime":                     edit(t, scan, "1389684184", ""),
		"an empty ToUserName":                     edit(t, scan, "gh_1", ""),
		"an empty FromUserName":                   edit(t, scan, "[oUser]", "[]"),
		"InfoType too":                            edit(t, scan, keyElement, "<InfoType>a</InfoType>"),
		"a repeated member":                       edit(t, scanJSON, `"Ticket"`, `"EventKey":"2","Ticket"`),
		"a repeated member, escaped":              edit(t, scanJSON, `"Ticket"`, `"\u0045ventKey":"2","Ticket"`),
		"an escaped control character":            edit(t, scanJSON, `1000`, `\u0001`),
		"invalid UTF-8 in JSON":                   edit(t, scanJSON, `1000`, "\xff"),
		"a fraction":                              edit(t, scanJSON, `1389684184`, `1389684184.0`),
		"a boolean":                               edit(t, scanJSON, `"1000"`, `true`),
		"an object":                               edit(t, scanJSON, `"1000"`, `{}`),
		"a number for a string":                   edit(t, scanJSON, `"gQHi"`, `7`),
		"malformed JSON":                          strings.TrimSuffix(scanJSON, "}"),
		"two objects":                             scanJSON + scanJSON,
		"an array":                                "[" + scanJSON + "]",
		"empty":                                   "",
		"an empty root":                           "<xml/>",
		"no MsgType":                              "<xml></xml>",
		"an empty object":                         "{}",
		"an envelope":                             "<xml><ToUserName>gh_1</ToUserName><Encrypt>AAAA</Encrypt></xml>",
	} {
		t.Run(name, func(t *testing.T) {
			p, err := message.ParsePush([]byte(body))
			assert.Error(t, err)
			assert.Zero(t, p)
		})
	}
}

// The header of a message that is not a scan does not depend on later fields.
func TestParsePush_HeaderDecides(t *testing.T) {
	event := func(name string) message.Push {
		p := texted
		p.MsgType, p.Event = "event", name
		return p
	}
	withContent := func(content string) string { return edit(t, text, "hello", content) }
	for _, tt := range []struct {
		name, body string
		want       message.Push
	}{
		{"a text", text, texted},
		{"]]> unsplit", withContent("a]]>b"), texted},
		{"XML with CDATA", withContent("<xml><a><![CDATA[b]]></a></xml>"), texted},
		{"the end of the message", withContent("]]></Content></xml>"), texted},
		{"a comment that does not end", withContent("<!--"), texted},
		{"control characters", withContent("\x02\x10\x14\x1d"), texted},
		{"a part of a character", withContent("\xe6\xb5"), texted},
		{"an Event", withContent("]]></Content><Event>SCAN</Event><Content><![CDATA["), texted},
		{"another MsgType", withContent("]]></Content><MsgType>event</MsgType><Event>SCAN</Event><Content><![CDATA["), texted},
		{"another FromUserName", withContent("]]></Content><FromUserName>oOther</FromUserName><Content><![CDATA["), texted},
		{"a second root", withContent("]]></Content></xml>" + scan), texted},
		{"a scan code with a control character", header + "<MsgType>event</MsgType><Event>scancode_waitmsg</Event><ScanCodeInfo><ScanResult><![CDATA[1\x1d2]]></ScanResult></ScanCodeInfo></xml>", event("scancode_waitmsg")},
		{"a location with a control character", header + "<MsgType>event</MsgType><Event>location_select</Event><SendLocationInfo><Label><![CDATA[\x14]]></Label></SendLocationInfo></xml>", event("location_select")},
		{"an event without users", "<xml><CreateTime>1</CreateTime><MsgType>event</MsgType><Event>annual_renew</Event></xml>", message.Push{CreateTime: "1", MsgType: "event", Event: "annual_renew"}},
		{"an event without a name", header + "<MsgType>event</MsgType></xml>", event("")},
		{"only MsgType", "<xml><MsgType>text</MsgType>", message.Push{MsgType: "text"}},
		{"milliseconds", edit(t, text, "1389684184", "1389684184000"), message.Push{ToUserName: "gh_1", FromUserName: "oUser", CreateTime: "1389684184000", MsgType: "text"}},
		{"the first of two FromUserName", edit(t, text, "<MsgType>", "<FromUserName>oOther</FromUserName><MsgType>"), texted},
		{"an Event before MsgType", edit(t, text, "<MsgType>", "<Event>SCAN</Event><MsgType>"), texted},
		{"a push of a third-party platform", "<xml><AppId><![CDATA[wx1]]></AppId>\n<CreateTime>1413192605</CreateTime>\n<InfoType><![CDATA[component_verify_ticket]]></InfoType>\n<ComponentVerifyTicket><![CDATA[\x01]]></ComponentVerifyTicket>\n</xml>", message.Push{CreateTime: "1413192605", InfoType: "component_verify_ticket"}},
		{"JSON", edit(t, scanJSON, `"event"`, `"text"`), texted},
		{"List as an object", edit(t, scanJSON, `"SCAN","EventKey":"1000"`, `"subscribe_msg_popup_event","List":{"TemplateId":"a"}`), event("subscribe_msg_popup_event")},
		{"List as an array", edit(t, scanJSON, `"SCAN","EventKey":"1000"`, `"subscribe_msg_popup_event","List":[{"TemplateId":"a"}]`), event("subscribe_msg_popup_event")},
		{"a repeated member", edit(t, scanJSON, `"MsgType":"event"`, `"MsgType":"text","MsgType":"event"`), texted},
		{"an EventKey that is an object", edit(t, scanJSON, `"SCAN","EventKey":"1000"`, `"CLICK","EventKey":{"a":1}`), event("CLICK")},
		{"a Ticket that is a number", edit(t, edit(t, scanJSON, `SCAN`, `card`), `"gQHi"`, `5`), event("card")},
		{"an Event that is an object", edit(t, edit(t, scanJSON, `"event"`, `"text"`), `"SCAN"`, `{"a":1}`), texted},
		{"an InfoType that is a number", edit(t, scanJSON, `"MsgType":"event"`, `"MsgType":"text","InfoType":7`), texted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := message.ParsePush([]byte(tt.body))
			require.NoError(t, err)
			assert.Equal(t, tt.want, p)
			assert.False(t, p.IsScan())
		})
	}
}

func TestPush_Created(t *testing.T) {
	for s, ok := range map[string]bool{"0": true, "1389684184": true, "99999999999": true, "100000000000": false, "": false, "-1": false, "+1": false, " 1": false, "1_0": false, "0x1": false, "１": false} {
		p := message.Push{CreateTime: s}
		got, valid := p.Created()
		assert.Equal(t, ok, valid, s)
		if ok {
			var want int64
			_, err := fmt.Sscan(s, &want)
			require.NoError(t, err)
			assert.Equal(t, time.Unix(want, 0).UTC(), got)
		}
	}
}

func TestFind_FirstField(t *testing.T) {
	const forged = "]]></Content><FromUserName>oOther</FromUserName><Content><![CDATA["
	scanCode := header + "<MsgType>event</MsgType><ScanCodeInfo>\n<ScanType><![CDATA[qrcode]]></ScanType><ScanResult><![CDATA[1\x1d]]>2]]></ScanResult></ScanCodeInfo></xml>"
	images := `{"MsgType":"event","Info":{"Count":2,"List":[{"MD5":"a"},{"MD5":"b"}],"Empty":[],"Rows":[["a"]]},"Ok":true,"Null":null}`
	for _, tt := range []struct{ name, body, path, want string }{
		{"a text", text, "Content", "hello"},
		{"a number", text, "MsgId", "1"},
		{"unsplit", edit(t, text, "hello", "a]]>b\x02"), "Content", "a]]>b\x02"},
		{"the first of two", edit(t, text, "hello", forged), "FromUserName", "oUser"},
		{"an end tag in the text ends it", edit(t, text, "hello", forged), "Content", ""},
		{"nested", scanCode, "ScanCodeInfo/ScanResult", "1\x1d]]>2"},
		{"too short a path", scanCode, "ScanCodeInfo", ""},
		{"too long a path", scanCode, "MsgType/ScanResult", ""},
		{"no such field", scanCode, "ScanCodeInfo/Other", ""},
		{"the first of a list", "<xml><L><item><K>1</K></item><item><K>2</K></item></L></xml>", "L/item/K", "1"},
		{"no path", text, "", ""},
		{"malformed before it", edit(t, text, "<MsgId>", "<a b='c'/><MsgId>"), "MsgId", ""},
		{"not a message", "hello", "Content", ""},
		{"malformed JSON behind it", `{"Content":"hello","a":`, "Content", ""},
		{"a JSON number", images, "Info/Count", "2"},
		{"a JSON array", images, "Info/List/MD5", "a"},
		{"an empty JSON array", images, "Info/Empty/MD5", ""},
		{"a JSON array of arrays", images, "Info/Rows/MD5", ""},
		{"a JSON boolean", images, "Ok", ""},
		{"JSON null", images, "Null", ""},
		{"a JSON object", images, "Info", ""},
		{"below a JSON string", images, "MsgType/a", ""},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, message.Find(tt.body, tt.path)) })
	}
}

func TestEncrypted_Envelopes(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"secure mode":                 {"<xml><ToUserName><![CDATA[gh_1]]></ToUserName>\n<Encrypt><![CDATA[a+/=]]></Encrypt>\n</xml>", "a+/="},
		"without CDATA":               {"<xml><Encrypt> a+/= </Encrypt></xml>", "a+/="},
		"white space around CDATA":    {"<xml><Encrypt>\r\n <![CDATA[a+/=]]>\n</Encrypt></xml>", "a+/="},
		"a text with another Encrypt": {"<xml><Content><![CDATA[<Encrypt>b</Encrypt>]]></Content><Encrypt><![CDATA[a+/=]]></Encrypt></xml>", "a+/="},
		"JSON":                        {`{"ToUserName":"gh_1","Encrypt":"a+/="}`, "a+/="},
		"JSON with escapes and space": {"\uFEFF { \"Encrypt\" : \"a+\\/=\" }", "a+/="},
		"JSON text with an Encrypt":   {`{"Content":"\"Encrypt\":\"b\"","Encrypt":"a+/="}`, "a+/="},
		"a JSON value after it":       {`{"Encrypt":"a+/=","Content":"Encrypt"}`, "a+/="},
		"none":                        {"<xml></xml>", ""},
		"none in JSON":                {`{"Content":"Encrypt"}`, ""},
		"no end":                      {"<xml><Encrypt><![CDATA[a+/=", ""},
		"no end in JSON":              {`{"Encrypt":"a`, ""},
		"empty":                       {"", ""},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, string(message.Encrypted([]byte(tt.body)))) })
	}
}

func TestWrite_XMLAndJSON(t *testing.T) {
	fields := []message.Element{
		message.Text("Content", "<a>&]]>b"),
		message.Unsplit("Raw", "a]]>b"),
		message.Number("CreateTime", -7),
		message.Group("Image", message.Text("MediaId", "m")),
		message.List("Articles", []message.Element{message.Text("Title", "1")}, []message.Element{message.Text("Title", "2")}),
	}
	assert.Equal(t, "<xml><Content><![CDATA[<a>&]]]]><![CDATA[>b]]></Content>\n<Raw><![CDATA[a]]>b]]></Raw>\n<CreateTime>-7</CreateTime>\n"+
		"<Image><MediaId><![CDATA[m]]></MediaId></Image>\n<Articles><item><Title><![CDATA[1]]></Title></item><item><Title><![CDATA[2]]></Title></item></Articles>\n</xml>",
		string(message.Write(false, fields...)))
	want := `{"Content":"<a>&]]>b","Raw":"a]]>b","CreateTime":-7,"Image":{"MediaId":"m"},"Articles":[{"Title":"1"},{"Title":"2"}]}`
	assert.Equal(t, want, string(message.Write(true, fields...)))
	assert.True(t, json.Valid(message.Write(true)))
}

// The time is proportional to the length of the body: a reader that rescans a
// body for each element takes seconds for these.
func TestReader_HostileBodies(t *testing.T) {
	for name, body := range map[string]string{
		"empty elements":   "<xml>" + strings.Repeat("<a/>", 250_000),
		"open tags":        "<xml>" + strings.Repeat("<a>", 300_000),
		"attributes":       "<xml" + strings.Repeat(" a='b'", 100_000),
		"open CDATA":       "<xml>" + strings.Repeat("<a><![CDATA[", 80_000),
		"ends of CDATA":    "<xml><a><![CDATA[" + strings.Repeat("]]>", 300_000),
		"ends and spaces":  "<xml><a><![CDATA[" + strings.Repeat("]]>   ", 150_000),
		"almost ends":      "<xml><a><![CDATA[" + strings.Repeat("]]></", 200_000),
		"sections":         "<xml><a><![CDATA[" + strings.Repeat("]]><![CDATA[", 80_000) + "]]></a></xml>",
		"ampersands":       "<xml><a>" + strings.Repeat("&amp;", 200_000) + "</a></xml>",
		"open ampersands":  "<xml><a>" + strings.Repeat("&", 1_000_000) + "</a></xml>",
		"spaces":           "<xml>" + strings.Repeat(" ", 1_000_000),
		"brackets of JSON": "{\"a\":" + strings.Repeat("[", 1_000_000),
		"objects of JSON":  strings.Repeat("{\"a\":", 200_000),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := message.ParsePush([]byte(body))
			assert.Error(t, err)
			assert.Empty(t, message.Find(body, "b/c"))
			assert.Empty(t, message.Encrypted([]byte(body)))
		})
	}
}

// If both this reader and encoding/xml or encoding/json accept a push, they
// read the same values. Exceptions are white space around CDATA, values with
// "]]>", and which of two fields counts in a message that is not a scan.
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
