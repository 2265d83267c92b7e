package render

import (
	"fmt"
	"image/color"
	"math"
)

// What readers need, found with ZXing and zbar over pairs of greys and of colours,
// clean and blurred with noise. At 2.5:1, and in large pictures at 2 times as
// bright, ZXing fails on clean pictures; at these limits both read every clean one
// that was tried. zbar alone reads most of them at 1.5:1.
const (
	// minContrast is what WCAG 2.2 demands of graphics too, in 1.4.11.
	minContrast = 3

	// minBrighter is how much brighter the ground must be in the grey that readers
	// make of colours. Where ZXing sees one colour all around, as in a large
	// module, it takes what is darker than half of the light near by for dark. And
	// its grey has a quarter of blue, of which WCAG's luminance has 7 %: blue on
	// green can have 5:1 and be one grey.
	minBrighter = 2.2
)

// colours returns what Foreground and Background mean, in eight bits a channel, as
// they will be drawn.
func colours(foreground, background color.Color) (dark, light color.RGBA, err error) {
	dark, light = color.RGBA{A: 0xff}, color.RGBA{R: 0xff, G: 0xff, B: 0xff, A: 0xff}
	if foreground != nil {
		if dark, err = opaque("foreground", foreground); err != nil {
			return dark, light, err
		}
	}
	if background != nil {
		if light, err = opaque("background", background); err != nil {
			return dark, light, err
		}
	}
	return dark, light, legible(dark, light)
}

func legible(dark, light color.RGBA) error {
	d, l := luminance(dark), luminance(light)
	if d > l {
		return fmt.Errorf("foreground is %s, lighter than the background, which is %s; many readers do not find a code that is light on dark: swap them",
			hex(dark), hex(light))
	}
	if contrast := (l + 0.05) / (d + 0.05); contrast < minContrast {
		return fmt.Errorf("foreground is %s on %s, a contrast of %.2f:1; at least %d:1 is allowed: take a darker foreground or a lighter background",
			hex(dark), hex(light), roundDown(contrast), minContrast)
	}
	d, l = brightness(dark), brightness(light)
	if l < minBrighter*d {
		return fmt.Errorf("foreground is %s on %s, which is %.2f times as bright in the grey that readers see; at least %.1f times is allowed: take less blue and red for the foreground, or more for the background",
			hex(dark), hex(light), roundDown(l/d), minBrighter)
	}
	return nil
}

// roundDown keeps a ratio below its limit from being printed as the limit.
func roundDown(ratio float64) float64 { return math.Floor(ratio*100) / 100 }

func opaque(name string, c color.Color) (color.RGBA, error) {
	r, g, b, a := c.RGBA()
	if a != 0xffff {
		return color.RGBA{}, fmt.Errorf("%s is translucent, with an alpha of %d of 65535; only opaque colours are allowed, since the contrast would depend on what is below", name, a)
	}
	return color.RGBA{R: uint8(r >> 8), G: uint8(g >> 8), B: uint8(b >> 8), A: 0xff}, nil
}

// luminance is from 0, black, to 1, white. See
// https://www.w3.org/TR/WCAG22/#dfn-relative-luminance.
func luminance(c color.RGBA) float64 {
	linear := func(v uint8) float64 {
		s := float64(v) / 0xff
		if s <= 0.04045 {
			return s / 12.92
		}
		return math.Pow((s+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c.R) + 0.7152*linear(c.G) + 0.0722*linear(c.B)
}

// brightness is ZXing's grey, from 0 to 255.
func brightness(c color.RGBA) float64 {
	return (float64(c.R) + 2*float64(c.G) + float64(c.B)) / 4
}

func grey(c color.RGBA) bool { return c.R == c.G && c.G == c.B }

func hex(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }
