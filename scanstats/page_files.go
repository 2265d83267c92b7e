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

// web/chart.js is dist/chart.umd.min.js of the npm package chart.js 4.6.1, without
// its last line, which names a source map.
//
//go:embed web
var web embed.FS

var pageFiles = readPageFiles()

// A pageFile is a file of the page. Browsers revalidate it by ETag each time, so that
// files of two versions of the program are never mixed.
type pageFile struct {
	name string
	etag string
	text []byte
}

func readPageFiles() map[string]*pageFile {
	files := map[string]*pageFile{}
	entries, err := fs.ReadDir(web, "web")
	if err != nil {
		panic(err) // the files are embedded
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

// pageTypes replaces the MIME types of the system, where JavaScript may be text/plain.
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
