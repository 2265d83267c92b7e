package wxmessage_test

import (
	"encoding/xml"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/internal/wxmessage"
)

func TestIsJSON(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "{": true, " \t\r\n{}": true, "<xml>": false, " <xml>{": false, "[]": false, "\v{}": false, "\ufeff{}": false,
	} {
		assert.Equal(t, want, wxmessage.IsJSON([]byte(text)), "%q", text)
	}
}

func TestWhateverIsPutIntoCDATAComesOut(t *testing.T) {
	for _, text := range []string{"", "a", "]]>", "]]]>", "]]]]>>", "]]>]]>", "<&>", "<![CDATA[", "海报", "]]", "]"} {
		var got string
		require.NoError(t, xml.Unmarshal([]byte("<a>"+wxmessage.CDATA(text)+"</a>"), &got), "%q", text)
		assert.Equal(t, text, got)
	}
	assert.Equal(t, "<![CDATA[a]]>", wxmessage.CDATA("a"))
}

func TestIsForbiddenAgreesWithEncodingXML(t *testing.T) {
	for _, part := range [][2]rune{{0, '%'}, {'\'', ';'}, {'=', 0x300}, {0xD7F0, 0xD7FF}, {0xE000, 0xE010}, {0xFFF0, 0x10010}, {0x1FFF0, 0x20010}, {0x10FFF0, utf8.MaxRune}} {
		for r := part[0]; r <= part[1]; r++ {
			var got string
			err := xml.Unmarshal([]byte("<a>"+string(r)+"</a>"), &got)
			assert.Equal(t, err != nil, wxmessage.IsForbidden(r), "%U", r)
		}
	}
}
