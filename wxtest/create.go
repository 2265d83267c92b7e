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
	"github.com/seed-0142d113/wxqrcode/internal/message"
)

// Limits of qrcode/create. The checks follow
// https://developers.weixin.qq.com/doc/service/api/qrcode/qrcodes/api_createqrcode.html
// and public reports of wrong requests that were accepted. Not documented, and
// chosen here: the order of the checks; a scene_id that is 0, negative, a
// fraction or missing is 40053; an expire_seconds below 1 counts as missing,
// and one above 2,592,000 as 2,592,000; an expire_seconds that is not a whole
// number is 47001; a scene_str with a character that XML does not allow is
// 40033.
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
	request, errcode := parseCreateRequest(o)
	if errcode != 0 {
		return nil, errcode
	}
	c, errcode := s.codes.create(request, now)
	if errcode != 0 {
		return nil, errcode
	}
	return struct {
		Ticket        wxqrcode.Ticket `json:"ticket"`
		ExpireSeconds int64           `json:"expire_seconds,omitempty"`
		URL           string          `json:"url"`
	}{c.Ticket, int64(c.lifetime / time.Second), c.URL}, 0
}

// A createRequest is a request for a code.
type createRequest struct {
	action   wxqrcode.Action
	scene    string        // as events will carry it
	lifetime time.Duration // as granted; 0 for a permanent code
	noCode   bool          // a permanent action with expire_seconds: a ticket without a code
}

func (r createRequest) permanent() bool { return r.lifetime == 0 }

func parseCreateRequest(o object) (r createRequest, errcode int) {
	r.action = wxqrcode.Action(o.text("action_name"))
	permanent, text := false, false
	switch r.action {
	case wxqrcode.ActionTemporaryID:
	case wxqrcode.ActionTemporaryStr:
		text = true
	case wxqrcode.ActionPermanentID:
		permanent = true
	case wxqrcode.ActionPermanentStr:
		permanent, text = true, true
	default:
		return createRequest{}, errcodeInvalidAction
	}

	scene, ok := parseScene(o)
	if !ok {
		return createRequest{}, errcodeInvalidActionInfo
	}
	if text {
		r.scene, errcode = sceneText(scene, permanent)
	} else {
		r.scene, errcode = sceneNumber(scene, permanent)
	}
	if errcode != 0 {
		return createRequest{}, errcode
	}

	if permanent {
		r.noCode = o.has("expire_seconds")
		return r, 0
	}
	r.lifetime, errcode = parseLifetime(o)
	return r, errcode
}

// parseScene returns the scene of a request. It is nil for a scene_id directly
// under action_info, which WeChat accepts.
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

// sceneNumber returns the number that events will carry: 0 if scene is nil or
// the number exceeds 64 bits, and the highest of 32 bits if it exceeds those.
func sceneNumber(scene object, permanent bool) (key string, errcode int) {
	if scene == nil {
		return "0", 0
	}
	id, err := strconv.ParseUint(string(scene["scene_id"]), 10, 64)
	tooLarge := errors.Is(err, strconv.ErrRange)
	switch {
	case err != nil && !tooLarge, id == 0 && !tooLarge: // negative, a fraction, not a number, missing
		return "", errcodeInvalidActionInfo
	case permanent && (tooLarge || id > wxqrcode.MaxPermanentID):
		return "", errcodeInvalidActionInfo
	case tooLarge:
		return "0", 0
	}
	return strconv.FormatUint(min(id, 1<<32-1), 10), 0
}

// sceneText returns the text that events will carry. WeChat was seen to accept
// temporary ones that are longer than documented.
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
	case err != nil && !errors.Is(err, strconv.ErrRange): // out of range, seconds is the nearest int64
		return 0, errcodeBadJSON
	case seconds <= 0:
		return defaultLifetime, 0
	case seconds > int64(maxLifetime/time.Second):
		return maxLifetime, 0
	}
	return time.Duration(seconds) * time.Second, 0
}

// keepUnicodeEscapes doubles the backslash of every \uXXXX, so that a JSON
// parser returns the six characters, as WeChat was seen to do.
func keepUnicodeEscapes(body []byte) []byte {
	if !bytes.Contains(body, []byte(`\u`)) {
		return body
	}
	escaped := make([]byte, 0, len(body)+len(body)/6)
	for i := 0; i < len(body); i++ {
		escaped = append(escaped, body[i])
		if body[i] != '\\' || i+1 == len(body) {
			continue
		}
		if isUnicodeEscape(body[i:]) {
			escaped = append(escaped, '\\')
		}
		i++ // the escaped character, which can be a backslash
		escaped = append(escaped, body[i])
	}
	return escaped
}

func isUnicodeEscape(b []byte) bool {
	if len(b) < 6 || b[1] != 'u' {
		return false
	}
	_, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return err == nil
}

// fitsXML reports whether s is text that XML allows, as an event needs.
func fitsXML(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, message.IsForbidden)
}
