//go:build unix

package docs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// A server is a command that serves until it is ended.
type server struct {
	command *regexp.Regexp
	ready   *regexp.Regexp // what it prints then, with an address that answers
	addr    []string       // flags with an address, which becomes one that is free
	byEnter bool           // not by Ctrl-C
}

var servers = []server{
	{command: regexp.MustCompile(`^wxqrcode sandbox\b`), ready: regexp.MustCompile(`(?m)^# The page is (.*)$|"page":"([^"]*)"`), addr: []string{"--addr"}},
	{command: regexp.MustCompile(`^wxqrcode listen\b.*--stats`), ready: regexp.MustCompile(`(?s)Listening on.*The statistics are at (\S+)\n`), addr: []string{"--addr", "--stats-addr"}},
	{command: regexp.MustCompile(`^wxqrcode listen\b`), ready: regexp.MustCompile(`Listening on (\S+)\. `), addr: []string{"--addr"}},
	{command: regexp.MustCompile(`^wxqrcode stats\b.*--page`), ready: regexp.MustCompile(`The page is (\S+)`), addr: []string{"--addr"}},
	{command: regexp.MustCompile(`^wxqrcode demo( --out \S+)?$`), ready: regexp.MustCompile(`The page: (\S+)\nPress Enter`), byEnter: true},
	{command: regexp.MustCompile(`^scanlogin\b`), ready: regexp.MustCompile(`(?m)^(\S+) logs in followers`), addr: []string{"-addr"}},
}

// varying is what a command prints otherwise each time: what is shown is compared without it.
var varying = []struct{ command, text *regexp.Regexp }{
	{regexp.MustCompile(`^wxqrcode (create|demo)`), regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)},
	{regexp.MustCompile(`^wxqrcode create`), regexp.MustCompile(`gQ[\w+/=-]{40,}|weixin\.qq\.com/q/[\w-]+`)},
	{regexp.MustCompile(`^wxqrcode demo`), regexp.MustCompile(`login-[A-Z2-7]{26}`)},
	{regexp.MustCompile(`^wxqrcode inspect`), regexp.MustCompile(` \(it is dead\)`)}, // by now
	{regexp.MustCompile(`^wxqrcode render`), regexp.MustCompile(`\d+ bytes`)},        // by the logo
	{regexp.MustCompile(`^wxqrcode sandbox`), regexp.MustCompile(`127\.0\.0\.1:\d+|'wx[0-9a-f]{16}'|'[0-9a-f]{32}'`)},
}

// replaced is what readers put in the place of something, or what would reach out of the folder.
var replaced = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`\b([A-Z_]+)=\S*…`), `$1="$$$1"`},
	{regexp.MustCompile(`http://127\.0\.0\.1:8090\b`), `"$$WXQRCODE_API_URL"`}, // where a sandbox of the document is
	{regexp.MustCompile(` TICKET\b`), ` "$$TICKET"`},
	{regexp.MustCompile(`\bwxqrcode image gQ\S+`), `wxqrcode image "$$TICKET"`}, // that of WeChat's documents has no picture here
	{regexp.MustCompile(` /tmp/`), ` ./`},
	{regexp.MustCompile(`\bgo version -m wxqrcode\b`), `go version -m "$$(command -v wxqrcode)"`},
	{regexp.MustCompile(`\bgo run \./(\S+/)?(\w+)`), `$2`}, // built before, so that it runs in the folder
}

// A lab has what the sessions of all documents share.
type lab struct {
	dir     string // holds what follows
	bin     string // the programs, and a stand-in for a printer's
	demo    string // a folder that the demo has made
	printed string // by that demo
	codes   string // the file codes.csv of README
	env     map[string]string
}

// buildLab makes the lab at its first call.
var buildLab = sync.OnceValues(func() (*lab, error) {
	dir, err := os.MkdirTemp("", "wxqrcode-docs-")
	if err != nil {
		return nil, err
	}
	labDir = dir
	l := &lab{dir: dir, bin: filepath.Join(dir, "bin"), demo: filepath.Join(dir, "demo")}
	for _, step := range []func() error{l.makeFolders, l.makeEnvironment, l.makePrograms, l.makeDemo, l.makeCodes} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return l, nil
})

var labDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if err := os.RemoveAll(labDir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func newLab(t *testing.T) *lab {
	t.Helper()
	if testing.Short() {
		t.Skip("runs programs that are built apart from this test")
	}
	l, err := buildLab()
	require.NoError(t, err)
	return l
}

func (l *lab) makeFolders() error {
	return errors.Join(os.Mkdir(l.bin, 0o700), os.Mkdir(l.demo, 0o700), os.Mkdir(l.home(), 0o700))
}

func (l *lab) home() string { return filepath.Join(l.dir, "home") }

// makeEnvironment gives commands a home of their own, and go the caches and settings that it has in the caller's.
func (l *lab) makeEnvironment() error {
	output, err := exec.Command("go", "env", "-json", "GOPATH", "GOCACHE", "GOMODCACHE", "GOENV", "GOFLAGS").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	if err := json.Unmarshal(output, &l.env); err != nil {
		return err
	}
	l.env["GOFLAGS"] += " -buildvcs=false" // git may refuse the checkout
	l.env["GOBIN"] = l.bin                 // where go install finds that it was done before
	l.env["HOME"], l.env["PATH"], l.env["TZ"] = l.home(), l.bin+":"+os.Getenv("PATH"), "UTC"
	// In a new home it would begin to write counters, some of them in the background.
	return l.goCommand("telemetry", "off")
}

func (l *lab) goCommand(args ...string) error {
	command := exec.Command("go", args...)
	command.Dir, command.Env = root, environ(l.env)
	output, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, output)
	}
	return nil
}

func (l *lab) makePrograms() error {
	all, err := mainPackages()
	if err != nil {
		return err
	}
	printer := "#!/bin/sh\ncat >/dev/null\n"
	return errors.Join(l.goCommand(append([]string{"install"}, all...)...), os.WriteFile(filepath.Join(l.bin, "lpr"), []byte(printer), 0o700))
}

func (l *lab) makeDemo() (err error) {
	s := session{lab: l, ctx: context.Background(), dir: l.demo}
	l.printed, err = s.run("wxqrcode demo --out . </dev/null", "")
	return err
}

func (l *lab) makeCodes() error {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		return err
	}
	for _, e := range typed(parseDocument("README.md", readme)) {
		if e.line == "cat codes.csv" {
			l.codes = e.shown
			return nil
		}
	}
	return errors.New("README.md does not show codes.csv")
}

// mainPackages returns the programs that documents go-run here.
func mainPackages() ([]string, error) {
	goRun := regexp.MustCompile(`^go run (\./\S+)`)
	all := []string{"./cmd/wxqrcode"}
	ds, err := documents()
	for _, d := range ds {
		for _, e := range typed(d) {
			own, _ := ownCommands(e.line) // whose error another test reports
			for _, c := range own {
				if m := goRun.FindStringSubmatch(bare(c)); m != nil && !slices.Contains(all, m[1]) {
					all = append(all, m[1])
				}
			}
		}
	}
	return all, err
}

// A session is one reader at a shell, in a folder of his own.
type session struct {
	*lab
	ctx     context.Context // what runs ends with it
	dir     string
	account map[string]string // for the program wxqrcode
	sandbox map[string]string // the account of a sandbox in the background, which comes before the other
	running []*program        // in the background
}

// newSession gives a reader a folder and an account.
func (l *lab) newSession(t *testing.T) *session {
	t.Helper()
	wechat := wxtest.NewServer()
	t.Cleanup(wechat.Close)
	code, err := wechat.Client().Create(t.Context(), wxqrcode.Permanent(wxqrcode.SceneStr("poster-7")))
	require.NoError(t, err)
	push := wxtest.RandomCallbackConfig(wxtest.Secure)
	account := map[string]string{
		"WXQRCODE_API_URL": wechat.URL(), "WXQRCODE_APPID": wechat.AppID(), "WXQRCODE_SECRET": wechat.AppSecret(),
		"WXQRCODE_TOKEN": push.Token, "WXQRCODE_AES_KEY": push.EncodingAESKey, "TICKET": string(code.Ticket),
	}
	return &session{lab: l, ctx: t.Context(), dir: t.TempDir(), account: account, sandbox: make(map[string]string)}
}

func TestEveryCommandRuns(t *testing.T) {
	l := newLab(t)
	for _, d := range allDocuments(t) {
		t.Run(d.path, func(t *testing.T) {
			t.Parallel()
			s := l.newSession(t)
			require.NoError(t, s.bring(d))
			for _, e := range typed(d) {
				if missing := missingProgram(e.line); missing != "" {
					t.Logf("%v: there is no %s: %s", e.place, missing, e.line)
					continue
				}
				began := time.Now()
				assert.NoError(t, s.try(e), e.place)
				t.Logf("%v: %.1f s: %s", e.place, time.Since(began).Seconds(), e.line)
			}
			assert.NoError(t, s.close())
			for _, b := range d.blocks() {
				if strings.HasPrefix(b.text, "┌") {
					assert.NoError(t, l.checkDrawing(b), b.place)
				}
			}
		})
	}
}

// optional are programs that not everybody has who tests.
var optional = []string{"make", "sqlite3"}

func missingProgram(line string) string {
	first := words(bare(line))[0]
	if _, err := exec.LookPath(first); err != nil && slices.Contains(optional, first) {
		return first
	}
	return ""
}

// A standIn is what a reader puts something else for; for a TICKET this test does.
var standIn = regexp.MustCompile(`^[A-Z]{3,}$`)

// isMention tells code that speaks of a command from a command to be typed: it is a mere name, has stand-ins, or ends in
// a flag that wants a value. The command and its flags must exist.
func (s *session) isMention(line string) (bool, error) {
	w := words(bare(line))
	if w[0] != "wxqrcode" || slices.ContainsFunc(servers, func(v server) bool { return len(w) == 2 && v.command.MatchString(line) }) {
		return false, nil
	}
	help, err := s.help(w[1])
	if err != nil {
		return false, err
	}
	if !strings.HasPrefix(w[1], "-") && !strings.Contains(help, "  wxqrcode "+w[1]) {
		return true, fmt.Errorf("wxqrcode has no command %s", w[1]) // its help is that of wxqrcode
	}
	wantsValue := regexp.MustCompile(`(?m)^ +(-\w, )?` + regexp.QuoteMeta(w[len(w)-1]) + ` \S+ {2,}`)
	hasStandIn := slices.ContainsFunc(w, func(s string) bool { return standIn.MatchString(s) && s != "TICKET" })
	if len(w) > 2 && !hasStandIn && !wantsValue.MatchString(help) {
		return false, nil
	}
	for _, flag := range w[2:] {
		if strings.HasPrefix(flag, "--") && !strings.Contains(help, " "+flag+" ") {
			return true, fmt.Errorf("wxqrcode %s has no flag %s", w[1], flag)
		}
	}
	return true, nil
}

func (s *session) help(command string) (string, error) {
	p, err := start(s.ctx, s.dir, s.environ("wxqrcode"), "wxqrcode "+command+" --help")
	if err != nil {
		return "", err
	}
	return p.wait(commandLimit)
}

// checkDrawing reports a table of the demo that it does not print so.
func (l *lab) checkDrawing(b block) error {
	const command = "wxqrcode demo"
	for shown := range strings.SplitSeq(b.text, "┌") {
		if shown != "" && !strings.Contains(withoutVarying(command, l.printed), withoutVarying(command, "┌"+shown)) {
			return fmt.Errorf("the demo prints another table than\n┌%s\nIt prints\n%s", shown, l.printed)
		}
	}
	return nil
}

// try runs an entry. Of a line with commands that are run elsewhere, it runs the others, each by itself.
func (s *session) try(e entry) error {
	own, err := ownCommands(e.line)
	if err != nil {
		return err
	}
	if !slices.Equal(own, commands(e.line)) {
		for _, c := range own {
			err = errors.Join(err, s.try(entry{line: c}))
		}
		return err
	}
	if is, err := s.isMention(e.line); is || err != nil {
		return err
	}
	_, err = s.run(e.line, e.shown)
	return err
}

// bring puts the files into the folder that a document speaks of and does not make.
func (s *session) bring(d *document) error {
	text := string(d.source)
	var all []error
	if strings.Contains(text, "codes.csv") {
		all = append(all, os.WriteFile(filepath.Join(s.dir, "codes.csv"), []byte(s.codes), 0o600))
	}
	if strings.Contains(text, "logo.png") {
		all = append(all, writeLogo(filepath.Join(s.dir, "logo.png")))
	}
	if strings.Contains(text, "scans.db") {
		for _, name := range []string{"scans.db", "scans.db.key"} {
			file, err := os.ReadFile(filepath.Join(s.demo, name))
			all = append(all, err, os.WriteFile(filepath.Join(s.dir, name), file, 0o600))
		}
	}
	return errors.Join(all...)
}

func writeLogo(name string) error {
	logo := image.NewRGBA(image.Rect(0, 0, 80, 80))
	draw.Draw(logo, logo.Bounds(), image.NewUniform(color.RGBA{7, 48, 90, 255}), image.Point{}, draw.Src)
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(png.Encode(file, logo), file.Close())
}

// run runs a line, ends it if it is a server, and compares what it prints with what is shown, if anything is.
func (s *session) run(line, shown string) (printed string, err error) {
	if line == "kill %1" {
		return "", s.killFirst()
	}
	command := bare(commands(line)[0])
	inBackground := false
	for _, r := range replaced {
		line, command = r.from.ReplaceAllString(line, r.to), r.from.ReplaceAllString(command, r.to)
	}
	if before, ok := strings.CutSuffix(line, " &"); ok {
		line, inBackground = before, true
	}
	dir := s.dir
	if first := words(command)[0]; first == "go" || first == "make" {
		dir = root
	}
	var serves *server
	for _, v := range servers {
		if v.command.MatchString(command) {
			serves = &v
			line = v.onFreePorts(line)
			break
		}
	}
	if inBackground && serves == nil {
		return "", fmt.Errorf("%s: not a server that session_test.go knows", line)
	}
	p, err := start(s.ctx, dir, s.environ(command), line)
	if err != nil {
		return "", err
	}
	switch {
	case serves == nil:
		printed, err = p.wait(commandLimit)
	default:
		printed, err = serves.await(p)
		if err == nil && inBackground {
			s.running = append(s.running, p)
			s.export(printed)
		} else if endErr := p.end(serves.byEnter); err == nil {
			err = endErr
		}
	}
	if err == nil && shown != "" {
		err = compare(command, shown, printed)
	}
	return printed, err
}

// onFreePorts lets a server listen where nobody else does.
func (v server) onFreePorts(line string) string {
	command, comment, hasComment := strings.Cut(line, " #")
	redirection := ""
	if i := strings.Index(command, " >"); i >= 0 {
		command, redirection = command[:i], command[i:]
	}
	for _, flag := range v.addr {
		given := regexp.MustCompile(` ` + flag + ` \S+`)
		command = given.ReplaceAllString(command, "") + " " + flag + " 127.0.0.1:0"
	}
	if command += redirection; hasComment {
		command += " #" + comment
	}
	return command
}

// await waits until a server has printed its address, and calls it there.
func (v server) await(p *program) (string, error) {
	printed, err := p.until(v.ready.MatchString)
	if err != nil {
		return printed, err
	}
	url := ""
	for _, group := range v.ready.FindStringSubmatch(printed)[1:] {
		if group != "" {
			url = group
		}
	}
	client := http.Client{Timeout: endLimit}
	answer, err := client.Get(url)
	if err != nil {
		return printed, fmt.Errorf("%s: %w", p.line, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusInternalServerError {
		return printed, fmt.Errorf("%s: %s answers %s", p.line, url, answer.Status)
	}
	return printed, nil
}

// export does with the lines for a shell that a sandbox prints what its reader does.
func (s *session) export(printed string) {
	for _, m := range regexp.MustCompile(`(?m)^export ([A-Z_]+)='(.*)'$`).FindAllStringSubmatch(printed, -1) {
		s.sandbox[m[1]] = m[2]
	}
}

// killFirst ends what was begun first in the background. Its reader has an account of his own again.
func (s *session) killFirst() error {
	if len(s.running) == 0 {
		return errors.New("kill: nothing is in the background")
	}
	first := s.running[0]
	s.running = s.running[1:]
	clear(s.sandbox)
	return first.endBy(syscall.SIGTERM)
}

// environ returns the environment of a command. The account is for the program wxqrcode alone: the examples need none.
func (s *session) environ(command string) []string {
	own := maps.Clone(s.env)
	if words(command)[0] == "wxqrcode" {
		maps.Copy(own, s.account)
		maps.Copy(own, s.sandbox)
	}
	return environ(own)
}

// environ returns our environment with other values, without accounts and without names of folders in our home.
func environ(own map[string]string) []string {
	all := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "WXQRCODE_") || strings.HasPrefix(v, "XDG_")
	})
	for name, value := range own {
		all = append(all, name+"="+value) // the last of a name counts
	}
	return all
}

func (s *session) close() error {
	var all []error
	for _, p := range s.running {
		all = append(all, p.end(false))
	}
	return errors.Join(all...)
}

// compare reports a difference between what a document shows and what a command printed.
func compare(command, shown, printed string) error {
	if withoutVarying(command, shown) != withoutVarying(command, printed) {
		return fmt.Errorf("%s: the document shows\n%s\nand it prints\n%s", command, shown, printed)
	}
	return nil
}

func withoutVarying(command, text string) string {
	for _, v := range varying {
		if v.command.MatchString(command) {
			text = v.text.ReplaceAllString(text, "")
		}
	}
	return text
}

func TestCommandsHaveAHomeOfTheirOwnAndGoItsCaches(t *testing.T) {
	s := newLab(t).newSession(t)
	const settings = "go env GOPATH GOCACHE GOMODCACHE GOENV"
	ours, err := exec.Command("bash", "-c", settings).Output()
	require.NoError(t, err)
	t.Setenv("XDG_CONFIG_HOME", "/elsewhere")
	p, err := start(s.ctx, s.dir, s.environ("go"), `echo "$HOME$XDG_CONFIG_HOME" && `+settings)
	require.NoError(t, err)
	printed, err := p.wait(commandLimit)
	require.NoError(t, err)
	assert.Equal(t, s.home()+"\n"+string(ours), printed)
}

func TestACommandThatDoesOtherwiseIsFound(t *testing.T) {
	l := newLab(t)
	for name, test := range map[string]struct{ line, shown, wantErr string }{
		"a command":                       {"wxqrcode create a --permanent --sandbox --json >code.json && wc -l <code.json", "", ""},
		"a server":                        {"wxqrcode sandbox --addr 127.0.0.1:8090", "", ""},
		"one that waits for Enter":        {"go run ./cmd/wxqrcode demo", "", ""},
		"one that serves in the examples": {"go run ./examples/scanlogin", "", ""},
		"what varies":                     {"wxqrcode render http://weixin.qq.com/q/a --out a.svg", "a.svg: 1 bytes\n", ""},
		"the mere name of a command":      {"wxqrcode render", "", ""},
		"one with a stand-in":             {"wxqrcode stats FILE --page", "", ""},
		"another output":                  {"wxqrcode render http://weixin.qq.com/q/a --out a.svg", "b.svg: 1 bytes\n", "the document shows"},
		"a program that nobody knows":     {"wxqrcodes demo", "", "neither in the table"},
		"a command that is not there":     {"wxqrcode paint", "", "no command paint"},
		"a flag that is not there":        {"wxqrcode create a --forever", "", "unknown flag: --forever"},
		"a flag of a mention":             {"wxqrcode stats FILE --pages", "", "no flag --pages"},
		"a file that is not there":        {"wxqrcode batch missing.csv --check", "", "missing.csv"},
		"nothing to kill":                 {"kill %1", "", "nothing is in the background"},
		"a target of make":                {"make help", "", ""},
		"another's output":                {"make help", "list the targets\n", "the document shows"},
		"a server that ends":              {"wxqrcode sandbox --mode open", "", "ended"},
		"a server that nobody knows":      {"wxqrcode completion bash &", "", "not a server"},
		"a part of a pipe":                {"wxqrcode inspect nothing | cat", "", "exit status"},
		"one beside another's":            {"git status && wxqrcode demo --forever", "", "unknown flag: --forever"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if missing := missingProgram(test.line); missing != "" {
				t.Skipf("there is no %s", missing)
			}
			s := l.newSession(t)
			err := errors.Join(s.try(entry{line: test.line, shown: test.shown}), s.close())
			if test.wantErr == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.wantErr)
			}
		})
	}
	assert.Error(t, l.checkDrawing(block{text: "┌──┐\n│ WHAT │\n"}))
}
