package render

import (
	"fmt"
	"image/color"
	"math"
)

// The limits of contrast were measured with ZXing and zbar, on pairs of grays
// and of colors, clean and blurred with noise. At a contrast of 2.5:1, and in
// large images at a brightness ratio of 2, ZXing fails on clean images. At
// these limits both read every clean image. zbar reads most images at 1.5:1.
const (
	// minContrast is the limit of WCAG 2.2 for graphics, in 1.4.11.
	minContrast = 3

	// minBrightnessRatio is the limit for the gray that readers compute from
	// colors. In a region of one color, such as a large module, ZXing takes a
	// pixel for dark if it has less than half of the brightness around it. Blue
	// counts a quarter in the gray of ZXing and 7 % in the luminance of WCAG: blue
	// on green can have a contrast of 5:1 and the same gray.
	minBrightnessRatio = 2.2
)

// resolveColors returns the colors of dark and light modules, with eight bits
// per channel.
func resolveColors(foreground, background color.Color) (dark, light color.RGBA, err error) {
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
	return dark, light, checkContrast(dark, light)
}

func checkContrast(dark, light color.RGBA) error {
	d, l := luminance(dark), luminance(light)
	if d > l {
		return fmt.Errorf("foreground is %s, lighter than the background, which is %s; swap them: many readers do not find a code that is light on dark",
			hex(dark), hex(light))
	}
	if contrast := (l + 0.05) / (d + 0.05); contrast < minContrast {
		return fmt.Errorf("foreground is %s on %s, a contrast of %.2f:1; it must be at least %d:1: use a darker foreground or a lighter background",
			hex(dark), hex(light), roundDown(contrast), minContrast)
	}
	d, l = brightness(dark), brightness(light)
	if l < minBrightnessRatio*d {
		return fmt.Errorf("foreground is %s on %s, which is %.2f times as bright in the gray that readers compute; it must be at least %.1f times: use less blue and red in the foreground, or more in the background",
			hex(dark), hex(light), roundDown(l/d), minBrightnessRatio)
	}
	return nil
}

// roundDown rounds to hundredths, so that an error never shows a ratio below
// the limit as the limit.
func roundDown(ratio float64) float64 { return math.Floor(ratio*100) / 100 }

func opaque(name string, c color.Color) (color.RGBA, error) {
	r, g, b, a := c.RGBA()
	if a != 0xffff {
		return color.RGBA{}, fmt.Errorf("%s is translucent, with an alpha of %d of 65535; use an opaque color", name, a)
	}
	return color.RGBA{R: uint8(r >> 8), G: uint8(g >> 8), B: uint8(b >> 8), A: 0xff}, nil
}

// luminance returns 0 for black to 1 for white. See
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

// brightness returns the gray of ZXing, from 0 to 255.
func brightness(c color.RGBA) float64 {
	return (float64(c.R) + 2*float64(c.G) + float64(c.B)) / 4
}

func isGray(c color.RGBA) bool { return c.R == c.G && c.G == c.B }

func hex(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }
