// Package wxcrypt proves and hides what WeChat and an account's server push to
// each other: the signatures, and the AES envelope of the compatible and the
// secure mode.
//
// See https://developers.weixin.qq.com/doc/service/guide/dev/push/encryption.html.
package wxcrypt

import (
	"crypto/sha1"
	"encoding/hex"
	"slices"
)

// Signature returns the SHA-1 of parts, sorted as strings and joined, in
// lower-case hex. Of token, timestamp and nonce it is the signature of a push;
// with the Encrypt text too it is the msg_signature, which alone covers the body
// of a sealed push.
//
// It proves something only if it is compared in constant time, as
// crypto/subtle does.
func Signature(parts ...string) string {
	parts = slices.Clone(parts)
	slices.Sort(parts)
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	joined := make([]byte, 0, size)
	for _, p := range parts {
		joined = append(joined, p...)
	}
	sum := sha1.Sum(joined)
	return hex.EncodeToString(sum[:])
}
