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

// plain is a logo of one colour, as large as you like.
type plain struct {
	bounds image.Rectangle
	colour color.Color
}

func (p plain) ColorModel() color.Model { return color.NRGBAModel }
func (p plain) Bounds() image.Rectangle { return p.bounds }
func (p plain) At(_, _ int) color.Color { return p.colour }

func black(width, height int) plain { return plain{image.Rect(0, 0, width, height), color.Black} }

func drawLogo(t *testing.T, o render.Options) image.Image {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, render.PNG(&b, url, o))
	img, err := png.Decode(&b)
	require.NoError(t, err)
	return img
}

func TestALogoRaisesTheLevelToH(t *testing.T) {
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
		// 37 modules of 9 pixels; the one in the middle is at 48 + 18 * 9.
		assert.True(t, differ.In(image.Rect(210, 210, 219, 219)), "level %v: %v", level, differ)
		assert.False(t, differ.Empty())
	}
	for _, format := range formats {
		long := strings.Repeat("a", 1274)
		assert.EqualError(t, format.draw(io.Discard, long, render.Options{Size: 1000, Logo: black(1, 1)}),
			"wxqrcode: render "+format.name+": content is 1274 bytes; a code at level H, which the logo needs, holds at most 1273")
		assert.EqualError(t, format.draw(io.Discard, url, render.Options{Level: 9, Logo: black(1, 1)}),
			"wxqrcode: render "+format.name+": level is 9; LevelL, LevelM, LevelQ and LevelH are allowed", "no logo mends that")
	}
	assert.EqualError(t, render.PNG(io.Discard, url, render.Options{Size: 44, Logo: black(1, 1)}),
		"wxqrcode: render PNG: size is 44; this content at level H needs at least 45 pixels, for 37 modules and a quiet zone of 4 on either side")
}

func TestALogoStandsOnAPlateOfWholeModules(t *testing.T) {
	tests := map[string]struct {
		width, height int
		logo, plate   image.Rectangle // plate in modules around the middle one
	}{
		"a module":            {9, 9, image.Rect(210, 210, 219, 219), image.Rect(0, 0, 1, 1)},
		"a pixel more":        {10, 9, image.Rect(209, 210, 219, 219), image.Rect(-1, 0, 2, 1)},
		"three modules":       {27, 27, image.Rect(201, 201, 228, 228), image.Rect(-1, -1, 2, 2)},
		"a pixel more, below": {27, 28, image.Rect(201, 200, 228, 228), image.Rect(-1, -2, 2, 3)},
		"the largest square":  {81, 81, image.Rect(174, 174, 255, 255), image.Rect(-4, -4, 5, 5)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := render.Options{Level: render.LevelH, Background: rgba(0xffff00ff)}
			code := drawLogo(t, o)
			o.Logo = plain{image.Rect(-7, 3, tt.width-7, tt.height+3), color.NRGBA{B: 255, A: 255}}
			got := drawLogo(t, o)
			plate := image.Rectangle{
				Min: image.Pt(210+9*tt.plate.Min.X, 210+9*tt.plate.Min.Y),
				Max: image.Pt(210+9*tt.plate.Max.X, 210+9*tt.plate.Max.Y),
			}
			for y := range 430 {
				for x := range 430 {
					want := code.At(x, y)
					if p := image.Pt(x, y); p.In(tt.logo) {
						want = rgba(0x0000ffff)
					} else if p.In(plate) {
						want = o.Background
					}
					require.Equal(t, color.RGBAModel.Convert(want), color.RGBAModel.Convert(got.At(x, y)), "pixel %d,%d", x, y)
				}
			}
		})
	}
}

func TestATranslucentLogoShowsThePlate(t *testing.T) {
	img := drawLogo(t, render.Options{Logo: plain{image.Rect(0, 0, 20, 20), color.NRGBA{A: 51}}, Background: rgba(0xffff00ff)})
	assert.Equal(t, color.RGBA{204, 204, 0, 255}, color.RGBAModel.Convert(img.At(214, 214)))
}

func TestALogoThatHidesTooMuchIsRefused(t *testing.T) {
	const reason = ", which hides more than half of what level H repairs, or one of the patterns around; with its shape, this content and a size of 430, at most "
	tests := map[string]struct {
		logo image.Image
		err  string // "" where it is within the limit
	}{
		"the largest square":    {black(81, 81), ""},
		"a pixel more":          {black(82, 82), "logo is 82 x 82 pixels" + reason + "81 x 81 pixels are allowed: scale it down, or take a larger size"},
		"as much, but wider":    {black(99, 63), ""},
		"twice as wide as high": {black(400, 200), "logo is 400 x 200 pixels" + reason + "99 x 49 pixels are allowed: scale it down, or take a larger size"},
		"the widest line":       {black(171, 1), ""},
		"a line into the edge":  {black(172, 1), "logo is 172 x 1 pixels" + reason + "171 x 1 pixels are allowed: scale it down, or take a larger size"},
		"a huge one":            {black(1<<30, 1<<30), "logo is 1073741824 x 1073741824 pixels" + reason + "81 x 81 pixels are allowed: scale it down, or take a larger size"},
		"a square of no pixels": {black(0, 0), "the logo has no pixels"},
		"a line of no pixels":   {black(5, 0), "the logo has no pixels"},
		"the largest bounds": {
			plain{image.Rectangle{Min: image.Pt(math.MinInt, math.MinInt), Max: image.Pt(math.MaxInt, math.MaxInt)}, color.Black},
			"logo is 18446744073709551615 x 18446744073709551615 pixels" + reason + "81 x 81 pixels are allowed: scale it down, or take a larger size",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			for _, format := range formats[:2] { // an SVG has other pixels
				err := format.draw(&b, url, render.Options{Logo: tt.logo})
				if tt.err == "" {
					assert.NoError(t, err)
					continue
				}
				assert.EqualError(t, err, "wxqrcode: render "+format.name+": "+tt.err)
				assert.Zero(t, b.Len())
			}
		})
	}
	// In an SVG a module of 45 on 430 pixels has 9.55, and nine of them 86.
	assert.NoError(t, render.SVG(io.Discard, url, render.Options{Logo: black(86, 86)}))
	assert.ErrorContains(t, render.SVG(io.Discard, url, render.Options{Logo: black(87, 87)}), "at most 86 x 86 pixels are allowed")
	assert.NoError(t, render.SVG(io.Discard, url, render.Options{Size: 1, QuietZone: 8192, Logo: nil}))
	assert.Error(t, render.SVG(io.Discard, url, render.Options{Size: 1, QuietZone: 8192, Logo: black(1<<30, 1<<30)}))
}

var allowed = regexp.MustCompile(`at most (\d+) x (\d+) pixels are allowed`)

// largest returns the largest logo of a shape, as the error tells it.
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

// The law behind the limit, computed in other words: in each block, at most half
// of the errors that it repairs, and no module that is not data near the edges.
func TestTheLargestLogoLeavesHalfOfWhatEveryBlockRepairs(t *testing.T) {
	for version := coding.Version(1); version <= coding.MaxVersion; version++ {
		content := strings.Repeat("a", version.DataBytes(coding.H)-3)
		n := 17 + 4*int(version)
		for _, shape := range []image.Rectangle{image.Rect(0, 0, 9000, 9000), image.Rect(0, 0, 9000, 3000), image.Rect(0, 0, 2000, 9000), image.Rect(0, 0, 1, 9000)} {
			t.Run(fmt.Sprintf("version %d, shape %v", version, shape.Max), func(t *testing.T) {
				o := render.Options{Size: n + 2, QuietZone: 1, Level: render.LevelH}
				width, height := largest(t, content, o, shape)
				width, height = width|1, height|1
				plate := image.Rect((n-width)/2, (n-height)/2, (n+width)/2, (n+height)/2)
				assert.True(t, plate.In(image.Rect(9, 9, n-9, n-9)))
				worst := worstBlock(t, version, plate)
				assert.LessOrEqual(t, worst, 0.5)

				larger := image.Rect(plate.Min.X-1, plate.Min.Y-1, plate.Max.X+1, plate.Max.Y+1)
				if larger.In(image.Rect(9, 9, n-9, n-9)) {
					assert.Greater(t, worstBlock(t, version, larger), 0.5, "it is the largest")
				}
			})
		}
	}
}

// worstBlock returns the largest share of errors, of those that a block repairs.
func worstBlock(t *testing.T, version coding.Version, plate image.Rectangle) float64 {
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
	for y := plate.Min.Y; y < plate.Max.Y; y++ {
		for x := plate.Min.X; x < plate.Max.X; x++ {
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

// A logo makes image/png write, and that in many pieces.
func TestTheWritersErrorComesBackFromEveryWrite(t *testing.T) {
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

func TestThereMayBeNoRoomForALogo(t *testing.T) {
	logo := image.NewGray(image.Rect(0, 0, 1, 1))
	for _, o := range []render.Options{{Size: 1, Logo: logo}, {Size: 100, QuietZone: 8192, Logo: logo}} {
		err := render.SVG(io.Discard, "http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI", o)
		require.ErrorContains(t, err, "there is no room for a logo")
		require.ErrorContains(t, err, "take a larger size")
	}
}
