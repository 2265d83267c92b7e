//go:build !unix

package main

import "io/fs"

// checkPrivate accepts all files where modes do not tell who may read them.
func checkPrivate(string, fs.FileInfo) error { return nil }
