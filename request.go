package wxqrcode

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// An Action is the type of a code, by WeChat's name (action_name).
type Action string

// The four actions.
const (
	ActionTemporaryID  Action = "QR_SCENE"
	ActionTemporaryStr Action = "QR_STR_SCENE"
	ActionPermanentID  Action = "QR_LIMIT_SCENE"
	ActionPermanentStr Action = "QR_LIMIT_STR_SCENE"
)

// A Request describes the code to create. Make one with [Temporary] or
// [Permanent]. Requests are comparable with ==. The zero Request is invalid.
//
// Its JSON has the members of WeChat's request body, so that a Request can be
// queued or stored. Do not send this JSON to WeChat: [json.Marshal] escapes
// characters, and WeChat takes some escapes literally.
type Request struct {
	kind     requestKind
	scene    Scene
	lifetime time.Duration
}

type requestKind uint8

const (
	temporary requestKind = iota + 1
	permanent
)

// Temporary returns a request for a code that expires after lifetime: 1 s to
// [MaxLifetime], truncated to whole seconds. WeChat has a default of 60 s for a
// missing lifetime; here it is an error.
//
// An account may create as many temporary codes as its daily quota of requests
// allows (100,000).
func Temporary(s Scene, lifetime time.Duration) Request {
	r := Request{kind: temporary, scene: s, lifetime: lifetime}
	if r.validateLifetime() == nil { // else Validate reports the lifetime as it was given
		r.lifetime = lifetime.Truncate(time.Second)
	}
	return r
}

// Permanent returns a request for a code that never expires. An account may
// have 100,000 of them, and none can be deleted ([ErrQuotaExceeded] once they
// are used up). The same scene gives the same code and, by public reports, does
// not count again.
func Permanent(s Scene) Request { return Request{kind: permanent, scene: s} }

// Action returns the action of the request. It is empty if the request has no
// scene.
func (r Request) Action() Action { return actions[r.kind][r.scene.kind] }

var actions = [3][3]Action{
	temporary: {sceneID: ActionTemporaryID, sceneStr: ActionTemporaryStr},
	permanent: {sceneID: ActionPermanentID, sceneStr: ActionPermanentStr},
}

// Scene returns the scene of the request.
func (r Request) Scene() Scene { return r.scene }

// Lifetime returns the requested lifetime, in whole seconds; 0 for a permanent
// code.
func (r Request) Lifetime() time.Duration { return r.lifetime }

// Validate checks the request against the limits of WeChat without sending
// anything. The error is a [*ValidationError].
func (r Request) Validate() error {
	if r.kind == 0 {
		return invalidRequest("request", "", "must not be the zero Request; use Temporary or Permanent")
	}
	switch s := r.scene; {
	case s.kind == 0:
		return errNoScene
	case s.kind == sceneID && r.kind == permanent && (s.id == 0 || s.id > MaxPermanentID):
		return invalidRequest("scene_id", s.Key(), fmt.Sprintf("must be 1 to %d in a permanent code; a scene_str has no such limit", MaxPermanentID))
	case s.kind == sceneID && s.id == 0:
		return invalidRequest("scene_id", s.Key(), "must be 1 to 4294967295")
	case s.kind == sceneStr:
		if reason := invalidSceneStr(s.str); reason != "" {
			return invalidRequest("scene_str", s.str, reason)
		}
	}
	if r.kind == temporary {
		return r.validateLifetime()
	}
	return nil
}

func (r Request) validateLifetime() error {
	if r.lifetime < time.Second || r.lifetime > MaxLifetime {
		return invalidRequest("lifetime", r.lifetime.String(), fmt.Sprintf("must be 1s to %v (30 days)", MaxLifetime))
	}
	return nil
}

// invalidSceneStr returns what is wrong with a scene_str, empty if nothing is.
func invalidSceneStr(s string) string {
	if s == "" || len(s) > MaxSceneStr {
		return fmt.Sprintf("must be 1 to %d bytes long, is %d", MaxSceneStr, len(s))
	}
	if !utf8.ValidString(s) {
		return "must be valid UTF-8"
	}
	if i := strings.IndexFunc(s, isForbiddenRune); i >= 0 {
		r, _ := utf8.DecodeRuneInString(s[i:])
		return fmt.Sprintf("must not contain the control character %U", r)
	}
	if cdataEnd.MatchString(s) {
		return "must not contain ]]> followed by <, which an event could carry back as another scene"
	}
	return ""
}

// body returns the JSON that Create sends, or the error of Validate. It escapes
// only what JSON requires, because WeChat takes \u escapes literally and
// encoding/json would escape <, >, & and U+2028.
func (r Request) body() ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, 192), '{')
	if r.kind == temporary {
		b = append(b, `"expire_seconds":`...)
		b = strconv.AppendInt(b, int64(r.lifetime/time.Second), 10)
		b = append(b, ',')
	}
	b = append(b, `"action_name":"`...)
	b = append(b, r.Action()...)
	b = append(b, `","action_info":{"scene":{"scene_`...)
	if id, ok := r.scene.ID(); ok {
		b = append(b, `id":`...)
		b = strconv.AppendUint(b, uint64(id), 10)
	} else {
		b = append(b, `str":"`...)
		b = append(b, jsonEscaper.Replace(r.scene.str)...)
		b = append(b, '"')
	}
	return append(b, `}}}`...), nil
}

// jsonEscaper suffices because a scene has no control characters.
var jsonEscaper = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// requestJSON has the members of WeChat's request body.
type requestJSON struct {
	ExpireSeconds *int64 `json:"expire_seconds,omitempty"`
	ActionName    Action `json:"action_name"`
	ActionInfo    struct {
		Scene Scene `json:"scene"`
	} `json:"action_info"`
}

// MarshalJSON implements [json.Marshaler]. It returns the error of
// [Request.Validate].
func (r Request) MarshalJSON() ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	j := requestJSON{ActionName: r.Action()}
	j.ActionInfo.Scene = r.scene
	if r.kind == temporary {
		seconds := int64(r.lifetime / time.Second)
		j.ExpireSeconds = &seconds
	}
	return json.Marshal(j)
}

// UnmarshalJSON implements [json.Unmarshaler]. It returns a [*ValidationError]
// if the JSON is not null or a valid request, for instance if the scene does not
// fit the action.
func (r *Request) UnmarshalJSON(b []byte) error {
	if string(b) == "null" { // by the convention of encoding/json
		return nil
	}
	var j requestJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return decodeError("request", err)
	}
	decoded := Permanent(j.ActionInfo.Scene)
	if j.ActionName == ActionTemporaryID || j.ActionName == ActionTemporaryStr {
		if j.ExpireSeconds == nil || *j.ExpireSeconds < 1 || *j.ExpireSeconds > maxExpireSeconds {
			return invalidRequest("expire_seconds", "", fmt.Sprintf("must be 1 to %d (30 days) with action %s", maxExpireSeconds, j.ActionName))
		}
		decoded = Temporary(j.ActionInfo.Scene, time.Duration(*j.ExpireSeconds)*time.Second)
	} else if j.ExpireSeconds != nil {
		return invalidRequest("expire_seconds", "", fmt.Sprintf("must be absent with action %s", j.ActionName))
	}
	if err := decoded.Validate(); err != nil {
		return err
	}
	if decoded.Action() != j.ActionName {
		return invalidRequest("action_name", string(j.ActionName), fmt.Sprintf("must be %s for this scene", decoded.Action()))
	}
	*r = decoded
	return nil
}

// decodeError returns a ValidationError as it is, and another error of
// encoding/json as a ValidationError of field.
func decodeError(field string, err error) error {
	if invalid, ok := errors.AsType[*ValidationError](err); ok {
		return invalid
	}
	return invalidRequest(field, "", "must be valid JSON: "+err.Error())
}
