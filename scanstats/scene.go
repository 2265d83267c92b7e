package scanstats

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// A sceneID stands for a scene in the database.
type sceneID int32

// The ids that have no row in the table of scenes.
const (
	allScenes  sceneID = 0 // what is counted of all scenes together
	noScene    sceneID = 1 // followers that no code brought
	firstScene sceneID = 2
)

// FoldRandom returns the scene, but the 26 characters that [wxqrcode.RandomScene] puts at the
// end become a *: all codes of "login-" are counted as "login-*".
func FoldRandom(scene string) string {
	const random = 26
	if len(scene) < random {
		return scene
	}
	prefix, end := scene[:len(scene)-random], scene[len(scene)-random:]
	if strings.Trim(end, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return scene
	}
	return prefix + "*"
}

// maxScene is how many bytes of a scene are kept.
const maxScene = 512

// clean makes text that any database takes, of any bytes: valid UTF-8 without NUL. Of a
// text that is too long it keeps the beginning, and tells the rest by a hash.
func clean(scene string) string {
	scene = strings.ReplaceAll(strings.ToValidUTF8(scene, "\ufffd"), "\x00", "\ufffd")
	if len(scene) <= maxScene {
		return scene
	}
	sum := sha256.Sum256([]byte(scene))
	end := hex.EncodeToString(sum[:16])
	return strings.ToValidUTF8(scene[:maxScene-len("…")-len(end)], "") + "…" + end
}
