// Package atomicfile replaces files as a whole.
package atomicfile

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
)

var errNotRegular = errors.New("not a regular file")

// Write makes data the content of the file path or, after an error, changes
// nothing. The file keeps its mode; a new file has mode 0666 before umask. A
// symbolic link stays one.
func Write(path string, data []byte) (err error) {
	path, err = resolve(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	replaces := err == nil
	switch {
	case replaces && !info.Mode().IsRegular(): // a rename would replace a device
		return &fs.PathError{Op: "replace", Path: path, Err: errNotRegular}
	case !replaces && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	// os.CreateTemp would ignore the umask. The name is short because that of the
	// target may have the maximum length.
	unique := strconv.FormatUint(rand.Uint64(), 36) //nolint:gosec // O_EXCL detects a collision
	temp := filepath.Join(filepath.Dir(path), ".wxqrcode-"+unique+".tmp")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	if replaces {
		err = f.Chmod(info.Mode().Perm())
	}
	err = errors.Join(err, writeAndSync(f, data), f.Close())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return err
	}
	syncDir(filepath.Dir(path))
	return nil
}

func writeAndSync(f *os.File, data []byte) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// resolve follows symbolic links. The target need not exist.
func resolve(path string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if err == nil {
		return resolved, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", &fs.PathError{Op: "resolve", Path: path, Err: err}
	}
	target, err := os.Readlink(path)
	if err != nil { // not a link: a new file
		return path, nil //nolint:nilerr // opening the file reports what is wrong with path
	}
	if !filepath.IsAbs(target) {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path)) // the directory that .. in target refers to
		if err != nil {
			return "", err
		}
		target = dir + string(filepath.Separator) + target // not Join, which resolves .. without looking at links
	}
	return resolve(target)
}

// syncDir makes a rename survive a power failure. Some systems cannot do this
// (Windows); the file is complete all the same.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
