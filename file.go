package wxqrcode

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
)

// replaceFile makes content the whole content of the file path, or leaves what
// was there.
func replaceFile(path string, content io.Reader) (err error) {
	old, err := os.Stat(path)
	replaces := err == nil
	switch {
	case !replaces && !errors.Is(err, fs.ErrNotExist):
		return err
	case replaces && !old.Mode().IsRegular(): // a rename would put a file in place of a device
		return &os.PathError{Op: "replace", Path: path, Err: errNotRegular}
	}
	path = followLinks(path)
	// Not os.CreateTemp, whose files have mode 0600 whatever the umask; and a short
	// name, since that of the target may be as long as names can be.
	unique := strconv.FormatUint(rand.Uint64(), 36) //nolint:gosec // O_EXCL tells if it is not
	name := filepath.Join(filepath.Dir(path), ".wxqrcode-"+unique+".tmp")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(name)
		}
	}()
	if replaces {
		if err := f.Chmod(old.Mode().Perm()); err != nil {
			return err
		}
	}
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(name, path); err != nil {
		return err
	}
	syncDir(filepath.Dir(path))
	return nil
}

// followLinks returns what the symbolic link path leads to, whether that is there or
// not, or path itself: so that a link stays one.
func followLinks(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
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

// syncDir makes a rename last through a power cut. Where the system cannot do
// that (Windows), the file is whole all the same.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
