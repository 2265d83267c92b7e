package message

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// An Element is a field of a message to be written. Make one with [Text],
// [Unsplit], [Number], [Group] or [List].
type Element struct {
	name string
	xml  string // the content in XML
	json string // the value in JSON
}

// Text returns an element with a text. In XML it is a CDATA section, or several
// where the text contains "]]>".
func Text(name, text string) Element {
	return Element{name, splitCDATA(text), quote(text)}
}

// Unsplit is [Text] with a single CDATA section even if the text contains
// "]]>", as WeChat pushes the text of a follower.
func Unsplit(name, text string) Element {
	return Element{name, cdataStart + text + cdataEnd, quote(text)}
}

// Number returns an element with a number.
func Number(name string, n int64) Element {
	s := strconv.FormatInt(n, 10)
	return Element{name, s, s}
}

// Group returns an element that contains others.
func Group(name string, fields ...Element) Element {
	return Element{name, writeXML(fields, ""), writeJSON(fields)}
}

// List returns an element with a list: in XML an item element for each of
// items, in JSON an array.
func List(name string, items ...[]Element) Element {
	var elements strings.Builder
	objects := make([]string, len(items))
	for i, fields := range items {
		elements.WriteString("<item>" + writeXML(fields, "") + "</item>")
		objects[i] = writeJSON(fields)
	}
	return Element{name, elements.String(), "[" + strings.Join(objects, ",") + "]"}
}

// Write returns a message, as XML or as JSON.
func Write(asJSON bool, fields ...Element) []byte {
	if asJSON {
		return []byte(writeJSON(fields))
	}
	return []byte("<xml>" + writeXML(fields, "\n") + "</xml>")
}

// writeXML writes end after each element.
func writeXML(fields []Element, end string) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString("<" + f.name + ">" + f.xml + "</" + f.name + ">" + end)
	}
	return b.String()
}

func writeJSON(fields []Element) string {
	members := make([]string, len(fields))
	for i, f := range fields {
		members[i] = quote(f.name) + ":" + f.json
	}
	return "{" + strings.Join(members, ",") + "}"
}

func splitCDATA(text string) string {
	return cdataStart + strings.ReplaceAll(text, cdataEnd, "]]"+cdataJoint+">") + cdataEnd
}

// quote returns text as a JSON string in which <, > and & are not escaped, as
// WeChat requires.
func quote(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string cannot fail
	return strings.TrimSuffix(b.String(), "\n")
}
