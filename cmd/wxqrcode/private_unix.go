//go:build unix

package main

import (
	"fmt"
	"io/fs"
)

// checkPrivate returns an error unless only the owner can read the file.
func checkPrivate(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s %w (mode %04o): run chmod 600 %[1]s", path, errNotPrivate, mode)
	}
	return nil
}
