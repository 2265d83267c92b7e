package render

import (
	"errors"
	"fmt"

	"rsc.io/qr/coding"
)

// symbol is a square of modules, without its quiet zone.
type symbol struct {
	*coding.Code
	level Level        // as it was encoded
	plan  *coding.Plan // what each module is for
}

// newSymbol encodes content as bytes (a URL has small letters, which the denser
// modes lack) in the smallest version that holds it. A logo hides a part of it, so
// it needs all the repair there is.
func newSymbol(content string, level Level, logo bool) (*symbol, error) {
	if content == "" {
		return nil, errors.New("content is empty")
	}
	l, err := level.coding()
	if err != nil {
		return nil, err
	}
	why := ""
	if logo && level != LevelH {
		level, l, why = LevelH, coding.H, ", which the logo needs,"
	}
	data := coding.String(content)
	version := coding.Version(coding.MinVersion)
	for data.Bits(version) > version.DataBytes(l)*8 {
		if version == coding.MaxVersion {
			return nil, fmt.Errorf("content is %d bytes; a code at level %v%s holds at most %d", len(content), level, why, maxBytes(l))
		}
		version++
	}
	s, err := masked(data, version, l)
	if err != nil {
		return nil, err
	}
	s.level = level
	return s, nil
}

// masked lays one of the eight masks over the symbol. Which one the encoder leaves
// to us: the one with the fewest decoys, and of several the one with the least
// penalty.
func masked(data coding.Encoding, version coding.Version, level coding.Level) (*symbol, error) {
	var best *symbol
	var leastDecoys, leastPenalty int
	for mask := range coding.Mask(8) {
		plan, err := coding.NewPlan(version, level, mask)
		if err != nil {
			return nil, err
		}
		c, err := plan.Encode(data)
		if err != nil {
			return nil, err
		}
		s := &symbol{Code: c, plan: plan}
		d := decoys(s)
		if best != nil && d > leastDecoys {
			continue
		}
		if p := penalty(s); best == nil || d < leastDecoys || p < leastPenalty {
			best, leastDecoys, leastPenalty = s, d, p
		}
	}
	return best, nil
}

// maxBytes returns how much content the largest version holds.
func maxBytes(l coding.Level) int {
	const v = coding.Version(coding.MaxVersion)
	return (v.DataBytes(l)*8 - coding.String("").Bits(v)) / 8
}

// decoys counts the modules that look like the middle of a finder pattern, those
// of the three real ones included: 1:1:3:1:1 in one direction and, as loosely as
// ZXing compares, in the other too.
//
// The standard's own rule misses most of them, and ZXing, which many readers
// descend from, stops at the third pattern that it sees: with the masks of the
// least [penalty] it could not read 94 of 4,800 clean pictures, with those of the
// fewest decoys it read 6,000 of 6,000.
func decoys(s *symbol) (n int) {
	const exact, all = 0b0_1011101_0, 1<<9 - 1
	for i := range s.Size {
		var row, column uint        // the last nine modules, a bit each, 1 being dark
		for j := range s.Size + 1 { // outside all is light
			row = (row<<1 | bit(s.Black(j, i))) & all
			column = (column<<1 | bit(s.Black(i, j))) & all
			if row != exact && column != exact {
				continue
			}
			for middle := j - 5; middle <= j-3; middle++ {
				if row == exact && likeFinder(s, middle, i, 0, 1) {
					n++
				}
				if column == exact && likeFinder(s, i, middle, 1, 0) {
					n++
				}
			}
		}
	}
	return n
}

// likeFinder tells whether a reader may take the runs around a dark module for a
// finder pattern. dx and dy are the direction in which they lie.
func likeFinder(s *symbol, x, y, dx, dy int) bool {
	runs := [5]int{2: 1} // dark, light, dark, light, dark; the module is in the middle one
	width := 1
	for _, step := range [2]int{-1, 1} {
		for run, i := 2, step; ; i += step {
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
			width++
		}
	}
	for i, n := range runs {
		want := width // sevenths of a module; a run may be half of it longer or shorter
		if i == 2 {
			want *= 3
		}
		if off := n*7 - want; 2*max(off, -off) >= want {
			return false
		}
	}
	return true
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
	if bit(black) != l.tail&1 {
		l.run = 0
	}
	l.run++
	l.count++
	l.tail = (l.tail<<1 | bit(black)) & (1<<11 - 1)

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

func bit(black bool) uint {
	if black {
		return 1
	}
	return 0
}
