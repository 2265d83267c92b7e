package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/jedib0t/go-pretty/v6/table"
)

// printJSON prints v as indented JSON.
func printJSON(w io.Writer, v any) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, escapeHidden(b.String()))
	return err
}

// escapeHidden escapes the control characters and invisible characters in JSON that
// encoding/json leaves, those from U+007F on. Line breaks occur between tokens only.
func escapeHidden(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsPrint(r) || r == '\n':
			b.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// printFields prints a name and a value per line. It omits empty values.
func printFields(w io.Writer, fields ...[2]string) error {
	var b strings.Builder
	for _, f := range fields {
		if f[1] != "" {
			fmt.Fprintf(&b, "%-9s %s\n", f[0], f[1])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func printTable(w io.Writer, header table.Row, rows []table.Row) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(header)
	t.AppendRows(rows)
	_, err := fmt.Fprintln(w, t.Render())
	return err
}

// localTime formats t in local time, and the zero time as "never".
func localTime(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format(time.DateTime)
}

var errNotRegular = errors.New("not a regular file")

// writeFileAtomicVia replaces the file path with the output of write, or leaves it
// unchanged, like SaveImage of the library: it follows symbolic links, keeps the mode
// and does not replace anything but regular files. The temporary file is in tempDir,
// which must be on the same volume.
func writeFileAtomicVia(tempDir, path string, write func(io.Writer) error) (err error) {
	old, err := os.Stat(path)
	exists := err == nil
	switch {
	case !exists && !errors.Is(err, fs.ErrNotExist):
		return err
	case exists && !old.Mode().IsRegular(): // do not replace a device with a file
		return &fs.PathError{Op: "replace", Path: path, Err: errNotRegular}
	}
	if target := resolveLinks(path); target != path {
		tempDir, path = filepath.Dir(target), target // the target may be on another volume
	}
	f, err := os.OpenFile(filepath.Join(tempDir, ".wxqrcode-"+rand.Text()+".tmp"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if exists {
		if err := f.Chmod(old.Mode().Perm()); err != nil {
			return err
		}
	}
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// resolveLinks returns the target of the symbolic link path, which need not exist, or
// path itself.
func resolveLinks(path string) string {
	for range 255 { // os.Stat reports cycles
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			dir, err := filepath.EvalSymlinks(filepath.Dir(path)) // resolve .. after the links
			if err != nil {
				break
			}
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return path
}

// writeFileAtomic is writeFileAtomicVia with the folder of path.
func writeFileAtomic(path string, write func(io.Writer) error) error {
	return writeFileAtomicVia(filepath.Dir(path), path, write)
}
