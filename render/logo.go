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

// placeLogo finds the plate for the logo, where so many modules are so many
// pixels wide, or tells why there is none.
func (c *code) placeLogo(modules, pixels int) error {
	if c.logo == nil {
		return nil
	}
	b := c.logo.Bounds()
	if b.Empty() {
		return errors.New("the logo has no pixels")
	}
	// Bounds may be as wide as twice the largest int.
	width, height := uint64(b.Max.X)-uint64(b.Min.X), uint64(b.Max.Y)-uint64(b.Min.Y)
	fits := func(width, height uint64) bool {
		c.plate = c.symbol.middle(side(width, modules, pixels), side(height, modules, pixels))
		return c.symbol.spares(c.plate)
	}
	if fits(width, height) {
		return nil
	}
	long := max(width, height)
	shrunk := func(edge uint64, to int) uint64 {
		return max(1, uint64(float64(edge)/float64(long)*float64(to)))
	}
	// One pixel less than the smallest that is too large.
	most := sort.Search(MaxSize, func(i int) bool { return !fits(shrunk(width, i+1), shrunk(height, i+1)) })
	if most == 0 {
		return fmt.Errorf("there is no room for a logo in this content at a size of %d: take a larger size", c.size)
	}
	return fmt.Errorf("logo is %d x %d pixels, which hides more than half of what level H repairs, or one of the patterns around; with its shape, this content and a size of %d, at most %d x %d pixels are allowed: scale it down, or take a larger size",
		width, height, c.size, shrunk(width, most), shrunk(height, most))
}

// side returns how many modules cover so many pixels: an odd number, like that of
// a symbol, so that the plate has the same middle.
func side(edge uint64, modules, pixels int) int {
	edge = min(edge, MaxSize+1) // already too much, and safe to multiply
	n := (int(edge)*modules + pixels - 1) / pixels
	return n | 1
}

// middle returns the modules in the middle of s.
func (s *symbol) middle(width, height int) image.Rectangle {
	left, top := (s.Size-width)/2, (s.Size-height)/2
	return image.Rect(left, top, left+width, top+height)
}

// keptFree is how many modules from the edge of a symbol are kept free of the plate:
// finder patterns, timing patterns, the information on format and version, and the
// alignment pattern below and right. Readers cannot repair those.
const keptFree = 9

// spares tells whether readers can do without the modules of plate, with as much
// again of each block of codewords to spare.
//
// Of a block with n check codewords readers repair n/2, whatever became of them. So
// the plate may touch n/4. One that is touched counts in full: which bits the logo
// happens to leave right is luck.
//
// The alignment pattern in the middle of symbols of 45 modules and more may go.
// ZXing does not look at it. zbar does, and at times takes a part of the logo for
// it; a smaller plate does not help.
func (s *symbol) spares(plate image.Rectangle) bool {
	if !plate.In(image.Rect(0, 0, s.Size, s.Size).Inset(keptFree)) {
		return false
	}
	seen := make([]bool, s.plan.DataBytes+s.plan.CheckBytes)
	touched := make([]int, s.plan.Blocks)
	most := s.plan.CheckBytes / s.plan.Blocks / 4
	for y := plate.Min.Y; y < plate.Max.Y; y++ {
		for _, module := range s.plan.Pixel[y][plate.Min.X:plate.Max.X] {
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

// block returns which block a codeword belongs to. The data of all blocks stand
// in front of all their check codewords, and where they cannot be of one length,
// the last ones are longer by one.
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

// plated returns the logo's pixels on the colour of the plate. The rectangle of
// the result begins at the given point.
func (c *code) plated(at image.Point) *image.RGBA {
	b := c.logo.Bounds()
	p := image.NewRGBA(image.Rectangle{Min: at, Max: at.Add(b.Size())})
	draw.Draw(p, p.Rect, image.NewUniform(c.light), image.Point{}, draw.Src)
	draw.Draw(p, p.Rect, c.logo, b.Min, draw.Over)
	return p
}

// withLogo returns picture with the logo in the middle of its code.
func (d drawing) withLogo(picture *image.Paletted) image.Image {
	size := d.logo.Bounds().Size()
	width := d.scale * d.symbol.Size
	return logoPicture{picture, d.plated(image.Pt(d.margin+(width-size.X)/2, d.margin+(width-size.Y)/2))}
}

// logoPicture is a code with a logo. It takes a byte a pixel, where an
// [image.RGBA] takes four.
type logoPicture struct {
	code *image.Paletted
	logo *image.RGBA
}

func (p logoPicture) ColorModel() color.Model { return color.RGBAModel }
func (p logoPicture) Bounds() image.Rectangle { return p.code.Rect }
func (p logoPicture) Opaque() bool            { return true } // else image/png looks at every pixel

func (p logoPicture) At(x, y int) color.Color {
	if (image.Point{X: x, Y: y}).In(p.logo.Rect) {
		return p.logo.RGBAAt(x, y)
	}
	return p.code.At(x, y)
}
