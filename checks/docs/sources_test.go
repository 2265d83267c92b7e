package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// goSources returns the text of every Go file of the repository, by its path from the root. That a test reads them also tells
// go test that its result is stale when one of them changes, though the program that the commands run is no import of its.
var goSources = sync.OnceValues(func() (map[string]string, error) {
	sources := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		sources[filepath.ToSlash(name)] = string(text)
		return err
	})
	return sources, err
})
