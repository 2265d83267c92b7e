package main

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "update docs/cli.md")

const docsFile = "../../docs/cli.md"

// docs/cli.md is generated from the commands.
func TestDocumentation_MatchesCommands(t *testing.T) {
	for _, name := range []string{envAPIURL, envCredentials} {
		t.Setenv(name, "")
	}
	var b bytes.Buffer
	b.WriteString("# The wxqrcode command\n\nGenerated from the commands by `go test ./cmd/wxqrcode -run Documentation -update`.\n\n")
	root := newRootCommand()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	writeDocs(t, &b, root)
	want := strings.TrimSpace(b.String()) + "\n"
	if *update {
		require.NoError(t, os.WriteFile(docsFile, []byte(want), 0o600))
	}
	have, err := os.ReadFile(docsFile)
	require.NoError(t, err)
	if want != string(have) { // assert.Equal would print both
		t.Error("docs/cli.md is outdated: run this test with -update")
	}
}

func writeDocs(t *testing.T, b *bytes.Buffer, cmd *cobra.Command) {
	t.Helper()
	if cmd.Name() == "help" {
		return
	}
	cmd.DisableAutoGenTag = true
	var own bytes.Buffer
	require.NoError(t, doc.GenMarkdownCustom(cmd, &own, func(file string) string {
		return "#" + strings.ReplaceAll(strings.TrimSuffix(file, ".md"), "_", "-")
	}))
	b.WriteString(withLanguages(shellPages.ReplaceAllString(own.String(), "")))
	for _, sub := range cmd.Commands() {
		if cmd.Name() == "completion" {
			break // omit the pages of the shells, see shellPages
		}
		writeDocs(t, b, sub)
	}
}

// shellPages matches links to omitted pages.
var shellPages = regexp.MustCompile(`(?m)^\* \[wxqrcode completion \w+\].*\n`)

// withLanguages adds the language to each code block, which cobra omits.
func withLanguages(markdown string) string {
	lines := strings.Split(markdown, "\n")
	language, inside := "text", false
	for i, line := range lines {
		switch {
		case line == "### Examples":
			language = "sh"
		case line == "```":
			if inside = !inside; inside {
				lines[i] += language
				language = "text"
			}
		}
	}
	return strings.Join(lines, "\n")
}

func TestCommands_HaveHelp(t *testing.T) {
	for _, cmd := range newRootCommand().Commands() {
		assert.NotEmpty(t, cmd.Short, cmd.Name())
		assert.NotEmpty(t, cmd.Long, cmd.Name())
		assert.NotEmpty(t, cmd.Example, cmd.Name())
		code, out, _ := wxqr(t, cmd.Name(), "--help")
		assert.Zero(t, code)
		for _, flag := range []string{"--json", "--sandbox", "--api-url", "--credentials", "Examples:"} {
			assert.Contains(t, out, flag, cmd.Name())
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		code, out, _ := wxqr(t, "completion", shell)
		assert.Zero(t, code)
		assert.Contains(t, out, "wxqrcode")
	}
}
