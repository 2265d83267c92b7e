package callback_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/internal/wxcrypt"
)

// pushOf returns a push whose message is dated delay before its timestamp, now.
func pushOf(key, secret, nonce string, delay time.Duration) testPush {
	now := time.Now()
	m := strings.Replace(scanOf("7"), fmt.Sprint(created), fmt.Sprint(now.Add(-delay).Unix()), 1)
	return testPush{message: m, key: key, token: secret, nonce: nonce, at: now}
}

// extend returns what an attacker can send who knows the signature of a push,
// the length of the token, and that it sorts before the timestamp: SHA-1 can be
// extended after the captured pair and its padding, which become the beginning
// of a nonce, with a new timestamp and, in msg_signature, with Encrypt. Here
// the signature is computed with the token; the attacker does not need it.
func extend(captured signedPush, secret string, length int, timestamp, encrypt string) signedPush {
	pair := captured.query.Get("timestamp") + captured.query.Get("nonce")
	nonce := pair + sha1Padding(length+len(pair))
	q := url.Values{"timestamp": {timestamp}, "nonce": {nonce}, "signature": {wxcrypt.Sign(secret, nonce, timestamp, nil)}}
	if encrypt != "" {
		q.Set("msg_signature", wxcrypt.Sign(secret, timestamp, nonce, []byte(encrypt)))
	}
	return signedPush{q, captured.body}
}

func encryptOf(s signedPush) string {
	_, rest, _ := strings.Cut(s.body, "<Encrypt><![CDATA[")
	encrypt, _, _ := strings.Cut(rest, "]]>")
	return encrypt
}

// A push is sent once and then, over two days, more than 100,000 times:
// unchanged, altered, extended, and split elsewhere. OnEvent is called once.
func TestHandler_HundredThousandForgeries(t *testing.T) {
	for name, key := range map[string]string{"plain": "", "secure": aesKey} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				startIn2026()

				r := rand.New(rand.NewPCG(1, 2))
				var events recorder
				p := pushOf(key, token, "1795003600", 30*time.Second)
				cfg := configFor(p, events.onEvent)
				cfg.OnMessage = noMessage(t)
				h := newHandler(t, cfg)
				s := p.sign()
				require.Equal(t, http.StatusOK, send(h, s).Code)
				sent := 0
				deliver := func(s signedPush) { send(h, s); sent++ }
				flip := func(text string) string {
					b := []byte(text)
					b[r.IntN(len(b))] ^= 1 << r.IntN(8)
					return string(b)
				}
				joined := s.query.Get("timestamp") + s.query.Get("nonce")
				for range 12_000 {
					deliver(s)
					deliver(signedPush{s.query, flip(s.body)})
					for _, name := range []string{"timestamp", "nonce", "signature", "msg_signature"} {
						if value := s.query.Get(name); value != "" {
							deliver(s.with(name, flip(value)))
						}
					}
					n := 1 + r.IntN(len(joined)-1)
					deliver(s.with("timestamp", joined[:n]).with("nonce", joined[n:]))
					deliver(s.with("timestamp", joined[n:]).with("nonce", joined[:n]))
					deliver(s.with("timestamp", joined[10:]).with("nonce", joined[:10]))
					deliver(signedPush{s.query, strings.Replace(s.body, "7]]>", fmt.Sprint(n)+"]]>", 1)})
					deliver(extend(s, p.token, len(p.token), fmt.Sprint(time.Now().Unix()), encryptOf(s)))
					time.Sleep(time.Duration(r.IntN(28)) * time.Second)
				}
				assert.GreaterOrEqual(t, sent, 100_000)
				assert.Len(t, events.scenes(), 1)
			})
		})
	}
}

// sha1Padding returns what SHA-1 appends to n bytes.
func sha1Padding(n int) string {
	return "\x80" + strings.Repeat("\x00", (64-(n+9)%64)%64) + string(binary.BigEndian.AppendUint64(nil, uint64(n)*8))
}

// In plain mode the attacker chooses CreateTime, so only the characters of the
// nonce reveal the extension.
func TestHandler_RejectsExtendedSignatures(t *testing.T) {
	for _, secret := range []string{"123456", "0d107d09f5bbe40cade3de5c71e9e9b7", "16f2a9c1"} {
		for name, key := range map[string]string{"plain": "", "secure": aesKey} {
			for _, delay := range []time.Duration{0, 61 * time.Second, 900 * time.Second} {
				t.Run(fmt.Sprint(secret, name, delay), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						startIn2026()
						var events recorder
						var log logRecorder
						p := pushOf(key, secret, "415670741", delay)
						cfg := configFor(p, events.onEvent)
						cfg.Token, cfg.OnMessage, cfg.Logger = secret, noMessage(t), log.logger()
						h := newHandler(t, cfg)
						captured := p.sign()
						require.Equal(t, http.StatusOK, send(h, captured).Code)
						time.Sleep(24 * time.Hour)
						now := fmt.Sprint(time.Now().Unix())
						for length := 3; length <= 32; length++ {
							forged := extend(captured, secret, length, now, encryptOf(captured))
							if key == "" {
								forged.body = pushOf("", secret, "", 0).message
							}
							assertForbidden(t, send(h, forged))
						}
						assert.Len(t, events.scenes(), 1)
						for _, line := range log.lines(t)[1:] {
							assert.Contains(t, line["error"], "nonce")
						}
					})
				})
			}
		}
	}
}
