package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-0142d113/wxqrcode"
)

func newCreateCommand(g *globalFlags) *cobra.Command {
	var c createCommand
	cmd := &cobra.Command{
		Use:   "create [SCENE]",
		Short: "Create a code",
		Long: `Create a temporary code (--lifetime) or a permanent code (--permanent) that carries a scene.

SCENE is a text of up to 64 bytes, or a number with --number. --random generates a scene that cannot
be guessed, for logins. An account can have 100,000 permanent codes, which cannot be deleted; the
same scene always returns the same permanent code.

--out saves the image, too: a .jpg is fetched from WeChat, a .png or .svg is drawn locally.`,
		Example: `  wxqrcode create poster-7 --permanent --out poster-7.svg
  wxqrcode create 1001 --number --lifetime 7d
  wxqrcode create --random login- --lifetime 5m --json
  wxqrcode create poster-7 --permanent --sandbox`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := c.request(args)
			if err != nil {
				return usageError{err}
			}
			return c.run(cmd, g, request)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&c.number, "number", false, "treat SCENE as a number")
	flags.StringVar(&c.random, "random", "", "generate a random scene that begins with `PREFIX`, at most 38 bytes")
	flags.BoolVar(&c.permanent, "permanent", false, "create a permanent code")
	flags.StringVar(&c.lifetime, "lifetime", "", "create a temporary code with this `lifetime`: 30m, 720h, 7d, or seconds; at most 30d")
	c.image.addFlags(cmd, "save the image to this `file` (.jpg, .png or .svg)")
	return cmd
}

// A createCommand is a run of the create command.
type createCommand struct {
	number, permanent bool
	random, lifetime  string
	image             imageFlags
}

// A createOutput is the JSON output.
type createOutput struct {
	Action wxqrcode.Action  `json:"action"`
	Scene  string           `json:"scene"`
	Code   *wxqrcode.QRCode `json:"code"`
	File   string           `json:"file,omitempty"`
}

func (c *createCommand) request(args []string) (r wxqrcode.Request, err error) {
	scene, err := c.scene(args)
	switch {
	case err != nil:
		return r, err
	case c.permanent && c.lifetime != "":
		return r, errors.New("--permanent cannot be combined with --lifetime")
	case !c.permanent && c.lifetime == "":
		return r, errors.New("create requires --permanent or --lifetime")
	case c.permanent:
		r = wxqrcode.Permanent(scene)
	default:
		lifetime, err := parseLifetime(c.lifetime)
		if err != nil {
			return r, fmt.Errorf("--lifetime %w", err)
		}
		r = wxqrcode.Temporary(scene, lifetime)
	}
	err = r.Validate()
	if e, ok := errors.AsType[*wxqrcode.ValidationError](err); ok && e.Field == "lifetime" {
		e.Value = c.lifetime // as given, not in hours
	}
	return r, err
}

// maxRandomPrefix leaves room for the 26 characters of RandomScene.
const maxRandomPrefix = wxqrcode.MaxSceneStr - 26

func (c *createCommand) scene(args []string) (wxqrcode.Scene, error) {
	switch {
	case len(args) == 1 && c.random != "":
		return wxqrcode.Scene{}, errors.New("SCENE cannot be combined with --random")
	case len(args) == 0 && c.random == "":
		return wxqrcode.Scene{}, errors.New("create requires SCENE or --random")
	case c.random != "" && c.number:
		return wxqrcode.Scene{}, errors.New("--number cannot be combined with --random")
	case len(c.random) > maxRandomPrefix:
		return wxqrcode.Scene{}, fmt.Errorf("--random must be at most %d bytes long, is %d", maxRandomPrefix, len(c.random))
	case c.random != "":
		return wxqrcode.RandomScene(c.random), nil
	case !c.number:
		return wxqrcode.SceneStr(args[0]), nil
	}
	id, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return wxqrcode.Scene{}, fmt.Errorf("SCENE must be a number from 1 to 4294967295, got %q", args[0])
	}
	return wxqrcode.SceneID(uint32(id)), nil
}

func (c *createCommand) run(cmd *cobra.Command, g *globalFlags, r wxqrcode.Request) error {
	if err := c.image.check(); err != nil {
		return usageError{err}
	}
	if names := c.image.changedDrawFlags(); len(names) > 0 && !c.image.isDrawn() {
		return usageError{fmt.Errorf("%s requires --out with a .png or .svg file: a .jpg comes from WeChat as it is", names[0])}
	}
	s, err := g.open()
	if err != nil {
		return err
	}
	defer s.close()
	code, err := s.client.Create(cmd.Context(), r)
	if err != nil {
		return err
	}
	output := createOutput{r.Action(), r.Scene().Key(), code, c.image.out}
	if output.File != "" {
		if err := c.image.save(cmd.Context(), s.client, code.Ticket, code.URL); err != nil {
			return fmt.Errorf("code created (ticket %s), but its image was not saved: %w", code.Ticket, err)
		}
	}
	if g.json {
		return printJSON(cmd.OutOrStdout(), output)
	}
	return printFields(cmd.OutOrStdout(),
		[2]string{"action", string(output.Action)}, [2]string{"scene", output.Scene}, [2]string{"ticket", string(code.Ticket)},
		[2]string{"url", code.URL}, [2]string{"expires", localTime(code.ExpiresAt)}, [2]string{"image", output.File})
}

const day = 24 * time.Hour

var chineseUnits = strings.NewReplacer("天", "d", "小时", "h", "分钟", "m", "秒", "s")

// parseLifetime parses a Go duration, whole days such as "7d", or seconds. The units
// may be Chinese.
func parseLifetime(text string) (time.Duration, error) {
	duration := chineseUnits.Replace(text)
	number, unit := duration, time.Second
	if days, ok := strings.CutSuffix(duration, "d"); ok {
		number, unit = days, day
	}
	if n, err := strconv.ParseUint(number, 10, 32); err == nil {
		return min(time.Duration(n), wxqrcode.MaxLifetime/unit+1) * unit, nil // no overflow: what is too long stays too long
	}
	d, err := time.ParseDuration(duration)
	if err != nil {
		return 0, fmt.Errorf("must be a duration such as 30m, 720h, 7d or 604800 (seconds), got %q", text)
	}
	return d, nil
}

// formatLifetime formats a lifetime as parseLifetime reads it, such as 30d or 5m.
func formatLifetime(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = strings.TrimSuffix(text, zero[1:])
		}
	}
	return text
}
