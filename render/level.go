package render

import (
	"fmt"
	"strconv"

	"rsc.io/qr/coding"
)

// A Level is how much of a code may be hidden or damaged before readers fail. A
// higher level needs more modules for the same content, which are smaller in an
// image of the same size.
type Level int

// The levels of ISO/IEC 18004. The zero Level is LevelM, so they are not in
// order.
const (
	LevelM Level = iota // 15 % may be lost; holds 2,331 bytes
	LevelL              // 7 %; 2,953 bytes
	LevelQ              // 25 %; 1,663 bytes
	LevelH              // 30 %; 1,273 bytes
)

// String returns "L", "M", "Q" or "H", or "Level(n)" for any other number.
func (l Level) String() string {
	switch l {
	case LevelL:
		return "L"
	case LevelM:
		return "M"
	case LevelQ:
		return "Q"
	case LevelH:
		return "H"
	}
	return "Level(" + strconv.Itoa(int(l)) + ")"
}

func (l Level) coding() (coding.Level, error) {
	switch l {
	case LevelL:
		return coding.L, nil
	case LevelM:
		return coding.M, nil
	case LevelQ:
		return coding.Q, nil
	case LevelH:
		return coding.H, nil
	}
	return 0, fmt.Errorf("level is %d; it must be LevelL, LevelM, LevelQ or LevelH", int(l))
}
