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

func TestColoursThatReadersCannotTellApartAreRefused(t *testing.T) {
	tests := map[string]struct {
		foreground, background color.Color
		err                    string
	}{
		"nil colours are black on white": {nil, nil, ""},
		"pure red on white":              {rgba(0xff0000ff), nil, ""},
		"pure blue on white":             {rgba(0x0000ffff), nil, ""},
		"black on yellow":                {nil, rgba(0xffff00ff), ""},
		"sixteen bits a channel":         {color.Gray16{Y: 0x1234}, color.Gray16{Y: 0xffff}, ""},

		"the darkest ground for black": {nil, color.Gray{Y: 0x5a}, ""},
		"a shade darker": {nil, color.Gray{Y: 0x59},
			"foreground is #000000 on #595959, a contrast of 2.99:1; at least 3:1 is allowed: take a darker foreground or a lighter background"},
		"yellow on white": {rgba(0xffff00ff), nil,
			"foreground is #ffff00 on #ffffff, a contrast of 1.07:1; at least 3:1 is allowed: take a darker foreground or a lighter background"},
		"one colour": {color.White, nil,
			"foreground is #ffffff on #ffffff, a contrast of 1.00:1; at least 3:1 is allowed: take a darker foreground or a lighter background"},

		"2.2 times as bright in grey": {color.Gray{Y: 0x50}, color.Gray{Y: 0xb0}, ""},
		"a shade less": {color.Gray{Y: 0x50}, color.Gray{Y: 0xaf},
			"foreground is #505050 on #afafaf, which is 2.18 times as bright in the grey that readers see; at least 2.2 times is allowed: take less blue and red for the foreground, or more for the background"},
		"blue on green, which only people tell apart": {rgba(0x4040ffff), rgba(0x00ff00ff),
			"foreground is #4040ff on #00ff00, which is 1.14 times as bright in the grey that readers see; at least 2.2 times is allowed: take less blue and red for the foreground, or more for the background"},

		"light on dark": {color.White, color.Black,
			"foreground is #ffffff, lighter than the background, which is #000000; many readers do not find a code that is light on dark: swap them"},
		"a translucent foreground": {color.NRGBA{A: 0xfe}, nil,
			"foreground is translucent, with an alpha of 65278 of 65535; only opaque colours are allowed, since the contrast would depend on what is below"},
		"a transparent background": {nil, color.Transparent,
			"background is translucent, with an alpha of 0 of 65535; only opaque colours are allowed, since the contrast would depend on what is below"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, format := range formats {
				var b bytes.Buffer
				err := format.draw(&b, url, render.Options{Foreground: tt.foreground, Background: tt.background})
				if tt.err == "" {
					assert.NoError(t, err)
					continue
				}
				assert.EqualError(t, err, "wxqrcode: render "+format.name+": "+tt.err)
				assert.Zero(t, b.Len(), "nothing is written")
			}
		})
	}
}

func TestAColouredPNGDiffersInItsPaletteOnly(t *testing.T) {
	dark, light := rgba(0x123456ff), rgba(0xfedcbaff)
	for _, o := range []render.Options{{}, {Size: 41}, {Size: 47, QuietZone: 1}, {Size: 1001, Level: render.LevelH}} {
		var plain, coloured bytes.Buffer
		require.NoError(t, render.PNG(&plain, url, o))
		o.Foreground, o.Background = dark, light
		require.NoError(t, render.PNG(&coloured, url, o))
		assert.Equal(t, []byte{1, 3}, coloured.Bytes()[24:26], "one bit a pixel, a palette")
		black, err := png.Decode(&plain)
		require.NoError(t, err)
		got, err := png.Decode(&coloured)
		require.NoError(t, err)
		assert.Equal(t, black.(*image.Paletted).Pix, got.(*image.Paletted).Pix)
		assert.Equal(t, color.RGBAModel.Convert(light), color.RGBAModel.Convert(got.(*image.Paletted).Palette[0]))
		assert.Equal(t, color.RGBAModel.Convert(dark), color.RGBAModel.Convert(got.(*image.Paletted).Palette[1]))
	}
}

func TestAJPEGIsGreyIfItCanBe(t *testing.T) {
	logo := image.NewRGBA(image.Rect(0, 0, 9, 9))
	tests := map[string]struct {
		options render.Options
		grey    bool
	}{
		"black on white":      {render.Options{}, true},
		"grey on grey":        {render.Options{Foreground: color.Gray{Y: 20}, Background: color.Gray{Y: 220}}, true},
		"a coloured code":     {render.Options{Foreground: rgba(0x800000ff)}, false},
		"a coloured ground":   {render.Options{Background: rgba(0xffffeeff)}, false},
		"a blue that is left": {render.Options{Background: rgba(0xeeeeffff)}, false},
		"a logo":              {render.Options{Logo: logo}, false},
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
			_, grey := got.(*image.Gray)
			assert.Equal(t, tt.grey, grey)

			r, g, b, _ := want.At(0, 0).RGBA() // the margin, where there is no noise
			r2, g2, b2, _ := got.At(0, 0).RGBA()
			for i, pair := range [][2]uint32{{r, r2}, {g, g2}, {b, b2}} {
				assert.InDelta(t, float64(pair[0]>>8), float64(pair[1]>>8), 3, "channel %d", i)
			}
		})
	}
}
