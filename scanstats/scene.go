package scanstats

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// A sceneID is the ID of a scene in the database.
type sceneID int32

// IDs without a row in scanstats_scene.
const (
	allScenes  sceneID = 0 // the counts of all scenes together
	noScene    sceneID = 1 // followers without a code
	firstScene sceneID = 2
)

// FoldRandom replaces the 26 random characters that [wxqrcode.RandomScene] appends
// by *, so that all codes of "login-" are counted as "login-*". It returns other
// scenes unchanged.
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

// maxScene limits the bytes of a stored scene.
const maxScene = 512

// normalizeScene returns the scene as valid UTF-8 without NUL, which every database
// can store. The end of a scene that is too long is replaced by a hash.
func normalizeScene(scene string) string {
	scene = strings.ReplaceAll(strings.ToValidUTF8(scene, "\ufffd"), "\x00", "\ufffd")
	if len(scene) <= maxScene {
		return scene
	}
	sum := sha256.Sum256([]byte(scene))
	end := hex.EncodeToString(sum[:16])
	return strings.ToValidUTF8(scene[:maxScene-len("…")-len(end)], "") + "…" + end
}
