// Package wxmessage knows how WeChat's messages are written: pushes, and replies to them.
package wxmessage

import (
	"bytes"
	"strings"
)

// IsJSON reports whether a message is JSON rather than XML.
func IsJSON(message []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(message, " \t\r\n"), []byte("{"))
}

// CDATA returns text as a CDATA section, or as several where it holds the end of one.
func CDATA(text string) string {
	return "<![CDATA[" + strings.ReplaceAll(text, "]]>", "]]]]><![CDATA[>") + "]]>"
}

// IsForbidden reports whether XML cannot hold a character, not even escaped.
func IsForbidden(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
}
