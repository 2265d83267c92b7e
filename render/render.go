// Package render draws a code's URL as a picture of any size, without asking
// WeChat: its own picture, the one behind a ticket, is always a JPEG of
// 430 x 430 pixels.
//
// Draw the URL that WeChat answered with. Only that text makes a parametric
// code; a picture of the ticket or of a page of your own is just a link.
//
// See https://developers.weixin.qq.com/doc/offiaccount/Account_Management/Generating_a_Parametric_QR_Code.html.
package render

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"strconv"
	"sync"
)

// MaxSize is the largest [Options] Size, in pixels. A picture is drawn in
// memory at a byte a pixel, so the largest takes 64 MiB; printed at 300 dpi it
// is 69 cm wide.
const MaxSize = 8192

const (
	defaultSize      = 430 // as WeChat's own picture
	defaultQuietZone = 4   // as ISO/IEC 18004 demands

	// jpegQuality leaves the noise around edges far from the middle grey, where
	// readers divide dark from light.
	jpegQuality = 90
)

// PNG writes the code of content to w as a PNG of one bit a pixel: black and
// white, nothing between. Content is stored byte for byte and read as UTF-8.
//
// It returns an error, having written nothing, if w is nil, content is empty or
// longer than the [Level] holds, a field of o is outside its limits, or Size
// leaves less than one pixel for a module. An error of w is wrapped.
func PNG(w io.Writer, content string, o Options) error {
	d, err := newDrawing(w, content, o)
	if err != nil {
		return fmt.Errorf("wxqrcode: render PNG: %w", err)
	}
	err = pngEncoder.Encode(w, &image.Paletted{
		Pix:     d.pixels(0, 1),
		Stride:  d.size,
		Rect:    image.Rect(0, 0, d.size, d.size),
		Palette: color.Palette{color.White, color.Black},
	})
	if err != nil {
		return fmt.Errorf("wxqrcode: render PNG: %w", err)
	}
	return nil
}

// JPEG writes the code of content to w as a grey JPEG, for those who need the
// format of WeChat's own picture: a PNG is sharper and fifty times smaller. The
// pixels and the errors are those of [PNG], but for the noise of the format.
func JPEG(w io.Writer, content string, o Options) error {
	d, err := newDrawing(w, content, o)
	if err != nil {
		return fmt.Errorf("wxqrcode: render JPEG: %w", err)
	}
	err = jpeg.Encode(w, &image.Gray{
		Pix:    d.pixels(0xff, 0),
		Stride: d.size,
		Rect:   image.Rect(0, 0, d.size, d.size),
	}, &jpeg.Options{Quality: jpegQuality})
	if err != nil {
		return fmt.Errorf("wxqrcode: render JPEG: %w", err)
	}
	return nil
}

// Options say how a code is drawn. The zero Options are good: 430 x 430 pixels,
// level M, a quiet zone of 4 modules.
type Options struct {
	// Size is the width and the height of the picture in pixels, margin
	// included: from one pixel a module to [MaxSize]. Zero means 430.
	//
	// A module is as many whole pixels as fit, so that its edges are sharp. What
	// is left over widens the margin, and the code stays in the middle.
	Size int

	// Level is how much damage the code survives. Zero means [LevelM].
	Level Level

	// QuietZone is the least width of the white margin in modules, from 1. Zero
	// means 4, which the standard demands: readers need the margin to find the
	// code. There is no way to have none; where the ground is white anyway, take
	// 1.
	QuietZone int
}

// A Level is how much of a code may be hidden or damaged before readers fail.
// More of it takes more modules for the same content, and makes each smaller in
// a picture of the same size.
type Level int

// The levels of ISO/IEC 18004. The zero Level is LevelM, so they do not stand in
// the order of their strength.
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

// drawing is a symbol and its place in a picture.
type drawing struct {
	symbol *symbol
	size   int // of the picture, in pixels
	scale  int // pixels a module
	margin int // pixels above and left; below and right there may be one more
}

func newDrawing(w io.Writer, content string, o Options) (drawing, error) {
	if w == nil {
		return drawing{}, errors.New("the writer is nil")
	}
	size, quiet := o.Size, o.QuietZone
	if size == 0 {
		size = defaultSize
	}
	if quiet == 0 {
		quiet = defaultQuietZone
	}
	if size < 0 || size > MaxSize {
		return drawing{}, fmt.Errorf("size is %d; 1 to %d pixels are allowed, and 0 means %d", size, MaxSize, defaultSize)
	}
	if quiet < 0 || quiet > MaxSize { // more would only overflow the sum below
		return drawing{}, fmt.Errorf("quiet zone is %d; 1 to %d modules are allowed, and 0 means %d", quiet, MaxSize, defaultQuietZone)
	}
	s, err := newSymbol(content, o.Level)
	if err != nil {
		return drawing{}, err
	}
	modules := s.Size + 2*quiet
	if size < modules {
		return drawing{}, fmt.Errorf("size is %d; this content at level %v needs at least %d pixels, for %d modules and a quiet zone of %d on either side",
			size, o.Level, modules, s.Size, quiet)
	}
	scale := size / modules
	return drawing{symbol: s, size: size, scale: scale, margin: (size - scale*s.Size) / 2}, nil
}

// pixels returns the picture row by row, a byte a pixel.
func (d drawing) pixels(light, dark byte) []byte {
	pix := make([]byte, d.size*d.size)
	if light != 0 {
		for i := range pix {
			pix[i] = light
		}
	}
	for y := range d.symbol.Size {
		top := (d.margin + y*d.scale) * d.size
		row := pix[top : top+d.size]
		for x := range d.symbol.Size {
			if !d.symbol.Black(x, y) {
				continue
			}
			left := d.margin + x*d.scale
			for i := range d.scale {
				row[left+i] = dark
			}
		}
		for i := 1; i < d.scale; i++ {
			copy(pix[top+i*d.size:], row)
		}
	}
	return pix
}

// pngEncoder keeps its buffers between pictures: they take more memory than the
// pixels do.
var pngEncoder = png.Encoder{BufferPool: new(bufferPool)}

type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() *png.EncoderBuffer {
	b, _ := p.pool.Get().(*png.EncoderBuffer)
	return b // nil makes the encoder allocate one
}

func (p *bufferPool) Put(b *png.EncoderBuffer) { p.pool.Put(b) }
