package wxcrypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// push has the worked examples of the official page.
type push struct {
	Token          string
	EncodingAESKey string      `json:"encoding_aes_key"`
	AppID          string      `json:"app_id"`
	VerifyURL      pushExample `json:"verify_url"`
	Plain          pushExample
	Secure         pushExample
}

type pushExample struct {
	Timestamp, Nonce, Signature      string
	MsgSignature                     string `json:"msg_signature"`
	Encrypt, Random, Message, OpenID string
}

func loadPush(t testing.TB) push {
	t.Helper()
	b, err := os.ReadFile("../../testdata/push.json")
	require.NoError(t, err)
	var p push
	require.NoError(t, json.Unmarshal(b, &p))
	return p
}

func TestSign_OfficialExamples(t *testing.T) {
	p := loadPush(t)
	for name, tt := range map[string]struct {
		timestamp, nonce, encrypt, want string
	}{
		"URL verification":              {p.VerifyURL.Timestamp, p.VerifyURL.Nonce, "", p.VerifyURL.Signature},
		"a push in plain mode":          {p.Plain.Timestamp, p.Plain.Nonce, "", p.Plain.Signature},
		"the query of an encrypted one": {p.Secure.Timestamp, p.Secure.Nonce, "", p.Secure.Signature},
		"the body of an encrypted one":  {p.Secure.Timestamp, p.Secure.Nonce, p.Secure.Encrypt, p.Secure.MsgSignature},
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEmpty(t, tt.want)
			assert.Equal(t, tt.want, Sign(p.Token, tt.timestamp, tt.nonce, []byte(tt.encrypt)))
		})
	}
}

func TestSign_SortsAsStrings(t *testing.T) {
	assert.Equal(t, Sign("109", "", "", nil), Sign("9", "10", "", nil), "as numbers, 9 comes before 10")
	assert.Equal(t, Sign("Ba", "", "", nil), Sign("a", "B", "", nil), "bytes, not letters")
}

func TestKey_EncryptOfficialExample(t *testing.T) {
	p := loadPush(t)
	key, err := ParseKey(p.EncodingAESKey)
	require.NoError(t, err)
	require.Len(t, p.Secure.Random, randomLen)

	encrypted, err := key.encrypt([randomLen]byte([]byte(p.Secure.Random)), []byte(p.Secure.Message), p.AppID)
	require.NoError(t, err)
	assert.Equal(t, p.Secure.Encrypt, string(encrypted))
}

func TestKey_RoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	paddings := map[int]bool{}
	for length := range 201 {
		raw := randomBytes(r, 32)
		message := randomBytes(r, length)
		before := bytes.Clone(message)
		appID := string(randomBytes(r, r.IntN(25)))
		key, err := ParseKey(base64.RawStdEncoding.EncodeToString(raw))
		require.NoError(t, err)

		encrypted, err := key.Encrypt(message, appID)
		require.NoError(t, err)
		require.Equal(t, before, message, "the slice of the caller is unchanged")

		b, err := base64.StdEncoding.Strict().DecodeString(string(encrypted))
		require.NoError(t, err)
		require.Zero(t, len(b)%32)
		block, err := aes.NewCipher(raw)
		require.NoError(t, err)
		cipher.NewCBCDecrypter(block, raw[:16]).CryptBlocks(b, b)

		padding := int(b[len(b)-1])
		require.True(t, padding >= 1 && padding <= 32, "padding is %d", padding)
		require.Equal(t, bytes.Repeat([]byte{byte(padding)}, padding), b[len(b)-padding:])
		b = b[16 : len(b)-padding]
		require.Equal(t, uint32(length), binary.BigEndian.Uint32(b))
		require.Equal(t, string(message), string(b[4:4+length]))
		require.Equal(t, appID, string(b[4+length:]))
		paddings[padding] = true

		decrypted, err := key.Decrypt(encrypted, appID, PaddingBlock)
		require.NoError(t, err)
		require.Equal(t, string(message), string(decrypted))
	}
	assert.Len(t, paddings, 32, "every padding from 1 to 32")
}

func TestKey_EncryptIsRandom(t *testing.T) {
	p := loadPush(t)
	key, err := ParseKey(p.EncodingAESKey)
	require.NoError(t, err)
	seen := map[string]bool{}
	for range 100 {
		encrypted, err := key.Encrypt([]byte("hello"), p.AppID)
		require.NoError(t, err)
		seen[string(encrypted)] = true
	}
	assert.Len(t, seen, 100)
}

func TestKey_ZeroValueFails(t *testing.T) {
	_, err := Key{}.Encrypt([]byte("hello"), "wx1")
	assert.Error(t, err)
	_, err = Key{}.Decrypt([]byte(loadPush(t).Secure.Encrypt), "wx1", PaddingBlock)
	assert.Error(t, err)
}

func TestKey_DecryptOfficialExample(t *testing.T) {
	p := loadPush(t)
	key, err := ParseKey(p.EncodingAESKey)
	require.NoError(t, err)
	message, err := key.Decrypt([]byte(p.Secure.Encrypt), p.AppID, PaddingBlock)
	require.NoError(t, err)
	assert.Equal(t, p.Secure.Message, string(message))
	assert.Equal(t, len(message), cap(message), "no spare capacity")
}

func TestKey_DecryptMalformed(t *testing.T) {
	const appID = "wx1"
	random := strings.Repeat("r", randomLen)
	padded := func(s string, n int) string { return s + strings.Repeat(string(rune(n)), n) }
	key, err := ParseKey(loadPush(t).EncodingAESKey)
	require.NoError(t, err)
	other, err := ParseKey("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")
	require.NoError(t, err)
	encryptRaw := func(k Key, plain string) string {
		require.Zero(t, len(plain)%aes.BlockSize, "of %q", plain)
		b := []byte(plain)
		cipher.NewCBCEncrypter(k.secret()).CryptBlocks(b, b)
		return base64.StdEncoding.EncodeToString(b)
	}
	good := padded(random+"\x00\x00\x00\x05hello"+appID, 4)
	require.Len(t, good, 32)
	decrypted, err := key.Decrypt([]byte(encryptRaw(key, good)), appID, PaddingBlock)
	require.NoError(t, err)
	require.Equal(t, "hello", string(decrypted))
	empty := padded(random+"\x00\x00\x00\x00"+appID, 9)
	decrypted, err = key.Decrypt([]byte(encryptRaw(key, empty)), appID, PaddingBlock)
	require.NoError(t, err)
	require.Empty(t, decrypted)

	for name, encrypt := range map[string]string{
		"empty":                               "",
		"not base64":                          "!" + encryptRaw(key, good)[1:],
		"URL-safe base64":                     "-_" + encryptRaw(key, good)[2:],
		"no equals sign":                      strings.TrimRight(encryptRaw(key, good), "="),
		"a line break":                        encryptRaw(key, good) + "\n",
		"a line break inside":                 encryptRaw(key, good)[:4] + "\r" + encryptRaw(key, good)[4:],
		"spare bits":                          encryptRaw(key, good)[:42] + "9=",
		"16 bytes":                            encryptRaw(key, good[:16]),
		"an AES block more":                   encryptRaw(key, padded(good[:28]+"aaaa", 16)),
		"another key":                         encryptRaw(other, good),
		"padding of 0":                        encryptRaw(key, good[:31]+"\x00"),
		"padding of 33":                       encryptRaw(key, strings.Repeat("a", 31)+strings.Repeat("!", 33)),
		"uneven padding":                      encryptRaw(key, good[:28]+"\x05\x04\x04\x04"),
		"only padding":                        encryptRaw(key, strings.Repeat(" ", 32)),
		"no room for the length":              encryptRaw(key, padded(random+"\x00\x00\x00", 13)),
		"a length that is one byte too large": encryptRaw(key, padded(random+"\x00\x00\x00\x09hello"+appID, 4)),
		"the largest length":                  encryptRaw(key, padded(random+"\xff\xff\xff\xffhello"+appID, 4)),
		"a length that ends inside the appid": encryptRaw(key, padded(random+"\x00\x00\x00\x06hello"+appID, 4)),
		"another appid":                       encryptRaw(key, padded(random+"\x00\x00\x00\x05hello"+"wx2", 4)),
		"no appid":                            encryptRaw(key, padded(random+"\x00\x00\x00\x08hello"+appID, 4)),
		"more than the appid":                 encryptRaw(key, padded(random+"\x00\x00\x00\x04hello"+appID, 4)),
	} {
		t.Run(name, func(t *testing.T) {
			message, err := key.Decrypt([]byte(encrypt), appID, PaddingBlock)
			assert.Error(t, err)
			assert.Nil(t, message)
		})
	}
	_, err = key.Decrypt([]byte(encryptRaw(key, random+"\x00\x00\x00\x05hellowx1234\x00")), "wx1234\x00", PaddingBlock)
	require.Error(t, err, "no padding")
	short := padded(random+"\x00\x00\x00\x05hello"+strings.Repeat("x", 17)+appID, 3)
	require.Len(t, short, 48)
	decrypted, err = key.Decrypt([]byte(encryptRaw(key, short)), strings.Repeat("x", 17)+appID, aes.BlockSize)
	require.NoError(t, err, "a padding to 16 bytes, if the caller allows it")
	require.Equal(t, "hello", string(decrypted))
}

func TestKey_DecryptForAnotherAppID(t *testing.T) {
	key, err := ParseKey(loadPush(t).EncodingAESKey)
	require.NoError(t, err)
	long := strings.Repeat("x", 1000)
	for got, want := range map[string]string{"wx2": "wx2", "": "", long: long[:32]} {
		encrypted, err := key.Encrypt([]byte("hello"), got)
		require.NoError(t, err)
		_, err = key.Decrypt(encrypted, "wx1", PaddingBlock)
		var other *AppIDError
		require.ErrorAs(t, err, &other)
		assert.Equal(t, AppIDError{Got: want, Want: "wx1"}, *other)
	}
}

func TestVerify_Signatures(t *testing.T) {
	p := loadPush(t)
	verify := func(signature string) bool {
		return Verify(signature, p.Token, p.Secure.Timestamp, p.Secure.Nonce, []byte(p.Secure.Encrypt))
	}
	good := p.Secure.MsgSignature
	assert.True(t, verify(good))
	for _, bad := range []string{"", p.Secure.Signature, strings.ToUpper(good), good + "0", good[:39], "f" + good[1:]} {
		assert.False(t, verify(bad), bad)
	}
	assert.False(t, Verify(Sign("", "1", "2", nil), "", "1", "2", nil), "an empty token")
}

func TestParseKey_SpareBits(t *testing.T) {
	const stem = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEF" // 42 characters
	var random [randomLen]byte
	encrypt := func(last string) string {
		key, err := ParseKey(stem + last)
		require.NoError(t, err, last)
		encrypted, err := key.encrypt(random, []byte("hello"), "wx1")
		require.NoError(t, err)
		return string(encrypted)
	}
	for _, last := range []string{"B", "C", "D"} {
		assert.Equal(t, encrypt("A"), encrypt(last), "the last two bits of %q are spare", last)
	}
	assert.NotEqual(t, encrypt("A"), encrypt("E"), "the first four are not")
}

func TestParseKey_Invalid(t *testing.T) {
	good := loadPush(t).EncodingAESKey
	for name, text := range map[string]string{
		"empty":                   "",
		"one character too short": good[1:],
		"one character too long":  good + "A",
		"with the equals sign":    good + "=",
		"not base64":              "Sesame-" + good[7:],
		"padded inside":           good[:42] + "=",
		"a line break":            good[:42] + "\n",
		"line breaks that leave a key for AES-192": good[:32] + strings.Repeat("\n", 11),
	} {
		t.Run(name, func(t *testing.T) {
			key, err := ParseKey(text)
			assert.Error(t, err)
			assert.Zero(t, key)
		})
	}
}

func TestKey_PrintsRedacted(t *testing.T) {
	const text = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	raw, err := base64.RawStdEncoding.DecodeString(text)
	require.NoError(t, err)
	key, err := ParseKey(text)
	require.NoError(t, err)

	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		assert.Equal(t, "wxcrypt.Key(redacted)", fmt.Sprintf(verb, key), verb)
		assert.Equal(t, "wxcrypt.Key(redacted)", fmt.Sprintf(verb, &key), verb)

		// In an unexported field fmt cannot call Format.
		inside := fmt.Sprintf(verb, struct{ key Key }{key})
		for _, form := range []string{"%s", "%x", "%X", "%d", "%q"} {
			for _, secret := range [][]byte{raw, []byte(text)} {
				part := strings.Trim(fmt.Sprintf(form, secret[:8]), `[]"`)
				assert.NotContains(t, inside, part, verb)
			}
		}
	}
	b, err := json.Marshal(map[string]any{"key": key})
	require.NoError(t, err)
	assert.JSONEq(t, `{"key": {}}`, string(b))
}

// An encrypted and signed message is decrypted. An altered one is not, unless
// its parts joined give the same text.
func FuzzEnvelope(f *testing.F) {
	f.Add([]byte("<xml></xml>"), "wx1", "1714112445", "415670741", uint8(0), uint16(9), uint8(1))
	f.Add([]byte{}, "", "", "", uint8(1), uint16(0), uint8(255))
	f.Add(bytes.Repeat([]byte("a"), 300), "wxba5fad812f8e6fb9", "1", "2", uint8(2), uint16(77), uint8(8))
	f.Add([]byte("x"), "wx1", "1", "2", uint8(3), uint16(39), uint8(4))
	key, err := ParseKey("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")
	require.NoError(f, err)
	const token = "token"
	f.Fuzz(func(t *testing.T, message []byte, appID, timestamp, nonce string, part uint8, at uint16, flip uint8) {
		encrypt, err := key.Encrypt(message, appID)
		require.NoError(t, err)
		decrypt := func(parts [4]string) ([]byte, bool) {
			if !Verify(parts[0], token, parts[1], parts[2], []byte(parts[3])) {
				return nil, false
			}
			message, err := key.Decrypt([]byte(parts[3]), appID, PaddingBlock)
			return message, err == nil
		}
		parts := [4]string{Sign(token, timestamp, nonce, encrypt), timestamp, nonce, string(encrypt)}
		decrypted, ok := decrypt(parts)
		require.True(t, ok)
		require.Equal(t, string(message), string(decrypted))

		altered := parts
		b := []byte(altered[part%4])
		if len(b) == 0 || flip == 0 {
			return
		}
		b[int(at)%len(b)] ^= flip
		altered[part%4] = string(b)
		if altered[0] == parts[0] && joined(token, altered) == joined(token, parts) {
			return
		}
		_, ok = decrypt(altered)
		assert.False(t, ok, "altered: %q", altered)
	})
}

func joined(token string, parts [4]string) string {
	return strings.Join(slices.Sorted(slices.Values(append([]string{token}, parts[1:]...))), "")
}

// Decrypt does not panic, and a decrypted message encrypts to the same text.
func FuzzDecrypt(f *testing.F) {
	p := loadPush(f)
	f.Add(p.Secure.Encrypt, p.AppID)
	f.Add("", "")
	f.Add(strings.Repeat("A", 43)+"=", "wx1")
	key, err := ParseKey(p.EncodingAESKey)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, encrypt, appID string) {
		message, err := key.Decrypt([]byte(encrypt), appID, PaddingBlock)
		if err != nil {
			assert.Nil(t, message)
			return
		}
		b, err := base64.StdEncoding.DecodeString(encrypt)
		require.NoError(t, err)
		cipher.NewCBCDecrypter(key.secret()).CryptBlocks(b, b)
		again, err := key.encrypt([randomLen]byte(b[:randomLen]), message, appID)
		require.NoError(t, err)
		assert.Equal(t, encrypt, string(again))
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(strings.Repeat("A", 43))
	f.Add(strings.Repeat("\n", 43))
	f.Add("码")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParseKey(text)
		_, encryptErr := key.Encrypt([]byte("hello"), "wx1")
		assert.Equal(t, err == nil, encryptErr == nil, "only a valid key encrypts")
	})
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
