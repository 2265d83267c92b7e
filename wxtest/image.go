package wxtest

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/render"
)

// showQRCode is GET /cgi-bin/showqrcode, which needs no access token. See
// https://developers.weixin.qq.com/doc/offiaccount/Account_Management/Generating_a_Parametric_QR_Code.html.
func (s *Server) showQRCode(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		page(w, http.StatusNotFound)
		return
	}
	q, err := s.codes.find(wxqrcode.Ticket(r.URL.Query().Get("ticket")), s.now())
	if err != nil {
		page(w, http.StatusNotFound)
		return
	}
	var image bytes.Buffer
	if err := render.JPEG(&image, q.url, render.Options{}); err != nil {
		page(w, http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "image/jpg") // not a registered type, but what WeChat sends
	h.Set("Cache-Control", "max-age=604800")
	h.Set("Content-Length", strconv.Itoa(image.Len()))
	w.Write(image.Bytes())
}
