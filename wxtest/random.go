package wxtest

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strconv"
)

// urlSafe has 64 characters, so that a random byte modulo 64 chooses each with
// the same probability.
const urlSafe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

// randomText returns n characters of urlSafe.
func randomText(n int) string {
	b := randomBytes(n)
	for i := range b {
		b[i] = urlSafe[b[i]%64]
	}
	return string(b)
}

// randomHex returns n hexadecimal digits; n is even.
func randomHex(n int) string { return hex.EncodeToString(randomBytes(n / 2)) }

// randomNumber returns a number of 19 digits, from 2^62 to 2^63-1.
func randomNumber() int64 {
	return 1<<62 | int64(binary.NativeEndian.Uint64(randomBytes(8))>>2)
}

// randomNonce returns the nonce of a push: up to ten digits.
func randomNonce() string {
	return strconv.FormatUint(uint64(binary.NativeEndian.Uint32(randomBytes(4))), 10)
}
