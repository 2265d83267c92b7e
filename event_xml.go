package wxqrcode

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// scanXML reads a push of exactly the shape that WeChat sends: one level of
// elements, each with text or one CDATA section. It gives way (false) at anything
// else, right or wrong, and readXML decides. Its fields are parts of s.
func (f *fields) scanXML(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	s, ok := strings.CutPrefix(trimSpace(s), "<xml>")
	if !ok {
		return false
	}
	for {
		s = trimSpace(s)
		if rest, ok := strings.CutPrefix(s, "</xml>"); ok {
			return trimSpace(rest) == ""
		}
		var name, value string
		if name, value, s, ok = scanElement(s); !ok {
			return false
		}
		if n, known := fieldNamed(name); known && f.set(n, value) != nil {
			return false
		}
	}
}

// isPlainXML reports whether s has only characters that need no second look:
// no entity, no carriage return (which XML turns into a line feed), no control
// character, none that XML forbids.
func isPlainXML(s string) bool {
	var odd uint8
	for i := range len(s) {
		odd |= oddXML[s[i]]
	}
	return odd == 0
}

// oddXML is 1 for the bytes that isPlainXML does not take. 0xEF begins U+FFFE and
// U+FFFF.
var oddXML = func() (odd [256]uint8) {
	for c := range byte(' ') {
		odd[c] = 1
	}
	odd['\n'], odd['\t'] = 0, 0
	odd['&'], odd[0xEF] = 1, 1
	return odd
}()

// scanElement takes one element off s.
func scanElement(s string) (name, value, rest string, ok bool) {
	if s == "" || s[0] != '<' {
		return "", "", "", false
	}
	end := 1
	for end < len(s) && isLetter(s[end]) {
		end++
	}
	if end == 1 || end == len(s) || s[end] != '>' {
		return "", "", "", false
	}
	name, s = s[1:end], s[end+1:]
	if s, ok = strings.CutPrefix(s, "<![CDATA["); ok {
		if value, s, ok = cutByte(s, ']'); ok {
			s, ok = strings.CutPrefix(s, "]]>")
		}
	} else {
		value, s, ok = cutByte(s, '<')
		ok = ok && !strings.Contains(value, "]]>")
	}
	if !ok || !isPlainXML(value) || !strings.HasPrefix(s, "</") {
		return "", "", "", false
	}
	s, ok = strings.CutPrefix(s[2:], name)
	if !ok || s == "" || s[0] != '>' {
		return "", "", "", false
	}
	return name, value, s[1:], true
}

// cutByte cuts s before the first c.
func cutByte(s string, c byte) (before, rest string, ok bool) {
	i := strings.IndexByte(s, c)
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i:], true
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func trimSpace(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\n' || s[0] == '\t') {
		s = s[1:]
	}
	return s
}

// maxDepth is how deep elements may nest; no message of WeChat's has more than six
// levels. It bounds the memory that a body of opening tags can take.
const maxDepth = 64

// readXML reads any push that is XML.
func (f *fields) readXML(body []byte) error {
	dec := xml.NewDecoder(bytes.NewReader(body))
	depth, rooted := 0, false
	var name string
	var text strings.Builder
	for {
		token, err := dec.Token()
		if err == io.EOF && rooted { //nolint:errorlint // Token returns io.EOF itself
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.Directive:
			return errors.New("a DTD, which no push has")
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return fmt.Errorf("elements nested deeper than %d", maxDepth)
			}
			if depth == 1 && (rooted || t.Name.Local != "xml") {
				return errors.New("not one root element named xml")
			}
			rooted = true
			if depth == 2 {
				name = t.Name.Local
				text.Reset()
			}
		case xml.CharData:
			switch {
			case depth == 2:
				text.Write(t)
			case depth == 0 && trimSpace(string(t)) != "":
				return errors.New("text outside the root element")
			}
		case xml.EndElement:
			if depth--; depth != 1 {
				continue
			}
			if n, known := fieldNamed(name); known {
				if err := f.set(n, text.String()); err != nil {
					return err
				}
			}
		}
	}
}
