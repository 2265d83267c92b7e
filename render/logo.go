package render

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"sort"

	"rsc.io/qr/coding"
)

// placeLogo sets logoArea, where the given number of modules is the given
// number of pixels wide. It returns an error if the logo is too large.
func (c *code) placeLogo(modules, pixels int) error {
	if c.logo == nil {
		return nil
	}
	b := c.logo.Bounds()
	if b.Empty() {
		return errors.New("logo is empty")
	}
	// The width can be twice the largest int.
	width, height := uint64(b.Max.X)-uint64(b.Min.X), uint64(b.Max.Y)-uint64(b.Min.Y)
	fits := func(width, height uint64) bool {
		c.logoArea = c.symbol.centered(modulesFor(width, modules, pixels), modulesFor(height, modules, pixels))
		return c.symbol.canCover(c.logoArea)
	}
	if fits(width, height) {
		return nil
	}
	longer := max(width, height)
	scaled := func(edge uint64, to int) uint64 {
		return max(1, uint64(float64(edge)/float64(longer)*float64(to)))
	}
	// The largest edge that fits is one pixel less than the first that does not.
	largest := sort.Search(MaxSize, func(i int) bool { return !fits(scaled(width, i+1), scaled(height, i+1)) })
	if largest == 0 {
		return fmt.Errorf("size is %d, which has no room for a logo; use a larger size", c.size)
	}
	return fmt.Errorf("logo is %d x %d pixels, which exceeds half of the error correction or reaches the patterns near the edges; with its shape, this content and a size of %d, at most %d x %d pixels are allowed: scale the logo down, or use a larger size",
		width, height, c.size, scaled(width, largest), scaled(height, largest))
}

// modulesFor returns how many modules cover an edge in pixels: an odd number,
// like the width of a symbol, so that both have the same center.
func modulesFor(edge uint64, modules, pixels int) int {
	edge = min(edge, MaxSize+1) // too large for any code, and safe to multiply
	n := (int(edge)*modules + pixels - 1) / pixels
	return n | 1
}

// centered returns the modules in the center of s.
func (s *symbol) centered(width, height int) image.Rectangle {
	left, top := (s.Size-width)/2, (s.Size-height)/2
	return image.Rect(left, top, left+width, top+height)
}

// reservedBorder is how many modules at each edge of a symbol a logo must not
// cover, because readers cannot repair them: the finder and timing patterns,
// the format and version information, and the alignment pattern below and
// right.
const reservedBorder = 9

// canCover reports whether a logo may cover an area: whether it takes at most
// half of the error correction of every block.
//
// In a block with n check codewords, readers repair up to n/2 wrong codewords.
// So the area may touch n/4 of them. A codeword that is touched counts in full.
//
// The alignment pattern in the center of symbols of 45 modules and more may be
// covered. ZXing does not use it. zbar uses it and sometimes takes a part of
// the logo for it; a smaller area does not help.
func (s *symbol) canCover(area image.Rectangle) bool {
	if !area.In(image.Rect(0, 0, s.Size, s.Size).Inset(reservedBorder)) {
		return false
	}
	seen := make([]bool, s.plan.DataBytes+s.plan.CheckBytes)
	touched := make([]int, s.plan.Blocks)
	most := s.plan.CheckBytes / s.plan.Blocks / 4
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for _, module := range s.plan.Pixel[y][area.Min.X:area.Max.X] {
			word := int(module.Offset() / 8)
			if role := module.Role(); role != coding.Data && role != coding.Check || seen[word] {
				continue
			}
			seen[word] = true
			block := s.block(word)
			if touched[block]++; touched[block] > most {
				return false
			}
		}
	}
	return true
}

// block returns the block of a codeword. The data codewords of all blocks come
// before all check codewords. If the data cannot be divided evenly, the last
// blocks have one more data codeword.
func (s *symbol) block(word int) int {
	p := s.plan
	if word >= p.DataBytes {
		return (word - p.DataBytes) / (p.CheckBytes / p.Blocks)
	}
	length, longer := p.DataBytes/p.Blocks, p.DataBytes%p.Blocks
	if short := p.Blocks - longer; word >= short*length {
		return short + (word-short*length)/(length+1)
	}
	return word / length
}

// logoOnBackground returns the pixels of the logo on the background color, in a
// rectangle that begins at the given point.
func (c *code) logoOnBackground(at image.Point) *image.RGBA {
	b := c.logo.Bounds()
	p := image.NewRGBA(image.Rectangle{Min: at, Max: at.Add(b.Size())})
	draw.Draw(p, p.Rect, image.NewUniform(c.light), image.Point{}, draw.Src)
	draw.Draw(p, p.Rect, c.logo, b.Min, draw.Over)
	return p
}

// withLogo returns the image of a code with the logo in the center.
func (d drawing) withLogo(code *image.Paletted) image.Image {
	size := d.logo.Bounds().Size()
	width := d.scale * d.symbol.Size
	return logoImage{code, d.logoOnBackground(image.Pt(d.margin+(width-size.X)/2, d.margin+(width-size.Y)/2))}
}

// A logoImage is a code with a logo. It takes one byte per pixel; an
// [image.RGBA] takes four.
type logoImage struct {
	code *image.Paletted
	logo *image.RGBA
}

func (p logoImage) ColorModel() color.Model { return color.RGBAModel }
func (p logoImage) Bounds() image.Rectangle { return p.code.Rect }
func (p logoImage) Opaque() bool            { return true } // otherwise image/png reads every pixel

func (p logoImage) At(x, y int) color.Color {
	if (image.Point{X: x, Y: y}).In(p.logo.Rect) {
		return p.logo.RGBAAt(x, y)
	}
	return p.code.At(x, y)
}
