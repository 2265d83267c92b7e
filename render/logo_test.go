package render_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"rsc.io/qr/coding"

	"github.com/seed-0142d113/wxqrcode/render"
)

// A plain image has one color and any size.
type plain struct {
	bounds image.Rectangle
	color  color.Color
}

func (p plain) ColorModel() color.Model { return color.NRGBAModel }
func (p plain) Bounds() image.Rectangle { return p.bounds }
func (p plain) At(_, _ int) color.Color { return p.color }

func black(width, height int) plain { return plain{image.Rect(0, 0, width, height), color.Black} }

func drawLogo(t *testing.T, o render.Options) image.Image {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, render.PNG(&b, url, o))
	img, err := png.Decode(&b)
	require.NoError(t, err)
	return img
}

func TestOptions_LogoRaisesLevel(t *testing.T) {
	want := drawLogo(t, render.Options{Level: render.LevelH})
	for _, level := range levels {
		got := drawLogo(t, render.Options{Level: level, Logo: black(1, 1)})
		differ := image.Rectangle{}
		for y := range 430 {
			for x := range 430 {
				if color.RGBAModel.Convert(want.At(x, y)) != color.RGBAModel.Convert(got.At(x, y)) {
					differ = differ.Union(image.Rect(x, y, x+1, y+1))
				}
			}
		}
		// 37 modules of 9 pixels; the module in the center is at 48 + 18 * 9.
		assert.True(t, differ.In(image.Rect(210, 210, 219, 219)), "level %v: %v", level, differ)
		assert.False(t, differ.Empty())
	}
	for _, format := range formats {
		long := strings.Repeat("a", 1274)
		requireField(t, format.draw(io.Discard, long, render.Options{Size: 1000, Logo: black(1, 1)}), format.name, "content")
		requireField(t, format.draw(io.Discard, url, render.Options{Level: 9, Logo: black(1, 1)}), format.name, "level")
	}
	requireField(t, render.PNG(io.Discard, url, render.Options{Size: 44, Logo: black(1, 1)}), "PNG", "size")
}

func TestPNG_LogoArea(t *testing.T) {
	tests := map[string]struct {
		width, height int
		logo, area    image.Rectangle // the area in modules, relative to the center
	}{
		"one module":            {9, 9, image.Rect(210, 210, 219, 219), image.Rect(0, 0, 1, 1)},
		"one pixel more":        {10, 9, image.Rect(209, 210, 219, 219), image.Rect(-1, 0, 2, 1)},
		"three modules":         {27, 27, image.Rect(201, 201, 228, 228), image.Rect(-1, -1, 2, 2)},
		"one pixel more, below": {27, 28, image.Rect(201, 200, 228, 228), image.Rect(-1, -2, 2, 3)},
		"the largest square":    {81, 81, image.Rect(174, 174, 255, 255), image.Rect(-4, -4, 5, 5)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := render.Options{Level: render.LevelH, Background: rgba(0xffff00ff)}
			code := drawLogo(t, o)
			o.Logo = plain{image.Rect(-7, 3, tt.width-7, tt.height+3), color.NRGBA{B: 255, A: 255}}
			got := drawLogo(t, o)
			area := image.Rectangle{
				Min: image.Pt(210+9*tt.area.Min.X, 210+9*tt.area.Min.Y),
				Max: image.Pt(210+9*tt.area.Max.X, 210+9*tt.area.Max.Y),
			}
			for y := range 430 {
				for x := range 430 {
					want := code.At(x, y)
					if p := image.Pt(x, y); p.In(tt.logo) {
						want = rgba(0x0000ffff)
					} else if p.In(area) {
						want = o.Background
					}
					require.Equal(t, color.RGBAModel.Convert(want), color.RGBAModel.Convert(got.At(x, y)), "pixel %d,%d", x, y)
				}
			}
		})
	}
}

func TestPNG_TranslucentLogo(t *testing.T) {
	img := drawLogo(t, render.Options{Logo: plain{image.Rect(0, 0, 20, 20), color.NRGBA{A: 51}}, Background: rgba(0xffff00ff)})
	assert.Equal(t, color.RGBA{204, 204, 0, 255}, color.RGBAModel.Convert(img.At(214, 214)))
}

func TestOptions_LogoTooLarge(t *testing.T) {
	tests := map[string]struct {
		logo    image.Image
		largest string // in the error; "" if there is none
	}{
		"the largest square":    {black(81, 81), ""},
		"one pixel more":        {black(82, 82), "81 x 81"},
		"wider":                 {black(99, 63), ""},
		"twice as wide as high": {black(400, 200), "99 x 49"},
		"the widest line":       {black(171, 1), ""},
		"line into the edge":    {black(172, 1), "171 x 1"},
		"huge":                  {black(1<<30, 1<<30), "81 x 81"},
		"empty":                 {black(0, 0), "empty"},
		"empty line":            {black(5, 0), "empty"},
		"largest bounds": {
			plain{image.Rectangle{Min: image.Pt(math.MinInt, math.MinInt), Max: image.Pt(math.MaxInt, math.MaxInt)}, color.Black},
			"81 x 81",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			for _, format := range formats[:2] { // an SVG has other limits
				err := format.draw(&b, url, render.Options{Logo: tt.logo})
				if tt.largest == "" {
					assert.NoError(t, err)
					continue
				}
				requireField(t, err, format.name, "logo")
				assert.ErrorContains(t, err, tt.largest)
				assert.Zero(t, b.Len())
			}
		})
	}
	// In an SVG a module of 45 on 430 pixels has 9.55, and nine of them 86.
	assert.NoError(t, render.SVG(io.Discard, url, render.Options{Logo: black(86, 86)}))
	assert.ErrorContains(t, render.SVG(io.Discard, url, render.Options{Logo: black(87, 87)}), "86 x 86")
	assert.NoError(t, render.SVG(io.Discard, url, render.Options{Size: 1, QuietZone: 8192, Logo: nil}))
	assert.Error(t, render.SVG(io.Discard, url, render.Options{Size: 1, QuietZone: 8192, Logo: black(1<<30, 1<<30)}))
}

var allowed = regexp.MustCompile(`at most (\d+) x (\d+) pixels are allowed`)

// largest returns the largest logo of a shape, which the error has.
func largest(t *testing.T, content string, o render.Options, shape image.Rectangle) (width, height int) {
	t.Helper()
	o.Logo = plain{shape, color.Black}
	err := render.PNG(io.Discard, content, o)
	require.Error(t, err)
	m := allowed.FindStringSubmatch(err.Error())
	require.NotNil(t, m, err)
	width, _ = strconv.Atoi(m[1])
	height, _ = strconv.Atoi(m[2])
	return width, height
}

// An independent implementation of the limit: the logo takes at most half of
// the error correction of each block, and does not reach the patterns near the
// edges.
func TestOptions_LargestLogo(t *testing.T) {
	for version := coding.Version(1); version <= coding.MaxVersion; version++ {
		content := strings.Repeat("a", version.DataBytes(coding.H)-3)
		n := 17 + 4*int(version)
		for _, shape := range []image.Rectangle{image.Rect(0, 0, 9000, 9000), image.Rect(0, 0, 9000, 3000), image.Rect(0, 0, 2000, 9000), image.Rect(0, 0, 1, 9000)} {
			t.Run(fmt.Sprintf("version %d, shape %v", version, shape.Max), func(t *testing.T) {
				o := render.Options{Size: n + 2, QuietZone: 1, Level: render.LevelH}
				width, height := largest(t, content, o, shape)
				width, height = width|1, height|1
				area := image.Rect((n-width)/2, (n-height)/2, (n+width)/2, (n+height)/2)
				assert.True(t, area.In(image.Rect(9, 9, n-9, n-9)))
				worst := worstBlock(t, version, area)
				assert.LessOrEqual(t, worst, 0.5)

				larger := image.Rect(area.Min.X-1, area.Min.Y-1, area.Max.X+1, area.Max.Y+1)
				if larger.In(image.Rect(9, 9, n-9, n-9)) {
					assert.Greater(t, worstBlock(t, version, larger), 0.5, "a larger one fits")
				}
			})
		}
	}
}

// worstBlock returns the largest share of error correction that an area takes
// in a block.
func worstBlock(t *testing.T, version coding.Version, area image.Rectangle) float64 {
	t.Helper()
	plan, err := coding.NewPlan(version, coding.H, 0)
	require.NoError(t, err)
	var block []int // of each codeword
	for i := range plan.Blocks {
		length := plan.DataBytes / plan.Blocks
		if i >= plan.Blocks-plan.DataBytes%plan.Blocks {
			length++
		}
		for range length {
			block = append(block, i)
		}
	}
	for i := range plan.CheckBytes {
		block = append(block, i*plan.Blocks/plan.CheckBytes)
	}
	hidden := map[int]map[uint]bool{}
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			if p := plan.Pixel[y][x]; p.Role() == coding.Data || p.Role() == coding.Check {
				i := block[p.Offset()/8]
				if hidden[i] == nil {
					hidden[i] = map[uint]bool{}
				}
				hidden[i][p.Offset()/8] = true
			}
		}
	}
	most := 0
	for _, words := range hidden {
		most = max(most, len(words))
	}
	return float64(most) / float64(plan.CheckBytes/plan.Blocks/2)
}

// With a logo, image/png writes in many pieces.
func TestFormats_ErrorOfAnyWrite(t *testing.T) {
	full := errors.New("disk full")
	for _, format := range formats {
		var whole bytes.Buffer
		o := render.Options{Logo: black(60, 60)}
		require.NoError(t, format.draw(&whole, url, o))
		for room := 0; room < whole.Len(); room += 97 {
			err := format.draw(&failingWriter{room: room, err: full}, url, o)
			require.ErrorIs(t, err, full, "%s, room for %d bytes", format.name, room)
		}
		assert.ErrorIs(t, format.draw(&failingWriter{room: whole.Len() - 1, err: full}, url, o), full)
		assert.NoError(t, format.draw(&failingWriter{room: whole.Len(), err: full}, url, o))
	}
}

func TestSVG_NoRoomForLogo(t *testing.T) {
	logo := image.NewGray(image.Rect(0, 0, 1, 1))
	for _, o := range []render.Options{{Size: 1, Logo: logo}, {Size: 100, QuietZone: 8192, Logo: logo}} {
		err := render.SVG(io.Discard, "http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI", o)
		requireField(t, err, "SVG", "size")
	}
}
