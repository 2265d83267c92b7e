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

func newCreateCommand(a *app) *cobra.Command {
	var c createCommand
	cmd := &cobra.Command{
		Use:   "create [SCENE]",
		Short: "Make a code that carries a scene",
		Long: `Create makes a code: a temporary one by --lifetime, a permanent one by --permanent. A
permanent code takes one of the account's 100,000, for ever; the same scene again is the same code.

SCENE is a text of up to 64 bytes, or, with --number, a number. In its place, --random makes a scene
that nobody can guess, for a login.

--out saves the picture too: as a .jpg it is WeChat's own, as a .png or .svg it is drawn here.`,
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
			return c.run(cmd, a, request)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&c.number, "number", false, "SCENE is a number")
	flags.StringVar(&c.random, "random", "", "make a random scene that begins with `PREFIX`, of up to 38 bytes")
	flags.BoolVar(&c.permanent, "permanent", false, "make a permanent code")
	flags.StringVar(&c.lifetime, "lifetime", "", "make a temporary code that lives so long: `30m`, 720h, 7d, or seconds; 30d at most")
	c.picture.addFlags(cmd, "save the picture in this `file`, .jpg, .png or .svg")
	return cmd
}

// A createCommand is one run of the command.
type createCommand struct {
	number, permanent bool
	random, lifetime  string
	picture           pictureFlags
}

// A created is what --json prints of a code.
type created struct {
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
	case c.permanent == (c.lifetime != ""):
		return r, errors.New("say either --permanent or --lifetime")
	case c.permanent:
		r = wxqrcode.Permanent(scene)
	default:
		lifetime, err := parseLifetime(c.lifetime)
		if err != nil {
			return r, err
		}
		r = wxqrcode.Temporary(scene, lifetime)
	}
	err = r.Validate()
	if e, ok := errors.AsType[*wxqrcode.ValidationError](err); ok && e.Field == "lifetime" {
		e.Value = c.lifetime // not in hours
	}
	return r, err
}

func (c *createCommand) scene(args []string) (wxqrcode.Scene, error) {
	if (len(args) == 1) == (c.random != "") {
		return wxqrcode.Scene{}, errors.New("give either a SCENE or --random")
	}
	if c.random != "" {
		return wxqrcode.RandomScene(c.random), nil
	}
	if !c.number {
		return wxqrcode.SceneStr(args[0]), nil
	}
	id, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return wxqrcode.Scene{}, fmt.Errorf("the scene %q is not a number from 1 to 4294967295", args[0])
	}
	return wxqrcode.SceneID(uint32(id)), nil
}

func (c *createCommand) run(cmd *cobra.Command, a *app, r wxqrcode.Request) error {
	if err := c.picture.check(); err != nil {
		return usageError{err}
	}
	if names := c.picture.drawingFlags(); len(names) > 0 && !c.picture.isDrawn() {
		return usageError{fmt.Errorf("%s counts for a .png or .svg only; a .jpg is WeChat's own picture", strings.Join(names, ", "))}
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	code, err := s.client.Create(cmd.Context(), r)
	if err != nil {
		return err
	}
	made := created{r.Action(), r.Scene().Key(), code, c.picture.out}
	if made.File != "" {
		if err := c.picture.save(cmd.Context(), s.client, code.Ticket, code.URL); err != nil {
			// The code exists, and must not be lost for want of a picture.
			err = fmt.Errorf("the code is made, its ticket is %s; but its picture: %w", code.Ticket, err)
			return err
		}
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), made)
	}
	return printFields(cmd.OutOrStdout(),
		[2]string{"action", string(made.Action)}, [2]string{"scene", made.Scene}, [2]string{"ticket", string(code.Ticket)},
		[2]string{"url", code.URL}, [2]string{"expires", localTime(code.ExpiresAt)}, [2]string{"picture", made.File})
}

const day = 24 * time.Hour

var chineseUnits = strings.NewReplacer("天", "d", "小时", "h", "分钟", "m", "秒", "s")

// parseLifetime reads a duration of Go's, whole days as "7d", or seconds. The units may be Chinese.
func parseLifetime(text string) (time.Duration, error) {
	duration := chineseUnits.Replace(text)
	number, unit := duration, time.Second
	if days, ok := strings.CutSuffix(duration, "d"); ok {
		number, unit = days, day
	}
	if n, err := strconv.ParseUint(number, 10, 32); err == nil {
		return min(time.Duration(n), wxqrcode.MaxLifetime/unit+1) * unit, nil // what is too long stays too long
	}
	d, err := time.ParseDuration(duration)
	if err != nil {
		return 0, fmt.Errorf("the lifetime %q is not a duration such as 30m, 720h, 7d or 604800 (seconds)", text)
	}
	return d, nil
}
