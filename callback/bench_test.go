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
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/callback"
	"github.com/seed-0142d113/wxqrcode/internal/floor"
	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// Budget: at most 2 µs and 16 allocations above a handler that reads the body.
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
	plain, sealed := newBenchmarked(b, ""), newBenchmarked(b, benchKey)
	atPlain, atSealed, cryptography := floor.Comparison{
		Before: func() { plain.prepare(); sealed.prepare() },
		Floor:  plain.next, Ours: sealed.next, Batch: roundLength,
	}.RunBeside(b, cryptographyOf(b))
	b.ReportMetric(atSealed-atPlain, "ns-above-plain")
	b.ReportMetric((atSealed-atPlain)/cryptography, "of-the-cryptography")
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
	encrypt, err := key.Seal([]byte(benchMessage(1)), benchAppID)
	require.NoError(b, err)
	sealed := []byte(encrypt)
	buf := make([]byte, base64.StdEncoding.DecodedLen(len(sealed)))
	return func() {
		sha1.Sum(sealed)
		n, err := base64.StdEncoding.Decode(buf, sealed)
		if err != nil {
			b.Fatal(err)
		}
		cipher.NewCBCDecrypter(block, raw[:16]).CryptBlocks(buf[:n], buf[:n])
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
	h, err := callback.New(callback.Config{Token: benchToken, AppID: benchAppID, EncodingAESKey: key, Logger: slog.New(slog.DiscardHandler)},
		func(context.Context, *wxqrcode.Event) (callback.Reply, error) { return nil, nil })
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
		nonce := fmt.Sprint(m.made)
		query := "signature=" + wxcrypt.Signature(benchToken, now, nonce) + "&timestamp=" + now + "&nonce=" + nonce + "&openid=o7Lp5t6n59DeX3U0C7Kric9qEx-Q"
		if m.key != "" {
			key, _ := wxcrypt.ParseKey(m.key)
			encrypt, _ := key.Seal([]byte(body), benchAppID)
			body = "<xml><ToUserName><![CDATA[gh_45072270791c]]></ToUserName>\n<Encrypt><![CDATA[" + encrypt + "]]></Encrypt></xml>"
			query += "&encrypt_type=aes&msg_signature=" + wxcrypt.Signature(benchToken, now, nonce, encrypt)
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
<CreateTime>1389684286</CreateTime><MsgType><![CDATA[event]]></MsgType>
<Event><![CDATA[subscribe]]></Event><EventKey><![CDATA[qrscene_%08d]]></EventKey>
<Ticket><![CDATA[gQHi8DoAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL0UwTTNZQ3JsLWRRd09LVlpSV0NRAAIEfh3VUgMEAAAAAA==]]></Ticket></xml>`, n)
}

type discardWriter struct {
	header http.Header
	status int
}

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) WriteHeader(status int)      { w.status = status }
func (w *discardWriter) Write(b []byte) (int, error) { return len(b), nil }
