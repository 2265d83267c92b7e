package render

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"io"
	"sync"
)

// writePNG writes an image of two colors. image/png needs one byte per pixel,
// packs eight pixels into one byte and compares filters for each row, which
// took more than half of the time of [PNG].
//
// See https://www.w3.org/TR/png-3/.
func (d drawing) writePNG(w io.Writer) error {
	header := binary.BigEndian.AppendUint32(nil, uint32(d.size))
	header = binary.BigEndian.AppendUint32(header, uint32(d.size))
	header = append(header, 1, 3, 0, 0, 0) // one bit per pixel, a palette, deflate, standard filters, no interlacing

	var b bytes.Buffer
	b.WriteString("\x89PNG\r\n\x1a\n")
	writeChunk(&b, "IHDR", header)
	writeChunk(&b, "PLTE", []byte{d.light.R, d.light.G, d.light.B, d.dark.R, d.dark.G, d.dark.B})
	data, err := d.pngData()
	if err != nil {
		return err
	}
	writeChunk(&b, "IDAT", data)
	writeChunk(&b, "IEND", nil)
	_, err = w.Write(b.Bytes())
	return err
}

func writeChunk(b *bytes.Buffer, name string, data []byte) {
	b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(data))))
	start := b.Len()
	b.WriteString(name)
	b.Write(data)
	b.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b.Bytes()[start:])))
}

// The filters of a row: none, or the difference to the row above.
const (
	filterNone = 0
	filterUp   = 2
)

// pngData returns the compressed pixels, one bit each: 1 is dark. All rows of a
// module but the first are equal to the row above, so their bytes are zero.
func (d drawing) pngData() ([]byte, error) {
	stride := 1 + (d.size+7)/8
	rows := make([]byte, d.size*stride)
	for y := range d.size {
		rows[y*stride] = filterUp
	}
	for y := range d.symbol.Size + 1 { // the last one is the first row of the margin below
		row := rows[(d.margin+y*d.scale)*stride:][:stride]
		row[0] = filterNone
		for x := range d.symbol.Size {
			if !d.isDark(x, y) {
				continue
			}
			left := d.margin + x*d.scale
			for i := left; i < left+d.scale; i++ {
				row[1+i/8] |= 0x80 >> (i % 8)
			}
		}
	}
	return deflate(rows)
}

func deflate(data []byte) ([]byte, error) {
	var b bytes.Buffer
	z, _ := zlibWriters.Get().(*zlib.Writer)
	if z == nil {
		z = zlib.NewWriter(&b)
	}
	defer zlibWriters.Put(z)
	z.Reset(&b)
	if _, err := z.Write(data); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// zlibWriters reuses writers, which take more memory than the rest of a
// drawing.
var zlibWriters sync.Pool
