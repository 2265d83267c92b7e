package wxcrypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
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
	headLen       = randomLen + 4 // the length of the message is 4 bytes
	blockSize     = 32            // the multiple that PKCS#7 pads to; AES itself would want 16
)

// A Key seals and opens messages. It shows nothing of itself in print, and its
// zero value does neither. Make one with [ParseKey].
type Key struct {
	// secret is a function because fmt sees through everything else, pointers
	// included, where it cannot call Format: in an unexported field.
	secret func() (block cipher.Block, iv []byte)
}

// ParseKey reads an EncodingAESKey: 43 characters of base64. The spare bits of
// the last character may have any value, as they do in keys that the platform
// issues. Its errors begin with a verb, as the caller knows the key's name, and show
// nothing of the key.
func ParseKey(encodingAESKey string) (Key, error) {
	if n := len(encodingAESKey); n != encodedKeyLen {
		return Key{}, fmt.Errorf("has %d characters; it must have %d", n, encodedKeyLen)
	}
	b, err := base64.RawStdEncoding.DecodeString(encodingAESKey)
	if err != nil {
		return Key{}, fmt.Errorf("is no base64: %w", err) // tells a position
	}
	block, err := aes.NewCipher(b) // the decoder passes over line breaks, so b may be short
	if err != nil || len(b) != 32 {
		return Key{}, fmt.Errorf("holds %d bytes; it must hold 32", len(b))
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
		return "", errNoKey("seal")
	}
	if uint64(len(message)) > math.MaxUint32 {
		return "", fmt.Errorf("wxqrcode: seal a message: it is %d bytes long; at most %d are possible", len(message), uint32(math.MaxUint32))
	}
	size := headLen + len(message) + len(appID)
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

// Open returns the message in an Encrypt text that was sealed for the account
// appID. The cipher alone does not protect what it hides: check the msg_signature
// with [Verify] first. The errors say what is wrong with the envelope, which is
// for a log and not for whoever sent it.
func (k Key) Open(encrypt, appID string) ([]byte, error) {
	if k.secret == nil {
		return nil, errNoKey("open")
	}
	b, err := base64.StdEncoding.Strict().DecodeString(encrypt)
	switch {
	case err != nil:
		return nil, fmt.Errorf("wxqrcode: open a message: Encrypt: %w", err) // tells a position
	case len(b) == 0 || len(b)%blockSize != 0:
		return nil, fmt.Errorf("wxqrcode: open a message: Encrypt holds %d bytes; it must hold a multiple of %d", len(b), blockSize)
	}
	cipher.NewCBCDecrypter(k.secret()).CryptBlocks(b, b)

	padding := int(b[len(b)-1])
	if padding < 1 || padding > blockSize || !endsPadded(b, padding) {
		return nil, errors.New("wxqrcode: open a message: the padding is wrong (another EncodingAESKey?)")
	}
	b = b[:len(b)-padding]
	if len(b) < headLen {
		return nil, fmt.Errorf("wxqrcode: open a message: %d bytes are in it; there must be %d before the message alone", len(b), headLen)
	}
	length, b := uint64(binary.BigEndian.Uint32(b[randomLen:])), b[headLen:]
	if length > uint64(len(b)) {
		return nil, fmt.Errorf("wxqrcode: open a message: it claims to be %d bytes long; %d are there", length, len(b))
	}
	message, account := b[:length:length], b[length:]
	if subtle.ConstantTimeCompare(account, []byte(appID)) != 1 {
		return nil, fmt.Errorf("wxqrcode: open a message: it is for another appid than %q", appID)
	}
	return message, nil
}

// endsPadded reports whether the last n bytes of b all are n.
func endsPadded(b []byte, n int) bool {
	var odd byte
	for _, c := range b[len(b)-n:] {
		odd |= c ^ byte(n)
	}
	return odd == 0
}

func errNoKey(what string) error { return fmt.Errorf("wxqrcode: %s a message: there is no key", what) }

// Format prints the same for every key.
func (Key) Format(s fmt.State, _ rune) { io.WriteString(s, "wxcrypt.Key(hidden)") }
