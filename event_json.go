package wxqrcode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// readJSON reads a push that is JSON. It goes through the members one by one:
// encoding/json would take createtime for CreateTime, and the last of two.
func (f *fields) readJSON(body []byte) error {
	if !json.Valid(body) { // the whole of it, and nothing behind it
		return errors.New("broken JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		n, known := fieldNamed(name.(string)) // a member's name, as the JSON is valid
		if !known {
			continue
		}
		s, err := fieldText(n, value)
		if err != nil {
			return err
		}
		if err := f.set(n, s); err != nil {
			return err
		}
	}
	return nil
}

// fieldText returns the text of a member: CreateTime is a number, all others are
// strings.
func fieldText(n field, value json.RawMessage) (string, error) {
	if n == createTime {
		return string(value), nil // checked with the other times
	}
	var s *string
	if err := json.Unmarshal(value, &s); err != nil || s == nil {
		return "", fmt.Errorf("%s is no string", fieldNames[n])
	}
	// encoding/json puts U+FFFD in place of half a surrogate pair. An escaped U+FFFD,
	// which nobody sends, is taken for one.
	half := strings.Count(*s, replacement) > bytes.Count(value, []byte(replacement))
	if half || strings.ContainsFunc(*s, forbiddenInXML) {
		return "", fmt.Errorf("%s has a character that no push has", fieldNames[n])
	}
	return *s, nil
}

const replacement = string(utf8.RuneError)

// forbiddenInXML reports what an XML push cannot hold, and so no push.
func forbiddenInXML(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
}
