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

// push holds the worked examples of the official page.
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

func TestSignaturesAreThoseOfTheOfficialPage(t *testing.T) {
	p := loadPush(t)
	tests := map[string]struct {
		parts []string
		want  string
	}{
		"setting the URL up":       {[]string{p.Token, p.VerifyURL.Timestamp, p.VerifyURL.Nonce}, p.VerifyURL.Signature},
		"a plain push":             {[]string{p.Token, p.Plain.Timestamp, p.Plain.Nonce}, p.Plain.Signature},
		"the query of a sealed":    {[]string{p.Token, p.Secure.Timestamp, p.Secure.Nonce}, p.Secure.Signature},
		"the body of a sealed":     {[]string{p.Token, p.Secure.Timestamp, p.Secure.Nonce, p.Secure.Encrypt}, p.Secure.MsgSignature},
		"the parts in other order": {[]string{p.Secure.Encrypt, p.Secure.Nonce, p.Token, p.Secure.Timestamp}, p.Secure.MsgSignature},
		"nothing at all":           {nil, "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			require.NotEmpty(t, tt.want)
			before := slices.Clone(tt.parts)
			assert.Equal(t, tt.want, Signature(tt.parts...))
			assert.Equal(t, before, tt.parts, "the caller's slice stays as it is")
		})
	}
}

func TestPartsAreSortedAsStrings(t *testing.T) {
	// As numbers, 9 would come before 10.
	assert.Equal(t, Signature("109"), Signature("9", "10"))
	// "B" comes before "a": bytes, not letters.
	assert.Equal(t, Signature("Ba"), Signature("a", "B"))
}

func TestSealMakesTheEnvelopeOfTheOfficialPage(t *testing.T) {
	p := loadPush(t)
	key, err := ParseKey(p.EncodingAESKey)
	require.NoError(t, err)
	require.Len(t, p.Secure.Random, randomLen)

	sealed, err := key.seal([randomLen]byte([]byte(p.Secure.Random)), []byte(p.Secure.Message), p.AppID)
	require.NoError(t, err)
	assert.Equal(t, p.Secure.Encrypt, sealed)
}

func TestWhateverIsSealedCanBeOpened(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	paddings := map[int]bool{}
	for length := range 201 {
		raw := randomBytes(r, 32)
		message := randomBytes(r, length)
		before := bytes.Clone(message)
		appID := string(randomBytes(r, r.IntN(25)))
		key, err := ParseKey(base64.RawStdEncoding.EncodeToString(raw))
		require.NoError(t, err)

		sealed, err := key.Seal(message, appID)
		require.NoError(t, err)
		require.Equal(t, before, message, "the caller's slice stays as it is")

		b, err := base64.StdEncoding.Strict().DecodeString(sealed)
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

		opened, err := key.Open(sealed, appID)
		require.NoError(t, err)
		require.Equal(t, string(message), string(opened))
	}
	assert.Len(t, paddings, 32, "every padding from 1 to 32 has been seen")
}

func TestTheSameMessageIsSealedDifferentlyEachTime(t *testing.T) {
	p := loadPush(t)
	key, err := ParseKey(p.EncodingAESKey)
	require.NoError(t, err)
	seen := map[string]bool{}
	for range 100 {
		sealed, err := key.Seal([]byte("hello"), p.AppID)
		require.NoError(t, err)
		seen[sealed] = true
	}
	assert.Len(t, seen, 100)
}

func TestWithoutAKeyNothingIsSealedOrOpened(t *testing.T) {
	_, err := Key{}.Seal([]byte("hello"), "wx1")
	assert.EqualError(t, err, "wxqrcode: seal a message: there is no key")
	_, err = Key{}.Open(loadPush(t).Secure.Encrypt, "wx1")
	assert.EqualError(t, err, "wxqrcode: open a message: there is no key")
}

func TestOpenReadsTheEnvelopeOfTheOfficialPage(t *testing.T) {
	p := loadPush(t)
	key, err := ParseKey(p.EncodingAESKey)
	require.NoError(t, err)
	message, err := key.Open(p.Secure.Encrypt, p.AppID)
	require.NoError(t, err)
	assert.Equal(t, p.Secure.Message, string(message))
	assert.Equal(t, len(message), cap(message), "appending must not write over what stood behind it")
}

func TestOpenRefusesWhatIsNoEnvelope(t *testing.T) {
	const appID = "wx1"
	random := strings.Repeat("r", randomLen)
	padded := func(s string, n int) string { return s + strings.Repeat(string(rune(n)), n) }
	key, err := ParseKey(loadPush(t).EncodingAESKey)
	require.NoError(t, err)
	other, err := ParseKey("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")
	require.NoError(t, err)
	seal := func(k Key, plain string) string {
		require.Zero(t, len(plain)%aes.BlockSize, "of %q", plain)
		b := []byte(plain)
		cipher.NewCBCEncrypter(k.secret()).CryptBlocks(b, b)
		return base64.StdEncoding.EncodeToString(b)
	}
	good := padded(random+"\x00\x00\x00\x05hello"+appID, 4)
	require.Len(t, good, 32)
	opened, err := key.Open(seal(key, good), appID)
	require.NoError(t, err)
	require.Equal(t, "hello", string(opened))
	empty := padded(random+"\x00\x00\x00\x00"+appID, 9)
	opened, err = key.Open(seal(key, empty), appID)
	require.NoError(t, err)
	require.Empty(t, opened)

	tests := map[string]struct{ encrypt, err string }{
		"nothing":              {"", "Encrypt holds 0 bytes; it must hold a multiple of 32"},
		"no base64":            {"!" + seal(key, good)[1:], "Encrypt: illegal base64 data at input byte 0"},
		"URL-safe base64":      {"-_" + seal(key, good)[2:], "Encrypt: illegal base64 data at input byte 0"},
		"no equals sign":       {strings.TrimRight(seal(key, good), "="), "Encrypt: illegal base64 data at input byte 40"},
		"half":                 {seal(key, good[:16]), "Encrypt holds 16 bytes; it must hold a multiple of 32"},
		"a block of AES more":  {seal(key, padded(good[:28]+"aaaa", 16)), "Encrypt holds 48 bytes; it must hold a multiple of 32"},
		"another key":          {seal(other, good), "the padding is wrong (another EncodingAESKey?)"},
		"padding of 0":         {seal(key, good[:31]+"\x00"), "the padding is wrong (another EncodingAESKey?)"},
		"padding of 33":        {seal(key, strings.Repeat("a", 31)+strings.Repeat("!", 33)), "the padding is wrong (another EncodingAESKey?)"},
		"uneven padding":       {seal(key, good[:28]+"\x05\x04\x04\x04"), "the padding is wrong (another EncodingAESKey?)"},
		"padding alone":        {seal(key, strings.Repeat(" ", 32)), "0 bytes are in it; there must be 20 before the message alone"},
		"no room for a length": {seal(key, padded(random+"\x00\x00\x00", 13)), "19 bytes are in it; there must be 20 before the message alone"},
		"a length that lies by one byte": {seal(key, padded(random+"\x00\x00\x00\x09hello"+appID, 4)),
			"it claims to be 9 bytes long; 8 are there"},
		"a length that lies as far as it can": {seal(key, padded(random+"\xff\xff\xff\xffhello"+appID, 4)),
			"it claims to be 4294967295 bytes long; 8 are there"},
		"a length that takes a part of the appid": {seal(key, padded(random+"\x00\x00\x00\x06hello"+appID, 4)), `it is for another appid than "wx1"`},
		"another appid":       {seal(key, padded(random+"\x00\x00\x00\x05hello"+"wx2", 4)), `it is for another appid than "wx1"`},
		"no appid":            {seal(key, padded(random+"\x00\x00\x00\x08hello"+appID, 4)), `it is for another appid than "wx1"`},
		"more than the appid": {seal(key, padded(random+"\x00\x00\x00\x04hello"+appID, 4)), `it is for another appid than "wx1"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			message, err := key.Open(tt.encrypt, appID)
			assert.EqualError(t, err, "wxqrcode: open a message: "+tt.err)
			assert.Nil(t, message)
		})
	}
}

func TestVerifyTakesOneSignatureOnly(t *testing.T) {
	p := loadPush(t)
	parts := []string{p.Token, p.Secure.Timestamp, p.Secure.Nonce, p.Secure.Encrypt}
	assert.True(t, Verify(p.Secure.MsgSignature, parts...))
	assert.False(t, Verify(p.Secure.Signature, parts...))
	assert.False(t, Verify(strings.ToUpper(p.Secure.MsgSignature), parts...))
	assert.False(t, Verify("", parts...))
	assert.False(t, Verify(p.Secure.MsgSignature+"0", parts...))
	for i := range p.Secure.MsgSignature {
		assert.False(t, Verify(p.Secure.MsgSignature[:i], parts...), "the first %d characters", i)
	}
}

func TestSpareBitsOfAKeyDoNotCount(t *testing.T) {
	const stem = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEF" // 42 characters
	var random [randomLen]byte
	seal := func(last string) string {
		key, err := ParseKey(stem + last)
		require.NoError(t, err, last)
		sealed, err := key.seal(random, []byte("hello"), "wx1")
		require.NoError(t, err)
		return sealed
	}
	for _, last := range []string{"B", "C", "D"} {
		assert.Equal(t, seal("A"), seal(last), "the last two bits of %q are spare", last)
	}
	assert.NotEqual(t, seal("A"), seal("E"), "the first four are not")
}

func TestABadKeyIsRefused(t *testing.T) {
	good := loadPush(t).EncodingAESKey
	tests := map[string]struct{ key, err string }{
		"empty":                   {"", "has 0 characters; it must have 43"},
		"one character too short": {good[1:], "has 42 characters; it must have 43"},
		"one character too long":  {good + "A", "has 44 characters; it must have 43"},
		"with the equals sign":    {good + "=", "has 44 characters; it must have 43"},
		"not base64":              {"Sesame-" + good[7:], "is no base64: illegal base64 data at input byte 6"},
		"padded inside":           {good[:42] + "=", "is no base64: illegal base64 data at input byte 42"},
		"a line break":            {good[:42] + "\n", "holds 31 bytes; it must hold 32"},
		"line breaks that leave a key for AES-192": {good[:32] + strings.Repeat("\n", 11),
			"holds 24 bytes; it must hold 32"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			key, err := ParseKey(tt.key)
			assert.EqualError(t, err, tt.err)
			assert.Zero(t, key)
		})
	}
}

func TestAKeyDoesNotShowInPrint(t *testing.T) {
	const text = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	raw, err := base64.RawStdEncoding.DecodeString(text)
	require.NoError(t, err)
	key, err := ParseKey(text)
	require.NoError(t, err)

	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		assert.Equal(t, "wxcrypt.Key(hidden)", fmt.Sprintf(verb, key), verb)
		assert.Equal(t, "wxcrypt.Key(hidden)", fmt.Sprintf(verb, &key), verb)

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

// What is sealed and signed opens; what of it was altered does not. One alteration
// nobody can see: parts that sort and join to the same text have the same signature.
func FuzzEnvelope(f *testing.F) {
	f.Add([]byte("<xml></xml>"), "wx1", "1714112445", "415670741", uint8(0), uint16(9), uint8(1))
	f.Add([]byte{}, "", "", "", uint8(1), uint16(0), uint8(255))
	f.Add(bytes.Repeat([]byte("a"), 300), "wxba5fad812f8e6fb9", "1", "2", uint8(2), uint16(77), uint8(8))
	f.Add([]byte("x"), "wx1", "1", "2", uint8(3), uint16(39), uint8(4))
	key, err := ParseKey("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")
	require.NoError(f, err)
	const token = "token"
	f.Fuzz(func(t *testing.T, message []byte, appID, timestamp, nonce string, part uint8, at uint16, flip uint8) {
		encrypt, err := key.Seal(message, appID)
		require.NoError(t, err)
		signature := Signature(token, timestamp, nonce, encrypt)
		open := func(signature, timestamp, nonce, encrypt string) ([]byte, bool) {
			if !Verify(signature, token, timestamp, nonce, encrypt) {
				return nil, false
			}
			message, err := key.Open(encrypt, appID)
			return message, err == nil
		}
		opened, ok := open(signature, timestamp, nonce, encrypt)
		require.True(t, ok)
		require.Equal(t, string(message), string(opened))

		altered := []string{signature, timestamp, nonce, encrypt}
		b := []byte(altered[part%4])
		if len(b) == 0 || flip == 0 {
			return
		}
		b[int(at)%len(b)] ^= flip
		altered[part%4] = string(b)
		if joined(token, timestamp, nonce, encrypt) == joined(append(altered[1:], token)...) && altered[0] == signature {
			return
		}
		_, ok = open(altered[0], altered[1], altered[2], altered[3])
		assert.False(t, ok, "altered: %q", altered)
	})
}

func joined(parts ...string) string { return strings.Join(slices.Sorted(slices.Values(parts)), "") }

// No text makes Open panic, and what it opens seals to the same again.
func FuzzOpen(f *testing.F) {
	p := loadPush(f)
	f.Add(p.Secure.Encrypt, p.AppID)
	f.Add("", "")
	f.Add(strings.Repeat("A", 43)+"=", "wx1")
	key, err := ParseKey(p.EncodingAESKey)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, encrypt, appID string) {
		message, err := key.Open(encrypt, appID)
		if err != nil {
			assert.Nil(t, message)
			return
		}
		b, err := base64.StdEncoding.DecodeString(encrypt)
		require.NoError(t, err)
		cipher.NewCBCDecrypter(key.secret()).CryptBlocks(b, b)
		again, err := key.seal([randomLen]byte(b[:randomLen]), message, appID)
		require.NoError(t, err)
		assert.Equal(t, strings.NewReplacer("\r", "", "\n", "").Replace(encrypt), again) // the decoder passes over line breaks
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(strings.Repeat("A", 43))
	f.Add(strings.Repeat("\n", 43))
	f.Add("码")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParseKey(text)
		_, sealErr := key.Seal([]byte("hello"), "wx1")
		assert.Equal(t, err == nil, sealErr == nil, "a key that parses seals, another does not")
	})
}

func BenchmarkSeal(b *testing.B) {
	p := loadPush(b)
	key, err := ParseKey(p.EncodingAESKey)
	require.NoError(b, err)
	message := []byte(p.Secure.Message)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := key.Seal(message, p.AppID); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	p := loadPush(b)
	key, err := ParseKey(p.EncodingAESKey)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := key.Open(p.Secure.Encrypt, p.AppID); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignature(b *testing.B) {
	p := loadPush(b)
	b.ReportAllocs()
	for b.Loop() {
		Signature(p.Token, p.Secure.Timestamp, p.Secure.Nonce, p.Secure.Encrypt)
	}
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
