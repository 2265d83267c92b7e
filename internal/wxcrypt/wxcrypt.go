// Package wxcrypt signs and encrypts what WeChat and the server of an account
// push to each other: the signatures, and the AES envelope of compatible and
// secure mode.
//
// See https://developers.weixin.qq.com/doc/service/guide/dev/push/encryption.html.
package wxcrypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// Sign returns the SHA-1 of token, timestamp, nonce and encrypt, sorted as
// strings and joined, in lower-case hexadecimal digits. Without encrypt it is
// the signature of a push. With the Encrypt text it is the msg_signature, the
// only one that covers the body of an encrypted push.
func Sign(token, timestamp, nonce string, encrypt []byte) string {
	sum := sign(token, timestamp, nonce, encrypt)
	return string(sum[:])
}

// Verify reports in constant time whether signature is that of the other
// arguments. With an empty token it reports false.
func Verify(signature, token, timestamp, nonce string, encrypt []byte) bool {
	want := sign(token, timestamp, nonce, encrypt)
	return subtle.ConstantTimeCompare(want[:], []byte(signature)) == 1 && token != ""
}

func sign(token, timestamp, nonce string, encrypt []byte) (signature [2 * sha1.Size]byte) {
	parts := [][]byte{[]byte(token), []byte(timestamp), []byte(nonce), encrypt}
	slices.SortFunc(parts, bytes.Compare)
	h := sha1.New()
	for _, p := range parts {
		h.Write(p)
	}
	hex.Encode(signature[:], h.Sum(nil))
	return signature
}

// PaddingBlock is the multiple that WeChat pads a message to, in bytes. Some
// SDKs pad to a multiple of [aes.BlockSize].
const PaddingBlock = 32

const (
	encodedKeyLen = 43 // of an EncodingAESKey: 32 bytes of base64 without the "="
	randomLen     = 16
	headLen       = randomLen + 4 // the length of the message has 4 bytes
)

// A Key encrypts and decrypts messages. Make one with [ParseKey]; the zero
// value fails. fmt prints it redacted.
type Key struct {
	// secret is a function because fmt prints unexported fields, even behind
	// pointers, without calling Format.
	secret func() (block cipher.Block, iv []byte)
}

// ParseKey parses an EncodingAESKey: 43 characters of base64. The spare bits of
// the last character may have any value, as in keys that the platform issues.
// Its errors begin with a verb, so that the caller can put the name of the key
// before them, and do not quote the key.
func ParseKey(encodingAESKey string) (Key, error) {
	if n := len(encodingAESKey); n != encodedKeyLen {
		return Key{}, fmt.Errorf("has %d characters; it must have %d", n, encodedKeyLen)
	}
	b, err := base64.RawStdEncoding.DecodeString(encodingAESKey)
	if err != nil {
		return Key{}, fmt.Errorf("is not base64: %w", err) // names a position
	}
	block, err := aes.NewCipher(b) // the decoder skips line breaks, so b may be short
	if err != nil || len(b) != 32 {
		return Key{}, fmt.Errorf("has %d bytes; it must have 32", len(b))
	}
	iv := b[:aes.BlockSize]
	return Key{func() (cipher.Block, []byte) { return block, iv }}, nil
}

// Encrypt returns the Encrypt text of message for the account appID. Each call
// returns a different text.
func (k Key) Encrypt(message []byte, appID string) ([]byte, error) {
	var random [randomLen]byte
	rand.Read(random[:]) // never fails
	return k.encrypt(random, message, appID)
}

// encrypt encrypts random, the length of message in big-endian order, message,
// appID and padding.
func (k Key) encrypt(random [randomLen]byte, message []byte, appID string) ([]byte, error) {
	if k.secret == nil {
		return nil, errNoKey("encrypt")
	}
	if uint64(len(message)) > math.MaxUint32 {
		return nil, fmt.Errorf("wxqrcode: encrypt a message: it has %d bytes; at most %d are possible", len(message), uint32(math.MaxUint32))
	}
	padding := PaddingBlock - (headLen+len(message)+len(appID))%PaddingBlock
	b := slices.Concat(
		random[:],
		binary.BigEndian.AppendUint32(nil, uint32(len(message))),
		message,
		[]byte(appID),
		bytes.Repeat([]byte{byte(padding)}, padding),
	)
	cipher.NewCBCEncrypter(k.secret()).CryptBlocks(b, b)
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// Decrypt returns the message in an Encrypt text that was encrypted for the
// account appID and padded to a multiple of block bytes, usually
// [PaddingBlock]. The cipher does not authenticate: call [Verify] with the
// msg_signature first. Errors describe the envelope and are for a log, not for
// the sender. The error is an [*AppIDError] if the message is for another
// account.
func (k Key) Decrypt(encrypt []byte, appID string, block int) ([]byte, error) {
	if k.secret == nil {
		return nil, errNoKey("decrypt")
	}
	b, err := base64.StdEncoding.Strict().AppendDecode(nil, encrypt)
	switch {
	case bytes.Contains(encrypt, []byte("\r")), bytes.Contains(encrypt, []byte("\n")): // which the decoder skips
		return nil, errors.New("wxqrcode: decrypt a message: Encrypt contains a line break")
	case err != nil:
		return nil, fmt.Errorf("wxqrcode: decrypt a message: Encrypt: %w", err) // names a position
	case len(b) == 0 || len(b)%block != 0:
		return nil, fmt.Errorf("wxqrcode: decrypt a message: Encrypt has %d bytes; it must have a multiple of %d", len(b), block)
	}
	cipher.NewCBCDecrypter(k.secret()).CryptBlocks(b, b)

	padding := int(b[len(b)-1])
	if padding < 1 || padding > PaddingBlock || !bytes.HasSuffix(b, bytes.Repeat([]byte{byte(padding)}, padding)) {
		return nil, errors.New("wxqrcode: decrypt a message: the padding is wrong; is it another EncodingAESKey?")
	}
	b = b[:len(b)-padding]
	if len(b) < headLen {
		return nil, fmt.Errorf("wxqrcode: decrypt a message: it has %d bytes; at least %d precede the message", len(b), headLen)
	}
	length, b := uint64(binary.BigEndian.Uint32(b[randomLen:])), b[headLen:]
	if length > uint64(len(b)) {
		return nil, fmt.Errorf("wxqrcode: decrypt a message: its length is %d bytes; %d remain", length, len(b))
	}
	message, account := b[:length:length], b[length:]
	if subtle.ConstantTimeCompare(account, []byte(appID)) != 1 {
		return nil, &AppIDError{Got: string(account[:min(len(account), maxAppID)]), Want: appID}
	}
	return message, nil
}

// An AppIDError is the error of [Key.Decrypt] for a message to another account.
type AppIDError struct {
	Got  string // the AppID in the message, at most 32 bytes of it
	Want string // the argument of Decrypt
}

const maxAppID = 32 // bytes; an AppID has 18

// Error names both AppIDs.
func (e *AppIDError) Error() string {
	return fmt.Sprintf("wxqrcode: decrypt a message: it is not for the AppID %q but for %q", e.Want, e.Got)
}

func errNoKey(op string) error {
	return fmt.Errorf("wxqrcode: %s a message: there is no key; make one with ParseKey", op)
}

// Format prints the same for every key.
func (Key) Format(s fmt.State, _ rune) { io.WriteString(s, "wxcrypt.Key(redacted)") }
