package wxtest

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/wxmessage"
)

// What qrcode/create checks, by
// https://developers.weixin.qq.com/doc/service/api/qrcode/qrcodes/api_createqrcode.html
// and, for what it lets pass, by reports of what became of it. Not documented, and
// chosen here: the order of the checks; a scene_id of 0, a negative or fractional one,
// or none is 40053; an expire_seconds below 1 counts as none, and one above 2,592,000 as that;
// an expire_seconds that is no whole number is 47001; a scene_str that no XML can
// carry is 40033.
const (
	maxLifetime     = wxqrcode.MaxLifetime
	defaultLifetime = 60 * time.Second
)

// create is POST /cgi-bin/qrcode/create.
func (s *Server) create(r *http.Request, body []byte) (any, int) {
	now := s.now()
	if r.Method != http.MethodPost {
		return nil, errcodeRequirePost
	}
	if errcode := s.tokens.check(r.URL.Query().Get("access_token"), now); errcode != 0 {
		return nil, errcode
	}
	o, errcode := parsePosted(r, keepUnicodeEscapes(body))
	if errcode != 0 {
		return nil, errcode
	}
	w, errcode := parseWish(o)
	if errcode != 0 {
		return nil, errcode
	}
	c, errcode := s.codes.make(w, now)
	if errcode != 0 {
		return nil, errcode
	}
	return struct {
		Ticket        wxqrcode.Ticket `json:"ticket"`
		ExpireSeconds int64           `json:"expire_seconds,omitempty"`
		URL           string          `json:"url"`
	}{c.ticket, int64(c.lifetime / time.Second), c.url}, 0
}

// A wish is what a request asks for.
type wish struct {
	action   wxqrcode.Action
	scene    string        // what events will carry
	lifetime time.Duration // as granted; 0 for a permanent code
	hollow   bool          // a permanent code asked for with a lifetime: a ticket without a code
}

func (w wish) permanent() bool { return w.lifetime == 0 }

func parseWish(o object) (w wish, errcode int) {
	w.action = wxqrcode.Action(o.text("action_name"))
	permanent, text := false, false
	switch w.action {
	case wxqrcode.ActionTemporaryID:
	case wxqrcode.ActionTemporaryStr:
		text = true
	case wxqrcode.ActionPermanentID:
		permanent = true
	case wxqrcode.ActionPermanentStr:
		permanent, text = true, true
	default:
		return wish{}, errcodeInvalidAction
	}

	scene, ok := parseScene(o)
	if !ok {
		return wish{}, errcodeInvalidActionInfo
	}
	if text {
		w.scene, errcode = sceneText(scene, permanent)
	} else {
		w.scene, errcode = sceneNumber(scene, permanent)
	}
	if errcode != 0 {
		return wish{}, errcode
	}

	if permanent {
		w.hollow = o.has("expire_seconds")
		return w, 0
	}
	w.lifetime, errcode = parseLifetime(o)
	return w, errcode
}

// parseScene returns the scene of a request. A scene_id that stands directly under
// action_info passes for a scene without one.
func parseScene(o object) (scene object, ok bool) {
	info, ok := o.object("action_info")
	if !ok {
		return nil, false
	}
	if !info.has("scene") {
		return nil, info.has("scene_id")
	}
	return info.object("scene")
}

// sceneNumber returns the number that events will carry: 0 if it is not in its place
// or above 64 bits, and the highest of 32 bits if it is above those.
func sceneNumber(scene object, permanent bool) (key string, errcode int) {
	if scene == nil { // directly under action_info
		return "0", 0
	}
	id, err := strconv.ParseUint(string(scene["scene_id"]), 10, 64)
	beyond := errors.Is(err, strconv.ErrRange)
	switch {
	case err != nil && !beyond, id == 0 && !beyond: // negative, a fraction, no number, none
		return "", errcodeInvalidActionInfo
	case permanent && (beyond || id > wxqrcode.MaxPermanentID):
		return "", errcodeInvalidActionInfo
	case beyond:
		return "0", 0
	}
	return strconv.FormatUint(min(id, 1<<32-1), 10), 0
}

// sceneText returns the text that events will carry. WeChat was seen to let a
// temporary one be longer than documented.
func sceneText(scene object, permanent bool) (key string, errcode int) {
	key = scene.text("scene_str")
	switch {
	case key == "" || permanent && len(key) > wxqrcode.MaxSceneStr:
		return "", errcodeInvalidActionInfo
	case !fitsXML(key):
		return "", errcodeInvalidCharacters
	}
	return key, 0
}

func parseLifetime(o object) (d time.Duration, errcode int) {
	if !o.has("expire_seconds") {
		return defaultLifetime, 0
	}
	seconds, err := strconv.ParseInt(string(o["expire_seconds"]), 10, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange): // out of range it is the nearest that fits
		return 0, errcodeBadJSON
	case seconds <= 0:
		return defaultLifetime, 0
	case seconds > int64(maxLifetime/time.Second):
		return maxLifetime, 0
	}
	return time.Duration(seconds) * time.Second, 0
}

// keepUnicodeEscapes doubles the backslash of every \uXXXX, so that a JSON parser
// leaves the six characters as they are: WeChat was seen to take them for text.
func keepUnicodeEscapes(body []byte) []byte {
	if !bytes.Contains(body, []byte(`\u`)) {
		return body
	}
	kept := make([]byte, 0, len(body)+len(body)/6)
	for i := 0; i < len(body); i++ {
		kept = append(kept, body[i])
		if body[i] != '\\' || i+1 == len(body) {
			continue
		}
		if isUnicodeEscape(body[i:]) {
			kept = append(kept, '\\')
		}
		i++ // what is escaped, which may be a backslash itself
		kept = append(kept, body[i])
	}
	return kept
}

func isUnicodeEscape(b []byte) bool {
	if len(b) < 6 || b[1] != 'u' {
		return false
	}
	_, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return err == nil
}

// fitsXML reports whether XML can carry s, as an event must.
func fitsXML(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, wxmessage.IsForbidden)
}
