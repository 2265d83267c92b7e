package wxqrcode

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// The platform's limits.
// See https://developers.weixin.qq.com/doc/service/api/qrcode/qrcodes/api_createqrcode.html.
const (
	// MaxLifetime is the longest lifetime of a temporary code: 30 days.
	MaxLifetime = 30 * 24 * time.Hour

	// MaxPermanentID is the highest scene id of a permanent code. Temporary
	// codes take any id that fits in 32 bits.
	MaxPermanentID = 100_000

	// MaxSceneStr is the longest string scene, in bytes of UTF-8. WeChat says
	// "1 to 64" without a unit, and has rejected a permanent scene of 59
	// characters in 65 bytes: bytes are the reading that always works.
	MaxSceneStr = 64
)

// A Scene is what a code carries, and what the event of a scan brings back: a
// number ([SceneID]) or a text ([SceneStr]). Scenes may be compared with ==.
// The zero Scene is invalid.
//
// An event does not tell the two kinds apart: the id 123 and the text "123"
// both come back as "123".
type Scene struct {
	kind sceneKind
	id   uint32
	str  string
}

type sceneKind uint8

const (
	noScene sceneKind = iota
	idScene
	strScene
)

// SceneID returns a scene that is a number: 1 to 4294967295 for a temporary
// code, 1 to [MaxPermanentID] for a permanent one. The limits are checked by
// [Request.Validate].
func SceneID(id uint32) Scene { return Scene{kind: idScene, id: id} }

// SceneStr returns a scene that is a text: 1 to [MaxSceneStr] bytes of valid
// UTF-8 without control characters, and without "]]>" followed by "<", which an
// event could bring back as another scene. The limits are checked by
// [Request.Validate].
func SceneStr(s string) Scene { return Scene{kind: strScene, str: s} }

// RandomScene returns a text scene that cannot be guessed: prefix and 26 base32
// characters with at least 128 random bits. It is made for logins, where an
// attacker who knows the scene could wait for the scan. The prefix, at most 38
// bytes, distinguishes such scenes; with a longer one the scene exceeds
// [MaxSceneStr] and [Request.Validate] rejects it.
func RandomScene(prefix string) Scene { return SceneStr(prefix + rand.Text()) }

// ID returns the scene's number. It reports false for a text and for the zero
// Scene.
func (s Scene) ID() (id uint32, ok bool) { return s.id, s.kind == idScene }

// Key returns the scene as the event of a scan will carry it (see
// [Event.SceneKey]): the number in decimal, or the text itself.
func (s Scene) Key() string {
	if s.kind == idScene {
		return strconv.FormatUint(uint64(s.id), 10)
	}
	return s.str
}

// String returns the kind and the value of the scene, for logs.
func (s Scene) String() string {
	switch s.kind {
	case idScene:
		return "scene_id " + s.Key()
	case strScene:
		return fmt.Sprintf("scene_str %q", s.str)
	}
	return "no scene"
}

func (s Scene) validate(permanent bool) error {
	switch s.kind {
	case idScene:
		return validateID(s.id, permanent)
	case strScene:
		return validateStr(s.str)
	}
	return &ValidationError{Field: "scene", Reason: "is missing; make one with SceneID, SceneStr or RandomScene"}
}

func validateID(id uint32, permanent bool) error {
	reason := ""
	switch {
	case permanent && (id == 0 || id > MaxPermanentID):
		reason = fmt.Sprintf("must be 1 to %d for a permanent code; use SceneStr for more", MaxPermanentID)
	case id == 0:
		reason = "must be 1 to 4294967295"
	default:
		return nil
	}
	return &ValidationError{Field: "scene_id", Value: strconv.FormatUint(uint64(id), 10), Reason: reason}
}

func validateStr(s string) error {
	reason := ""
	switch {
	case s == "":
		reason = fmt.Sprintf("must be 1 to %d bytes long", MaxSceneStr)
	case len(s) > MaxSceneStr:
		reason = fmt.Sprintf("is %d bytes long; at most %d are allowed", len(s), MaxSceneStr)
	case !utf8.ValidString(s):
		reason = "must be valid UTF-8"
	case cdataBoundary.MatchString(s):
		reason = "must not contain ]]> followed by <, which an event could bring back as another scene"
	default:
		r, found := unprintable(s)
		if !found {
			return nil
		}
		reason = fmt.Sprintf("must not contain the control character %U", r)
	}
	return &ValidationError{Field: "scene_str", Value: s, Reason: reason}
}

// cdataBoundary matches what could end the CDATA section that carries a scene
// back: WeChat does not split a scene that contains "]]>".
var cdataBoundary = regexp.MustCompile(`\]\]>\s*<`)

// unprintable finds what no scene may hold: control characters, and the two
// noncharacters that XML forbids, so that the event of a scan could not be read.
func unprintable(s string) (rune, bool) {
	for _, r := range s {
		if unicode.IsControl(r) || r == 0xFFFE || r == 0xFFFF {
			return r, true
		}
	}
	return 0, false
}
