package wxtest

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// An object is a JSON object of a request. Unlike encoding/json it matches
// names exactly, as WeChat does: the request of a Go program without json tags
// must fail. Members that are null are omitted.
type object map[string]json.RawMessage

func parseObject(text []byte) (o object, ok bool) {
	if err := json.Unmarshal(text, &o); err != nil || o == nil {
		return nil, false
	}
	for name, value := range o {
		if value = bytes.TrimSpace(value); string(value) == "null" {
			delete(o, name)
		} else {
			o[name] = value
		}
	}
	return o, true
}

// parsePosted reads the body of a request that must be a POST of a JSON object.
func parsePosted(r *http.Request, body []byte) (o object, errcode int) {
	switch {
	case r.Method != http.MethodPost:
		return nil, errcodeRequirePost
	case len(body) == 0:
		return nil, errcodeEmptyBody
	case len(body) > maxBody:
		return nil, errcodeBadJSON
	}
	o, ok := parseObject(body)
	if !ok {
		return nil, errcodeBadJSON
	}
	return o, 0
}

// has reports whether the object has a member.
func (o object) has(name string) bool { return o[name] != nil }

// text returns a member that is a string, or "".
func (o object) text(name string) string {
	var s string
	if !o.has(name) || json.Unmarshal(o[name], &s) != nil {
		return ""
	}
	return s
}

// object returns a member that is an object.
func (o object) object(name string) (object, bool) { return parseObject(o[name]) }
