package wxtest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/internal/message"
)

// CreatePermanent creates n permanent codes without the network, and returns
// the number of errors.
func (s *Server) CreatePermanent(n int) (failed int) {
	for i := range n {
		r := createRequest{action: wxqrcode.ActionPermanentStr, scene: "poster-" + strconv.Itoa(i)}
		if _, errcode := s.codes.create(r, s.now()); errcode != 0 {
			failed++
		}
	}
	return failed
}

// SceneOf returns the scene that the code of a request would carry, without the
// network.
func (s *Server) SceneOf(body string) (scene string, errcode int) {
	o, errcode := parsePosted(&http.Request{Method: http.MethodPost}, keepUnicodeEscapes([]byte(body)))
	if errcode != 0 {
		return "", errcode
	}
	r, errcode := parseCreateRequest(o)
	return r.scene, errcode
}

// ScanMessages returns the message of a follower's scan.
func (s *Server) ScanMessages(scene string) (asXML, asJSON []byte) {
	m := s.newMessage("o-scanner", newEvent(wxqrcode.EventScan, scene, "ticket"), s.now())
	return message.Write(false, m...), message.Write(true, m...)
}

// NewTicket returns a ticket as the server creates them.
func NewTicket(url string, created time.Time, lifetime time.Duration, realistic bool) wxqrcode.Ticket {
	return newTicket(url, created, lifetime, realistic)
}

// SetStoreTimeout sets the timeout of an Update that hangs.
func SetStoreTimeout(d time.Duration) { storeTimeout = d }
