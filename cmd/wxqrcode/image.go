package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-0142d113/wxqrcode"
)

func newImageCommand(g *globalFlags) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "image TICKET",
		Short: "Save WeChat's image of a code",
		Long: `Fetch the image of a ticket from WeChat: a JPEG of 430 x 430 pixels. No credentials are needed.
For other sizes and formats, use wxqrcode render.

With --out - the image is written to stdout.`,
		Example: `  wxqrcode image gQH47joAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL2taZ2Z3TVRtNzJXV1Brb3ZhYmJJAAIEZ23sUwMEmm3sUw== --out code.jpg
  wxqrcode image "$TICKET" --out - | lpr`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ticket := wxqrcode.Ticket(args[0])
			if err := checkImageFlags(out, g); err != nil {
				return usageError{err}
			}
			client, err := g.imageClient()
			if err != nil {
				return err
			}
			if out == "-" {
				_, err := client.WriteImage(cmd.Context(), cmd.OutOrStdout(), ticket)
				return err
			}
			if err := client.SaveImage(cmd.Context(), out, ticket); err != nil {
				return err
			}
			return g.printSaved(cmd.OutOrStdout(), out)
		},
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "save the image to this `file` (.jpg); - is stdout")
	return cmd
}

// checkImageFlags reports which flags are missing or cannot be combined.
func checkImageFlags(out string, g *globalFlags) error {
	switch {
	case g.sandbox:
		return errors.New("--sandbox cannot be combined with image, as a new sandbox has no codes; use --api-url with the URL of a running sandbox")
	case out == "":
		return errors.New("image requires --out FILE; use --out - for stdout")
	case out == "-" && g.json:
		return errors.New("--json cannot be combined with --out -")
	case out != "-" && imageFormat(out) != "jpg":
		return fmt.Errorf("--out must end in .jpg or .jpeg, got %q; for PNG and SVG, use wxqrcode render", out)
	}
	return nil
}

// imageClient returns a client that can fetch images, which needs no account.
func (g *globalFlags) imageClient() (*wxqrcode.Client, error) {
	return wxqrcode.NewClient(wxqrcode.StaticToken("none"), g.clientOptions()...)
}
