package render_test

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/render"
)

// rgba is 0xRRGGBBAA.
func rgba(v uint32) color.NRGBA {
	return color.NRGBA{R: uint8(v >> 24), G: uint8(v >> 16), B: uint8(v >> 8), A: uint8(v)}
}

func TestOptions_ColorContrast(t *testing.T) {
	tests := map[string]struct {
		foreground, background color.Color
		field                  string // in the error; "" if there is none
	}{
		"nil colors":               {nil, nil, ""},
		"pure red on white":        {rgba(0xff0000ff), nil, ""},
		"pure blue on white":       {rgba(0x0000ffff), nil, ""},
		"black on yellow":          {nil, rgba(0xffff00ff), ""},
		"sixteen bits per channel": {color.Gray16{Y: 0x1234}, color.Gray16{Y: 0xffff}, ""},

		"darkest background for black": {nil, color.Gray{Y: 0x5a}, ""},
		"one shade darker":             {nil, color.Gray{Y: 0x59}, "foreground"},
		"yellow on white":              {rgba(0xffff00ff), nil, "foreground"},
		"the same color":               {color.White, nil, "foreground"},

		"brightness ratio 2.2":  {color.Gray{Y: 0x50}, color.Gray{Y: 0xb0}, ""},
		"brightness ratio 2.18": {color.Gray{Y: 0x50}, color.Gray{Y: 0xaf}, "foreground"},
		"blue on green":         {rgba(0x4040ffff), rgba(0x00ff00ff), "foreground"},

		"light on dark":          {color.White, color.Black, "foreground"},
		"translucent foreground": {color.NRGBA{A: 0xfe}, nil, "foreground"},
		"transparent background": {nil, color.Transparent, "background"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, format := range formats {
				var b bytes.Buffer
				err := format.draw(&b, url, render.Options{Foreground: tt.foreground, Background: tt.background})
				if tt.field == "" {
					assert.NoError(t, err)
					continue
				}
				requireField(t, err, format.name, tt.field)
				assert.Zero(t, b.Len(), "bytes written")
			}
		})
	}
}

func TestPNG_Colors(t *testing.T) {
	dark, light := rgba(0x123456ff), rgba(0xfedcbaff)
	for _, o := range []render.Options{{}, {Size: 41}, {Size: 47, QuietZone: 1}, {Size: 1001, Level: render.LevelH}} {
		var plain, colored bytes.Buffer
		require.NoError(t, render.PNG(&plain, url, o))
		o.Foreground, o.Background = dark, light
		require.NoError(t, render.PNG(&colored, url, o))
		assert.Equal(t, []byte{1, 3}, colored.Bytes()[24:26], "one bit per pixel, a palette")
		black, err := png.Decode(&plain)
		require.NoError(t, err)
		got, err := png.Decode(&colored)
		require.NoError(t, err)
		assert.Equal(t, black.(*image.Paletted).Pix, got.(*image.Paletted).Pix)
		assert.Equal(t, color.RGBAModel.Convert(light), color.RGBAModel.Convert(got.(*image.Paletted).Palette[0]))
		assert.Equal(t, color.RGBAModel.Convert(dark), color.RGBAModel.Convert(got.(*image.Paletted).Palette[1]))
	}
}

func TestJPEG_Grayscale(t *testing.T) {
	logo := image.NewRGBA(image.Rect(0, 0, 9, 9))
	tests := map[string]struct {
		options render.Options
		gray    bool
	}{
		"black on white":            {render.Options{}, true},
		"gray on gray":              {render.Options{Foreground: color.Gray{Y: 20}, Background: color.Gray{Y: 220}}, true},
		"colored foreground":        {render.Options{Foreground: rgba(0x800000ff)}, false},
		"colored background":        {render.Options{Background: rgba(0xffffeeff)}, false},
		"background with more blue": {render.Options{Background: rgba(0xeeeeffff)}, false},
		"logo":                      {render.Options{Logo: logo}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var j, p bytes.Buffer
			require.NoError(t, render.JPEG(&j, url, tt.options))
			require.NoError(t, render.PNG(&p, url, tt.options))
			got, err := jpeg.Decode(&j)
			require.NoError(t, err)
			want, err := png.Decode(&p)
			require.NoError(t, err)
			_, gray := got.(*image.Gray)
			assert.Equal(t, tt.gray, gray)

			r, g, b, _ := want.At(0, 0).RGBA() // the margin has no noise
			r2, g2, b2, _ := got.At(0, 0).RGBA()
			for i, pair := range [][2]uint32{{r, r2}, {g, g2}, {b, b2}} {
				assert.InDelta(t, float64(pair[0]>>8), float64(pair[1]>>8), 3, "channel %d", i)
			}
		})
	}
}
