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

// imageData begins like a JPEG.
var imageData = "\xff\xd8\xff\xe0" + strings.Repeat("image...", 125)

// responses are the successful responses of WeChat.
var responses = map[string]string{
	"/cgi-bin/qrcode/create": `{"ticket":"` + ticket + `","expire_seconds":3600,"url":"http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI"}`,
	"/cgi-bin/stable_token":  `{"access_token":"` + newToken + `","expires_in":7200}`,
	"/cgi-bin/token":         `{"access_token":"` + newToken + `","expires_in":7200}`,
	showPath:                 imageData,
}

// A wechat is a server that counts requests, and responds successfully unless a fault is
// injected.
type wechat struct {
	*httptest.Server
	fault        atomic.Pointer[http.HandlerFunc]
	requestCount atomic.Int32
	closed       chan struct{} // closed by close
}

func newWeChat() *wechat {
	w := newUnstartedWeChat()
	w.Start()
	return w
}

func newUnstartedWeChat() *wechat {
	w := &wechat{closed: make(chan struct{})}
	w.Server = httptest.NewUnstartedServer(w)
	w.Config.ErrorLog = log.New(io.Discard, "", 0)
	return w
}

func (w *wechat) ServeHTTP(res http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // without it, closing sends a reset
	w.requestCount.Add(1)
	if f := w.fault.Load(); f != nil {
		(*f)(res, r)
		return
	}
	answer, ok := responses[r.URL.Path]
	if !ok {
		res.WriteHeader(http.StatusNotFound)
		return
	}
	io.WriteString(res, answer)
}

func (w *wechat) requests() int { return int(w.requestCount.Load()) }

// inject lets f handle all further requests.
func (w *wechat) inject(f http.HandlerFunc) { w.fault.Store(&f) }

func (w *wechat) reset() { w.fault.Store(nil) }

func (w *wechat) close() {
	close(w.closed)
	w.Close()
}

// waitForClose waits until the client or the server closes.
func (w *wechat) waitForClose(r *http.Request) {
	select {
	case <-w.closed:
	case <-r.Context().Done():
	}
}

// hijack returns the connection of a request.
func hijack(w http.ResponseWriter) *net.TCPConn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	return conn.(*net.TCPConn)
}

// reset closes a connection with a TCP reset.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// sendRaw writes raw bytes to the connection and returns it.
func sendRaw(w http.ResponseWriter, format string, args ...any) *net.TCPConn {
	conn := hijack(w)
	_, _ = fmt.Fprintf(conn, format, args...)
	return conn
}
