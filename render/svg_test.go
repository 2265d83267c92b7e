package render_test

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/render"
)

// svg has all elements of an SVG of this package.
type svg struct {
	XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
	Width   int      `xml:"width,attr"`
	Height  int      `xml:"height,attr"`
	ViewBox string   `xml:"viewBox,attr"`
	Rect    []struct {
		Width  int    `xml:"width,attr"`
		Height int    `xml:"height,attr"`
		Fill   string `xml:"fill,attr"`
	} `xml:"rect"`
	Path []struct {
		Fill      string `xml:"fill,attr"`
		Rendering string `xml:"shape-rendering,attr"`
		D         string `xml:"d,attr"`
	} `xml:"path"`
	Image []struct {
		X      float64 `xml:"x,attr"`
		Y      float64 `xml:"y,attr"`
		Width  float64 `xml:"width,attr"`
		Height float64 `xml:"height,attr"`
		Href   string  `xml:"http://www.w3.org/1999/xlink href,attr"`
	} `xml:"image"`
}

func parseSVG(t *testing.T, b []byte) (s svg) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(b))
	require.NoError(t, d.Decode(&s))
	_, err := d.Token()
	for err == nil {
		_, err = d.Token()
	}
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, s.Width, s.Height)
	require.Len(t, s.Rect, 1)
	require.Len(t, s.Path, 1)
	require.Equal(t, "crispEdges", s.Path[0].Rendering)
	require.Equal(t, fmt.Sprintf("0 0 %d %d", s.Rect[0].Width, s.Rect[0].Height), s.ViewBox)
	return s
}

func drawSVG(t *testing.T, content string, o render.Options) svg {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, render.SVG(&b, content, o))
	return parseSVG(t, b.Bytes())
}

var runPattern = regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1h-(\d+)z`)

// raster draws the path with one pixel per module. It fails if two runs touch.
func (s svg) raster(t *testing.T) *image.Gray {
	t.Helper()
	n := s.Rect[0].Width
	g := image.NewGray(image.Rect(0, 0, n, n))
	for i := range g.Pix {
		g.Pix[i] = 0xff
	}
	d := s.Path[0].D
	require.Empty(t, runPattern.ReplaceAllString(d, ""))
	for _, m := range runPattern.FindAllStringSubmatch(d, -1) {
		var v [4]int
		for i := range v {
			v[i], _ = strconv.Atoi(m[i+1])
		}
		require.Equal(t, v[2], v[3], "the run closes")
		require.Equal(t, uint8(0xff), g.GrayAt(v[0]-1, v[1]).Y, "runs that touch at %d,%d", v[0], v[1])
		for x := v[0]; x < v[0]+v[2]; x++ {
			require.True(t, (image.Point{X: x, Y: v[1]}).In(g.Rect))
			require.Equal(t, uint8(0xff), g.GrayAt(x, v[1]).Y, "module drawn twice")
			g.SetGray(x, v[1], color.Gray{})
		}
	}
	return g
}

func TestSVG_SameModulesAsPNG(t *testing.T) {
	logo := image.NewRGBA(image.Rect(0, 0, 3, 3))
	for _, content := range []string{"a", url, strings.Repeat("长", 300)} {
		for _, level := range levels {
			for _, o := range []render.Options{{}, {QuietZone: 1}, {QuietZone: 7}, {Logo: logo}} {
				o.Level = level
				s := drawSVG(t, content, o)
				assert.Equal(t, 430, s.Width)
				n := s.Rect[0].Width
				o.Size = n // one pixel per module
				var b bytes.Buffer
				o.Logo = nil
				if len(s.Image) > 0 {
					o.Level = render.LevelH
				}
				require.NoError(t, render.PNG(&b, content, o))
				want, err := png.Decode(&b)
				require.NoError(t, err)
				got := s.raster(t)
				for y := range n {
					for x := range n {
						if len(s.Image) > 0 && max(x-n/2, n/2-x, y-n/2, n/2-y) <= 1 {
							continue // may be the area of the logo, see logo_test.go
						}
						require.Equal(t, color.GrayModel.Convert(want.At(x, y)), got.At(x, y), "module %d,%d", x, y)
					}
				}
			}
		}
	}
}

func TestSVG_AnySize(t *testing.T) {
	for _, size := range []int{1, 40, 41, 409, 430, 431, render.MaxSize} {
		s := drawSVG(t, url, render.Options{Size: size})
		assert.Equal(t, size, s.Width)
		assert.Equal(t, "0 0 41 41", s.ViewBox, "the modules do not depend on the size")
	}
	s := drawSVG(t, url, render.Options{Foreground: rgba(0x070a0bff), Background: rgba(0xfefdfcff)})
	assert.Equal(t, "#070a0b", s.Path[0].Fill)
	assert.Equal(t, "#fefdfc", s.Rect[0].Fill)
}

func TestSVG_SmallAndWithoutContent(t *testing.T) {
	const hostile = `"/><script>alert(1)</script>`
	var b bytes.Buffer
	require.NoError(t, render.SVG(&b, hostile, render.Options{}))
	assert.NotContains(t, b.String(), "script")
	parseSVG(t, b.Bytes())

	b.Reset()
	require.NoError(t, render.SVG(&b, url, render.Options{}))
	assert.Less(t, b.Len(), 6_000)
	b.Reset()
	require.NoError(t, render.SVG(&b, strings.Repeat("a", 2953), render.Options{Level: render.LevelL}))
	assert.Less(t, b.Len(), 180_000, "the largest code")
}

func TestSVG_LogoInCenter(t *testing.T) {
	logo := image.NewNRGBA(image.Rect(5, 7, 65, 47))
	logo.SetNRGBA(5, 7, color.NRGBA{R: 255, A: 255})
	logo.SetNRGBA(6, 7, color.NRGBA{A: 51}) // a fifth
	s := drawSVG(t, url, render.Options{Size: 450, Logo: logo, Background: rgba(0xffff00ff)})
	require.Len(t, s.Image, 1)
	i := s.Image[0]
	assert.InDelta(t, 6, i.Width, 1e-9, "45 modules on 450 pixels")
	assert.InDelta(t, 4, i.Height, 1e-9)
	assert.InDelta(t, 22.5, i.X+i.Width/2, 1e-9)
	assert.InDelta(t, 22.5, i.Y+i.Height/2, 1e-9)

	data, ok := strings.CutPrefix(i.Href, "data:image/png;base64,")
	require.True(t, ok)
	raw, err := base64.StdEncoding.DecodeString(data)
	require.NoError(t, err)
	got, err := png.Decode(bytes.NewReader(raw))
	require.NoError(t, err)
	assert.Equal(t, image.Rect(0, 0, 60, 40), got.Bounds())
	for x, want := range []color.RGBA{{255, 0, 0, 255}, {204, 204, 0, 255}, {255, 255, 0, 255}} {
		assert.Equal(t, want, color.RGBAModel.Convert(got.At(x, 0)))
	}

	g := s.raster(t)
	for y := 20; y < 25; y++ { // 4 modules are rounded up to 5, 6 to 7
		for x := 19; x < 26; x++ {
			assert.Equal(t, uint8(0xff), g.GrayAt(x, y).Y, "the area of the logo at %d,%d", x, y)
		}
	}
}
