package message

import (
	"encoding/json"
	"errors"
	"strings"
)

// newJSONReader returns a Reader of a JSON object.
func newJSONReader(object string) Reader {
	dec := json.NewDecoder(strings.NewReader(object))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') || !json.Valid([]byte(object)) {
		return Reader{err: errors.New("the JSON is not a well-formed object")}
	}
	return Reader{json: dec}
}

// nextMember reads one member: json.Unmarshal into a struct would accept
// createtime for CreateTime, and use the last of two members.
func (r *Reader) nextMember() (ok bool) {
	if !r.json.More() {
		return false
	}
	name, err := r.json.Token()
	if err != nil {
		r.err = err
		return false
	}
	var content json.RawMessage
	r.err = r.json.Decode(&content)
	r.field = Field{name.(string), value, string(content)}
	return r.err == nil
}

// firstElement returns the first element of a JSON array, or a value that is
// not an array unchanged.
func firstElement(content string) string {
	if !strings.HasPrefix(content, "[") {
		return content
	}
	var array []json.RawMessage
	if json.Unmarshal([]byte(content), &array) != nil || len(array) == 0 {
		return ""
	}
	return string(array[0])
}

// jsonText returns a string, or a number as it is written.
func jsonText(content string) (string, error) {
	switch content[0] {
	case '{', '[', 't', 'f':
		return "", errors.New("the JSON value is not a string, a number or null")
	case 'n':
		return "", nil
	case '"':
		var s string
		err := json.Unmarshal([]byte(content), &s)
		return s, err
	}
	return content, nil
}
