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

// A poster needs more pixels than WeChat's own picture has, and a code that
// survives a tear.
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

// A code for print, in the house's colour and with its logo: an SVG is sharp at any size.
func ExampleSVG() {
	logo := image.NewRGBA(image.Rect(0, 0, 60, 60)) // as a rule read from a file
	draw.Draw(logo, logo.Bounds(), image.NewUniform(color.RGBA{0xC0, 0x39, 0x2B, 0xFF}), image.Point{}, draw.Src)

	var poster strings.Builder
	err := render.SVG(&poster, "http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI", render.Options{
		Foreground: color.RGBA{0x07, 0x30, 0x5A, 0xFF},
		Logo:       logo, // a logo needs a size to be measured against: 430, if nothing is said
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Contains(poster.String(), "#07305a"), strings.Contains(poster.String(), "<image"))
	// Output: true true
}
