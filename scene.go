package wxqrcode

import (
	"crypto/rand"
	"encoding/json"
	"regexp"
	"strconv"
	"time"
	"unicode"
)

// The platform's limits.
// See https://developers.weixin.qq.com/doc/service/api/qrcode/qrcodes/api_createqrcode.html.
const (
	// MaxLifetime is the longest lifetime of a temporary code: 30 days.
	MaxLifetime = 30 * 24 * time.Hour

	// MaxPermanentID is the highest scene_id of a permanent code. A temporary code
	// takes any scene_id of 32 bits.
	MaxPermanentID = 100_000

	// MaxSceneStr is the maximum length of a scene_str, in bytes of UTF-8. WeChat
	// documents "1 to 64" without a unit, and has rejected a permanent scene of 59
	// characters in 65 bytes: 64 bytes are safe under every reading.
	MaxSceneStr = 64
)

// A Scene is what a code carries, and what the event of a scan carries back: a
// number ([SceneID]) or a text ([SceneStr]). Scenes are comparable with ==. The
// zero Scene is invalid.
//
// An event does not distinguish the two: the number 123 and the text "123" both
// come back as "123".
//
// Its JSON is {"scene_id":123} or {"scene_str":"abc"}.
type Scene struct {
	kind sceneKind
	id   uint32
	str  string
}

type sceneKind uint8

const (
	sceneID sceneKind = iota + 1
	sceneStr
)

// SceneID returns a scene that is a number: 1 to 4294967295 for a temporary
// code, 1 to [MaxPermanentID] for a permanent one. [Request.Validate] checks
// the limits.
func SceneID(id uint32) Scene { return Scene{kind: sceneID, id: id} }

// SceneStr returns a scene that is a text: 1 to [MaxSceneStr] bytes of valid
// UTF-8 without control characters, and without "]]>" followed by "<", which an
// event could carry back as another scene. [Request.Validate] checks the
// limits.
func SceneStr(s string) Scene { return Scene{kind: sceneStr, str: s} }

// RandomScene returns a scene that cannot be guessed: prefix and 26 base32
// characters with at least 128 random bits. Use it for logins, where an
// attacker who knows the scene could wait for the scan. The prefix, at most 38
// bytes, identifies such scenes; with a longer one the scene exceeds
// [MaxSceneStr] and [Request.Validate] rejects it.
func RandomScene(prefix string) Scene { return SceneStr(prefix + rand.Text()) }

// ID returns the number of the scene. It reports false for a text and for the
// zero Scene.
func (s Scene) ID() (id uint32, ok bool) { return s.id, s.kind == sceneID }

// Key returns the scene as the event of a scan carries it (see
// [Event.SceneKey]): the number in decimal, or the text itself.
func (s Scene) Key() string {
	if s.kind == sceneID {
		return strconv.FormatUint(uint64(s.id), 10)
	}
	return s.str
}

// String returns the Key.
func (s Scene) String() string { return s.Key() }

type sceneJSON struct {
	ID  *uint32 `json:"scene_id,omitempty"`
	Str *string `json:"scene_str,omitempty"`
}

// validate checks the scene against the limits of a temporary code, which are
// the wider ones.
func (s Scene) validate() error { return Temporary(s, MaxLifetime).Validate() }

// MarshalJSON implements [json.Marshaler]. An invalid scene is a
// [*ValidationError].
func (s Scene) MarshalJSON() ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	if s.kind == sceneID {
		return json.Marshal(sceneJSON{ID: &s.id})
	}
	return json.Marshal(sceneJSON{Str: &s.str})
}

// UnmarshalJSON implements [json.Unmarshaler]. It returns a [*ValidationError]
// if the JSON is not null or exactly one valid scene_id or scene_str.
func (s *Scene) UnmarshalJSON(b []byte) error {
	if string(b) == "null" { // by the convention of encoding/json
		return nil
	}
	var j sceneJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return decodeError("scene", err)
	}
	var decoded Scene
	switch {
	case j.ID != nil && j.Str != nil:
		return invalidRequest("scene", "", "must be a scene_id or a scene_str, not both")
	case j.ID != nil:
		decoded = SceneID(*j.ID)
	case j.Str != nil:
		decoded = SceneStr(*j.Str)
	}
	if err := decoded.validate(); err != nil {
		return err
	}
	*s = decoded
	return nil
}

var errNoScene = invalidRequest("scene", "", "must not be the zero Scene; use SceneID, SceneStr or RandomScene")

// cdataEnd matches what could end the CDATA section that carries a scene back:
// WeChat does not split a scene that contains "]]>".
var cdataEnd = regexp.MustCompile(`\]\]>\s*<`)

// isForbiddenRune reports whether r must not be in a scene: control characters,
// and the two noncharacters that XML forbids, would make the event of a scan
// unreadable.
func isForbiddenRune(r rune) bool {
	return unicode.IsControl(r) || r == 0xFFFE || r == 0xFFFF
}
