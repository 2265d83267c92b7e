package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// licenseFile matches the names of files that must go with a binary.
var licenseFile = regexp.MustCompile(`(?i)licen[cs]e|copying|notice|patents`)

// linked prints a line for each package of a program, and for each file that is embedded in one:
// the path of its module, the folder of that, and a file of the package.
const linked = `{{with .Module}}{{$module := printf "%s\t%s\t%s/" .Path .Dir $.Dir}}` +
	`{{$module}}-{{range $.EmbedFiles}}{{"\n"}}{{$module}}{{.}}{{end}}{{end}}`

// readLicenses returns the license texts of Go and of all modules that are linked into a program, as
// one file: those beside its packages and embedded files, and in the folders above these, up to that of
// the module. A module without any is an error, unless it is ours: its license is that of the program.
func readLicenses(ctx context.Context, at place) (file, error) {
	goroot, err := at.line(ctx, "go", "env", "GOROOT")
	if err != nil {
		return file{}, err
	}
	list, err := at.line(ctx, "go", "list", "-deps", "-f", linked, ".")
	if err != nil {
		return file{}, err
	}
	texts := make(map[string][]byte) // by the path of the module and that within it
	found := make(map[string]bool)   // whether the module has any
	for line := range strings.Lines(list + "\nGo\t" + goroot + "\t" + goroot + "/-") {
		part := strings.Split(strings.TrimSpace(line), "\t")
		module, root := part[0], part[1]
		found[module] = found[module] || ours(module)
		for dir := filepath.Dir(part[2]); strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
			entries, err := os.ReadDir(dir)
			if err != nil {
				return file{}, err
			}
			for _, e := range entries {
				if !e.Type().IsRegular() || filepath.Ext(e.Name()) == ".go" || !licenseFile.MatchString(e.Name()) {
					continue
				}
				text, err := os.ReadFile(filepath.Join(dir, e.Name()))
				if err != nil {
					return file{}, err
				}
				texts[path.Join(module, filepath.ToSlash(dir[len(root):]), e.Name())] = text
				found[module] = true
			}
		}
	}
	for module, ok := range found {
		if !ok {
			return file{}, fmt.Errorf("no license found of %s", module)
		}
	}
	var all bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		fmt.Fprintf(&all, "=== %s\n\n%s\n\n", name, bytes.Trim(texts[name], "\r\n"))
	}
	return file{name: "THIRD-PARTY-LICENSES.txt", data: all.Bytes()}, nil
}
