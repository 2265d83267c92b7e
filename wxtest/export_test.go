package wxtest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/seed-0142d113/wxqrcode"
)

// MakePermanent makes n permanent codes without the network, and reports how many
// of them were refused.
func (s *Server) MakePermanent(n int) (refused int) {
	for i := range n {
		w := wish{action: wxqrcode.ActionPermanentStr, scene: "poster-" + strconv.Itoa(i)}
		if _, errcode := s.codes.make(w, s.now()); errcode != 0 {
			refused++
		}
	}
	return refused
}

// SceneOf returns the scene that the code of a request would carry, without the
// network.
func (s *Server) SceneOf(body string) (scene string, errcode int) {
	o, errcode := parsePosted(&http.Request{Method: http.MethodPost}, keepUnicodeEscapes([]byte(body)))
	if errcode != 0 {
		return "", errcode
	}
	w, errcode := parseWish(o)
	return w.scene, errcode
}

// ScanMessages returns the message of a follower's scan.
func (s *Server) ScanMessages(scene string) (asXML, asJSON []byte) {
	m := s.newMessage("o-scanner", newEvent(wxqrcode.EventScan, scene, "ticket"), s.now())
	return m.encode(false), m.encode(true)
}

// NewTicket returns a ticket as the server builds them.
func NewTicket(url string, created time.Time, lifetime time.Duration) wxqrcode.Ticket {
	return newTicket(url, created, lifetime)
}
