//go:build unix

package main

import (
	"fmt"
	"io/fs"
)

// checkPrivate reports whether only its owner may read the file.
func checkPrivate(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o, so %w: chmod 600 %[1]s", path, mode, errExposed)
	}
	return nil
}
