package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// A file is one of an archive.
type file struct {
	name       string
	executable bool
	data       []byte
}

func (f file) mode() int64 {
	if f.executable {
		return 0o755
	}
	return 0o644
}

// writeTarGz writes the files in the order given. The same files at the same time give the
// same bytes: no owner, no time of the machine, no name in the header of gzip.
func writeTarGz(w io.Writer, at time.Time, files []file) error {
	compressed := gzip.NewWriter(w)
	archive := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: f.mode(), Size: int64(len(f.data)), ModTime: at.UTC(), Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("adding %s: %w", f.name, err)
		}
		if _, err := archive.Write(f.data); err != nil {
			return fmt.Errorf("adding %s: %w", f.name, err)
		}
	}
	return errors.Join(archive.Close(), compressed.Close())
}

// writeZip does the same for a system that has no tar.
func writeZip(w io.Writer, at time.Time, files []file) error {
	archive := zip.NewWriter(w)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: at.UTC()}
		header.SetMode(fs.FileMode(f.mode()))
		part, err := archive.CreateHeader(header)
		if err != nil {
			return fmt.Errorf("adding %s: %w", f.name, err)
		}
		if _, err := part.Write(f.data); err != nil {
			return fmt.Errorf("adding %s: %w", f.name, err)
		}
	}
	return archive.Close()
}
