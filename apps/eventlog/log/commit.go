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
		if errors.Is(err, errUnusable) || len(todo) == 0 {
			return bus.All(len(events), err)
		}
		// Perhaps it was written, or another replica was first: what the store has decides.
		readErr := l.readOn(ctx, 1)
		if failures++; readErr == nil && failures < commitTries {
			continue
		}
		slog.WarnContext(ctx, "could not append", "events", len(todo), "error", errors.Join(err, readErr))
		if errors.Is(readErr, errUnusable) {
			return bus.All(len(events), readErr)
		}
		for _, i := range todo {
			errs[i] = err
		}
		return errs
	}
}

// commitSegment appends as many of the events that are not in the log as go into one
// segment. It returns the indexes of those that are not in the log then, and by index of
// all events why one can't be.
func (l *Log) commitSegment(ctx context.Context, events []event.Event) (todo []int, errs []error, err error) {
	switch broken := l.Ready(); {
	case errors.Is(broken, errLoading):
		return nil, nil, broken
	case broken != nil: // it may be missing as a whole by now
		_, err := l.look(ctx, l.tail.Number, 1)
		return nil, nil, err
	}
	todo, errs = l.missing(events)
	if len(todo) == 0 { // all are repeats, if the log is still there and has them
		_, err = l.look(ctx, l.tail.Number, 1)
		return nil, errs, err
	}
	rest := make([]event.Event, len(todo))
	for i, at := range todo {
		rest[i] = events[at]
	}
	n, err := l.write(ctx, rest)
	return todo[n:], errs, err
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

// write appends as many of the events as go into one segment, and returns how many. At the
// same time it verifies that the store has what they follow: Dapr's Redis component writes
// a key that is missing whatever the ETag. If the store loses the log right after that
// read, these events are lost like those that were acknowledged just before.
func (l *Log) write(ctx context.Context, events []event.Event) (int, error) {
	base, etag := l.tail, l.etag
	if base.Full() {
		base, etag = &eventlog.Segment{Number: base.Number + 1}, ""
	}
	grown, n, err := base.With(events)
	if err != nil {
		return 0, err
	}
	began := l.Now()
	verified := make(chan error, 1)
	go func() {
		_, err := l.verify(ctx, l.tail.Number, 1)
		verified <- err
	}()
	err = l.Store.Swap(ctx, state.Item{Key: l.key(l.origin, grown.Number), Value: grown.Encode(), ETag: etag})
	if verifyErr := <-verified; verifyErr != nil {
		if err == nil && errors.Is(verifyErr, errUnusable) {
			l.takeBack(ctx, grown.Number, verifyErr)
		}
		return 0, verifyErr
	}
	if err != nil {
		return 0, err
	}
	l.sawEnd(began) // of a tail that had moved on the write would have failed
	return n, l.take(grown, state.ETagAfter(etag))
}

// takeBack removes a segment that was just written over a key that the store has lost:
// behind a hole it would become part of the log when the hole is filled. What follows no
// hole stays, and brings back what this replica knew. A segment that was there before, or
// that others have appended to, has another ETag and stays, too.
func (l *Log) takeBack(ctx context.Context, number int, why error) {
	if number == 0 && !errors.Is(why, errLogMissing) {
		return
	}
	if number > 0 {
		if full, err := l.isFull(ctx, number-1); full || err != nil {
			return
		}
	}
	_ = l.Store.Delete(ctx, state.Item{Key: l.key(l.origin, number), ETag: state.ETagAfter("")})
}
