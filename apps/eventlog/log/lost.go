package log

import (
	"context"
	"errors"
	"log/slog"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/repairs"
)

// lostEnd is what this replica knew of a log of which the store has lost the end, as after a
// failover to a copy that was behind: the tail and the segments before it that are in memory.
type lostEnd struct {
	log      string // its id
	segments []*eventlog.Segment
}

// keepLost keeps what this replica knows of the log, which is about to be loaded again, if the
// store has lost events of it. The caller holds the turn.
func (l *Log) keepLost(found eventlog.Origin) {
	if l.lost != nil && l.lost.log != found.ID {
		l.lost = nil
	}
	if l.lost == nil && errors.Is(l.Ready(), errEventsMissing) && l.origin.ID == found.ID {
		l.lost = &lostEnd{found.ID, append(l.recent.segments[:len(l.recent.segments):len(l.recent.segments)], l.tail)}
	}
}

// giveBack appends the events that this replica knew and the store has lost, in their order.
// They have their numbers again unless something else was appended meanwhile. Of what neither
// the store nor this replica has, another replica may have a copy. The caller holds the turn,
// and the log is loaded.
func (l *Log) giveBack(ctx context.Context) error {
	if l.lost == nil {
		return nil
	}
	left, err := l.lostEvents()
	if err != nil {
		return err
	}
	last, given := l.tail.Last(), 0
	for failures := 0; ; {
		if err := l.learnETag(ctx); err != nil {
			return err
		}
		todo, _ := l.missing(left) // the log has what is not to do, or another event with its id
		for i, at := range todo {
			left[i] = left[at]
		}
		if left = left[:len(todo)]; len(left) == 0 {
			break
		}
		n, err := l.write(ctx, left)
		if left, given = left[n:], given+n; err == nil {
			continue
		}
		readErr := l.readOn(ctx, 1)
		if failures++; readErr != nil || failures == commitTries {
			return errors.Join(err, readErr)
		}
	}
	l.Repairs.Add(repairs.GivenBack, given)
	slog.ErrorContext(ctx, "the store had lost the end of the log, and has what was known here again", "log", l.origin.ID, "ended", last, "ends", l.tail.Last(), "events", given)
	l.lost = nil
	return nil
}

// lostEvents are the events of the segments that the store does not have as they were known.
func (l *Log) lostEvents() ([]event.Event, error) {
	var all []event.Event
	first := l.lost.segments[0]
	if first.Base() > l.tail.Last() {
		slog.Error("events of the log are lost that are not in memory here any more", "log", l.origin.ID, "from", l.tail.Last()+1, "to", first.Base())
	}
	for _, s := range l.lost.segments {
		if stored := l.recent.find(s.Number); stored != nil && string(stored.Encode()) == string(s.Encode()) {
			continue
		}
		lines, err := s.Lines(s.Base(), s.Last())
		if err != nil {
			return nil, err
		}
		events, err := event.ParseBatch(eventlog.Batch(lines))
		if err != nil {
			return nil, err
		}
		all = append(all, events...)
	}
	return all, nil
}
