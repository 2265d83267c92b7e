package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-0142d113/wxqrcode"
)

func newInspectCommand(g *globalFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect TICKET",
		Short: "Show what a ticket contains",
		Long: `Show the URL in the code of a ticket, when it was created and when it expires. No request is sent.
The format of tickets is not documented by WeChat and may change.`,
		Example: `  wxqrcode inspect gQFK8DoAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL3kweXE0T3JscWY3UTltc3ZPMklvAAIEG9jUUgMECAcAAA==`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ticket := wxqrcode.Ticket(args[0])
			info, err := ticket.Inspect()
			if err != nil {
				return usageError{err}
			}
			imageURL, err := g.imageURL(ticket)
			if err != nil {
				return err
			}
			output := inspectOutput{
				URL: info.URL, CreatedAt: info.CreatedAt, Lifetime: int64(info.Lifetime / time.Second), ExpiresAt: info.ExpiresAt,
				Expired: !info.ExpiresAt.IsZero() && time.Now().After(info.ExpiresAt), ImageURL: imageURL,
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), output)
			}
			expires := localTime(output.ExpiresAt)
			if output.Expired {
				expires += " (expired)"
			}
			lifetime := "permanent"
			if output.Lifetime > 0 {
				lifetime = formatLifetime(info.Lifetime)
			}
			return printFields(cmd.OutOrStdout(), [2]string{"url", output.URL}, [2]string{"created", localTime(output.CreatedAt)},
				[2]string{"lifetime", lifetime}, [2]string{"expires", expires}, [2]string{"image", output.ImageURL})
		},
	}
}

// An inspectOutput is the JSON output.
type inspectOutput struct {
	URL       string    `json:"url"`
	CreatedAt time.Time `json:"created_at"`
	Lifetime  int64     `json:"expire_seconds,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Expired   bool      `json:"expired"`
	ImageURL  string    `json:"image_url,omitempty"`
}

// imageURL returns the URL of the image of a ticket on the host of --api-url. It
// is empty with --sandbox, as a new sandbox has no codes.
func (g *globalFlags) imageURL(ticket wxqrcode.Ticket) (string, error) {
	if g.sandbox {
		return "", nil
	}
	client, err := g.imageClient()
	if err != nil {
		return "", err
	}
	return client.ImageURL(ticket), nil
}
