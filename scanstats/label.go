package scanstats

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Label is a display name and a group of a scene. Each has at most 200 bytes of
// any text; an empty one removes it.
type Label struct {
	Name  string // such as 南京路店, shown in place of poster-7
	Group string // such as 上海; see [Query.Group]
}

const maxLabel = 200 // bytes

// Label sets the label of a scene, named as it is counted (see
// [Config.SceneName]). The scene need not have been scanned yet: reports list
// labeled scenes without counts too.
//
// Errors: [ErrInvalidLabel]; [ErrClosed]; the kind of a database failure, such as
// [ErrUnavailable].
func (s *Store) Label(ctx context.Context, scene string, l Label) error {
	if err := s.label(ctx, scene, l); err != nil {
		return fmt.Errorf("scanstats: label %.100q: %w", scene, wrapDBError(err))
	}
	return nil
}

func (s *Store) label(ctx context.Context, scene string, l Label) error {
	for _, text := range []string{l.Name, l.Group} {
		if len(text) > maxLabel {
			return fmt.Errorf("%w: %.100q… has %d bytes; at most %d are allowed", ErrInvalidLabel, text, len(text), maxLabel)
		}
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
			return fmt.Errorf("%w: %q is not valid UTF-8 without NUL", ErrInvalidLabel, text)
		}
	}
	if scene == "" {
		return fmt.Errorf("%w: the scene is empty", ErrInvalidLabel)
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	return s.update(ctx, func(t *tx) error {
		scene := normalizeScene(scene)
		ids, err := t.sceneIDs([]string{scene})
		if err != nil {
			return err
		}
		return t.exec(t.dialect.sql("UPDATE scanstats_scene SET name = ?, label_group = ? WHERE id = ?"),
			t.dialect.text(l.Name), t.dialect.text(l.Group), int64(ids[scene]))
	})
}
