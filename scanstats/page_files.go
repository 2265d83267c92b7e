package scanstats

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"time"
)

// web has in chart.js the library of the charts, dist/chart.umd.min.js of chart.js 4.6.1 in the
// npm registry without its last line, which names a source map, and beside it its licence.
//
//go:embed web
var web embed.FS

var pageFiles = readPageFiles()

// A pageFile is a file of the page. Browsers keep it, and ask each time whether its ETag is
// still right, so that a new version of the program is never mixed with old files.
type pageFile struct {
	name string
	etag string
	text []byte
}

func readPageFiles() map[string]*pageFile {
	files := map[string]*pageFile{}
	entries, err := fs.ReadDir(web, "web")
	if err != nil {
		panic(err) // the files are part of the program
	}
	for _, entry := range entries {
		text, err := fs.ReadFile(web, path.Join("web", entry.Name()))
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(text)
		files[entry.Name()] = &pageFile{entry.Name(), `"` + hex.EncodeToString(sum[:12]) + `"`, text}
	}
	return files
}

// pageTypes is our own: that of the system may call JavaScript text/plain.
var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".md":   "text/plain; charset=utf-8",
}

func (f *pageFile) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", pageTypes[path.Ext(f.name)])
	if f.name != "index.html" {
		w.Header().Set("Cache-Control", "private, no-cache")
		w.Header().Set("ETag", f.etag)
	}
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.text))
}
