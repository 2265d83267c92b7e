package faults

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A pushRequest is a push in secure mode.
type pushRequest struct{ query, body string }

// newPush returns the push of a scan of scene, with the timestamp at.
func newPush(scene string, at time.Time) pushRequest {
	message := fmt.Sprintf("<xml><ToUserName><![CDATA[gh_45072270791c]]></ToUserName><FromUserName><![CDATA[o-ann]]></FromUserName>"+
		"<CreateTime>%d</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[SCAN]]></Event><EventKey><![CDATA[%s]]></EventKey></xml>", at.Unix(), scene)
	encrypt := must(must(wxcrypt.ParseKey(aesKey)).Encrypt([]byte(message), appID))
	timestamp, nonce := fmt.Sprint(at.Unix()), "nonce"
	query := url.Values{"timestamp": {timestamp}, "nonce": {nonce}, "encrypt_type": {"aes"},
		"signature":     {wxcrypt.Sign(pushToken, timestamp, nonce, nil)},
		"msg_signature": {wxcrypt.Sign(pushToken, timestamp, nonce, encrypt)}}
	return pushRequest{query.Encode(), "<xml><ToUserName><![CDATA[gh_45072270791c]]></ToUserName><Encrypt><![CDATA[" + string(encrypt) + "]]></Encrypt></xml>"}
}

// request returns the HTTP request, with the given Content-Length.
func (l pushRequest) request(length int) string {
	return fmt.Sprintf("POST /wechat?%s HTTP/1.1\r\nHost: callback\r\nContent-Length: %d\r\n\r\n%s", l.query, length, l.body)
}

const maxBody = 4 << 10 // of the receiver

// A receiver is a server with a callback handler.
type receiver struct {
	*httptest.Server
	log  logBuffer
	runs atomic.Int32
	run  func() // in onEvent; may be nil
}

func newReceiver(change func(*callback.Config)) *receiver {
	r := &receiver{}
	cfg := callback.Config{Token: pushToken, AppID: appID, EncodingAESKey: aesKey, MaxBody: maxBody, Logger: r.log.logger()}
	if change != nil {
		change(&cfg)
	}
	cfg.OnEvent = func(context.Context, *wxqrcode.Event) (callback.Reply, error) {
		if r.run != nil {
			r.run()
		}
		r.runs.Add(1)
		return nil, nil
	}
	handler := must(callback.New(cfg))
	r.Server = httptest.NewUnstartedServer(handler)
	r.Config.ErrorLog = log.New(&r.log, "", 0)
	r.Start()
	return r
}

// count returns how often OnEvent returned.
func (r *receiver) count() int { return int(r.runs.Load()) }

// post sends a push, and returns status and body.
func (r *receiver) post(l pushRequest) (string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Post(r.URL+"/wechat?"+l.query, "text/xml", strings.NewReader(l.body))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return fmt.Sprint(res.StatusCode, " ", strings.TrimSpace(string(body))), err
}

// A pushFault is a failure that is injected into a push.
type pushFault struct {
	name string
	send func(conn *net.TCPConn, l pushRequest) // the letter, as far as it comes
	run  func(conn *net.TCPConn)                // in onEvent; may be nil
	runs int                                    // of onEvent
}

func runPushes(t *testing.T, b *table) {
	t.Helper()
	for _, f := range pushFaults() {
		t.Run(f.name, func(t *testing.T) {
			leaks := countLeaks()
			beginPush(t, f).end(t, b)
			leaks.check(t)
		})
	}
	for _, clock := range []struct {
		name string
		off  time.Duration // WeChat's
	}{
		{"clock of this machine 10 minutes fast", -10 * time.Minute},
		{"clock of this machine 10 minutes slow", 10 * time.Minute},
	} {
		t.Run(clock.name, func(t *testing.T) {
			leaks := countLeaks()
			pushAtAnotherTime(t, b, clock.name, clock.off)
			leaks.check(t)
		})
	}
}

// startSlowPushes starts a push that stalls, and returns a function that waits for it.
func startSlowPushes(t *testing.T, b *table) (wait func()) {
	t.Helper()
	m := beginPush(t, pushFault{name: "sender stalls within the body", send: func(conn *net.TCPConn, l pushRequest) {
		_, _ = io.WriteString(conn, l.half())
	}})
	return func() { m.end(t, b) }
}

func (l pushRequest) half() string { return l.request(len(l.body))[:len(l.head())+len(l.body)/2] }
func (l pushRequest) head() string { return strings.TrimSuffix(l.request(len(l.body)), l.body) }

// pushFaults are faults of the sender and the connection.
func pushFaults() []pushFault {
	write := func(conn *net.TCPConn, text string) { _, _ = io.WriteString(conn, text) }
	whole := func(conn *net.TCPConn, l pushRequest) { write(conn, l.request(len(l.body))) }
	then := func(what func(pushRequest) string, end func(*net.TCPConn)) func(*net.TCPConn, pushRequest) {
		return func(conn *net.TCPConn, l pushRequest) {
			write(conn, what(l))
			end(conn)
		}
	}
	stop := func(conn *net.TCPConn) { check(conn.CloseWrite()) } // and listens
	long := strings.Repeat(" ", maxBody)
	return []pushFault{
		{name: "sender closes before the body", send: then(pushRequest.head, stop)},
		{name: "sender closes within the body", send: then(pushRequest.half, stop)},
		{name: "connection reset before the body", send: then(pushRequest.head, reset)},
		{name: "connection reset within the body", send: then(pushRequest.half, reset)},
		{name: "Content-Length too large", send: then(func(l pushRequest) string { return l.request(len(l.body) + 1) }, stop)},
		{name: "Content-Length too small", send: then(func(l pushRequest) string { return l.request(len(l.body) / 2) }, stop)},
		{name: "body longer than MaxBody", send: func(conn *net.TCPConn, l pushRequest) {
			l.body += long
			whole(conn, l)
		}},
		{name: "chunked body longer than MaxBody", send: func(conn *net.TCPConn, l pushRequest) {
			l.body += long
			write(conn, fmt.Sprintf("POST /wechat?%s HTTP/1.1\r\nHost: callback\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", l.query, len(l.body), l.body))
		}},
		{name: "connection closed while `OnEvent` runs", runs: 1, send: whole, run: func(conn *net.TCPConn) { conn.Close() }},
		{name: "connection reset while `OnEvent` runs", runs: 1, send: whole, run: reset},
	}
}

// A meeting is a push with a fault.
type meeting struct {
	fault    pushFault
	receiver *receiver
	letter   pushRequest
	answer   chan string
}

func beginPush(t *testing.T, f pushFault) *meeting {
	t.Helper()
	m := &meeting{f, newReceiver(nil), newPush("7", time.Now()), make(chan string, 1)}
	conn, err := net.DialTCP("tcp", nil, m.receiver.Listener.Addr().(*net.TCPAddr))
	require.NoError(t, err)
	if f.run != nil {
		m.receiver.run = func() { f.run(conn) }
	}
	f.send(conn, m.letter)
	go func() {
		answer, _ := io.ReadAll(conn) // what there is before the connection ends
		conn.Close()
		m.answer <- string(answer)
	}()
	return m
}

// end checks the result of the push, and redelivers it without the fault.
func (m *meeting) end(t *testing.T, b *table) {
	t.Helper()
	r := m.receiver
	sees := "no response"
	if line, _, ok := strings.Cut(<-m.answer, "\r\n"); ok {
		sees = strings.TrimPrefix(line, "HTTP/1.1 ")
	}
	require.True(t, eventually(func() bool { return strings.Contains(r.log.String(), "outcome=") }), "nothing was logged")
	r.run = nil
	logged := r.logged(t)
	ran := r.ran(t, m.fault.runs)
	answer, err := r.post(m.letter)
	require.NoError(t, err)
	assert.Equal(t, "200 success", answer, "redelivery")
	assert.Equal(t, 1, r.count(), "runs in all")
	r.Close()
	assert.NotRegexp(t, secretParts, r.log.String())
	b.add(m.fault.name, "", sees, ran, logged, "nothing")
}

func (r *receiver) ran(t *testing.T, want int) string {
	t.Helper()
	assert.Equal(t, want, r.count(), "runs")
	if want == 0 {
		return "not called; once on redelivery"
	}
	return "completes; not called on redelivery"
}

var logLine = regexp.MustCompile(`outcome=(\w+)(?:.*? error=(?:"([^"]*)"|(\S+)))?`)

// logged returns the outcome and the error in the log.
func (r *receiver) logged(t *testing.T) string {
	t.Helper()
	m := logLine.FindStringSubmatch(r.log.String())
	require.NotNil(t, m, "%s", &r.log)
	text := "`" + m[1] + "`"
	if m[2]+m[3] != "" {
		text += ": `" + plain(m[2]+m[3], r.Listener.Addr().String(), "callback") + "`"
	}
	return text
}

// pushAtAnotherTime pushes with a wrong clock, then with the right one.
func pushAtAnotherTime(t *testing.T, b *table, name string, off time.Duration) {
	t.Helper()
	var shift atomic.Int64
	server := wxtest.NewServer(wxtest.WithNow(func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }))
	r := newReceiver(func(c *callback.Config) { c.AppID = server.AppID() })
	server.SetCallback(r.URL+"/wechat", wxtest.CallbackConfig{Token: pushToken, EncodingAESKey: aesKey, Mode: wxtest.Secure})
	code, err := server.Client().Create(t.Context(), request)
	require.NoError(t, err)

	shift.Store(int64(off))
	refused, err := server.Scan(t.Context(), code.Ticket, "o-ann")
	require.NoError(t, err)
	logged := r.logged(t)
	ran := r.ran(t, 0)
	shift.Store(0)
	taken, err := server.Scan(t.Context(), code.Ticket, "o-ann")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, taken.Status, "once the clock is right")
	assert.Equal(t, 1, r.count())
	server.Close()
	r.Close()
	assert.NotRegexp(t, secretParts, r.log.String())

	text := regexp.MustCompile(`timestamp is (\S+) off`).FindStringSubmatch(logged)
	require.NotNil(t, text, logged)
	told, err := time.ParseDuration(text[1])
	require.NoError(t, err)
	assert.InDelta(t, off.Abs().Seconds(), told.Abs().Seconds(), 60, "how far it is off")
	logged = strings.Replace(logged, text[1], map[bool]string{true: "-10m…", false: "10m…"}[told < 0], 1)
	b.add(name, "", fmt.Sprint(refused.Status, " ", http.StatusText(refused.Status)), ran, logged, "nothing")
}
