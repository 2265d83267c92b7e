package render_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"rsc.io/qr/coding"

	"github.com/seed-0142d113/wxqrcode/render"
)

// url is a URL of qrcode/create: 43 bytes, 33 modules at level M.
const url = "http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI"

var levels = []render.Level{render.LevelL, render.LevelM, render.LevelQ, render.LevelH}

func TestPNG_SizeAndMargin(t *testing.T) {
	tests := map[string]struct {
		options       render.Options
		size          int
		before, after int // margin in pixels: above and left, below and right
		scale         int
	}{
		"zero Options": {
			size: 430, before: 50, after: 50, scale: 10,
		},
		"modules fill the size exactly": {
			options: render.Options{Size: 410}, size: 410, before: 40, after: 40, scale: 10,
		},
		"one pixel less: smaller modules, wider margin": {
			options: render.Options{Size: 409}, size: 409, before: 56, after: 56, scale: 9,
		},
		"an odd pixel is added below and right": {
			options: render.Options{Size: 411}, size: 411, before: 40, after: 41, scale: 10,
		},
		"smallest size: one pixel per module": {
			options: render.Options{Size: 41}, size: 41, before: 4, after: 4, scale: 1,
		},
		"narrow quiet zone: larger modules": {
			options: render.Options{QuietZone: 1}, size: 430, before: 17, after: 17, scale: 12,
		},
		"wide quiet zone: smaller modules": {
			options: render.Options{QuietZone: 10}, size: 430, before: 83, after: 83, scale: 8,
		},
		"smallest size with the narrowest quiet zone": {
			options: render.Options{Size: 35, QuietZone: 1}, size: 35, before: 1, after: 1, scale: 1,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := drawPNG(t, url, tt.options)
			assert.Equal(t, tt.size, p.size)
			assert.Equal(t, tt.before, p.left, "left")
			assert.Equal(t, tt.before, p.top, "above")
			assert.Equal(t, tt.after, p.right, "right")
			assert.Equal(t, tt.after, p.bottom, "below")
			assert.Equal(t, tt.scale, p.scale, "scale")
			assert.Len(t, p.modules, 33)
		})
	}
}

func TestPNG_BlackAndWhite(t *testing.T) {
	for _, o := range []render.Options{{}, {Size: 41}, {Size: 300, Level: render.LevelH}, {Size: 1279, Level: render.LevelL, QuietZone: 2}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, render.PNG(&b, url, o))

			// Byte 24 of a PNG is the number of bits per pixel, byte 25 the color
			// type: 3 is a palette.
			assert.Equal(t, []byte{1, 3}, b.Bytes()[24:26])

			img, err := png.Decode(&b)
			require.NoError(t, err)
			require.IsType(t, &image.Paletted{}, img)
			palette := img.(*image.Paletted).Palette
			require.Len(t, palette, 2)
			for i, want := range []color.RGBA{{255, 255, 255, 255}, {0, 0, 0, 255}} {
				assert.Equal(t, want, color.RGBAModel.Convert(palette[i]))
			}
			measure(t, img) // fails if a module has two colors
		})
	}
}

func TestJPEG_SameModulesAsPNG(t *testing.T) {
	for _, level := range levels {
		for _, size := range []int{0, 45, 101, 430, 1000} {
			t.Run(fmt.Sprintf("level %v, size %d", level, size), func(t *testing.T) {
				o := render.Options{Size: size, Level: level}
				var p, j bytes.Buffer
				require.NoError(t, render.PNG(&p, url, o))
				require.NoError(t, render.JPEG(&j, url, o))
				want, err := png.Decode(&p)
				require.NoError(t, err)
				got, err := jpeg.Decode(&j)
				require.NoError(t, err)

				require.IsType(t, &image.Gray{}, got)
				require.Equal(t, want.Bounds(), got.Bounds())
				worst := 0.0
				for y := range want.Bounds().Dy() {
					for x := range want.Bounds().Dx() {
						w := color.GrayModel.Convert(want.At(x, y)).(color.Gray).Y
						g := got.(*image.Gray).GrayAt(x, y).Y
						worst = max(worst, math.Abs(float64(w)-float64(g)))
					}
				}
				assert.Less(t, worst, 64.0, "noise, in steps of 255")
			})
		}
	}
}

func TestLevel_EncodedInFormat(t *testing.T) {
	tests := map[string]struct {
		level   render.Level
		bits    string // of the standard
		name    string
		modules int // of the URL
	}{
		"L":            {render.LevelL, "01", "L", 29},
		"zero Level":   {0, "00", "M", 33},
		"Q":            {render.LevelQ, "11", "Q", 33},
		"H":            {render.LevelH, "10", "H", 37},
		"M":            {render.LevelM, "00", "M", 33},
		"zero Options": {render.Options{}.Level, "00", "M", 33},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := drawPNG(t, url, render.Options{Level: tt.level})
			assert.Equal(t, tt.bits, p.format()[:2])
			assert.Len(t, p.modules, tt.modules)
			assert.Equal(t, tt.name, tt.level.String())
		})
	}
	assert.Equal(t, "Level(4)", render.Level(4).String())
}

// With the mask of the lowest penalty, ZXing takes a part of this code for a
// finder pattern.
func TestPNG_MaskWithoutFalseFinder(t *testing.T) {
	const unreadable = "010"
	assert.NotEqual(t, unreadable, drawPNG(t, url, render.Options{}).format()[2:])
}

func TestPNG_BestMask(t *testing.T) {
	masks := map[coding.Mask]bool{}
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		content := fmt.Sprintf("http://weixin.qq.com/q/%0*x", 10+r.IntN(60), r.Uint64())
		if r.IntN(2) == 0 {
			content = content[len(content)-1-r.IntN(14):] // small symbols are the least balanced
		}
		p := drawPNG(t, content, render.Options{Size: 100})

		var best, chosen coding.Mask
		least := []int{math.MaxInt, 0}
		for mask := range coding.Mask(8) {
			plan, err := coding.NewPlan(coding.Version(len(p.modules)-17)/4, coding.M, mask)
			require.NoError(t, err)
			code, err := plan.Encode(coding.String(content))
			require.NoError(t, err)
			rows := make([]string, code.Size)
			for y := range rows {
				for x := range code.Size {
					rows[y] += module(code.Black(x, y))
				}
			}
			if score := []int{countFalseFinders(rows), penalty(rows)}; slices.Compare(score, least) < 0 {
				best, least = mask, score
			}
			if strings.Join(rows, "\n") == strings.Join(p.modules, "\n") {
				chosen = mask
			}
		}
		require.Equal(t, best, chosen, content)
		require.Equal(t, fmt.Sprintf("%03b", chosen), p.format()[2:], content)
		masks[chosen] = true
	}
	assert.Greater(t, len(masks), 3, "the masks differ")
}

func TestOptions_Limits(t *testing.T) {
	tests := map[string]struct {
		content string
		options render.Options
		field   string // in the error; "" if there is none
	}{
		"empty content": {"", render.Options{}, "content"},
		"one byte":      {"a", render.Options{}, ""},

		"the longest content at level L":  {strings.Repeat("a", 2953), render.Options{Level: render.LevelL}, ""},
		"the longest content at level M":  {strings.Repeat("a", 2331), render.Options{Level: render.LevelM}, ""},
		"the longest content at level Q":  {strings.Repeat("a", 1663), render.Options{Level: render.LevelQ}, ""},
		"the longest content at level H":  {strings.Repeat("a", 1273), render.Options{Level: render.LevelH}, ""},
		"too long at level L":             {strings.Repeat("a", 2954), render.Options{Level: render.LevelL}, "content"},
		"too long at level M":             {strings.Repeat("a", 2332), render.Options{}, "content"},
		"too long at level Q":             {strings.Repeat("a", 1664), render.Options{Level: render.LevelQ}, "content"},
		"too long at level H":             {strings.Repeat("a", 1274), render.Options{Level: render.LevelH}, "content"},
		"characters are counted in bytes": {strings.Repeat("码", 778), render.Options{}, "content"},

		"one pixel per module":           {url, render.Options{Size: 41}, ""},
		"less than one pixel per module": {url, render.Options{Size: 40}, "size"},
		"one pixel":                      {url, render.Options{Size: 1}, "size"},
		"negative size":                  {url, render.Options{Size: -1}, "size"},
		"the largest size":               {url, render.Options{Size: render.MaxSize}, ""},
		"size too large":                 {url, render.Options{Size: render.MaxSize + 1}, "size"},
		"the largest integer as size":    {url, render.Options{Size: math.MaxInt}, "size"},

		"level too low":  {url, render.Options{Level: -1}, "level"},
		"level too high": {url, render.Options{Level: 4}, "level"},

		"the narrowest quiet zone":          {url, render.Options{QuietZone: 1}, ""},
		"negative quiet zone":               {url, render.Options{QuietZone: -1}, "quiet zone"},
		"the widest quiet zone that fits":   {url, render.Options{Size: 433, QuietZone: 200}, ""},
		"quiet zone too wide for the size":  {url, render.Options{Size: 433, QuietZone: 201}, "size"},
		"quiet zone too wide for any size":  {url, render.Options{QuietZone: 8193}, "quiet zone"},
		"the largest integer as quiet zone": {url, render.Options{QuietZone: math.MaxInt}, "quiet zone"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, format := range formats {
				var b bytes.Buffer
				err := format.draw(&b, tt.content, tt.options)
				if format.name == "SVG" && tt.field == "size" && 0 < tt.options.Size && tt.options.Size <= render.MaxSize {
					assert.NoError(t, err, "modules of an SVG can be smaller than a pixel")
					continue
				}
				if tt.field == "" {
					require.NoError(t, err)
					if format.name == "SVG" {
						continue // see svg_test.go
					}
					config, _, err := image.DecodeConfig(&b)
					require.NoError(t, err)
					assert.Equal(t, config.Width, config.Height)
					continue
				}
				requireField(t, err, format.name, tt.field)
				assert.Zero(t, b.Len(), "bytes written")
			}
		})
	}
}

func TestFormats_WriterError(t *testing.T) {
	full := errors.New("disk full")
	for _, format := range formats {
		for _, room := range []int{0, 200} {
			err := format.draw(&failingWriter{room: room, err: full}, url, render.Options{})
			require.ErrorIs(t, err, full, "%s, room for %d bytes", format.name, room)
		}
		requireField(t, format.draw(nil, url, render.Options{}), format.name, "the writer")
	}
}

// requireField requires an error about a field of the input.
func requireField(t *testing.T, err error, format, field string) {
	t.Helper()
	require.ErrorContains(t, err, "wxqrcode: render "+format+": "+field+" is ")
}

func TestOptions_ErrorTexts(t *testing.T) {
	tests := []struct {
		content string
		options render.Options
		want    string
	}{
		{"", render.Options{}, "content is empty"},
		{strings.Repeat("码", 778), render.Options{}, "content is 2334 bytes; a code at level M holds at most 2331"},
		{strings.Repeat("a", 1274), render.Options{Size: 1000, Logo: black(1, 1)},
			"content is 1274 bytes; a code at level H, which the logo needs, holds at most 1273"},
		{url, render.Options{Size: -1}, "size is -1; 1 to 8192 pixels are allowed, and 0 means 430"},
		{url, render.Options{Size: 40},
			"size is 40; this content at level M needs at least 41 pixels, for 33 modules and a quiet zone of 4 on either side"},
		{url, render.Options{QuietZone: 8193}, "quiet zone is 8193; 1 to 8192 modules are allowed, and 0 means 4"},
		{url, render.Options{Level: 9, Logo: black(1, 1)}, "level is 9; it must be LevelL, LevelM, LevelQ or LevelH"},
		{url, render.Options{Foreground: rgba(0xffff00ff)},
			"foreground is #ffff00 on #ffffff, a contrast of 1.07:1; it must be at least 3:1: use a darker foreground or a lighter background"},
		{url, render.Options{Foreground: rgba(0x4040ffff), Background: rgba(0x00ff00ff)},
			"foreground is #4040ff on #00ff00, which is 1.14 times as bright in the gray that readers compute; it must be at least 2.2 times: use less blue and red in the foreground, or more in the background"},
		{url, render.Options{Foreground: color.White, Background: color.Black},
			"foreground is #ffffff, lighter than the background, which is #000000; swap them: many readers do not find a code that is light on dark"},
		{url, render.Options{Foreground: color.NRGBA{A: 0xfe}},
			"foreground is translucent, with an alpha of 65278 of 65535; use an opaque color"},
		{url, render.Options{Logo: black(0, 0)}, "logo is empty"},
		{url, render.Options{Logo: black(400, 200)},
			"logo is 400 x 200 pixels, which exceeds half of the error correction or reaches the patterns near the edges; with its shape, this content and a size of 430, at most 99 x 49 pixels are allowed: scale the logo down, or use a larger size"},
	}
	for _, tt := range tests {
		assert.EqualError(t, render.PNG(io.Discard, tt.content, tt.options), "wxqrcode: render PNG: "+tt.want)
	}
	assert.EqualError(t, render.SVG(io.Discard, url, render.Options{Size: 1, Logo: black(1, 1)}),
		"wxqrcode: render SVG: size is 1, which has no room for a logo; use a larger size")
	assert.EqualError(t, render.JPEG(nil, url, render.Options{}), "wxqrcode: render JPEG: the writer is nil")
}

func TestFormats_ConcurrentUse(t *testing.T) {
	for _, format := range formats {
		t.Run(format.name, func(t *testing.T) {
			var wg sync.WaitGroup
			for i := range 8 {
				o := render.Options{Size: 100 + i}
				var want bytes.Buffer
				require.NoError(t, format.draw(&want, url, o))
				for range 4 {
					wg.Go(func() {
						var got bytes.Buffer
						assert.NoError(t, format.draw(&got, url, o))
						assert.True(t, bytes.Equal(want.Bytes(), got.Bytes()))
					})
				}
			}
			wg.Wait()
		})
	}
}

// Any input gives an image of the requested size or an error, and the same
// input the same bytes.
func FuzzPNG(f *testing.F) {
	f.Add(url, 0, 0, 0)
	f.Add("", 430, 1, 4)
	f.Add("\xff\x00码", 41, 2, 1)
	f.Add(strings.Repeat("1", 4000), 8192, 3, math.MaxInt)
	f.Add("A", math.MinInt, -1, math.MinInt)
	f.Fuzz(func(t *testing.T, content string, size, level, quiet int) {
		if size > 1000 && size <= render.MaxSize {
			size %= 1000 // larger ones are slower and run the same code
		}
		o := render.Options{Size: size, Level: render.Level(level), QuietZone: quiet}
		var b, again bytes.Buffer
		if err := render.PNG(&b, content, o); err != nil {
			require.ErrorContains(t, err, "wxqrcode: render PNG: ")
			require.Zero(t, b.Len())
			return
		}
		require.NoError(t, render.PNG(&again, content, o))
		require.Equal(t, b.Bytes(), again.Bytes())
		img, err := png.Decode(&b)
		require.NoError(t, err)
		if size == 0 {
			size = 430
		}
		require.Equal(t, image.Rect(0, 0, size, size), img.Bounds())
		p := measure(t, img)
		if quiet == 0 {
			quiet = 4
		}
		require.GreaterOrEqual(t, min(p.left, p.top, p.right, p.bottom), quiet*p.scale)
	})
}

// The same for all formats and options.
func FuzzOptions(f *testing.F) {
	f.Add(url, 0, 0, 0, uint32(0x000000ff), uint32(0xffffffff), 60, 60)
	f.Add("a", 100, 1, 4, uint32(0xff0000ff), uint32(0xffffffff), 1<<30, 1)
	f.Add("a", 8, 3, 1, uint32(0xffffffff), uint32(0x000000ff), 0, 0)
	f.Add("a", 8, 3, 1, uint32(0x000000ff), uint32(0x00ff00ff), -1, math.MaxInt)
	f.Fuzz(func(t *testing.T, content string, size, level, quiet int, dark, light uint32, width, height int) {
		o := render.Options{
			Size: size % 1000, Level: render.Level(level), QuietZone: quiet,
			Foreground: rgba(dark), Background: rgba(light),
			Logo: plain{image.Rect(0, 0, width, height), color.NRGBA{R: 200, A: 100}},
		}
		for _, format := range formats {
			var b, again bytes.Buffer
			if err := format.draw(&b, content, o); err != nil {
				require.ErrorContains(t, err, "wxqrcode: render "+format.name+": ")
				require.Zero(t, b.Len())
				continue
			}
			require.NoError(t, format.draw(&again, content, o))
			require.Equal(t, b.Bytes(), again.Bytes())
			if want := max(o.Size, -o.Size); format.name == "SVG" {
				parseSVG(t, b.Bytes())
			} else if config, _, err := image.DecodeConfig(&b); assert.NoError(t, err) && want != 0 {
				require.Equal(t, want, config.Width)
			}
		}
	})
}

func BenchmarkPNG(b *testing.B) { benchmark(b, render.PNG, render.Options{}) }

func BenchmarkJPEG(b *testing.B) { benchmark(b, render.JPEG, render.Options{}) }

func BenchmarkSVG(b *testing.B) { benchmark(b, render.SVG, render.Options{}) }

func BenchmarkPNG_Logo(b *testing.B) {
	benchmark(b, render.PNG, render.Options{Logo: image.NewRGBA(image.Rect(0, 0, 60, 60))})
}

func benchmark(b *testing.B, draw func(io.Writer, string, render.Options) error, o render.Options) {
	b.ReportAllocs()
	for b.Loop() {
		if err := draw(io.Discard, url, o); err != nil {
			b.Fatal(err)
		}
	}
}

var formats = []struct {
	name string
	draw func(io.Writer, string, render.Options) error
}{
	{"PNG", render.PNG},
	{"JPEG", render.JPEG},
	{"SVG", render.SVG},
}

// A parsedCode is a code as it was drawn.
type parsedCode struct {
	size, scale              int // in pixels
	left, top, right, bottom int // margins, in pixels
	modules                  []string
}

func drawPNG(t *testing.T, content string, o render.Options) parsedCode {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, render.PNG(&b, content, o))
	img, err := png.Decode(&b)
	require.NoError(t, err)
	return measure(t, img)
}

// measure parses the image of a code. It fails if a pixel is neither black nor
// white, or a module has two colors.
func measure(t *testing.T, img image.Image) parsedCode {
	t.Helper()
	size := img.Bounds().Dx()
	require.Equal(t, image.Rect(0, 0, size, size), img.Bounds())
	black := make([][]bool, size)
	p := parsedCode{size: size, left: size, top: size, right: size, bottom: size}
	for y := range black {
		black[y] = make([]bool, size)
		for x := range size {
			c := color.RGBAModel.Convert(img.At(x, y)).(color.RGBA)
			black[y][x] = c == color.RGBA{A: 255}
			if !black[y][x] {
				if c != (color.RGBA{255, 255, 255, 255}) {
					t.Fatalf("pixel %d,%d is %v", x, y, c)
				}
				continue
			}
			p.left, p.right = min(p.left, x), min(p.right, size-1-x)
			p.top, p.bottom = min(p.top, y), min(p.bottom, size-1-y)
		}
	}

	// The finder pattern at the top left is seven modules wide.
	width := 0
	for p.left+width < size && black[p.top][p.left+width] {
		width++
	}
	require.Zero(t, width%7, "the finder pattern is %d pixels wide", width)
	p.scale = width / 7
	inner := size - p.left - p.right
	require.Zero(t, inner%p.scale, "%d pixels are not whole modules of %d", inner, p.scale)
	p.modules = make([]string, inner/p.scale)
	for i := range p.modules {
		for j := range p.modules {
			first := black[p.top+i*p.scale][p.left+j*p.scale]
			p.modules[i] += module(first)
			for y := range p.scale {
				for x := range p.scale {
					if black[p.top+i*p.scale+y][p.left+j*p.scale+x] != first {
						t.Fatalf("module %d,%d has two colors", j, i)
					}
				}
			}
		}
	}
	return p
}

// format returns two bits of the level and three of the mask.
func (p parsedCode) format() string {
	const mask = "10101"
	bits := ""
	for i := range mask {
		bits += module(p.modules[8][i] != mask[i])
	}
	return bits
}

func module(black bool) string {
	if black {
		return "1"
	}
	return "0"
}

// countFalseFinders and penalty are independent implementations of the
// functions of the package.
func countFalseFinders(rows []string) (n int) {
	var across, down [][][]int
	for _, row := range rows {
		across = append(across, around(row))
	}
	for _, column := range transpose(rows) {
		down = append(down, around(column))
	}
	for y := range rows {
		for x := range rows {
			if !looksLikeFinder(across[y][x]) || !looksLikeFinder(down[x][y]) {
				continue
			}
			for _, five := range [][]int{across[y][x], down[x][y]} {
				if slices.Equal(five, []int{1, 1, 3, 1, 1}) {
					n++
				}
			}
		}
	}
	return n
}

// around returns, for each module of line, the lengths of the five runs of
// which the third contains the module, or nil if there are fewer or the module
// is light.
func around(line string) (all [][]int) {
	lengths := runs(line)
	for k, n := range lengths {
		var five []int
		if line[len(all)] == '1' && k >= 2 && k+2 < len(lengths) {
			five = lengths[k-2 : k+3]
		}
		all = append(all, slices.Repeat([][]int{five}, n)...)
	}
	return all
}

// runs returns the lengths of the runs of one color.
func runs(line string) (lengths []int) {
	for line != "" {
		rest := strings.TrimLeft(line, line[:1])
		lengths = append(lengths, len(line)-len(rest))
		line = rest
	}
	return lengths
}

func looksLikeFinder(five []int) bool {
	if five == nil {
		return false
	}
	module := float64(five[0]+five[1]+five[2]+five[3]+five[4]) / 7
	for i, want := range []float64{1, 1, 3, 1, 1} {
		if math.Abs(float64(five[i])-want*module) >= want*module/2-1e-9 {
			return false
		}
	}
	return true
}

func penalty(rows []string) (points int) {
	size, dark := len(rows), 0
	for _, s := range slices.Concat(rows, transpose(rows)) {
		for _, n := range runs(s) {
			if n >= 5 {
				points += 3 + n - 5
			}
		}
		for i := range s {
			if strings.HasPrefix(s[i:], "10111010000") || strings.HasPrefix(s[i:], "00001011101") {
				points += 40
			}
		}
		dark += strings.Count(s, "1") // each module twice
	}
	for y := range size - 1 {
		for x := range size - 1 {
			if block := rows[y][x:x+2] + rows[y+1][x:x+2]; block == "0000" || block == "1111" {
				points += 3
			}
		}
	}
	percent := 100 * float64(dark/2) / float64(size*size)
	return points + int(math.Abs(percent-50)/5)*10
}

func transpose(rows []string) []string {
	columns := make([]string, len(rows))
	for _, row := range rows {
		for x := range row {
			columns[x] += row[x : x+1]
		}
	}
	return columns
}

// A failingWriter accepts room bytes and then fails.
type failingWriter struct {
	room int
	err  error
}

func (w *failingWriter) Write(b []byte) (int, error) {
	if len(b) > w.room {
		n := w.room
		w.room = 0
		return n, w.err
	}
	w.room -= len(b)
	return len(b), nil
}
