package render

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"strconv"
)

// svg returns the code as an SVG in units of modules.
func (c *code) svg() ([]byte, error) {
	n := c.modules()
	if err := c.placeLogo(n, c.size); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="%d" height="%d" viewBox="0 0 %d %d">`,
		c.size, c.size, n, n)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="%s"/>`, n, n, hex(c.light))
	fmt.Fprintf(&b, `<path fill="%s" shape-rendering="crispEdges" d="`, hex(c.dark))
	c.writePath(&b)
	b.WriteString(`"/>`)
	if c.logo != nil {
		if err := c.writeLogo(&b); err != nil {
			return nil, err
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes(), nil
}

// writePath writes a rectangle for each run of dark modules in a row. All are
// one path, because some programs smooth edges and show a hairline between two
// paths that touch.
func (c *code) writePath(b *bytes.Buffer) {
	for y := range c.symbol.Size {
		for x := 0; x < c.symbol.Size; x++ {
			start := x
			for c.isDark(x, y) { // false beyond the edge
				x++
			}
			if x > start {
				fmt.Fprintf(b, "M%d %dh%dv1h-%dz", c.quiet+start, c.quiet+y, x-start, x-start)
			}
		}
	}
}

// writeLogo embeds the logo. xlink:href is deprecated, but print programs need
// it and browsers accept it.
func (c *code) writeLogo(b *bytes.Buffer) error {
	logo := c.logoOnBackground(image.Point{})
	var data bytes.Buffer
	if err := pngEncoder.Encode(&data, logo); err != nil {
		return err
	}
	n := c.modules()
	pixels := func(count float64) string {
		return strconv.FormatFloat(count*float64(n)/float64(c.size), 'f', -1, 64)
	}
	size := logo.Rect.Size()
	middle := float64(c.size) / 2
	fmt.Fprintf(b, `<image x="%s" y="%s" width="%s" height="%s" xlink:href="data:image/png;base64,`,
		pixels(middle-float64(size.X)/2), pixels(middle-float64(size.Y)/2), pixels(float64(size.X)), pixels(float64(size.Y)))
	b.WriteString(base64.StdEncoding.EncodeToString(data.Bytes()))
	b.WriteString(`"/>`)
	return nil
}
