package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-0142d113/wxqrcode"
)

func newInspectCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect TICKET",
		Short: "Tell what a ticket holds",
		Long: `Inspect reads a ticket: the URL in its code, when it was made and how long it lives. Nothing is
sent. WeChat does not document what a ticket holds and may change it.`,
		Example: `  wxqrcode inspect gQFK8DoAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL3kweXE0T3JscWY3UTltc3ZPMklvAAIEG9jUUgMECAcAAA==`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ticket := wxqrcode.Ticket(args[0])
			info, err := ticket.Inspect()
			if err != nil {
				return usageError{err}
			}
			i := inspected{
				URL: info.URL, CreatedAt: info.CreatedAt, Lifetime: int64(info.Lifetime / time.Second), ExpiresAt: info.ExpiresAt,
				Expired: !info.ExpiresAt.IsZero() && time.Now().After(info.ExpiresAt), ImageURL: ticket.ImageURL(),
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), i)
			}
			expires := localTime(i.ExpiresAt)
			if i.Expired {
				expires += " (it is dead)"
			}
			lifetime := "permanent"
			if i.Lifetime > 0 {
				lifetime = info.Lifetime.String()
			}
			return printFields(cmd.OutOrStdout(), [2]string{"url", i.URL}, [2]string{"made", localTime(i.CreatedAt)},
				[2]string{"lifetime", lifetime}, [2]string{"expires", expires}, [2]string{"picture", i.ImageURL})
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
	ImageURL  string    `json:"image_url"`
}
