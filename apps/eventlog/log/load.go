package log

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
)

// load finds the log that is in the store, or begins one, and reads the ids of the last
// events in its window. If the store has lost the log's end, it gets back what is known of it.
func (l *Log) load(ctx context.Context) error {
	if err := l.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer l.turn.Release(1)
	began := l.Now()
	found, err := l.findOrigin(ctx)
	if err != nil {
		return err
	}
	l.keepLost(found)
	l.seen, l.etag = newSeen(l.Window), ""
	l.update(func() {
		l.origin, l.tail, l.lastID, l.recent, l.broken = found, &eventlog.Segment{}, "", recentSegments{}, errLoading
	})
	tail, err := l.findTail(ctx)
	if err != nil {
		return err
	}
	first := max(0, tail-(l.Window+eventlog.SegmentSize-1)/eventlog.SegmentSize)
	l.update(func() { l.tail = &eventlog.Segment{Number: first} })
	if err := l.readOn(ctx, readAtOnce); err != nil {
		return err
	}
	if l.tail.Number+1 < tail { // the search for the tail has seen a full segment behind a gap
		return fmt.Errorf("the log is %w: it ends in segment %d, and the store has segment %d", eventlog.ErrDamaged, l.tail.Number, tail-1)
	}
	if err := l.endsAtTail(ctx); err != nil {
		return err
	}
	if err := l.giveBack(ctx); err != nil {
		return fmt.Errorf("giving back what the store has lost: %w", err)
	}
	l.update(func() { l.broken = nil })
	slog.InfoContext(ctx, "log read", "log", l.origin.ID, "last", l.tail.Last(), "took", l.Now().Sub(began).Round(time.Millisecond))
	return nil
}

// findTail returns the number of the first segment that isn't full.
func (l *Log) findTail(ctx context.Context) (int, error) {
	return state.Tail(-1, func(number int) (bool, error) { return l.isFull(ctx, number) })
}

// endsAtTail returns an error if the store has a segment after the one that the next event
// goes to. Once that one was full, the log would go on with the other segment's events,
// which were appended after other events.
func (l *Log) endsAtTail(ctx context.Context) error {
	next := l.tail.Number
	if l.tail.Full() {
		next++
	}
	behind, err := l.segment(ctx, next+1)
	if err != nil || behind.Count() == 0 {
		return err
	}
	// This is read after the segment that follows it: other replicas may have filled it and
	// begun that one.
	here, err := l.segment(ctx, next)
	if err != nil || here.Full() {
		return err
	}
	return fmt.Errorf("the log is %w: segment %d has %d events, and the store has a segment behind it", eventlog.ErrDamaged, next, here.Count())
}

// findOrigin returns the origin of the log in the store. Where there is none it makes
// one, and of replicas that do so at the same time one wins.
func (l *Log) findOrigin(ctx context.Context) (eventlog.Origin, error) {
	key := l.Prefix + eventlog.OriginKey
	items, err := l.Store.Get(ctx, key)
	if err != nil {
		return eventlog.Origin{}, err
	}
	if items[0].Exists() {
		return eventlog.ParseOrigin(items[0].Value)
	}
	o, err := l.makeOrigin(ctx)
	if err != nil {
		return eventlog.Origin{}, err
	}
	value, err := event.Marshal(o)
	if err != nil {
		return eventlog.Origin{}, err
	}
	kept := state.Keep(ctx, l.Store, state.Item{Key: key, Value: value})[key]
	if kept.Err != nil {
		return eventlog.Origin{}, kept.Err
	}
	return eventlog.ParseOrigin(kept.Value)
}

// makeOrigin returns an origin for a store that has none. It is the one that this replica
// knows, if only the origin is missing. Otherwise it is new, and it is either for the
// events that are left of a log from before logs had ids, or for an empty log.
func (l *Log) makeOrigin(ctx context.Context) (eventlog.Origin, error) {
	isAllThere, err := l.isAllThere(ctx)
	if isAllThere || err != nil {
		return l.origin, err
	}
	o, isFormer := eventlog.NewOrigin(), false
	switch {
	case l.origin.Prefix != "" && l.origin.Prefix != eventlog.FormerPrefix:
	case l.tail.Count() == 0: // this replica knows no event of the log
		isFormer, err = l.hasFormer(ctx)
	default:
		isFormer, err = l.hasBeginning(ctx)
	}
	if isFormer {
		o.Prefix = eventlog.FormerPrefix
	}
	return o, err
}

// isAllThere says whether the store has all events that this replica knows of the log. It is
// false if they are there only because a replica that had not noticed the loss wrote its
// tail again.
func (l *Log) isAllThere(ctx context.Context) (bool, error) {
	if l.origin.ID == "" {
		return false, nil
	}
	s, err := l.segment(ctx, l.tail.Number)
	if err != nil {
		return false, err
	}
	if l.tail.Count() == 0 { // another replica may have appended the log's first events
		return s.Count() > 0, nil
	}
	why, err := l.whyLost(s)
	return why == "" && err == nil, err
}

// hasFormer says whether replicas of the version before logs had ids (3b4f435) may append
// to this log. There may be no dead letters yet, so the log of the events counts, too.
func (l *Log) hasFormer(ctx context.Context) (bool, error) {
	first := eventlog.Origin{Prefix: eventlog.FormerPrefix}.Key(0)
	items, err := l.Store.Get(ctx, slices.Compact([]string{first, l.Prefix + first})...)
	return slices.ContainsFunc(items, state.Item.Exists), err
}

// hasBeginning says whether the store has the beginning of this replica's log, which is from
// before logs had ids. A store that was restored from a backup may have no origin, and an
// earlier end of the log. A log that other replicas began after the loss has an event that
// this replica does not know. A full first segment is not compared: its events may be too
// old to be known.
func (l *Log) hasBeginning(ctx context.Context) (bool, error) {
	first, err := l.segment(ctx, 0)
	if err != nil || first.Count() == 0 {
		return false, err
	}
	if l.tail.Number > 0 && first.Full() {
		return true, nil
	}
	ids, err := identitiesOf(first.Segment, 0)
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		if known, same := l.seen.find(id); !known || !same {
			return false, nil
		}
	}
	return true, nil
}
