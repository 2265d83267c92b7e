package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	"image/color"
	_ "image/gif"  // logos may be
	_ "image/jpeg" // all of
	_ "image/png"  // these
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/render"
)

// pictureFlags say which picture of a code is saved where.
type pictureFlags struct {
	out                      string
	size, quiet              int
	level, dark, light, logo string

	options render.Options // set by check, as is look
	look    string         // tells apart what is drawn in different ways
	flags   *pflag.FlagSet
}

func (p *pictureFlags) addFlags(cmd *cobra.Command, out string) {
	flags := cmd.Flags()
	p.flags = flags
	flags.StringVarP(&p.out, "out", "o", "", out)
	flags.IntVar(&p.size, "size", 430, "width of a drawn image in `pixels`, at most "+strconv.Itoa(render.MaxSize))
	flags.IntVar(&p.quiet, "quiet-zone", 4, "margin of a drawn image in `modules`")
	flags.StringVar(&p.level, "level", "M", "error correction `level` of a drawn image: L, M, Q or H")
	flags.StringVar(&p.dark, "dark", "#000000", "`color` of the modules of a drawn image")
	flags.StringVar(&p.light, "light", "#ffffff", "background `color` of a drawn image")
	flags.StringVar(&p.logo, "logo", "", "image `file` (.png, .jpg or .gif) for the center of a drawn image, not scaled, at most about a fifth as wide; implies --level H")
	completes(cmd, "level", "L", "M", "Q", "H")
}

// check reads the flags, before anything is sent.
func (p *pictureFlags) check() (err error) {
	if p.out != "" && p.kind() == "" {
		return fmt.Errorf("--out must end in .jpg, .png or .svg, got %q", p.out)
	}
	if p.out != "" { // or a code would be made whose picture cannot be saved
		if info, err := os.Stat(filepath.Dir(p.out)); err != nil || !info.IsDir() {
			return fmt.Errorf("--out %s: folder %s does not exist", p.out, filepath.Dir(p.out))
		}
	}
	p.options = render.Options{Size: p.size, QuietZone: p.quiet}
	if p.size < 1 || p.quiet < 1 {
		return fmt.Errorf("--size and --quiet-zone must be at least 1, got %d and %d", p.size, p.quiet)
	}
	levels := map[string]render.Level{"L": render.LevelL, "M": render.LevelM, "Q": render.LevelQ, "H": render.LevelH}
	level, ok := levels[strings.ToUpper(p.level)]
	if !ok {
		return fmt.Errorf("--level must be L, M, Q or H, got %q", p.level)
	}
	p.options.Level = level
	if p.options.Foreground, err = parseColor("--dark", p.dark); err != nil {
		return err
	}
	if p.options.Background, err = parseColor("--light", p.light); err != nil {
		return err
	}
	var logo []byte
	if p.logo != "" {
		if p.options.Logo, logo, err = readLogo(p.logo); err != nil {
			return err
		}
	}
	sum := sha256.Sum256(fmt.Appendf(logo, "%d %d %v %s %s", p.size, p.quiet, p.options.Level, p.dark, p.light))
	p.look = hex.EncodeToString(sum[:8])
	if !p.isDrawn() {
		return nil
	}
	// A code's URL is 40 to 50 characters long: what cannot be drawn shows here.
	return p.draw(io.Discard, strings.Repeat("x", 45))
}

// drawingFlags names the flags that were given and only count for a picture that is drawn.
func (p *pictureFlags) drawingFlags() (names []string) {
	p.flags.Visit(func(f *pflag.Flag) {
		if slices.Contains([]string{"size", "quiet-zone", "level", "dark", "light", "logo"}, f.Name) {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}

// kind is the kind of picture that the file is to be; "" if it is none that is known.
func (p *pictureFlags) kind() string { return pictureKind(p.out) }

func pictureKind(path string) string {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".jpg", ".jpeg":
		return "jpg"
	case ".png", ".svg":
		return ext[1:]
	}
	return ""
}

func (p *pictureFlags) isDrawn() bool { return p.kind() == "png" || p.kind() == "svg" }

// save saves the picture of a code: WeChat's own, or one drawn of url.
func (p *pictureFlags) save(ctx context.Context, client *wxqrcode.Client, ticket wxqrcode.Ticket, url string) error {
	if !p.isDrawn() {
		return client.SaveImage(ctx, p.out, ticket)
	}
	return writeFile(p.out, func(w io.Writer) error { return p.draw(w, url) })
}

func (p *pictureFlags) draw(w io.Writer, url string) error {
	switch p.kind() {
	case "svg":
		return render.SVG(w, url, p.options)
	case "jpg":
		return render.JPEG(w, url, p.options)
	}
	return render.PNG(w, url, p.options)
}

// A savedFile is what --json prints of one.
type savedFile struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
}

// tellSaved tells of a picture that was saved.
func (a *app) tellSaved(stdout io.Writer, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(stdout, savedFile{path, info.Size()})
	}
	_, err = fmt.Fprintf(stdout, "%s: %d bytes\n", path, info.Size())
	return err
}

func parseColor(flag, text string) (color.Color, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "#"), 16, 32)
	if err != nil || len(strings.TrimPrefix(text, "#")) != 6 {
		return nil, fmt.Errorf("%s must be a color such as #1a2b3c, got %q", flag, text)
	}
	return color.NRGBA{uint8(n >> 16), uint8(n >> 8), uint8(n), 0xff}, nil
}

const maxLogoFile = 8 << 20

func readLogo(path string) (logo image.Image, raw []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the logo: %w", err)
	}
	defer func() { _ = f.Close() }()
	if raw, err = io.ReadAll(io.LimitReader(f, maxLogoFile+1)); err != nil {
		return nil, nil, fmt.Errorf("read the logo: %w", err)
	}
	if len(raw) > maxLogoFile {
		return nil, nil, fmt.Errorf("--logo %s must be at most %d MiB", path, maxLogoFile>>20)
	}
	// The bounds come first: a small file can claim a picture that fills the memory.
	config, _, err := image.DecodeConfig(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, fmt.Errorf("read the logo %s: %w", path, err)
	}
	if config.Width > render.MaxSize || config.Height > render.MaxSize {
		return nil, nil, fmt.Errorf("--logo %s must be at most %d pixels wide and high, is %d x %d", path, render.MaxSize, config.Width, config.Height)
	}
	logo, _, err = image.Decode(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, fmt.Errorf("read the logo %s: %w", path, err)
	}
	return logo, raw, nil
}
