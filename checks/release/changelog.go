package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/mod/semver"
)

const (
	unreleased = "## Unreleased"
	// breaking is the heading, among what is unreleased, that allows incompatible changes;
	// the step api of .ci/run looks for it too.
	breaking = "### Breaking"
)

// A changelog is the text of CHANGELOG.md.
type changelog string

func changelogFile(root string) string { return filepath.Join(root, "CHANGELOG.md") }

func readChangelog(root string) (changelog, error) {
	data, err := os.ReadFile(changelogFile(root))
	return changelog(data), err
}

func (c changelog) write(root string) error {
	return os.WriteFile(changelogFile(root), []byte(c), 0o644)
}

var versionHeading = regexp.MustCompile(`(?m)^## (v\S+) `)

// last returns the newest version, or "" if there is none.
func (c changelog) last() string {
	if found := versionHeading.FindStringSubmatch(string(c)); found != nil {
		return found[1]
	}
	return ""
}

// section returns what stands below a heading of the second level.
func (c changelog) section(heading string) (text string, found bool) {
	var below strings.Builder
	for line := range strings.Lines(string(c)) {
		switch {
		case strings.HasPrefix(line, "## "):
			if found {
				return strings.TrimSpace(below.String()), true
			}
			found = strings.TrimSpace(line) == heading || strings.HasPrefix(line, heading+" ")
		case found:
			below.WriteString(line)
		}
	}
	return strings.TrimSpace(below.String()), found
}

// check tells why a version cannot be the next one.
func (c changelog) check(version string) error {
	if semver.Canonical(version) != version || semver.Prerelease(version) != "" || version == "" {
		return fmt.Errorf("%q is not a version such as v0.1.0", version)
	}
	if semver.Compare(version, "v2") >= 0 {
		return fmt.Errorf("%s: from v2 on the paths of the modules must end in the major version, which this program cannot do", version)
	}
	notes, found := c.section(unreleased)
	if !found || notes == "" {
		return errors.New("CHANGELOG.md has nothing below " + unreleased + ": say what a user must know of " + version)
	}
	last := c.last()
	if last == "" {
		return nil
	}
	if semver.Compare(version, last) <= 0 {
		return fmt.Errorf("%s is not newer than %s, the last version in CHANGELOG.md", version, last)
	}
	if !strings.Contains("\n"+notes+"\n", "\n"+breaking+"\n") {
		return nil
	}
	if semver.Major(last) != "v0" && semver.Major(version) == semver.Major(last) {
		return fmt.Errorf("CHANGELOG.md has the heading %q: incompatible changes need another major version than that of %s, not %s", breaking, last, version)
	}
	if semver.MajorMinor(version) == semver.MajorMinor(last) {
		return fmt.Errorf("CHANGELOG.md has the heading %q: incompatible changes need another minor version than that of %s, not %s", breaking, last, version)
	}
	return nil
}

// release gives what is unreleased a version.
func (c changelog) release(version string, day time.Time) changelog {
	return changelog(strings.Replace(string(c), unreleased, "## "+version+" ("+day.Format(time.DateOnly)+")", 1))
}

// reopen makes room for what comes after the newest version.
func (c changelog) reopen() changelog {
	at := versionHeading.FindStringIndex(string(c))
	if at == nil {
		return c
	}
	return c[:at[0]] + unreleased + "\n\n" + c[at[0]:]
}

// notes returns what a version brings.
func (c changelog) notes(version string) (string, error) {
	text, found := c.section("## " + version)
	if !found {
		return "", fmt.Errorf("CHANGELOG.md has no heading %q", "## "+version)
	}
	return text + "\n", nil
}
