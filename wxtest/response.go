package wxtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// An apiEndpoint handles a request to the API. It returns the response, which
// is sent as JSON, or an errcode.
type apiEndpoint func(r *http.Request, body []byte) (response any, errcode int)

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request, body []byte, handle apiEndpoint) {
	response, errcode := handle(r, body)
	if errcode != 0 {
		s.writeError(w, http.StatusOK, errcode)
		return
	}
	writeJSON(w, http.StatusOK, response)
}

// writeError sends an error response: JSON with a code and a text, usually with
// HTTP status 200.
func (s *Server) writeError(w http.ResponseWriter, status, errcode int) {
	writeJSON(w, status, struct {
		Code    int    `json:"errcode"`
		Message string `json:"errmsg"`
	}{errcode, errorText(errcode) + requestID(s.now())})
}

func writeJSON(w http.ResponseWriter, status int, response any) {
	w.Header().Set("Content-Type", "application/json; encoding=utf-8")
	w.WriteHeader(status)
	// WeChat escapes the slashes of its responses.
	w.Write(bytes.ReplaceAll(marshal(response), []byte("/"), []byte(`\/`)))
}

// writePage sends a status and a small HTML page, as the front servers of
// WeChat do.
func writePage(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<html>\r\n<head><title>%d %[2]s</title></head>\r\n<body>\r\n<center><h1>%[1]d %s</h1></center>\r\n</body>\r\n</html>\r\n",
		status, http.StatusText(status))
}

// marshal returns v as JSON in which <, > and & are not escaped. v is a
// struct of strings and numbers, which always has a JSON form.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// requestID returns the end of an errmsg. Its first eight digits are the Unix
// time of the request.
func requestID(now time.Time) string {
	return fmt.Sprintf(" rid: %08x-%s-%s", uint32(now.Unix()), randomHex(8), randomHex(8))
}

// The errcodes that the server returns without an injected failure.
const (
	errcodeInvalidCredential = 40001
	errcodeInvalidGrantType  = 40002
	errcodeInvalidAppID      = 40013
	errcodeInvalidToken      = 40014
	errcodeInvalidCharacters = 40033
	errcodeInvalidAction     = 40052
	errcodeInvalidActionInfo = 40053
	errcodeInvalidSecret     = 40125
	errcodeNoToken           = 41001
	errcodeNoAppID           = 41002
	errcodeNoSecret          = 41004
	errcodeTokenExpired      = 42001
	errcodeRequireGet        = 43001
	errcodeRequirePost       = 43002
	errcodeEmptyBody         = 44002
	errcodePermanentQuota    = 45029
	errcodeBadJSON           = 47001
)

// errorTexts has the errmsg of each errcode, without the request ID.
//
// See https://developers.weixin.qq.com/doc/oplatform/developers/errCode/errCode.html.
var errorTexts = map[int]string{
	-1:                       "system error",
	errcodeInvalidCredential: "invalid credential, access_token is invalid or not latest, could get access_token by getStableAccessToken, more details at https://mmbizurl.cn/s/JtxxFh33r",
	errcodeInvalidGrantType:  "invalid grant_type",
	errcodeInvalidAppID:      "invalid appid",
	errcodeInvalidToken:      "invalid access_token",
	errcodeInvalidCharacters: "invalid charset. please check your request, if include \\uxxxx will create fail!",
	40035:                    "invalid parameter",
	40038:                    "invalid request format",
	errcodeInvalidAction:     "invalid action name",
	errcodeInvalidActionInfo: "invalid action info",
	40066:                    "invalid url",
	errcodeInvalidSecret:     "invalid appsecret",
	40164:                    "invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist",
	40243:                    "invalid appsecret, it is frozen",
	errcodeNoToken:           "access_token missing",
	errcodeNoAppID:           "appid missing",
	errcodeNoSecret:          "appsecret missing",
	errcodeTokenExpired:      "access_token expired",
	errcodeRequireGet:        "require GET method",
	errcodeRequirePost:       "require POST method",
	43003:                    "require https",
	errcodeEmptyBody:         "empty post data",
	45009:                    "reach max api daily quota limit",
	45011:                    "api minute-quota reach limit, must slower, retry next minute",
	errcodePermanentQuota:    "qrcode count out of limit",
	45103:                    "This API has been unsupported",
	errcodeBadJSON:           "data format error",
	47002:                    "data format error, do NOT use json unicode encode (\\uxxxx\\uxxxx), please use utf8 encoded text!",
	48001:                    "api unauthorized",
	48004:                    "api forbidden for irregularities",
	50001:                    "user unauthorized",
	50002:                    "user limited",
	50004:                    "access_token api forbidden",
	50007:                    "account frozen",
	61004:                    "access clientip is not registered requestIP: 127.0.0.1",
	61024:                    "need component access_token",
	89501:                    "this ip call was refused by the administrator, requestIP: 127.0.0.1",
	89503:                    "this ip call needs the confirmation of the administrator, requestIP: 127.0.0.1",
	89506:                    "this ip call was refused twice by the administrator, retry after 24 hours, requestIP: 127.0.0.1",
	89507:                    "this ip call was refused by the administrator, retry after 1 hour, requestIP: 127.0.0.1",
}

func errorText(errcode int) string {
	if text, ok := errorTexts[errcode]; ok {
		return text
	}
	return "unknown error"
}
