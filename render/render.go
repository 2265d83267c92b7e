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
	"cmp"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"sync"
)

// MaxSize is the largest [Options] Size, in pixels. A [JPEG], and a [PNG] with a
// logo, is drawn in memory at a byte a pixel, so the largest takes 64 MiB;
// printed at 300 dpi it is 69 cm wide. Larger prints, such as A0, take an [SVG].
const MaxSize = 8192

const (
	defaultSize      = 430 // as WeChat's own picture
	defaultQuietZone = 4   // as ISO/IEC 18004 demands

	// jpegQuality leaves the noise around edges far from the middle grey, where
	// readers divide dark from light.
	jpegQuality = 90
)

// PNG writes the code of content to w as a PNG of one bit a pixel: two colours,
// nothing between. Only a logo makes it one of 24 bits. Content is stored byte
// for byte and read as UTF-8.
//
// It returns an error, having written nothing, if w is nil, content is empty or
// longer than the [Level] holds, a field of o is outside its limits, or Size
// leaves less than one pixel for a module. An error of w is wrapped.
func PNG(w io.Writer, content string, o Options) error {
	d, err := newDrawing(w, content, o)
	if err != nil {
		return fmt.Errorf("wxqrcode: render PNG: %w", err)
	}
	if d.logo == nil {
		err = d.writePNG(w)
	} else {
		err = pngEncoder.Encode(w, d.image())
	}
	if err != nil {
		return fmt.Errorf("wxqrcode: render PNG: %w", err)
	}
	return nil
}

// JPEG writes the code of content to w as a JPEG, for those who need the format
// of WeChat's own picture: a PNG is sharper and fifty times smaller. It is grey,
// but for a logo or colours that are not. The pixels and the errors are those of
// [PNG], but for the noise of the format.
func JPEG(w io.Writer, content string, o Options) error {
	d, err := newDrawing(w, content, o)
	if err != nil {
		return fmt.Errorf("wxqrcode: render JPEG: %w", err)
	}
	if err := jpeg.Encode(w, d.image(), &jpeg.Options{Quality: jpegQuality}); err != nil {
		return fmt.Errorf("wxqrcode: render JPEG: %w", err)
	}
	return nil
}

// SVG writes the code of content to w as an SVG, whose edges are sharp at any
// size: on a screen and on a sheet of A0. It has the parameters and the errors of
// [PNG], but that a module need not be a whole pixel, nor as much as one: what a
// PNG would leave over, the modules get here. Content does not occur in its text.
func SVG(w io.Writer, content string, o Options) error {
	c, err := newCode(w, content, o)
	if err != nil {
		return fmt.Errorf("wxqrcode: render SVG: %w", err)
	}
	b, err := c.svg()
	if err != nil {
		return fmt.Errorf("wxqrcode: render SVG: %w", err)
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("wxqrcode: render SVG: %w", err)
	}
	return nil
}

// Options say how a code is drawn. The zero Options are good: 430 x 430 pixels,
// level M, a quiet zone of 4 modules, black on white, no logo.
type Options struct {
	// Size is the width and the height of the picture in pixels, margin
	// included: from one pixel a module (in an [SVG] from 1) to [MaxSize]. Zero
	// means 430.
	//
	// A module is as many whole pixels as fit, so that its edges are sharp. What
	// is left over widens the margin, and the code stays in the middle.
	Size int

	// Level is how much damage the code survives. Zero means [LevelM]. A Logo
	// raises it to [LevelH], whatever is set.
	Level Level

	// QuietZone is the least width of the light margin in modules, from 1. Zero
	// means 4, which the standard demands: readers need the margin to find the
	// code. There is no way to have none; where the ground has the Background's
	// colour anyway, take 1.
	QuietZone int

	// Foreground and Background are the colours of the dark modules and of the
	// ground. Nil means black for Foreground and white for Background. Both must be
	// opaque, for the ground below is not known here. Foreground must be the darker
	// one, since many readers do not find a code that is light on dark. The contrast must be 3:1 at
	// least as WCAG 2.2 defines it (black on white has 21:1), and Background 2.2
	// times as bright at least in the grey that readers see, (R + 2G + B) / 4,
	// which strong blue on green is not.
	Foreground, Background color.Color

	// Logo is drawn in the middle, a pixel of it on a pixel of the picture: scale
	// it before. Behind it is a plate of the Background's colour, rounded up to
	// whole modules, which shows where the logo is translucent.
	//
	// What the plate hides, readers must repair. A logo is refused if it takes
	// more than half of what they can repair in any part of the code, the other
	// half being for dirt and glare, or if it comes as near to an edge as the
	// patterns that readers search for. For WeChat's URLs that allows a square of
	// about a quarter of the code's width; the error tells the largest size. With
	// content of more than 58 bytes the logo hides a pattern that some readers
	// look for: try it with yours.
	//
	// An [SVG] carries these pixels: for a large print take a Size that leaves
	// room for many.
	Logo image.Image
}

// code is what all the formats draw.
type code struct {
	symbol      *symbol
	size        int // of the picture, in pixels
	quiet       int // modules around the symbol
	dark, light color.RGBA
	logo        image.Image     // nil without one
	plate       image.Rectangle // the modules that make room for the logo
}

func newCode(w io.Writer, content string, o Options) (*code, error) {
	if w == nil {
		return nil, errors.New("the writer is nil")
	}
	c := &code{size: cmp.Or(o.Size, defaultSize), quiet: cmp.Or(o.QuietZone, defaultQuietZone), logo: o.Logo}
	if c.size < 0 || c.size > MaxSize {
		return nil, fmt.Errorf("size is %d; 1 to %d pixels are allowed, and 0 means %d", c.size, MaxSize, defaultSize)
	}
	if c.quiet < 0 || c.quiet > MaxSize { // more would only overflow sums
		return nil, fmt.Errorf("quiet zone is %d; 1 to %d modules are allowed, and 0 means %d", c.quiet, MaxSize, defaultQuietZone)
	}
	var err error
	if c.dark, c.light, err = colours(o.Foreground, o.Background); err != nil {
		return nil, err
	}
	c.symbol, err = newSymbol(content, o.Level, o.Logo != nil)
	return c, err
}

// modules is the width of the picture, margin included.
func (c *code) modules() int { return c.symbol.Size + 2*c.quiet }

// black tells whether a module has the foreground's colour.
func (c *code) black(x, y int) bool {
	return c.symbol.Black(x, y) && !(image.Point{X: x, Y: y}).In(c.plate)
}

// drawing is a code with its place in a picture made of pixels.
type drawing struct {
	*code
	scale  int // pixels a module
	margin int // pixels above and left; below and right there may be one more
}

func newDrawing(w io.Writer, content string, o Options) (drawing, error) {
	c, err := newCode(w, content, o)
	if err != nil {
		return drawing{}, err
	}
	if c.size < c.modules() {
		return drawing{}, fmt.Errorf("size is %d; this content at level %v needs at least %d pixels, for %d modules and a quiet zone of %d on either side",
			c.size, c.symbol.level, c.modules(), c.symbol.Size, c.quiet)
	}
	d := drawing{code: c, scale: c.size / c.modules()}
	d.margin = (c.size - d.scale*c.symbol.Size) / 2
	return d, c.placeLogo(1, d.scale)
}

// image returns the picture, grey if it can be.
func (d drawing) image() image.Image {
	bounds := image.Rect(0, 0, d.size, d.size)
	if d.logo == nil && grey(d.dark) && grey(d.light) {
		return &image.Gray{Pix: d.pixels(d.light.R, d.dark.R), Stride: d.size, Rect: bounds}
	}
	p := &image.Paletted{Pix: d.pixels(0, 1), Stride: d.size, Rect: bounds, Palette: color.Palette{d.light, d.dark}}
	if d.logo == nil {
		return p
	}
	return d.withLogo(p)
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
			if !d.black(x, y) {
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
