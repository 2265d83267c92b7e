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

func newBatchCommand(g *globalFlags) *cobra.Command {
	b := batchCommand{globalFlags: g}
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
				return b.printCheck()
			}
			return b.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	b.image.addFlags(cmd, "`folder` for the images and result.csv, created if needed")
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

// A batchCommand is a run of the batch command.
type batchCommand struct {
	*globalFlags
	stdout, stderr io.Writer
	folder         string
	image          imageFlags
	options        wxqrcode.BatchOptions

	sheet    *sheet
	items    []*item
	existing map[wxqrcode.Request]bool // its code exists according to the state or the sheet
	client   *wxqrcode.Client
	state    *batchState
	progress progress

	unrecorded     []string // tickets of codes that are missing in the state
	simulatorIsNew bool     // it has no codes of earlier runs

	mu                  sync.Mutex // guards the fields below, and those of the items except row
	report              batchReport
	fatalErr            error // stops the batch
	accountErr          error // stops the batch for the account
	consecutiveFailures int   // since the last saved image, without row errors
}

// An item is a row and its result.
type item struct {
	row
	key   codeKey
	code  *wxqrcode.QRCode
	saved bool // the image
	err   error
}

// A batchReport is the JSON output.
type batchReport struct {
	Rows         int    `json:"rows"`
	Encoding     string `json:"encoding"` // of the file
	Created      int    `json:"created"`
	Existing     int    `json:"existing"` // codes of earlier runs
	Images       int    `json:"images"`
	Failed       int    `json:"failed"`
	NotAttempted int    `json:"not_attempted"`
	Sandbox      bool   `json:"sandbox,omitempty"` // the codes exist only in a simulator
	Result       string `json:"result,omitempty"`
}

// read reads and validates the flags and the file.
func (b *batchCommand) read(path, format, encoding string) (err error) {
	b.folder = b.image.out
	if imageFormat("."+format) == "" || format == "" {
		return fmt.Errorf("--format must be jpg, png or svg, got %q", format)
	}
	if !slices.Contains([]string{"", encodingUTF8, encodingGB18030}, encoding) {
		return fmt.Errorf("--encoding must be utf-8 or gb18030, got %q", encoding)
	}
	if b.options.Concurrency < 1 || b.options.Concurrency > 1000 {
		return fmt.Errorf("--concurrency must be 1 to 1000, got %d", b.options.Concurrency)
	}
	if !(b.options.Rate >= 0) || math.IsInf(b.options.Rate, 0) { // or NaN
		return fmt.Errorf("--rate must be 0 or positive, got %v", b.options.Rate)
	}
	if b.sheet, err = readSheet(path, format, encoding); err != nil {
		return err
	}
	for _, warning := range b.sheet.warnings {
		b.warn("%s", warning)
	}
	copies := make(map[codeKey]int)
	firstLine := make(map[wxqrcode.Scene]int)
	formats := make(map[string]int)
	b.existing = make(map[wxqrcode.Request]bool)
	for _, r := range b.sheet.rows {
		if b.sheet.hasTicket(r) {
			b.existing[r.request] = true
		}
		key := keyOf(r.request)
		key.n = copies[keyOf(r.request)]
		copies[keyOf(r.request)]++
		b.items = append(b.items, &item{row: r, key: key})
		formats[imageFormat(r.file)]++
		if line, duplicate := firstLine[r.request.Scene()]; duplicate {
			b.warn("lines %d and %d have the same scene %q: their scans cannot be distinguished", line, r.line, r.request.Scene().Key())
		} else {
			firstLine[r.request.Scene()] = r.line
		}
	}
	for format := range formats { // report what cannot be drawn before anything is sent
		p := b.image
		p.out = "x." + format
		if err := p.check(); err != nil {
			return err
		}
		b.image.options, b.image.drawKey = p.options, p.drawKey
	}
	if names := b.image.changedDrawFlags(); len(names) > 0 && formats["jpg"] > 0 {
		b.warn("no effect on the %d .jpg images, which come from WeChat: %s", formats["jpg"], strings.Join(names, ", "))
	}
	b.report.Rows, b.report.Encoding = len(b.items), b.sheet.encoding
	return nil
}

// warn prints a warning about valid but doubtful input.
func (b *batchCommand) warn(format string, args ...any) {
	_, _ = fmt.Fprintf(b.stderr, "warning: "+format+"\n", args...)
}

// A checkOutput is the JSON output of --check.
type checkOutput struct {
	Rows      int      `json:"rows"`
	Encoding  string   `json:"encoding"`
	Permanent int      `json:"permanent"`
	Temporary int      `json:"temporary"`
	Shortest  int64    `json:"shortest_lifetime,omitempty"` // in seconds
	Longest   int64    `json:"longest_lifetime,omitempty"`
	Scenes    []string `json:"scenes"` // the first maxCheckScenes
}

// maxCheckScenes is enough to see whether the encoding is right.
const maxCheckScenes = 5

func (b *batchCommand) printCheck() error {
	c := checkOutput{Rows: len(b.items), Encoding: b.sheet.encoding}
	for _, i := range b.items[:min(maxCheckScenes, len(b.items))] {
		c.Scenes = append(c.Scenes, i.key.scene)
	}
	for _, i := range b.items {
		lifetime := i.key.lifetime
		if lifetime == 0 {
			c.Permanent++
			continue
		}
		c.Temporary++
		c.Longest = max(c.Longest, lifetime)
		if c.Shortest == 0 || lifetime < c.Shortest {
			c.Shortest = lifetime
		}
	}
	if b.json {
		return printJSON(b.stdout, c)
	}
	lifetimes := ""
	if c.Temporary > 0 {
		lifetimes = ", lifetime " + formatLifetime(time.Duration(c.Shortest)*time.Second)
		if c.Longest > c.Shortest {
			lifetimes += " to " + formatLifetime(time.Duration(c.Longest)*time.Second)
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%d rows in %s, all valid: %d permanent codes, %d temporary codes%s\nFirst scenes:\n",
		c.Rows, strings.ToUpper(c.Encoding), c.Permanent, c.Temporary, lifetimes)
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
		account, b.simulatorIsNew, b.report.Sandbox = "a sandbox", true, true
	}
	if b.state, err = openState(b.folder, account); err != nil {
		return err
	}
	err = b.process(ctx)
	return errors.Join(err, b.state.close())
}

// process creates missing codes and images, and prints the result.
func (b *batchCommand) process(ctx context.Context) error {
	var missing, unsaved []*item
	for _, i := range b.items {
		i.code = b.state.code(i.key)
		if i.code != nil {
			b.existing[i.request] = true
		}
		i.saved = i.code != nil && b.imageExists(i)
		switch {
		case i.code == nil, !i.saved && b.simulatorIsNew && imageFormat(i.file) == "jpg":
			i.code = nil
			missing = append(missing, i)
			continue
		case !i.saved:
			unsaved = append(unsaved, i)
		}
		b.report.Existing++
	}
	b.progress = newProgress(b.stderr, len(missing)+len(unsaved))
	b.createAll(ctx, missing, unsaved)
	b.progress.finish()
	if err := b.writeResult(); err != nil {
		return fmt.Errorf("%w; %s", errors.Join(b.abortError(), err), resumeHint)
	}
	return b.printSummary(ctx)
}

// imageExists reports whether the image was saved by an earlier run and still exists.
func (b *batchCommand) imageExists(i *item) bool {
	info, err := os.Stat(filepath.Join(b.folder, i.file))
	return err == nil && info.Mode().IsRegular() && b.state.hasImage(i.file, b.imageOf(i))
}

func (b *batchCommand) imageOf(i *item) savedImage {
	image := savedImage{Ticket: i.code.Ticket}
	if imageFormat(i.file) != "jpg" {
		image.DrawKey = b.image.drawKey
	}
	return image
}

// shutdownGrace is how long requests in flight may take after an interrupt, so that
// the codes they create are recorded.
const shutdownGrace = 3 * time.Second

// createAll creates the missing codes, and saves their images and unsavedItems.
func (b *batchCommand) createAll(ctx context.Context, missing, unsavedItems []*item) {
	requestCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(shutdownGrace, cancel) })()

	unsaved := make(chan *item)
	var savers sync.WaitGroup
	for range b.options.Concurrency {
		savers.Go(func() {
			for i := range unsaved {
				b.saveImage(requestCtx, i)
			}
		})
	}
	for _, i := range unsavedItems {
		if ctx.Err() != nil {
			break
		}
		unsaved <- i
	}
	b.options.Existing = func(r wxqrcode.Request) bool { return b.existing[r] }
	for r, err := range b.client.CreateAll(requestCtx, b.requests(ctx, missing), b.options) {
		i := missing[r.Index] // the options are valid: see read
		if err == nil {
			b.existing[r.Request] = true
			if err = b.state.recordCode(i.key, r.QRCode); err != nil {
				b.abort(err)
				b.unrecorded = append(b.unrecorded, fmt.Sprintf("line %d: %s", i.line, r.QRCode.Ticket))
			}
		}
		b.recordResult(i, r.QRCode, err)
		if err == nil {
			unsaved <- i
		}
	}
	close(unsaved)
	savers.Wait()
}

// requests yields the requests of missing until the run is interrupted or aborted.
func (b *batchCommand) requests(ctx context.Context, missing []*item) iter.Seq[wxqrcode.Request] {
	return func(yield func(wxqrcode.Request) bool) {
		for _, i := range missing {
			if ctx.Err() != nil || b.isAborted() || !yield(i.request) {
				return
			}
		}
	}
}

func (b *batchCommand) abort(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fatalErr == nil {
		b.fatalErr = err
	}
}

func (b *batchCommand) isAborted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fatalErr != nil
}

// recordResult records the result of a request.
func (b *batchCommand) recordResult(i *item, code *wxqrcode.QRCode, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i.code, i.err = code, err
	switch {
	case errors.Is(err, wxqrcode.ErrNotAttempted):
	case err != nil:
		b.countFailure(i)
	default:
		b.report.Created++
	}
}

// countFailure counts the failure of i. The caller holds mu.
func (b *batchCommand) countFailure(i *item) {
	if b.report.Failed == 0 {
		b.warn("line %d failed: %s; result.csv will have the errors of all rows", i.line, plain(i.err))
	}
	b.report.Failed++
	b.progress.add(false)
	if b.accountErr == nil && isAccountError(i.err) {
		b.accountErr = i.err
	}
	if isRowError(i.err) {
		return
	}
	b.consecutiveFailures++
	if b.consecutiveFailures == maxConsecutiveFailures && b.fatalErr == nil {
		b.fatalErr = incompleteError{fmt.Errorf("%d rows failed in a row, the last is line %d: %w", b.consecutiveFailures, i.line, i.err)}
	}
}

// maxConsecutiveFailures stops a batch, for example when the network is down. It
// is also the limit of CreateAll.
const maxConsecutiveFailures = 20

// isAccountError reports whether err makes all further requests fail.
func isAccountError(err error) bool {
	return isOneOf(err,
		wxqrcode.ErrQuotaExceeded, wxqrcode.ErrUnauthorized, wxqrcode.ErrInvalidCredential, wxqrcode.ErrIPNotAllowed, wxqrcode.ErrInvalidToken)
}

// isRowError reports whether err is specific to one row.
func isRowError(err error) bool {
	_, local := errors.AsType[*fs.PathError](err)
	return local || isOneOf(err, wxqrcode.ErrInvalidRequest, wxqrcode.ErrTicketNotFound)
}

// saveImage saves and records the image of a code.
func (b *batchCommand) saveImage(ctx context.Context, i *item) {
	err := b.writeImage(ctx, i)
	if err == nil {
		err = b.state.recordImage(i.file, b.imageOf(i))
		if err != nil {
			b.abort(err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i.err = err; err != nil {
		b.countFailure(i)
		return
	}
	i.saved = true
	b.report.Images++
	b.consecutiveFailures = 0
	b.progress.add(true)
}

func (b *batchCommand) writeImage(ctx context.Context, i *item) error {
	path := filepath.Join(b.folder, i.file)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	p := b.image
	p.out = path
	if p.isDrawn() {
		return writeFileAtomicVia(b.state.tempDir, path, func(w io.Writer) error { return p.draw(w, i.code.URL) })
	}
	return writeFileAtomicVia(b.state.tempDir, path, func(w io.Writer) error {
		_, err := b.client.WriteImage(ctx, w, i.code.Ticket)
		return err
	})
}

// abortError returns why the batch stopped, with the tickets that were not recorded.
func (b *batchCommand) abortError() error {
	if len(b.unrecorded) == 0 {
		return b.fatalErr
	}
	return fmt.Errorf("%w; %d codes were created but not recorded: %s", b.fatalErr, len(b.unrecorded), strings.Join(b.unrecorded, ", "))
}

const resumeHint = "run the same command again to resume"

// printSummary prints the result, and returns an error if it is incomplete.
func (b *batchCommand) printSummary(ctx context.Context) error {
	r := &b.report
	for _, i := range b.items {
		if !i.saved && (i.err == nil || errors.Is(i.err, wxqrcode.ErrNotAttempted) || errors.Is(i.err, context.Canceled)) {
			r.NotAttempted++
		}
	}
	if b.json {
		if err := printJSON(b.stdout, r); err != nil {
			return err
		}
	} else {
		_, err := fmt.Fprintf(b.stdout, "%d rows in %s: %d codes created, %d existing, %d images, %d failed, %d not attempted; see %s\n%s",
			r.Rows, strings.ToUpper(r.Encoding), r.Created, r.Existing, r.Images, r.Failed, r.NotAttempted, r.Result,
			map[bool]string{true: "The codes exist only in the sandbox.\n"}[r.Sandbox])
		if err != nil {
			return err
		}
	}
	switch {
	case b.fatalErr != nil:
		return fmt.Errorf("%w; %s", b.abortError(), resumeHint)
	case ctx.Err() != nil && r.NotAttempted+r.Failed > 0:
		return fmt.Errorf("interrupted; %s", resumeHint)
	case b.accountErr != nil:
		return fmt.Errorf("%w; %s", b.accountErr, resumeHint)
	case r.Failed > 0:
		return incompleteError{fmt.Errorf("%d of %d rows failed, first in the file: %w; %s", r.Failed, r.Rows, b.firstFailure(), resumeHint)}
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
