package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	first = changelog("# Changelog\n\nWords.\n\n## Unreleased\n\nThe first version.\n\n- All.\n")
	later = changelog("# Changelog\n\n## Unreleased\n\n- More.\n\n## v0.1.0 (2026-11-21)\n\nThe first version.\n")
)

func TestAVersionGoesThroughTheChangelog(t *testing.T) {
	released := first.release("v0.1.0", commit)
	assert.Equal(t, changelog("# Changelog\n\nWords.\n\n## v0.1.0 (2026-11-21)\n\nThe first version.\n\n- All.\n"), released)
	assert.Equal(t, "v0.1.0", released.last())
	notes, err := released.notes("v0.1.0")
	require.NoError(t, err)
	assert.Equal(t, "The first version.\n\n- All.\n", notes)
	_, err = released.notes("v0.1.1")
	assert.ErrorContains(t, err, `"## v0.1.1"`)

	open := released.reopen()
	assert.Equal(t, changelog("# Changelog\n\nWords.\n\n## Unreleased\n\n## v0.1.0 (2026-11-21)\n\nThe first version.\n\n- All.\n"), open)
	assert.ErrorContains(t, open.check("v0.1.1"), "nothing below")
	assert.Equal(t, "v0.1.0", open.last())
	assert.Empty(t, first.last())
	assert.Equal(t, "- More.", func() string { text, _ := later.section(unreleased); return text }())
}

func TestTheNextVersionFitsTheChangelog(t *testing.T) {
	broken := func(last string) changelog {
		return changelog("## Unreleased\n\n### Breaking\n\n- Gone.\n\n").reopened(last)
	}
	for _, test := range []struct {
		name    string
		log     changelog
		version string
		problem string // "" if there is none
	}{
		{"the first", first, "v0.1.0", ""},
		{"a patch", later, "v0.1.1", ""},
		{"a minor version", later, "v0.2.0", ""},
		{"stable", later, "v1.0.0", ""},
		{"the same again", later, "v0.1.0", "not newer than v0.1.0"},
		{"an older one", later, "v0.0.9", "not newer than v0.1.0"},
		{"no v", later, "0.2.0", "not a version"},
		{"too short", later, "v0.2", "not a version"},
		{"a candidate", later, "v0.2.0-rc.1", "not a version"},
		{"nothing", later, "", "not a version"},
		{"a major version with a path of its own", later, "v2.0.0", "paths of the modules"},
		{"nothing to tell", "## Unreleased\n\n## v0.1.0 (2026-11-21)\n\nFirst.\n", "v0.1.1", "nothing below ## Unreleased"},
		{"no place to tell it", "## v0.1.0 (2026-11-21)\n\nFirst.\n", "v0.1.1", "nothing below ## Unreleased"},
		{"a patch that breaks", broken("v0.1.0"), "v0.1.1", "another minor version"},
		{"a minor version that breaks", broken("v0.1.0"), "v0.2.0", ""},
		{"a minor version of v1 that breaks", broken("v1.1.0"), "v1.2.0", "another major version"},
		{"breaking for v1", broken("v0.9.0"), "v1.0.0", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.log.check(test.version)
			if test.problem == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, test.problem)
			}
		})
	}
}

func (c changelog) reopened(last string) changelog {
	return c + changelog("## "+last+" ("+time.Now().Format(time.DateOnly)+")\n\nBefore.\n")
}

func TestVersionsFollowEachOther(t *testing.T) {
	for version, want := range map[string][2]string{
		"v0.1.0": {"v0.2.0", "v0.1.1"}, "v0.9.9": {"v0.10.0", "v0.9.10"}, "v1.2.3": {"v1.3.0", "v1.2.4"},
	} {
		assert.Equal(t, want, [2]string{nextMinor(version), nextPatch(version)}, version)
	}
	assert.Equal(t, "v0.1.0", nextMinor(""))
}
