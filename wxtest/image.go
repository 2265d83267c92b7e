package wxtest

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/render"
)

// imageMaxAge is how long an image may be cached.
const imageMaxAge = 7 * 24 * time.Hour

// showQRCode is GET /cgi-bin/showqrcode, which needs no access token. Its
// headers are those of the official example. See
// https://developers.weixin.qq.com/doc/offiaccount/Account_Management/Generating_a_Parametric_QR_Code.html.
func (s *Server) showQRCode(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		writePage(w, http.StatusNotFound)
		return
	}
	now := s.now()
	q, err := s.codes.find(wxqrcode.Ticket(r.URL.Query().Get("ticket")), now)
	if err != nil {
		writePage(w, http.StatusNotFound)
		return
	}
	var image bytes.Buffer
	if err := render.JPEG(&image, q.URL, render.Options{}); err != nil {
		writePage(w, http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Accept-Ranges", "bytes")
	h.Set("Cache-Control", "max-age=604800")
	h.Set("Content-Length", strconv.Itoa(image.Len()))
	h.Set("Content-Type", "image/jpg") // not a registered type
	h.Set("Date", httpDate(now))
	h.Set("Expires", httpDate(now.Add(imageMaxAge)))
	h.Set("Server", "nginx/1.4.1")
	w.Write(image.Bytes())
}

func httpDate(t time.Time) string { return t.UTC().Format(http.TimeFormat) }
