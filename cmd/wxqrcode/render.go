package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/seed-0142d113/wxqrcode"
)

// codeURL matches the URL of a code.
var codeURL = regexp.MustCompile(`^(?i:https?://weixin\.qq\.com)/q/[^/?#]+$`)

func newRenderCommand(g *globalFlags) *cobra.Command {
	var p imageFlags
	var ticket string
	cmd := &cobra.Command{
		Use:   "render [URL]",
		Short: "Draw the image of a code as PNG, JPEG or SVG",
		Long: `Draw the image of a code in any size and color, without network access. An SVG is sharp at any size.

URL is the url that WeChat returned for the code; --ticket extracts it from a ticket. The colors
must differ enough for phones to read them, and a logo must leave enough of the code uncovered.`,
		Example: `  wxqrcode render http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI --out poster.svg
  wxqrcode render --ticket "$TICKET" --out poster.png --size 2000 --logo logo.png --dark '#07305a'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && ticket != "" {
				return usageError{errors.New("URL cannot be combined with --ticket")}
			}
			if len(args) == 0 && ticket == "" {
				return usageError{errors.New("render requires URL or --ticket")}
			}
			url := ""
			if len(args) == 1 {
				url = args[0]
			}
			if ticket != "" {
				info, err := wxqrcode.Ticket(ticket).Inspect()
				if err != nil {
					return usageError{err}
				}
				url = info.URL
			}
			if p.out == "" {
				return usageError{errors.New("render requires --out FILE")}
			}
			if err := p.check(); err != nil {
				return usageError{err}
			}
			if err := p.draw(io.Discard, url); err != nil {
				return usageError{err}
			}
			if !codeURL.MatchString(url) {
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "warning: %q is not the URL of a WeChat code, such as http://weixin.qq.com/q/…: a scan of the image pushes no event\n", url)
			}
			if err := writeFileAtomic(p.out, func(w io.Writer) error { return p.draw(w, url) }); err != nil {
				return err
			}
			return g.printSaved(cmd.OutOrStdout(), p.out)
		},
	}
	cmd.Flags().StringVar(&ticket, "ticket", "", "draw the URL in this `ticket`")
	p.addFlags(cmd, "save the image to this `file` (.jpg, .png or .svg)")
	return cmd
}
