package docs

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// runHere are the commands that may be run here. All others are refused: nobody knows what they would do to the machine.
var runHere = regexp.MustCompile(`^((wxqrcode|cat|lpr|wc)( .*)?|go (doc|version) .*|go (install|run) \./.*|sqlite3 [\w.]+ "\.backup [\w.]+"|make help|kill %1)$`)

// checkHarmless refuses what is not one of those, what hides another command, which commands() would not have seen, and files
// outside the folder where a command runs.
func checkHarmless(command string) error {
	if !runHere.MatchString(bare(command)) {
		return fmt.Errorf("%q is neither in the table elsewhere nor one that may be run here", command)
	}
	for _, check := range []func(string) error{checkAssignments, checkShell, checkFiles} {
		if err := check(command); err != nil {
			return fmt.Errorf("%q is not run here: %w", command, err)
		}
	}
	return nil
}

// checkAssignments refuses HOME, PATH, BASH_ENV and the like.
func checkAssignments(command string) error {
	for ; assignment.MatchString(command); command = assignment.ReplaceAllString(command, "") {
		if !strings.HasPrefix(command, "WXQRCODE_") {
			return fmt.Errorf("it sets %s", assignment.FindString(command))
		}
	}
	return nil
}

var (
	// variable is the one use of $ that runs nothing.
	variable = regexp.MustCompile(`^\$[A-Za-z_]`)
	// redirection is from or to a file below the folder, to another output, or to nowhere.
	redirection = regexp.MustCompile(`^(>&[12]|(<|>>?) ?(/dev/null|[\pL\pN_][\pL\pN_.-]*(/[\pL\pN_][\pL\pN_.-]*)*))( |$)`)
)

// checkShell refuses what a shell does beyond running the command with its words.
func checkShell(command string) error {
	quote := rune(0)
	for i, r := range command {
		switch {
		case quote == '\'' && r != quote:
		case r == quote:
			quote = 0
		case r == '`', r == '$' && !variable.MatchString(command[i:]):
			return errors.New("the shell would run or work out something within it")
		case r == '\\':
			return errors.New("where its quotes end is not certain")
		case quote != 0:
		case r == '\'' || r == '"':
			quote = r
		case r == '(' || r == ')':
			return errors.New("it has a shell of its own within it")
		case r == '~':
			return errors.New("it names somebody's home")
		case (r == '<' || r == '>') && !redirection.MatchString(command[i:]):
			return errors.New("its input or output may be outside of the folder")
		}
	}
	if quote != 0 {
		return errors.New("a quote does not end")
	}
	return nil
}

// checkFiles refuses words that are files elsewhere. What is below /tmp is put into the folder; what follows --path is part of
// a URL.
func checkFiles(command string) error {
	last := ""
	for _, w := range words(command) {
		_, value, _ := strings.Cut(w, "=")
		for _, file := range []string{w, value} {
			isReplaced := strings.HasPrefix(file, "/tmp/") && strings.Contains(command, " "+file)
			if strings.HasPrefix(file, "/") && !isReplaced && last != "--path" && file != "/dev/null" || strings.Contains("/"+file+"/", "/../") {
				return fmt.Errorf("%s may be outside of the folder", file)
			}
		}
		last = w
	}
	return nil
}

func TestWhatMayReachOutOfTheFolderIsRefused(t *testing.T) {
	for name, test := range map[string]struct{ wrong, right []string }{
		"another program": {
			[]string{"terraform apply", "wxqrcodes demo", "go generate ./...", "go run example.com/x", "kill 1", "make ci"},
			[]string{"wxqrcode", "wxqrcode demo", "go doc x", "go run ./cmd/wxqrcode", "kill %1", "make help"},
		},
		"another database's command": {
			[]string{`sqlite3 scans.db ".shell rm x"`, `sqlite3 scans.db ".backup /x"`},
			[]string{`sqlite3 scans.db ".backup copy.db"`},
		},
		"a command within it": {
			[]string{"wxqrcode demo `rm -rf x`", `wxqrcode "$(rm x)"`, "wxqrcode demo <(rm x)", "wxqrcode () (rm x)", `wxqrcode "a` + "`rm x`" + `"`, "WXQRCODE_A=$(x) wxqrcode", "wxqrcode ${x@P}"},
			[]string{"wxqrcode inspect '$(rm x) `rm x` (x)'", `wxqrcode image "$TICKET" '"'`, `wxqrcode create "(x)"`},
		},
		"quotes that end elsewhere": {
			[]string{`wxqrcode a\' x`, `wxqrcode "a\" x"`, `wxqrcode $'a\' x'`, `wxqrcode "a`, `WXQRCODE_A="x wxqrcode y" rm x`},
			[]string{`wxqrcode create 'a\'`, `WXQRCODE_A="x y" wxqrcode`, "WXQRCODE_TOKEN=… wxqrcode listen"},
		},
		"input and output": {
			[]string{
				"wxqrcode demo > ~/x", "wxqrcode demo >/etc/x", "wxqrcode demo >> /tmp/x", `wxqrcode demo > "$HOME/x"`, "wxqrcode demo > 'x'",
				"wxqrcode demo 2>../x", "wxqrcode demo >x/../../y", "wxqrcode demo >&x", "wxqrcode demo <>x", "wxqrcode demo <<x", "cat </etc/x",
			},
			[]string{"wxqrcode demo > x.txt", "wxqrcode listen >> scans.jsonl", "wxqrcode demo 2>/dev/null >&2", "wc -l <a/b.json", `wxqrcode create "a>/b"`},
		},
		"files elsewhere": {
			[]string{"wxqrcode demo --out /etc", "wxqrcode demo --out=/etc", "wxqrcode demo --out '/tmp/x'", "cat ../x", "go run ./../x", "wxqrcode demo --out ~root/x"},
			[]string{"wxqrcode demo --out /tmp/codes", "wxqrcode listen --path /wechat", "wxqrcode render http://weixin.qq.com/q/a --out a..b.svg"},
		},
		"what a program finds in its environment": {
			[]string{"HOME=/x wxqrcode demo", "PATH=x wxqrcode demo", "WXQRCODE_A=1 BASH_ENV=x wxqrcode demo"},
			[]string{"WXQRCODE_API_URL=http://127.0.0.1:8090 wxqrcode demo"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, command := range test.wrong {
				require.Error(t, checkHarmless(command), command)
			}
			for _, command := range test.right {
				require.NoError(t, checkHarmless(command), command)
			}
		})
	}
}
