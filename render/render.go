// Package render draws the URL of a QR code as an image of any size, without a
// request to WeChat. The image that WeChat serves for a ticket is always a JPEG
// of 430 x 430 pixels.
//
// Draw the URL of the response to qrcode/create. Only that text makes a
// parametric code: an image of the ticket or of another URL is an ordinary
// link.
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

// MaxSize is the largest Size of [Options], in pixels. A [JPEG], and a [PNG]
// with a logo, takes one byte per pixel in memory, so the largest takes 64 MiB;
// printed at 300 dpi it is 69 cm wide. Use an [SVG] for larger prints, such as
// A0.
const MaxSize = 8192

const (
	defaultSize      = 430 // the size of the image that WeChat serves
	defaultQuietZone = 4   // required by ISO/IEC 18004

	// jpegQuality keeps the noise around edges away from the middle gray, at
	// which readers separate dark from light.
	jpegQuality = 90
)

// PNG writes a QR code of content to w as a PNG of two colors, one bit per
// pixel; with a logo, of 24 bits per pixel. The code contains the bytes of
// content, which readers take for UTF-8.
//
// It returns an error before it writes anything if w is nil, content is empty
// or longer than the [Level] holds, a field of o exceeds its limits, or Size is
// less than one pixel per module. The error wraps an error of w.
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

// JPEG writes a QR code of content to w as a JPEG, the format of the image that
// WeChat serves. A PNG is sharper and fifty times smaller. The JPEG is
// grayscale unless there is a logo or a color that is not gray. Parameters and
// errors are those of [PNG].
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

// SVG writes a QR code of content to w as an SVG, whose edges are sharp at any
// size. Parameters and errors are those of [PNG], except that a module can be a
// fraction of a pixel: the code and its quiet zone fill the whole Size. The
// text of the SVG does not contain content.
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

// Options configure the drawing of a code. The zero Options mean 430 x 430
// pixels, level M, a quiet zone of 4 modules, black on white, no logo.
type Options struct {
	// Size is the width and the height of the image in pixels, quiet zone
	// included: at least one pixel per module (in an [SVG] at least 1), at most
	// [MaxSize]. Zero means 430.
	//
	// A module is a whole number of pixels wide, as many as fit, so that its edges
	// are sharp. The remaining pixels widen the margin on all sides.
	Size int

	// Level is how much damage the code survives. Zero means [LevelM]. With a
	// Logo the level is always [LevelH].
	Level Level

	// QuietZone is the minimum width of the light margin in modules, at least 1.
	// Zero means 4, which the standard requires: readers need the margin to find
	// the code. Use 1 if the code is placed on a surface of the Background color.
	QuietZone int

	// Foreground is the color of the dark modules, nil means black. Background is
	// the color of everything else, nil means white. Both must be opaque.
	// Foreground must be the darker one, because many readers do not find a code
	// that is light on dark. The contrast as defined by WCAG 2.2 must be at least
	// 3:1 (black on white has 21:1), and Background must be at least 2.2 times as
	// bright in the gray that readers compute, (R + 2G + B) / 4: strong blue on
	// green is not.
	Foreground, Background color.Color

	// Logo is drawn in the center at its own size: one pixel of the logo is one
	// pixel of the image. Below it is a rectangle of the Background color, rounded
	// up to whole modules, which is visible where the logo is translucent.
	//
	// Readers repair the modules that the logo hides. A logo is an error if it
	// takes more than half of the error correction of any block, because the other
	// half is for dirt and glare, or if it reaches the patterns near the edges
	// that readers search for. For URLs of WeChat this allows a square of about a
	// quarter of the width of the code; the error has the largest size. With
	// content of more than 58 bytes the logo hides an alignment pattern that some
	// readers use: test it with yours.
	//
	// An [SVG] embeds the pixels of the logo: for a large print, set a large Size
	// and use a large logo.
	Logo image.Image
}

// A code is a symbol and its style, in every format.
type code struct {
	symbol      *symbol
	size        int // of the image, in pixels
	quiet       int // modules around the symbol
	dark, light color.RGBA
	logo        image.Image     // nil without one
	logoArea    image.Rectangle // modules that are left light for the logo
}

func newCode(w io.Writer, content string, o Options) (*code, error) {
	if w == nil {
		return nil, errors.New("the writer is nil")
	}
	c := &code{size: cmp.Or(o.Size, defaultSize), quiet: cmp.Or(o.QuietZone, defaultQuietZone), logo: o.Logo}
	if c.size < 0 || c.size > MaxSize {
		return nil, fmt.Errorf("size is %d; 1 to %d pixels are allowed, and 0 means %d", c.size, MaxSize, defaultSize)
	}
	if c.quiet < 0 || c.quiet > MaxSize { // a larger one can overflow the sum in modules
		return nil, fmt.Errorf("quiet zone is %d; 1 to %d modules are allowed, and 0 means %d", c.quiet, MaxSize, defaultQuietZone)
	}
	var err error
	if c.dark, c.light, err = resolveColors(o.Foreground, o.Background); err != nil {
		return nil, err
	}
	c.symbol, err = newSymbol(content, o.Level, o.Logo != nil)
	return c, err
}

// modules returns the width of the image in modules, quiet zone included.
func (c *code) modules() int { return c.symbol.Size + 2*c.quiet }

// isDark reports whether a module has the foreground color.
func (c *code) isDark(x, y int) bool {
	return c.symbol.Black(x, y) && !(image.Point{X: x, Y: y}).In(c.logoArea)
}

// A drawing is a code on the pixels of an image.
type drawing struct {
	*code
	scale  int // pixels per module
	margin int // pixels above and left; below and right there can be one more
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

// image returns the image, in grayscale if all its colors are gray.
func (d drawing) image() image.Image {
	bounds := image.Rect(0, 0, d.size, d.size)
	if d.logo == nil && isGray(d.dark) && isGray(d.light) {
		return &image.Gray{Pix: d.pixels(d.light.R, d.dark.R), Stride: d.size, Rect: bounds}
	}
	p := &image.Paletted{Pix: d.pixels(0, 1), Stride: d.size, Rect: bounds, Palette: color.Palette{d.light, d.dark}}
	if d.logo == nil {
		return p
	}
	return d.withLogo(p)
}

// pixels returns the image row by row, one byte per pixel.
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
			if !d.isDark(x, y) {
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

// pngEncoder reuses its buffers, which take more memory than the pixels.
var pngEncoder = png.Encoder{BufferPool: new(bufferPool)}

type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() *png.EncoderBuffer {
	b, _ := p.pool.Get().(*png.EncoderBuffer)
	return b // nil makes the encoder allocate one
}

func (p *bufferPool) Put(b *png.EncoderBuffer) { p.pool.Put(b) }
