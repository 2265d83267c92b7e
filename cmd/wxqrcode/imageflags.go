package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // formats of logos
	_ "image/jpeg"
	_ "image/png"
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

// imageFlags are the flags for the image of a code.
type imageFlags struct {
	out                      string
	size, quietZone          int
	level, dark, light, logo string

	options render.Options // set by check, like drawKey
	drawKey string         // identifies the options and the logo
	flags   *pflag.FlagSet
}

func (img *imageFlags) addFlags(cmd *cobra.Command, out string) {
	flags := cmd.Flags()
	img.flags = flags
	flags.StringVarP(&img.out, "out", "o", "", out)
	flags.IntVar(&img.size, "size", 430, "width of a drawn image in `pixels`, at most "+strconv.Itoa(render.MaxSize))
	flags.IntVar(&img.quietZone, "quiet-zone", 4, "margin of a drawn image in `modules`")
	flags.StringVar(&img.level, "level", "M", "error correction `level` of a drawn image: L, M, Q or H")
	flags.StringVar(&img.dark, "dark", "#000000", "`color` of the modules of a drawn image")
	flags.StringVar(&img.light, "light", "#ffffff", "background `color` of a drawn image")
	flags.StringVar(&img.logo, "logo", "", "image `file` (.png, .jpg or .gif) for the center of a drawn image, not scaled, at most about a fifth as wide; implies --level H")
	completes(cmd, "level", "L", "M", "Q", "H")
}

// check validates the flags, before anything is sent.
func (img *imageFlags) check() (err error) {
	if img.out != "" && img.format() == "" {
		return fmt.Errorf("--out must end in .jpg, .png or .svg, got %q", img.out)
	}
	if img.out != "" { // fail before the code is created
		if info, err := os.Stat(filepath.Dir(img.out)); err != nil || !info.IsDir() {
			return fmt.Errorf("--out %s: folder %s does not exist", img.out, filepath.Dir(img.out))
		}
	}
	img.options = render.Options{Size: img.size, QuietZone: img.quietZone}
	if img.size < 1 || img.quietZone < 1 {
		return fmt.Errorf("--size and --quiet-zone must be at least 1, got %d and %d", img.size, img.quietZone)
	}
	levels := map[string]render.Level{"L": render.LevelL, "M": render.LevelM, "Q": render.LevelQ, "H": render.LevelH}
	level, ok := levels[strings.ToUpper(img.level)]
	if !ok {
		return fmt.Errorf("--level must be L, M, Q or H, got %q", img.level)
	}
	img.options.Level = level
	if img.options.Foreground, err = parseColor("--dark", img.dark); err != nil {
		return err
	}
	if img.options.Background, err = parseColor("--light", img.light); err != nil {
		return err
	}
	var logo []byte
	if img.logo != "" {
		if img.options.Logo, logo, err = readLogo(img.logo); err != nil {
			return err
		}
	}
	sum := sha256.Sum256(fmt.Appendf(logo, "%d %d %v %s %s", img.size, img.quietZone, img.options.Level, img.dark, img.light))
	img.drawKey = hex.EncodeToString(sum[:8])
	if !img.isDrawn() {
		return nil
	}
	// The URL of a code has 40 to 50 characters. Report what cannot be drawn.
	return img.draw(io.Discard, strings.Repeat("x", 45))
}

// changedDrawFlags returns the given flags that apply to drawn images only.
func (img *imageFlags) changedDrawFlags() (names []string) {
	img.flags.Visit(func(f *pflag.Flag) {
		if slices.Contains([]string{"size", "quiet-zone", "level", "dark", "light", "logo"}, f.Name) {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}

// format returns the format of the image: jpg, png, svg, or "" if it is unknown.
func (img *imageFlags) format() string { return imageFormat(img.out) }

func imageFormat(path string) string {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".jpg", ".jpeg":
		return "jpg"
	case ".png", ".svg":
		return ext[1:]
	}
	return ""
}

func (img *imageFlags) isDrawn() bool { return img.format() == "png" || img.format() == "svg" }

// save saves the image of a code: that of WeChat, or one that shows url.
func (img *imageFlags) save(ctx context.Context, client *wxqrcode.Client, ticket wxqrcode.Ticket, url string) error {
	if !img.isDrawn() {
		return client.SaveImage(ctx, img.out, ticket)
	}
	return writeFileAtomic(img.out, func(w io.Writer) error { return img.draw(w, url) })
}

func (img *imageFlags) draw(w io.Writer, url string) error {
	switch img.format() {
	case "svg":
		return render.SVG(w, url, img.options)
	case "jpg":
		return render.JPEG(w, url, img.options)
	}
	return render.PNG(w, url, img.options)
}

// An imageOutput is the JSON output for a saved image.
type imageOutput struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
}

// printSaved prints the size of a saved image.
func (g *globalFlags) printSaved(stdout io.Writer, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if g.json {
		return printJSON(stdout, imageOutput{path, info.Size()})
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
	// Check the bounds first: a small file can declare an image that fills the memory.
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
