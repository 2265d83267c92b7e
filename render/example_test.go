package render_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"log"
	"strings"

	"github.com/seed-0142d113/wxqrcode/render"
)

// A poster needs more pixels than the image that WeChat serves, and a code that
// survives damage.
func ExamplePNG() {
	var poster bytes.Buffer
	err := render.PNG(&poster, "http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI", render.Options{
		Size:  2000,
		Level: render.LevelH,
	})
	if err != nil {
		log.Fatal(err)
	}
	config, err := png.DecodeConfig(&poster)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(config.Width, "x", config.Height)
	// Output: 2000 x 2000
}

// An SVG for print, in the colors and with the logo of a brand.
func ExampleSVG() {
	logo := image.NewRGBA(image.Rect(0, 0, 60, 60)) // usually read from a file
	draw.Draw(logo, logo.Bounds(), image.NewUniform(color.RGBA{0xC0, 0x39, 0x2B, 0xFF}), image.Point{}, draw.Src)

	var poster strings.Builder
	err := render.SVG(&poster, "http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI", render.Options{
		Foreground: color.RGBA{0x07, 0x30, 0x5A, 0xFF},
		Logo:       logo, // its size is relative to Size, 430 by default
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Contains(poster.String(), "#07305a"), strings.Contains(poster.String(), "<image"))
	// Output: true true
}
