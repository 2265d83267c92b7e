package scanstats

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Label is what people call a scene. Any text will do, up to 200 bytes each; empty takes
// it away.
type Label struct {
	Name  string // such as 南京路店, in place of poster-7
	Group string // such as 上海: reports can be limited to it
}

const maxLabel = 200 // bytes

// Label names a scene, which need not have been scanned yet; labelled ones are in reports
// even if nobody scanned them. The scene is as it is counted; see [Config.Scene].
//
// Errors: [ErrInvalidLabel]; [ErrClosed]; what kind of failure of the database it was, such as
// [ErrUnavailable].
func (s *Store) Label(ctx context.Context, scene string, l Label) error {
	if err := s.label(ctx, scene, l); err != nil {
		return fmt.Errorf("scanstats: label %.100q: %w", scene, explain(err))
	}
	return nil
}

func (s *Store) label(ctx context.Context, scene string, l Label) error {
	for _, text := range []string{l.Name, l.Group} {
		if len(text) > maxLabel {
			return fmt.Errorf("%w: %.100q… has %d bytes, at most %d are allowed", ErrInvalidLabel, text, len(text), maxLabel)
		}
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
			return fmt.Errorf("%w: %q is no text", ErrInvalidLabel, text)
		}
	}
	if scene == "" {
		return fmt.Errorf("%w: no scene", ErrInvalidLabel)
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	return s.change(ctx, func(t *tx) error {
		scene := clean(scene)
		ids, err := t.sceneIDs([]string{scene})
		if err != nil {
			return err
		}
		return t.exec(t.dialect.sql("UPDATE scanstats_scene SET name = ?, label_group = ? WHERE id = ?"),
			t.dialect.text(l.Name), t.dialect.text(l.Group), int64(ids[scene]))
	})
}
