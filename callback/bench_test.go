package callback_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/floor"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// Budget: at most 3 µs and 24 allocations above a handler that reads the body.
func BenchmarkPlain(b *testing.B) {
	ours := newBenchmarked(b, "")
	bare, full := ours.measure(b, ours.readBody, ours.next)
	b.ReportMetric(full-bare, "ns-above-floor")
	ours.prepare()
	allocs := testing.AllocsPerRun(roundLength/2, ours.next)
	ours.prepare()
	b.ReportMetric(allocs-testing.AllocsPerRun(roundLength/2, ours.readBody), "allocs-above-floor")
}

// Budget: above plain, at most 2 times SHA-1, base64 and CBC of the same bytes.
func BenchmarkAES(b *testing.B) {
	plain, encrypted := newBenchmarked(b, ""), newBenchmarked(b, benchKey)
	atPlain, atEncrypted, cryptography := floor.Comparison{
		Before: func() { plain.prepare(); encrypted.prepare() },
		Floor:  plain.next, Ours: encrypted.next, Batch: roundLength,
	}.RunBeside(b, cryptographyOf(b))
	b.ReportMetric(atEncrypted-atPlain, "ns-above-plain")
	b.ReportMetric((atEncrypted-atPlain)/cryptography, "of-the-cryptography")
}

// cryptographyOf does SHA-1, base64 and CBC of one push.
func cryptographyOf(b *testing.B) func() {
	b.Helper()
	raw, err := base64.RawStdEncoding.DecodeString(benchKey)
	require.NoError(b, err)
	block, err := aes.NewCipher(raw)
	require.NoError(b, err)
	key, err := wxcrypt.ParseKey(benchKey)
	require.NoError(b, err)
	encrypt, err := key.Encrypt([]byte(benchMessage(1)), benchAppID)
	require.NoError(b, err)
	buf := make([]byte, base64.StdEncoding.DecodedLen(len(encrypt)))
	return func() {
		sha1.Sum(encrypt)
		n, err := base64.StdEncoding.Decode(buf, encrypt)
		if err != nil {
			b.Fatal(err)
		}
		cipher.NewCBCDecrypter(block, raw[:16]).CryptBlocks(buf[:n], buf[:n])
	}
}

// Budget: any body of 64 KiB without a valid signature takes at most 4 times
// SHA-1 of the same bytes, and twice its size in memory.
func BenchmarkHostileBody(b *testing.B) {
	const size = 64 << 10
	fill := func(begin, repeated, end string) string {
		return begin + strings.Repeat(repeated, (size-len(begin)-len(end))/len(repeated)) + end
	}
	h := newBenchmarked(b, benchKey).handler
	timestamp := fmt.Sprint(time.Now().Unix())
	for name, body := range map[string]string{
		"EmptyElements": fill("<xml>", "<a/>", "</xml>"),
		"OpenTags":      fill("<xml>", "<a>", ""),
		"Attributes":    fill("<xml", " a='b'", ""),
		"OpenCDATA":     fill("<xml>", "<a><![CDATA[", ""),
		"ManyEncrypts":  fill("<xml>", "<Encrypt>", ""),
		"LongEncrypt":   fill("<xml><Encrypt>", "A", "</Encrypt></xml>"),
		"Spaces":        fill("<xml><Encrypt>", " ", "</Encrypt></xml>"),
		"JSONBrackets":  fill(`{"a":`, "[", ""),
		"JSONSlashes":   fill(`{"Encrypt":"`, `\/`, `"}`),
		"JSONNames":     fill(`{`, `"Encrypt"`, `}`),
	} {
		b.Run(name, func(b *testing.B) {
			raw := []byte(body)
			hash := func() { sha1.Sum(raw) }
			var w discardWriter
			hostile := func() {
				w = discardWriter{header: http.Header{}}
				r, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://localhost/?msg_signature=0&nonce=1&timestamp="+timestamp, strings.NewReader(body))
				h.ServeHTTP(&w, r)
				if w.status != http.StatusForbidden {
					panic(w.status)
				}
			}
			bare, ours := floor.Comparison{Floor: hash, Ours: hostile, Batch: 20}.Run(b)
			b.ReportMetric(ours/bare, "of-SHA-1")
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			hostile()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(len(body)), "of-size")
		})
	}
}

const (
	benchToken  = "benchmark"
	benchAppID  = "wxba5fad812f8e6fb9"
	benchKey    = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	roundLength = 100 // pushes
)

// A benchmarked is a handler and pushes for it, each of another event.
type benchmarked struct {
	handler http.Handler
	key     string
	made    int
	pushes  []*http.Request
	writer  discardWriter
}

func newBenchmarked(b *testing.B, key string) *benchmarked {
	h, err := callback.New(callback.Config{Token: benchToken, AppID: benchAppID, EncodingAESKey: key, Logger: slog.New(slog.DiscardHandler),
		OnEvent: func(context.Context, *wxqrcode.Event) (callback.Reply, error) { return nil, nil }})
	require.NoError(b, err)
	m := &benchmarked{handler: h, key: key, writer: discardWriter{header: http.Header{}}}
	m.prepare()
	return m
}

func (m *benchmarked) measure(b *testing.B, bare, full func()) (floorTime, ours float64) {
	return floor.Comparison{Before: m.prepare, Floor: bare, Ours: full, Batch: roundLength}.Run(b)
}

// prepare makes the pushes of a round.
func (m *benchmarked) prepare() {
	m.pushes = m.pushes[:0]
	for range roundLength {
		m.made++
		body := benchMessage(m.made)
		now := fmt.Sprint(time.Now().Unix())
		nonce := fmt.Sprint(3_000_000_000 + m.made)
		query := "signature=" + wxcrypt.Sign(benchToken, now, nonce, nil) + "&timestamp=" + now + "&nonce=" + nonce + "&openid=o7Lp5t6n59DeX3U0C7Kric9qEx-Q"
		if m.key != "" {
			key, _ := wxcrypt.ParseKey(m.key)
			encrypt, _ := key.Encrypt([]byte(body), benchAppID)
			body = "<xml><ToUserName><![CDATA[gh_45072270791c]]></ToUserName>\n<Encrypt><![CDATA[" + string(encrypt) + "]]></Encrypt></xml>"
			query += "&encrypt_type=aes&msg_signature=" + wxcrypt.Sign(benchToken, now, nonce, encrypt)
		}
		r, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://localhost/wechat?"+query, strings.NewReader(body))
		m.pushes = append(m.pushes, r)
	}
}

func (m *benchmarked) pop() *http.Request {
	r := m.pushes[len(m.pushes)-1]
	m.pushes = m.pushes[:len(m.pushes)-1]
	return r
}

func (m *benchmarked) next() {
	m.handler.ServeHTTP(&m.writer, m.pop())
	if m.writer.status != http.StatusOK {
		panic(m.writer.status)
	}
}

func (m *benchmarked) readBody() {
	r := m.pop()
	if _, err := io.ReadAll(r.Body); err != nil {
		panic(err)
	}
	m.writer.WriteHeader(http.StatusOK)
}

func benchMessage(n int) string {
	return fmt.Sprintf(`<xml><ToUserName><![CDATA[gh_45072270791c]]></ToUserName>
<FromUserName><![CDATA[o7Lp5t6n59DeX3U0C7Kric9qEx-Q]]></FromUserName>
<CreateTime>%d</CreateTime><MsgType><![CDATA[event]]></MsgType>
<Event><![CDATA[subscribe]]></Event><EventKey><![CDATA[qrscene_%08d]]></EventKey>
<Ticket><![CDATA[gQHi8DoAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL0UwTTNZQ3JsLWRRd09LVlpSV0NRAAIEfh3VUgMEAAAAAA==]]></Ticket></xml>`, time.Now().Unix(), n)
}

type discardWriter struct {
	header http.Header
	status int
}

func (w *discardWriter) Header() http.Header             { return w.header }
func (w *discardWriter) WriteHeader(status int)          { w.status = status }
func (w *discardWriter) SetReadDeadline(time.Time) error { return nil } // as the writer of net/http
func (w *discardWriter) Write(b []byte) (int, error)     { return len(b), nil }
