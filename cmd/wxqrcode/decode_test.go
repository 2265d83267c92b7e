package main

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"github.com/seed-0142d113/wxqrcode/render"
	"github.com/srwiley/oksvg"
	"github.com/srwiley/rasterx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These tests read images of package render with independent decoders. They are in this
// module to keep the decoders out of go.mod of the root.

type drawn struct {
	name, content string
	format        renderFormat
	options       render.Options
	shape         image.Point // of the largest allowed logo; zero without a logo
	paint         func(x, y int) color.Color
}

type renderFormat struct {
	name string
	draw func(io.Writer, string, render.Options) error
	read func(*testing.T, []byte) image.Image
}

var renderFormats = []renderFormat{
	{"PNG", render.PNG, func(t *testing.T, b []byte) image.Image {
		t.Helper()
		img, err := png.Decode(bytes.NewReader(b))
		require.NoError(t, err)
		return img
	}},
	{"JPEG", render.JPEG, func(t *testing.T, b []byte) image.Image {
		t.Helper()
		img, err := jpeg.Decode(bytes.NewReader(b))
		require.NoError(t, err)
		return img
	}},
	{"SVG", render.SVG, rasterize},
}

// draw returns the file and its decoded image.
func (d drawn) draw(t *testing.T) ([]byte, image.Image) {
	t.Helper()
	o := d.options
	if d.shape != (image.Point{}) {
		o.Logo = largestLogo(t, d)
	}
	var b bytes.Buffer
	require.NoError(t, d.format.draw(&b, d.content, o), d.name)
	return b.Bytes(), d.format.read(t, b.Bytes())
}

var allowedLogo = regexp.MustCompile(`at most \d+ x \d+ pixels are allowed`)

// largestLogo returns the largest logo of the shape that package render allows.
func largestLogo(t *testing.T, d drawn) image.Image {
	t.Helper()
	d.options.Logo = &image.Uniform{C: color.Black} // too large
	if d.shape.X != d.shape.Y {
		d.options.Logo = image.NewAlpha(image.Rectangle{Max: d.shape.Mul(1000)})
	}
	err := d.format.draw(io.Discard, d.content, d.options)
	require.Error(t, err)
	var width, height int
	_, err = fmt.Sscanf(allowedLogo.FindString(err.Error()), "at most %d x %d", &width, &height)
	require.NoError(t, err)
	logo := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			logo.Set(x, y, d.paint(x*1000/width, y*1000/height))
		}
	}
	return logo
}

// logos are painted on 1000 x 1000.
var logos = map[string]func(x, y int) color.Color{
	"black": func(int, int) color.Color { return color.Black },
	"white": func(int, int) color.Color { return color.White },
	"green ring on transparent": func(x, y int) color.Color {
		if r := math.Hypot(float64(x-500), float64(y-500)); r > 250 && r < 480 {
			return color.RGBA{R: 7, G: 193, B: 96, A: 255}
		}
		return color.Transparent
	},
	"stripes":  func(x, _ int) color.Color { return color.Gray{Y: uint8(x / 200 % 2 * 255)} },
	"gradient": func(x, y int) color.Color { return color.RGBA{R: uint8(x / 4), G: uint8(y / 4), B: 128, A: 255} },
}

// drawnImages returns images in all formats, each with a different content.
func drawnImages() (all []drawn) {
	add := func(name, content string, o render.Options, shape image.Point, paint func(x, y int) color.Color) {
		for _, f := range renderFormats {
			text := fmt.Sprintf("%s%04d", content, len(all))
			all = append(all, drawn{fmt.Sprintf("%s as %s", name, f.name), text, f, o, shape, paint})
		}
	}
	const url = "http://weixin.qq.com/q/kZgfwMTm72WWPkov" // and four digits
	for _, level := range []render.Level{render.LevelL, render.LevelM, render.LevelQ, render.LevelH} {
		for _, size := range []int{135, 430, 1001} {
			add(fmt.Sprintf("level %v, size %d", level, size), url, render.Options{Level: level, Size: size}, image.Point{}, nil)
		}
		for _, length := range []int{1, 20, 200, 500, 800} {
			add(fmt.Sprintf("level %v, %d bytes", level, length), strings.Repeat("x", length), render.Options{Level: level, Size: 1000}, image.Point{}, nil)
		}
	}
	add("size 2000", url, render.Options{Size: 2000}, image.Point{}, nil)
	for _, quiet := range []int{1, 2, 3, 8, 20} {
		add(fmt.Sprintf("quiet zone %d", quiet), url, render.Options{QuietZone: quiet}, image.Point{}, nil)
	}
	for name, pair := range map[string][2]color.Color{
		"black on the darkest gray":           {color.Black, color.Gray{Y: 0x5a}},
		"the lightest gray on white":          {color.Gray{Y: 0x73}, color.White},
		"gray on gray at both limits":         {color.Gray{Y: 0x50}, color.Gray{Y: 0xb0}},
		"red on white":                        {color.RGBA{R: 255, A: 255}, nil},
		"blue on green, near the limit":       {color.RGBA{B: 0xe7, A: 255}, color.RGBA{G: 0xff, A: 255}},
		"magenta on light green":              {color.RGBA{R: 0x73, B: 0x73, A: 255}, color.RGBA{G: 0xff, A: 255}},
		"green on pink":                       {color.RGBA{G: 0x60, A: 255}, color.RGBA{R: 0xff, G: 0x80, B: 0xff, A: 255}},
		"brown on yellow":                     {color.RGBA{R: 0x90, G: 0x50, A: 255}, color.RGBA{R: 0xff, G: 0xf0, A: 255}},
		"the green of WeChat's logo on ivory": {color.RGBA{R: 0x05, G: 0x7a, B: 0x3c, A: 255}, color.RGBA{R: 0xff, G: 0xff, B: 0xf0, A: 255}},
	} {
		for _, size := range []int{200, 430, 1230} {
			add(fmt.Sprintf("%s, size %d", name, size), url, render.Options{Size: size, Foreground: pair[0], Background: pair[1]}, image.Point{}, nil)
		}
	}
	for name, paint := range logos {
		for _, shape := range []image.Point{{1, 1}, {3, 1}, {1, 2}} {
			for _, size := range []int{200, 430} {
				add(fmt.Sprintf("logo %s of shape %v, size %d", name, shape, size), url, render.Options{Size: size}, shape, paint)
			}
			add(fmt.Sprintf("logo %s of shape %v on a small code", name, shape), "abc", render.Options{}, shape, paint)
		}
	}
	return all
}

func TestRender_IndependentDecodersReadEveryImage(t *testing.T) {
	var files []string
	names := map[string]string{} // by content
	dir := t.TempDir()
	for n, d := range drawnImages() {
		if testing.Short() && n%10 != 0 {
			continue // slow with the race detector, which finds nothing here
		}
		data, img := d.draw(t)
		assert.Equal(t, d.content, readWithZXing(t, img), d.name)
		if d.format.name == "SVG" { // zbarimg needs another program to read SVG
			var b bytes.Buffer
			require.NoError(t, (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, img))
			data = b.Bytes()
		}
		files = append(files, filepath.Join(dir, fmt.Sprintf("%04d", len(files))))
		require.NoError(t, os.WriteFile(files[len(files)-1], data, 0o600))
		names[d.content] = d.name
	}
	t.Run("zbarimg", func(t *testing.T) {
		out, err := exec.CommandContext(t.Context(), zbarimg(t), append([]string{"-q", "--raw"}, files...)...).Output()
		assert.NoError(t, err)
		for line := range strings.Lines(string(out)) {
			content := strings.TrimSuffix(line, "\n")
			assert.Contains(t, names, content, "in no image, or duplicated")
			delete(names, content)
		}
		assert.Empty(t, names, "images that were not read")
	})
}

// ZXing can read this content without a logo, too: it does not find the corners of some
// large symbols.
func TestRender_ZXingReadsEveryVersionWithLargestLogo(t *testing.T) {
	versions := map[int]bool{}
	step := 1
	if testing.Short() {
		step = 100
	}
	for length := 4; length <= 1273; length += step + length/32 {
		content := strings.Repeat("wxqrcode", 160)[:length]
		d := drawn{
			name: fmt.Sprintf("%d bytes", length), content: content, format: renderFormats[0],
			options: render.Options{Size: 185 * 3}, shape: image.Pt(1, 1), paint: logos["black"],
		}
		_, img := d.draw(t)
		assert.Equal(t, content, readWithZXing(t, img), d.name)
		versions[modulesAtH(t, content)] = true
	}
	if !testing.Short() {
		assert.Len(t, versions, 40)
	}
}

// modulesAtH returns the width of the symbol, taken from an error.
func modulesAtH(t *testing.T, content string) (n int) {
	t.Helper()
	err := render.PNG(io.Discard, content, render.Options{Size: 1, Level: render.LevelH})
	require.Error(t, err)
	_, after, _ := strings.Cut(err.Error(), "pixels, for ")
	_, err = fmt.Sscanf(after, "%d modules", &n)
	require.NoError(t, err)
	return n
}

// readWithZXing returns the content of the code, or the text of the error.
func readWithZXing(t *testing.T, img image.Image) string {
	t.Helper()
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	require.NoError(t, err)
	result, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
	if err != nil {
		return err.Error()
	}
	return result.GetText()
}

// zbarimg returns the path of the program, which is in the Debian package zbar-tools.
func zbarimg(t *testing.T) string {
	t.Helper()
	name := os.Getenv("WXQRCODE_ZBARIMG")
	if name == "" {
		name = "zbarimg"
	}
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("WXQRCODE_REQUIRE_ZBARIMG") == "" {
		t.Skip("no zbarimg found; install zbar-tools, or name the program in WXQRCODE_ZBARIMG")
	}
	require.NoError(t, err, "WXQRCODE_REQUIRE_ZBARIMG is set")
	return path
}

// rasterize draws an SVG with smooth edges, which are harder to read: oksvg ignores
// crispEdges. It ignores images, too, so rasterize draws the logo.
func rasterize(t *testing.T, svg []byte) image.Image {
	t.Helper()
	icon, err := oksvg.ReadIconStream(bytes.NewReader(svg))
	require.NoError(t, err)
	var s struct {
		Width int `xml:"width,attr"`
		Logo  *struct {
			X    float64 `xml:"x,attr"`
			Y    float64 `xml:"y,attr"`
			Href string  `xml:"href,attr"`
		} `xml:"image"`
	}
	require.NoError(t, xml.Unmarshal(svg, &s))
	img := image.NewRGBA(image.Rect(0, 0, s.Width, s.Width))
	icon.SetTarget(0, 0, float64(s.Width), float64(s.Width))
	icon.Draw(rasterx.NewDasher(s.Width, s.Width, rasterx.NewScannerGV(s.Width, s.Width, img, img.Rect)), 1)
	if s.Logo == nil {
		return img
	}
	data, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s.Logo.Href, "data:image/png;base64,"))
	require.NoError(t, err)
	logo, err := png.Decode(bytes.NewReader(data))
	require.NoError(t, err)
	pixels := float64(s.Width) / icon.ViewBox.W
	at := image.Pt(int(math.Round(s.Logo.X*pixels)), int(math.Round(s.Logo.Y*pixels)))
	draw.Draw(img, logo.Bounds().Add(at), logo, image.Point{}, draw.Over)
	return img
}
