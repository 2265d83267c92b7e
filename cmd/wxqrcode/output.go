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

// printJSON prints what a command has to say at its end.
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

// escapeHidden takes out of JSON the characters that a terminal could take for orders:
// encoding/json leaves those from U+007F on as they are. Line breaks are between its tokens
// only, and stay.
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

// printFields prints a name and a value on each line; empty values are left out.
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

// localTime shows a time to people; the zero time is never.
func localTime(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format(time.DateTime)
}

var errNotRegular = errors.New("not a regular file")

// writeWhole makes the file path hold all that write writes, or does not touch it, as the library's
// SaveImage does: a link stays one, a file that is replaced hands on its mode, and what is no regular
// file is not replaced. It writes into the folder temp first, which must be on the same volume.
func writeWhole(temp, path string, write func(io.Writer) error) (err error) {
	old, err := os.Stat(path)
	replaces := err == nil
	switch {
	case !replaces && !errors.Is(err, fs.ErrNotExist):
		return err
	case replaces && !old.Mode().IsRegular(): // a rename would put a file in place of a device
		return &fs.PathError{Op: "replace", Path: path, Err: errNotRegular}
	}
	if target := followLinks(path); target != path {
		temp, path = filepath.Dir(target), target // a link can lead to another volume
	}
	f, err := os.OpenFile(filepath.Join(temp, ".wxqrcode-"+rand.Text()+".tmp"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if replaces {
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

// followLinks returns what the symbolic link path leads to, be it there or not; or path itself.
func followLinks(path string) string {
	for range 255 { // links that lead in a circle are an error of os.Stat's
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			dir, err := filepath.EvalSymlinks(filepath.Dir(path)) // .. is what it is behind the links
			if err != nil {
				break
			}
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return path
}

// writeFile is writeWhole by way of the folder of path itself.
func writeFile(path string, write func(io.Writer) error) error {
	return writeWhole(filepath.Dir(path), path, write)
}
