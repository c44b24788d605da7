package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// commitEvents bounds how many events one group commit takes on. Every commit goes on
	// segment by segment; more would only delay the first to be answered.
	commitEvents = 1024
	// commitTries is how often a write is tried because another replica was first.
	commitTries = 8
	// commitTimeout bounds one commit's calls to the store.
	commitTimeout = 10 * time.Second
)

// commitGroup commits the events of all in the group, and gives each its errors.
func (l *Log) commitGroup(ctx context.Context, group []commit) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	var events []event.Event
	for _, c := range group {
		events = append(events, c.events...)
	}
	errs := l.commit(ctx, events)
	for _, c := range group {
		c.done <- errs[:len(c.events):len(c.events)]
		errs = errs[len(c.events):]
	}
}

// commit appends those of the events that are not in the log. The errors are by index.
func (l *Log) commit(ctx context.Context, events []event.Event) []error {
	if err := l.turn.Acquire(ctx, 1); err != nil {
		return bus.All(len(events), err)
	}
	defer l.turn.Release(1)
	for failures := 0; ; {
		todo, errs, err := l.commitSegment(ctx, events)
		if err == nil && len(todo) == 0 {
			return errs
		}
		if err == nil {
			continue
		}
		if failures++; errors.Is(err, state.ErrUnknown) && failures < commitTries {
			continue
		}
		slog.WarnContext(ctx, "could not append", "events", len(todo), "error", err)
		if errors.Is(err, errUnusable) || len(todo) == 0 {
			return bus.All(len(events), err)
		}
		for _, i := range todo {
			errs[i] = err
		}
		return errs
	}
}

// commitSegment takes the first steps of a commit: it verifies that the store has the log,
// finds the events that are not in it, and appends as many of those as go into one
// segment. It returns the indexes of those that are not in the log then, and by index of
// all events why one can't be. An error that is a state.ErrUnknown is worth another try.
func (l *Log) commitSegment(ctx context.Context, events []event.Event) (todo []int, errs []error, err error) {
	broken := l.Ready()
	if errors.Is(broken, errLoading) {
		return nil, nil, broken
	}
	began := l.Now()
	_, err = l.look(ctx, l.tail.Number, 1)
	todo, errs = l.missing(events)
	rest := make([]event.Event, len(todo))
	for i, at := range todo {
		rest[i] = events[at]
	}
	switch {
	case len(rest) == 0:
	case err == nil:
		var n int
		n, err = l.write(ctx, rest, began)
		todo = todo[n:]
	case errors.Is(err, errLost) && broken == nil: // it was noticed just now
		l.bringBack(ctx, rest)
	}
	return todo, errs, err
}

// missing returns the indexes of the events that are not in the log, of equal ones the
// first, and by index of all events why one can't be in it.
func (l *Log) missing(events []event.Event) (todo []int, errs []error) {
	errs = make([]error, len(events))
	batch := newSeen(len(events))
	for i, e := range events {
		id := identityOf(e)
		known, same := l.seen.find(id)
		if !known {
			known, same = batch.find(id)
		}
		switch {
		case !known:
			batch.add(id)
			todo = append(todo, i)
		case !same:
			errs[i] = fmt.Errorf("%w: the log has another event with id %s", bus.ErrPoison, e.ID)
		}
	}
	return todo, errs
}

// write appends as many of the events as go into one segment, and returns how many. Began
// is when it was verified that the store has the tail.
func (l *Log) write(ctx context.Context, events []event.Event, began time.Time) (int, error) {
	base, etag := l.tail, l.etag
	if base.Full() {
		base, etag = &eventlog.Segment{Number: base.Number + 1}, ""
	}
	grown, n, err := base.With(events)
	if err != nil {
		return 0, err
	}
	if err := l.Store.Swap(ctx, state.Item{Key: l.key(l.origin, grown.Number), Value: grown.Encode(), ETag: etag}); err != nil {
		// Whether it was written, or another replica was first, the store tells.
		return 0, errors.Join(err, l.readOn(ctx, 1))
	}
	l.sawEnd(began) // of a tail that had moved on the write would have failed
	return n, l.take(grown, state.ETagAfter(etag))
}

// bringBack writes a tail that is gone alone, with the events that were to follow it: so
// what this replica knew comes back. Nothing is acknowledged, for other replicas may have
// appended more. A tail whose segment before is gone stays away: behind a hole it would
// become part of the log when the hole is filled.
func (l *Log) bringBack(ctx context.Context, events []event.Event) {
	if l.tail.Number > 0 {
		if full, err := l.isFull(ctx, l.tail.Number-1); err != nil || !full {
			return
		}
	}
	if grown, _, err := l.tail.With(events); err == nil {
		_ = l.Store.Swap(ctx, state.Item{Key: l.key(l.origin, grown.Number), Value: grown.Encode()})
	}
}
