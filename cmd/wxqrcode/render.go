package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/seed-0142d113/wxqrcode"
)

// codeURL matches the URLs that WeChat gives for codes.
var codeURL = regexp.MustCompile(`^(?i:https?://weixin\.qq\.com)/q/[^/?#]+$`)

func newRenderCommand(a *app) *cobra.Command {
	var p pictureFlags
	var ticket string
	cmd := &cobra.Command{
		Use:   "render [URL]",
		Short: "Draw a code's URL as PNG, JPEG or SVG, without the network",
		Long: `Render draws the URL that WeChat gave for a code, at any size: an SVG is sharp on a poster of any
size. Only that URL makes a parametric code. In its place, --ticket takes it from a ticket.

Two colours must differ enough for a phone to read them; a logo must leave enough of the code.`,
		Example: `  wxqrcode render http://weixin.qq.com/q/kZgfwMTm72WWPkovabbI --out poster.svg
  wxqrcode render --ticket "$TICKET" --out poster.png --size 2000 --logo logo.png --dark '#07305a'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (ticket != "") {
				return usageError{errors.New("give either a URL or --ticket")}
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
				return usageError{errors.New("say by --out where the picture goes")}
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
			if err := writeFile(p.out, func(w io.Writer) error { return p.draw(w, url) }); err != nil {
				return err
			}
			return a.tellSaved(cmd.OutOrStdout(), p.out)
		},
	}
	cmd.Flags().StringVar(&ticket, "ticket", "", "draw the URL that this `ticket` holds")
	p.addFlags(cmd, "save the picture in this `file`, .jpg, .png or .svg")
	return cmd
}
