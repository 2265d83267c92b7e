package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-0142d113/wxqrcode"
)

func newBatchCommand(a *app) *cobra.Command {
	b := batchCommand{app: a}
	var format, encoding string
	var check bool
	cmd := &cobra.Command{
		Use:   "batch FILE.csv --out FOLDER",
		Short: "Create the codes and images of a CSV file",
		Long: `Create a code and its image for each row of a CSV file. The first line names the columns:

  scene     (场景) text of up to 64 bytes
  kind      (类型) permanent or temporary; 永久 or 临时
  lifetime  (有效期) of a temporary code: 30m, 720h, 7d, 30天, 12小时, or seconds; at most 30 days
  file      (文件) path of the image in FOLDER; default is the scene. A .jpg is fetched from WeChat,
            430 pixels wide; a .png or .svg is drawn locally

--size, --quiet-zone, --level, --dark, --light and --logo apply to .png and .svg only.

FOLDER/result.csv gets all columns, followed by ticket, url, expires_at and error. An apostrophe is
prepended to cells that a spreadsheet would read as a formula. result.csv can be the input of another
batch.

The file may use commas, semicolons or tabs, and UTF-8, GBK (GB18030), or UTF-16 with a byte order
mark; if the encoding is ambiguous, set --encoding. All rows are validated before anything is sent.
--check only validates, and prints the encoding and the first scenes.

If a batch is interrupted, run the same command again. It resumes: recorded codes are not created
again, failed rows are retried, and images that were deleted or have new options are saved again.
The state is kept in FOLDER/` + stateFolder + `. result.csv is written at the end of each run.`,
		Example: `  wxqrcode batch codes.csv --out posters
  wxqrcode batch codes.csv --out posters --format svg --logo logo.png
  wxqrcode batch codes.csv --check
  wxqrcode batch codes.csv --out try --sandbox`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b.stdout, b.stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if err := b.read(args[0], format, encoding); err != nil {
				return usageError{err}
			}
			if check {
				return b.tellChecked()
			}
			return b.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	b.picture.addFlags(cmd, "`folder` for the images and result.csv, created if needed")
	flags.StringVar(&format, "format", "jpg", "`format` of images without a file column: jpg, png or svg")
	completes(cmd, "format", "jpg", "png", "svg")
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"csv"}, cobra.ShellCompDirectiveFilterFileExt
	}
	flags.StringVar(&encoding, "encoding", "", "`encoding` of the file: utf-8 or gb18030, which includes GBK (default: detected)")
	completes(cmd, "encoding", encodingUTF8, encodingGB18030)
	flags.BoolVar(&check, "check", false, "validate the file and send nothing")
	flags.IntVar(&b.options.Concurrency, "concurrency", 8, "`requests` in flight at a time")
	flags.Float64Var(&b.options.Rate, "rate", 0, "limit of `requests` per second; 0 means no limit")
	return cmd
}

// A batchCommand is one run of the command.
type batchCommand struct {
	*app
	stdout, stderr io.Writer
	folder         string
	picture        pictureFlags
	options        wxqrcode.BatchOptions

	sheet    *sheet
	items    []*item
	existing map[wxqrcode.Request]bool // whose code exists, by the journal and the sheet
	client   *wxqrcode.Client
	journal  *journal
	bar      progress

	lost      []string // the tickets of codes that were made and could not be recorded
	forgotten bool     // the WeChat of an earlier run, and its codes with it

	mu     sync.Mutex // guards what follows, and what the items have beside their row
	report batchReport
	broken error // why this program cannot go on
	ended  error // why WeChat does not
	inARow int   // failures since the last picture that others may share
}

// An item is a row and what came of it.
type item struct {
	row
	key   codeKey
	code  *wxqrcode.QRCode
	saved bool // its picture
	err   error
}

// A batchReport is what --json prints.
type batchReport struct {
	Rows     int    `json:"rows"`
	Encoding string `json:"encoding"` // of the file
	Made     int    `json:"created"`  // codes
	Earlier  int    `json:"existing"` // codes of earlier runs
	Pictures int    `json:"images"`
	Failed   int    `json:"failed"`
	NotTried int    `json:"not_attempted"`
	Sandbox  bool   `json:"sandbox,omitempty"` // the codes lead nowhere
	Result   string `json:"result,omitempty"`
}

// read reads the file and the flags, and finds all that is wrong with them.
func (b *batchCommand) read(path, format, encoding string) (err error) {
	b.folder = b.picture.out
	if pictureKind("."+format) == "" || format == "" {
		return fmt.Errorf("--format must be jpg, png or svg, got %q", format)
	}
	if !slices.Contains([]string{"", encodingUTF8, encodingGB18030}, encoding) {
		return fmt.Errorf("--encoding must be utf-8 or gb18030, got %q", encoding)
	}
	if b.options.Concurrency < 1 || b.options.Concurrency > 1000 {
		return fmt.Errorf("--concurrency must be 1 to 1000, got %d", b.options.Concurrency)
	}
	if !(b.options.Rate >= 0) || math.IsInf(b.options.Rate, 0) { // NaN too
		return fmt.Errorf("--rate must be 0 or positive, got %v", b.options.Rate)
	}
	if b.sheet, err = readSheet(path, format, encoding); err != nil {
		return err
	}
	for _, warning := range b.sheet.warnings {
		b.warn("%s", warning)
	}
	alike := make(map[codeKey]int)
	lines := make(map[wxqrcode.Scene]int)
	kinds := make(map[string]int)
	b.existing = make(map[wxqrcode.Request]bool)
	for _, r := range b.sheet.rows {
		if b.sheet.hasTicket(r) {
			b.existing[r.request] = true
		}
		key := keyOf(r.request)
		key.n = alike[keyOf(r.request)]
		alike[keyOf(r.request)]++
		b.items = append(b.items, &item{row: r, key: key})
		kinds[pictureKind(r.file)]++
		if line, twice := lines[r.request.Scene()]; twice {
			b.warn("lines %d and %d have the same scene %q: their scans cannot be distinguished", line, r.line, r.request.Scene().Key())
		} else {
			lines[r.request.Scene()] = r.line
		}
	}
	for kind := range kinds { // what cannot be drawn shows now
		p := b.picture
		p.out = "x." + kind
		if err := p.check(); err != nil {
			return err
		}
		b.picture.options, b.picture.look = p.options, p.look
	}
	if names := b.picture.drawingFlags(); len(names) > 0 && kinds["jpg"] > 0 {
		b.warn("no effect on the %d .jpg images, which come from WeChat: %s", kinds["jpg"], strings.Join(names, ", "))
	}
	b.report.Rows, b.report.Encoding = len(b.items), b.sheet.encoding
	return nil
}

// warn tells of what may be meant, and may not.
func (b *batchCommand) warn(format string, args ...any) {
	_, _ = fmt.Fprintf(b.stderr, "warning: "+format+"\n", args...)
}

// A checked is what --check and --json print.
type checked struct {
	Rows      int      `json:"rows"`
	Encoding  string   `json:"encoding"`
	Permanent int      `json:"permanent"`
	Temporary int      `json:"temporary"`
	Shortest  int64    `json:"shortest_lifetime,omitempty"` // of the temporary ones, in seconds
	Longest   int64    `json:"longest_lifetime,omitempty"`
	Scenes    []string `json:"scenes"` // the first ones, as they were read
}

// checkedScenes is how many scenes --check prints: enough to see whether they were read right.
const checkedScenes = 5

func (b *batchCommand) tellChecked() error {
	c := checked{Rows: len(b.items), Encoding: b.sheet.encoding}
	for _, i := range b.items[:min(checkedScenes, len(b.items))] {
		c.Scenes = append(c.Scenes, i.key.scene)
	}
	for _, i := range b.items {
		life := i.key.lifetime
		if life == 0 {
			c.Permanent++
			continue
		}
		c.Temporary++
		c.Longest = max(c.Longest, life)
		if c.Shortest == 0 || life < c.Shortest {
			c.Shortest = life
		}
	}
	if b.json {
		return printJSON(b.stdout, c)
	}
	lives := ""
	if c.Temporary > 0 {
		lives = ", lifetime " + formatLifetime(time.Duration(c.Shortest)*time.Second)
		if c.Longest > c.Shortest {
			lives += " to " + formatLifetime(time.Duration(c.Longest)*time.Second)
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%d rows in %s, all valid: %d permanent codes, %d temporary codes%s\nFirst scenes:\n",
		c.Rows, strings.ToUpper(c.Encoding), c.Permanent, c.Temporary, lives)
	for _, scene := range c.Scenes {
		text.WriteString("  " + printable(scene) + "\n")
	}
	_, err := io.WriteString(b.stdout, text.String())
	return err
}

func (b *batchCommand) run(ctx context.Context) error {
	if b.folder == "" {
		return usageError{errors.New("batch requires --out FOLDER")}
	}
	if info, err := os.Stat(b.folder); err == nil && !info.IsDir() {
		return usageError{fmt.Errorf("--out must be a folder, %s is a file", b.folder)}
	}
	s, err := b.open(watchRateLimit(b.stderr))
	if err != nil {
		return err
	}
	defer s.close()
	b.client = s.client
	account := s.appID
	if s.wechat != nil {
		account, b.forgotten, b.report.Sandbox = "a sandbox", true, true
	}
	if b.journal, err = openJournal(b.folder, account); err != nil {
		return err
	}
	err = b.work(ctx)
	return errors.Join(err, b.journal.close())
}

// work makes what is missing and tells what came of it.
func (b *batchCommand) work(ctx context.Context) error {
	var missing, pictures []*item
	for _, i := range b.items {
		i.code = b.journal.code(i.key)
		if i.code != nil {
			b.existing[i.request] = true
		}
		i.saved = i.code != nil && b.isThere(i)
		switch {
		case i.code == nil, !i.saved && b.forgotten && pictureKind(i.file) == "jpg":
			i.code = nil
			missing = append(missing, i)
			continue
		case !i.saved:
			pictures = append(pictures, i)
		}
		b.report.Earlier++
	}
	b.bar = newProgress(b.stderr, len(missing)+len(pictures))
	b.makeAll(ctx, missing, pictures)
	b.bar.finish()
	if err := b.writeResult(); err != nil {
		return fmt.Errorf("%w; %s", errors.Join(b.why(), err), runAgain)
	}
	return b.tell(ctx)
}

// isThere reports whether the picture of an earlier run is still there.
func (b *batchCommand) isThere(i *item) bool {
	info, err := os.Stat(filepath.Join(b.folder, i.file))
	return err == nil && info.Mode().IsRegular() && b.journal.isSaved(i.file, b.pictureOf(i))
}

func (b *batchCommand) pictureOf(i *item) picture {
	p := picture{Ticket: i.code.Ticket}
	if pictureKind(i.file) != "jpg" {
		p.Look = b.picture.look
	}
	return p
}

// grace is how long calls that are on their way may take after the run was interrupted:
// they may have made codes, which should be recorded.
const grace = 3 * time.Second

// makeAll makes the pictures that are missing, and the codes and their pictures.
func (b *batchCommand) makeAll(ctx context.Context, missing, pictures []*item) {
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()

	toSave := make(chan *item)
	var savers sync.WaitGroup
	for range b.options.Concurrency {
		savers.Go(func() {
			for i := range toSave {
				b.save(calls, i)
			}
		})
	}
	for _, i := range pictures {
		if ctx.Err() != nil {
			break
		}
		toSave <- i
	}
	b.options.Existing = func(r wxqrcode.Request) bool { return b.existing[r] }
	for r, err := range b.client.CreateAll(calls, b.requests(ctx, missing), b.options) {
		i := missing[r.Index] // the options are valid: see read
		if err == nil {
			b.existing[r.Request] = true
			if err = b.journal.recordCode(i.key, r.QRCode); err != nil {
				b.giveUp(err)
				b.lost = append(b.lost, fmt.Sprintf("line %d: %s", i.line, r.QRCode.Ticket))
			}
		}
		b.note(i, r.QRCode, err)
		if err == nil {
			toSave <- i
		}
	}
	close(toSave)
	savers.Wait()
}

// requests yields what is to be made, until the run is interrupted.
func (b *batchCommand) requests(ctx context.Context, missing []*item) iter.Seq[wxqrcode.Request] {
	return func(yield func(wxqrcode.Request) bool) {
		for _, i := range missing {
			if ctx.Err() != nil || b.isBroken() || !yield(i.request) {
				return
			}
		}
	}
}

func (b *batchCommand) giveUp(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken == nil {
		b.broken = err
	}
}

func (b *batchCommand) isBroken() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken != nil
}

// note takes in what came of a request.
func (b *batchCommand) note(i *item, code *wxqrcode.QRCode, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i.code, i.err = code, err
	switch {
	case errors.Is(err, wxqrcode.ErrNotAttempted):
	case err != nil:
		b.fail(i)
	default:
		b.report.Made++
	}
}

// fail counts a failure. The caller holds mu.
func (b *batchCommand) fail(i *item) {
	if b.report.Failed == 0 {
		b.warn("line %d failed: %s; result.csv will have the errors of all rows", i.line, plain(i.err))
	}
	b.report.Failed++
	b.bar.add(false)
	if b.ended == nil && isOfAccount(i.err) {
		b.ended = i.err
	}
	if isOfRow(i.err) {
		return
	}
	b.inARow++
	if b.inARow == maxConsecutiveFailures && b.broken == nil {
		b.broken = incompleteError{fmt.Errorf("%d rows failed in a row, the last is line %d: %w", b.inARow, i.line, i.err)}
	}
}

// maxConsecutiveFailures stops a batch, as when the network is down. CreateAll
// has the same limit.
const maxConsecutiveFailures = 20

// isOfAccount reports whether the error is one of those that end a batch.
func isOfAccount(err error) bool {
	return isOneOf(err,
		wxqrcode.ErrQuotaExceeded, wxqrcode.ErrUnauthorized, wxqrcode.ErrInvalidCredential, wxqrcode.ErrIPNotAllowed, wxqrcode.ErrInvalidToken)
}

// isOfRow reports whether the error says nothing of the other rows.
func isOfRow(err error) bool {
	_, local := errors.AsType[*fs.PathError](err)
	return local || isOneOf(err, wxqrcode.ErrInvalidRequest, wxqrcode.ErrTicketNotFound)
}

// save makes the picture of a code.
func (b *batchCommand) save(ctx context.Context, i *item) {
	err := b.savePicture(ctx, i)
	if err == nil {
		err = b.journal.recordPicture(i.file, b.pictureOf(i))
		if err != nil {
			b.giveUp(err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i.err = err; err != nil {
		b.fail(i)
		return
	}
	i.saved = true
	b.report.Pictures++
	b.inARow = 0
	b.bar.add(true)
}

func (b *batchCommand) savePicture(ctx context.Context, i *item) error {
	path := filepath.Join(b.folder, i.file)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	p := b.picture
	p.out = path
	if p.isDrawn() {
		return writeWhole(b.journal.temp, path, func(w io.Writer) error { return p.draw(w, i.code.URL) })
	}
	return writeWhole(b.journal.temp, path, func(w io.Writer) error {
		_, err := b.client.WriteImage(ctx, w, i.code.Ticket)
		return err
	})
}

// why returns why the batch could not go on, and what that cost.
func (b *batchCommand) why() error {
	if len(b.lost) == 0 {
		return b.broken
	}
	return fmt.Errorf("%w; %d codes were created but not recorded: %s", b.broken, len(b.lost), strings.Join(b.lost, ", "))
}

const runAgain = "run the same command again to resume"

// tell prints what came of the batch, and returns why it is not complete.
func (b *batchCommand) tell(ctx context.Context) error {
	r := &b.report
	for _, i := range b.items {
		if !i.saved && (i.err == nil || errors.Is(i.err, wxqrcode.ErrNotAttempted) || errors.Is(i.err, context.Canceled)) {
			r.NotTried++
		}
	}
	if b.json {
		if err := printJSON(b.stdout, r); err != nil {
			return err
		}
	} else {
		_, err := fmt.Fprintf(b.stdout, "%d rows in %s: %d codes created, %d existing, %d images, %d failed, %d not attempted; see %s\n%s",
			r.Rows, strings.ToUpper(r.Encoding), r.Made, r.Earlier, r.Pictures, r.Failed, r.NotTried, r.Result,
			map[bool]string{true: "The codes exist only in the sandbox.\n"}[r.Sandbox])
		if err != nil {
			return err
		}
	}
	switch {
	case b.broken != nil:
		return fmt.Errorf("%w; %s", b.why(), runAgain)
	case ctx.Err() != nil && r.NotTried+r.Failed > 0:
		return fmt.Errorf("interrupted; %s", runAgain)
	case b.ended != nil:
		return fmt.Errorf("%w; %s", b.ended, runAgain)
	case r.Failed > 0:
		return incompleteError{fmt.Errorf("%d of %d rows failed, first in the file: %w; %s", r.Failed, r.Rows, b.firstFailure(), runAgain)}
	}
	return nil
}

func (b *batchCommand) firstFailure() error {
	for _, i := range b.items {
		if i.err != nil {
			return fmt.Errorf("line %d: %w", i.line, i.err)
		}
	}
	return nil
}
