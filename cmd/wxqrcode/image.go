package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/seed-0142d113/wxqrcode"
)

func newImageCommand(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "image TICKET",
		Short: "Fetch WeChat's own picture of a code",
		Long: `Image fetches the picture behind a ticket: a JPEG of 430 x 430 pixels. That needs no
credentials. For other sizes and formats, draw the code's URL by "wxqrcode render".

With --out - the picture goes to stdout. With --sandbox there is no picture of any ticket: a sandbox
ends with its command.`,
		Example: `  wxqrcode image gQH47joAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL2taZ2Z3TVRtNzJXV1Brb3ZhYmJJAAIEZ23sUwMEmm3sUw== --out code.jpg
  wxqrcode image "$TICKET" --out - | lpr`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ticket := wxqrcode.Ticket(args[0])
			if out == "" {
				return usageError{errors.New("say by --out where the picture goes; - is stdout")}
			}
			if out == "-" && a.json {
				return usageError{errors.New("with --out - the picture goes to stdout, where --json has no place")}
			}
			client, err := a.imageClient()
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
			return a.tellSaved(cmd.OutOrStdout(), out)
		},
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "save the picture in this `file`; - is stdout")
	return cmd
}

// imageClient returns a client that can fetch images, which needs no account.
func (a *app) imageClient() (*wxqrcode.Client, error) {
	if a.sandbox {
		return nil, usageError{errors.New("a sandbox in this process knows no ticket yet; name one that runs elsewhere by --api-url")}
	}
	return wxqrcode.NewClient(wxqrcode.StaticToken("none"), a.clientOptions()...)
}
