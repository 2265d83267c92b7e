package wxcrypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	encodedKeyLen = 43 // of an EncodingAESKey: 32 bytes of base64 without the "="
	randomLen     = 16
	blockSize     = 32 // the multiple that PKCS#7 pads to; AES itself would want 16
)

// A Key seals messages. It shows nothing of itself in print, and its zero value
// seals nothing. Make one with [ParseKey].
type Key struct {
	// secret is a function because fmt sees through everything else, pointers
	// included, where it cannot call Format: in an unexported field.
	secret func() (block cipher.Block, iv []byte)
}

// ParseKey reads an EncodingAESKey: 43 characters of base64. The spare bits of
// the last character may have any value, as they do in keys that the platform
// issues. No error shows anything of the key.
func ParseKey(encodingAESKey string) (Key, error) {
	if n := len(encodingAESKey); n != encodedKeyLen {
		return Key{}, fmt.Errorf("wxqrcode: EncodingAESKey has %d characters; it must have %d", n, encodedKeyLen)
	}
	b, err := base64.RawStdEncoding.DecodeString(encodingAESKey)
	if err != nil {
		return Key{}, fmt.Errorf("wxqrcode: EncodingAESKey: %w", err) // tells a position
	}
	block, err := aes.NewCipher(b) // the decoder passes over line breaks, so b may be short
	if err != nil || len(b) != 32 {
		return Key{}, fmt.Errorf("wxqrcode: EncodingAESKey holds %d bytes; it must hold 32", len(b))
	}
	iv := b[:aes.BlockSize]
	return Key{func() (cipher.Block, []byte) { return block, iv }}, nil
}

// Seal returns the Encrypt text of message for the account appID. Each call
// returns another text.
func (k Key) Seal(message []byte, appID string) (string, error) {
	var random [randomLen]byte
	rand.Read(random[:]) // never fails
	return k.seal(random, message, appID)
}

// seal lays the envelope out: random, the message's length in big-endian,
// message, appID, padding.
func (k Key) seal(random [randomLen]byte, message []byte, appID string) (string, error) {
	if k.secret == nil {
		return "", errors.New("wxqrcode: seal a message: there is no key")
	}
	if uint64(len(message)) > math.MaxUint32 {
		return "", fmt.Errorf("wxqrcode: seal a message: it is %d bytes long; at most %d are possible", len(message), uint32(math.MaxUint32))
	}
	size := randomLen + 4 + len(message) + len(appID)
	padding := blockSize - size%blockSize

	b := make([]byte, 0, size+padding)
	b = append(b, random[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(message)))
	b = append(b, message...)
	b = append(b, appID...)
	for range padding {
		b = append(b, byte(padding))
	}
	cipher.NewCBCEncrypter(k.secret()).CryptBlocks(b, b)
	return base64.StdEncoding.EncodeToString(b), nil
}

// Format prints the same for every key.
func (Key) Format(s fmt.State, _ rune) { io.WriteString(s, "wxcrypt.Key(hidden)") }
