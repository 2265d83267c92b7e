package message

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	cdataStart = "<![CDATA["
	cdataEnd   = "]]>"
	cdataJoint = cdataEnd + cdataStart
)

func (r *Reader) nextElement() (ok bool) {
	r.xml = trimSpace(r.xml)
	if r.xml == "" && !r.root {
		return false
	}
	if after, ok := cutEndTag(r.xml, "xml"); ok && r.root {
		r.xml, r.root = "", false
		if trimSpace(after) != "" {
			r.err = errors.New("data after the root element")
		}
		return false
	}
	r.field, r.xml, r.err = cutElement(r.xml, 2)
	return r.err == nil
}

// cutRoot returns the bytes after the start tag of the root.
func cutRoot(s string) (rest string, err error) {
	s = trimSpace(strings.TrimPrefix(s, bom))
	if strings.HasPrefix(s, "<?xml ") {
		_, after, ok := strings.Cut(s, "?>")
		if !ok {
			return "", errors.New("the XML declaration does not end")
		}
		s = trimSpace(after)
	}
	name, empty, s, err := cutStartTag(s)
	if err != nil {
		return "", err
	}
	if name != "xml" || empty {
		return "", errors.New("the root element is not xml, or it is empty")
	}
	return s, nil
}

// cutElement cuts one element off s, which begins with its start tag. depth is
// the level of the element; the root has 1.
func cutElement(s string, depth int) (f Field, rest string, err error) {
	if depth > MaxDepth {
		return Field{}, "", fmt.Errorf("elements nest deeper than %d levels", MaxDepth)
	}
	name, empty, s, err := cutStartTag(s)
	if err != nil || empty {
		return Field{Name: name}, s, err
	}
	inner := trimSpace(s)
	if strings.HasPrefix(inner, cdataStart) {
		content, rest, err := cutCDATA(inner, name)
		return Field{name, cdata, content}, rest, err
	}
	if strings.HasPrefix(inner, "<") && !strings.HasPrefix(inner, "</") {
		content, rest, err := cutNested(inner, name, depth)
		return Field{name, nested, content}, rest, err
	}
	content, rest, err := cutText(s, name)
	return Field{name, text, content}, rest, err
}

// cutCDATA cuts CDATA sections and the end tag of name off s. WeChat does not
// split a text that contains "]]>": only before the end tag, or before another
// section, "]]>" ends a section.
func cutCDATA(s, name string) (content, rest string, err error) {
	s = s[len(cdataStart):]
	for i := 0; ; {
		n := strings.Index(s[i:], cdataEnd)
		if n < 0 {
			return "", "", errors.New("a CDATA section does not end")
		}
		end := i + n
		i = end + len(cdataEnd)
		if rest, ok := cutEndTag(trimSpace(s[i:]), name); ok {
			return s[:end], rest, nil
		}
	}
}

// cdataText joins the sections of a content that cutCDATA has cut.
func cdataText(content string) string {
	if !strings.Contains(content, "]") { // like most
		return unixLines(content)
	}
	return unixLines(strings.ReplaceAll(content, cdataJoint, ""))
}

// cutNested cuts elements and the end tag of name off s.
func cutNested(s, name string, depth int) (content, rest string, err error) {
	inner := s
	for {
		s = trimSpace(s)
		if rest, ok := cutEndTag(s, name); ok {
			return inner[:len(inner)-len(s)], rest, nil
		}
		if _, s, err = cutElement(s, depth+1); err != nil {
			return "", "", err
		}
	}
}

// cutText cuts a text without markup and the end tag of name off s.
func cutText(s, name string) (content, rest string, err error) {
	end := strings.IndexByte(s, '<')
	if end < 0 {
		return "", "", errors.New("an element does not end")
	}
	rest, ok := cutEndTag(s[end:], name)
	if !ok {
		return "", "", errors.New("a text is not followed by its end tag")
	}
	if strings.Contains(s[:end], cdataEnd) {
		return "", "", errors.New("a text contains ]]>")
	}
	return s[:end], rest, nil
}

// cutStartTag cuts a start tag off s: a name of ASCII letters, digits, "_",
// "-" and ".", without attributes.
func cutStartTag(s string) (name string, empty bool, rest string, err error) {
	if !strings.HasPrefix(s, "<") {
		return "", false, "", errors.New("text or the end where an element must begin")
	}
	end := 1
	for end < len(s) && isNameByte(s[end], end == 1) {
		end++
	}
	name, s = s[1:end], trimSpace(s[end:])
	if rest, ok := strings.CutPrefix(s, ">"); ok && name != "" {
		return name, false, rest, nil
	}
	if rest, ok := strings.CutPrefix(s, "/>"); ok && name != "" {
		return name, true, rest, nil
	}
	return "", false, "", errors.New("markup that no WeChat message has: a comment, an attribute, a DTD, a processing instruction or a name with a colon")
}

// cutEndTag cuts the end tag of name off s, if s begins with it.
func cutEndTag(s, name string) (rest string, ok bool) {
	if s, ok = strings.CutPrefix(s, "</"); !ok {
		return "", false
	}
	if s, ok = strings.CutPrefix(s, name); !ok {
		return "", false
	}
	return strings.CutPrefix(trimSpace(s), ">")
}

func isNameByte(c byte, first bool) bool {
	switch {
	case 'a' <= c|0x20 && c|0x20 <= 'z', c == '_':
		return true
	case '0' <= c && c <= '9', c == '-', c == '.':
		return !first
	}
	return false
}

func trimSpace(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\n' || s[0] == '\t' || s[0] == '\r') {
		s = s[1:]
	}
	return s
}

// unixLines replaces line ends as XML requires: \r\n and \r become \n.
func unixLines(s string) string {
	if !strings.Contains(s, "\r") {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

var entities = map[string]string{"lt": "<", "gt": ">", "amp": "&", "apos": "'", "quot": `"`}

// unescape replaces the five entities and character references.
func unescape(s string) (string, error) {
	s = unixLines(s)
	if !strings.Contains(s, "&") {
		return s, nil
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "&")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, rest, ok := strings.Cut(after, ";")
		character, known := entities[name]
		if number, isNumber := strings.CutPrefix(name, "#"); ok && isNumber {
			character, known = characterOf(number)
		}
		if !ok || !known {
			return "", errors.New("an entity that is not one of the five of XML or the number of a character")
		}
		b.WriteString(character)
		s = rest
	}
}

// characterOf returns the character of a reference such as "38" or "x26".
func characterOf(number string) (character string, ok bool) {
	base := 10
	if hex, isHex := strings.CutPrefix(number, "x"); isHex {
		number, base = hex, 16
	}
	n, err := strconv.ParseUint(number, base, 32)
	r := rune(n)
	if err != nil || n > 0x10FFFF || 0xD800 <= n && n <= 0xDFFF || IsForbidden(r) {
		return "", false
	}
	return string(r), true
}
