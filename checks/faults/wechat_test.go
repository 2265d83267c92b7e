package faults

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
)

const (
	ticket   = "gQH47joAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9x"
	showPath = "/cgi-bin/showqrcode"
)

// picture looks like a JPEG as far as anybody looks.
var picture = "\xff\xd8\xff\xe0" + strings.Repeat("picture.", 125)

// answers are what WeChat answers when all is well.
var answers = map[string]string{
	"/cgi-bin/qrcode/create": `{"ticket":"` + ticket + `","expire_seconds":3600,"url":"http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI"}`,
	"/cgi-bin/stable_token":  `{"access_token":"` + newToken + `","expires_in":7200}`,
	"/cgi-bin/token":         `{"access_token":"` + newToken + `","expires_in":7200}`,
	showPath:                 picture,
}

// A wechat is a server on loopback that counts what it is asked, and answers well, unless
// it has a fault.
type wechat struct {
	*httptest.Server
	fault atomic.Pointer[http.HandlerFunc]
	asked atomic.Int32
	gone  chan struct{} // closed at the end
}

func newWeChat() *wechat {
	w := newUnstartedWeChat()
	w.Start()
	return w
}

func newUnstartedWeChat() *wechat {
	w := &wechat{gone: make(chan struct{})}
	w.Server = httptest.NewUnstartedServer(w)
	w.Config.ErrorLog = log.New(io.Discard, "", 0)
	return w
}

func (w *wechat) ServeHTTP(res http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // else a close would be a reset
	w.asked.Add(1)
	if f := w.fault.Load(); f != nil {
		(*f)(res, r)
		return
	}
	answer, ok := answers[r.URL.Path]
	if !ok {
		res.WriteHeader(http.StatusNotFound)
		return
	}
	io.WriteString(res, answer)
}

func (w *wechat) requests() int { return int(w.asked.Load()) }

// breaks gives every request from now on to f.
func (w *wechat) breaks(f http.HandlerFunc) { w.fault.Store(&f) }

func (w *wechat) mend() { w.fault.Store(nil) }

func (w *wechat) close() {
	close(w.gone)
	w.Close()
}

// wait returns when the client or the server has gone.
func (w *wechat) wait(r *http.Request) {
	select {
	case <-w.gone:
	case <-r.Context().Done():
	}
}

// takeOver returns the connection of a request.
func takeOver(w http.ResponseWriter) *net.TCPConn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	return conn.(*net.TCPConn)
}

// reset closes a connection so that the other side is told of an error.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// send writes what is no answer of net/http's making, and returns the connection.
func send(w http.ResponseWriter, format string, args ...any) *net.TCPConn {
	conn := takeOver(w)
	_, _ = fmt.Fprintf(conn, format, args...)
	return conn
}
