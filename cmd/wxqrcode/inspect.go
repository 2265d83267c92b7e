package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-0142d113/wxqrcode"
)

func newInspectCommand(a *app) *cobra.Command {
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
			imageURL, err := a.imageURL(ticket)
			if err != nil {
				return err
			}
			i := inspected{
				URL: info.URL, CreatedAt: info.CreatedAt, Lifetime: int64(info.Lifetime / time.Second), ExpiresAt: info.ExpiresAt,
				Expired: !info.ExpiresAt.IsZero() && time.Now().After(info.ExpiresAt), ImageURL: imageURL,
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), i)
			}
			expires := localTime(i.ExpiresAt)
			if i.Expired {
				expires += " (expired)"
			}
			lifetime := "permanent"
			if i.Lifetime > 0 {
				lifetime = formatLifetime(info.Lifetime)
			}
			return printFields(cmd.OutOrStdout(), [2]string{"url", i.URL}, [2]string{"created", localTime(i.CreatedAt)},
				[2]string{"lifetime", lifetime}, [2]string{"expires", expires}, [2]string{"image", i.ImageURL})
		},
	}
}

// An inspected is what --json prints.
type inspected struct {
	URL       string    `json:"url"`
	CreatedAt time.Time `json:"created_at"`
	Lifetime  int64     `json:"expire_seconds,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Expired   bool      `json:"expired"`
	ImageURL  string    `json:"image_url,omitempty"`
}

// imageURL returns the URL of the image of a ticket on the host of --api-url. It
// is empty with --sandbox, as a new sandbox has no codes.
func (a *app) imageURL(ticket wxqrcode.Ticket) (string, error) {
	if a.sandbox {
		return "", nil
	}
	client, err := a.imageClient()
	if err != nil {
		return "", err
	}
	return client.ImageURL(ticket), nil
}
