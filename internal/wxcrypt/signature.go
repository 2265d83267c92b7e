// Package wxcrypt proves and hides what WeChat and an account's server push to
// each other: the signatures, and the AES envelope of the compatible and the
// secure mode.
//
// See https://developers.weixin.qq.com/doc/service/guide/dev/push/encryption.html.
package wxcrypt

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"slices"
)

// Signature returns the SHA-1 of parts, sorted as strings and joined, in
// lower-case hex. Of token, timestamp and nonce it is the signature of a push;
// with the Encrypt text too it is the msg_signature, which alone covers the body
// of a sealed push. [Verify] checks one.
func Signature(parts ...string) string {
	sum := sign(parts)
	return string(sum[:])
}

// Verify reports in constant time whether signature is that of parts.
func Verify(signature string, parts ...string) bool {
	sum := sign(parts)
	return subtle.ConstantTimeCompare(sum[:], []byte(signature)) == 1
}

func sign(parts []string) (signature [2 * sha1.Size]byte) {
	parts = append(make([]string, 0, 4), parts...) // the caller's stays as it is
	slices.Sort(parts)
	joined := make([]byte, 0, 1024) // room for the Encrypt of an event, on the stack
	for _, p := range parts {
		joined = append(joined, p...)
	}
	sum := sha1.Sum(joined)
	hex.Encode(signature[:], sum[:])
	return signature
}
