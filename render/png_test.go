package render_test

import (
	"bytes"
	"image"
	"image/png"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode/render"
)

// image/png checks lengths, checksums and the number of pixels, and encodes the
// same image for comparison.
func TestPNG_ValidAndSmall(t *testing.T) {
	for size := 41; size < 130; size++ { // every remainder of eight pixels per byte
		var ours, theirs bytes.Buffer
		require.NoError(t, render.PNG(&ours, url, render.Options{Size: size}))
		length := ours.Len()
		img, err := png.Decode(&ours)
		require.NoError(t, err)
		assert.Zero(t, ours.Len(), "bytes after the image")
		assert.Equal(t, image.Rect(0, 0, size, size), img.Bounds())
		require.NoError(t, png.Encode(&theirs, img))
		assert.LessOrEqual(t, length, theirs.Len()+theirs.Len()/10, "size %d", size)
	}
}
