package scanstats

import (
	"context"
	"log/slog"
	"time"
)

// How long the database is left alone before it is asked again.
const (
	minRest = time.Second
	maxRest = 30 * time.Second
)

// play gives the entries of the journal to the database, in order, until none is left. Those that it
// gave before a crash are in the database, which does not count them again.
func (s *Store) play() {
	rest, most := minRest, batchSize(maxBatch)
	for s.stop.Err() == nil {
		n, err := s.playSome(int(most))
		most = most.next(err)
		if err == nil && n == 0 {
			done, finishErr := s.journal.finish()
			if done {
				s.cfg.Logger.LogAttrs(s.stop, slog.LevelWarn, "scanstats: the journal was played back, the database has all events")
				return
			}
			err = finishErr
		}
		if err == nil {
			rest = minRest
			continue
		}
		s.cfg.Logger.LogAttrs(s.stop, slog.LevelWarn, "scanstats: the journal cannot be played back yet",
			slog.String("error", err.Error()), slog.Int64("bytes", s.journal.left()), slog.Duration("again_in", rest))
		select {
		case <-time.After(rest):
		case <-s.stop.Done():
		}
		rest = min(2*rest, maxRest)
	}
}

// playSome gives at most so many entries to the database and returns how many.
func (s *Store) playSome(most int) (int, error) {
	if err := s.prepare(s.stop); err != nil { // it may have been away since the store was opened
		return 0, wrapDBError(err)
	}
	entries, end, err := s.journal.next(most)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	if err := wrapDBError(s.apply(context.WithoutCancel(s.stop), entries)); err != nil {
		return 0, err
	}
	s.journal.hasPlayed(end)
	return len(entries), nil
}
