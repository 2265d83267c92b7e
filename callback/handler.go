package callback

import (
	"errors"
	"net/http"
	"time"
)

// ServeHTTP answers a request of WeChat's: a GET, with which WeChat tries the URL out,
// with its echostr, and a POST, which is a push, with the reply or "success". The
// statuses are
//
//	200  done, or done before
//	400  a push that is no message, or is encrypted and there is no key
//	403  not from WeChat, or too old: the log says why, and the answer does not
//	405  neither GET nor POST
//	408  a push that came in too slowly
//	413  a push of more than [Config] MaxBody
//	500  onEvent or OnMessage failed: WeChat pushes again
//
// See https://developers.weixin.qq.com/doc/service/guide/dev/push/.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h == nil || h.onEvent == nil {
		http.Error(w, "the handler was not made with callback.New", http.StatusInternalServerError)
		return
	}
	start := time.Now()
	limitReading(w, start.Add(h.bodyTimeout)) // also of what net/http reads after we refused it
	p := push{handler: h, request: r, start: start}
	var a answer
	switch r.Method {
	case http.MethodGet:
		w.Header()["X-Content-Type-Options"] = noSniff // echostr is whatever the sender wants
		a = p.verifyURL()
	case http.MethodPost:
		a = p.receive(w)
	default:
		a = p.refuse(http.StatusMethodNotAllowed, errors.New("neither GET nor POST"))
		w.Header()["Allow"] = []string{"GET, POST"}
	}
	a.write(w)
	p.log(a.status)
}

func (p *push) verifyURL() answer {
	var err error
	if p.query, err = readQuery(p.request.URL.RawQuery); err != nil {
		return p.refuse(http.StatusForbidden, err)
	}
	if err := p.query.checkSignature(p.handler.token()); err != nil {
		return p.refuse(http.StatusForbidden, err)
	}
	if p.query[echostr] == "" {
		return p.refuse(http.StatusForbidden, errors.New("echostr is missing"))
	}
	p.outcome = verified
	return answer{status: http.StatusOK, body: []byte(p.query[echostr])}
}

const success = "success" // nothing to say

var (
	successBody     = []byte(success)
	contentTypeText = []string{"text/plain; charset=utf-8"}
	contentTypeXML  = []string{"text/xml; charset=utf-8"}
	contentTypeJSON = []string{"application/json"}
	noSniff         = []string{"nosniff"}
)

// An answer is what goes back. Without a body it is the text of its status.
type answer struct {
	status      int
	contentType []string // text if nil
	body        []byte
}

func (a answer) write(w http.ResponseWriter) {
	header := w.Header()
	header["Content-Type"] = a.contentType
	if a.contentType == nil {
		header["Content-Type"] = contentTypeText
	}
	if a.body == nil {
		a.body = []byte(http.StatusText(a.status) + "\n")
	}
	w.WriteHeader(a.status)
	w.Write(a.body)
}
