package log

import (
	"bytes"
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
	// commitEvents bounds the events of one group commit. A commit writes segment by segment;
	// more events would only delay the answers to the first ones.
	commitEvents = 1024
	// commitTries is how often a write is tried when other replicas write first.
	commitTries = 8
	// commitTimeout bounds one commit's calls to the store.
	commitTimeout = 10 * time.Second
)

// commitGroup commits the events of all commits in the group, and gives each its errors.
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

// commit appends the events that are not in the log yet. The errors are by index. Events
// that one round has appended are not compared again by the next one: a window of few
// events may have forgotten them by then.
func (l *Log) commit(ctx context.Context, events []event.Event) []error {
	if err := l.turn.Acquire(ctx, 1); err != nil {
		return bus.All(len(events), err)
	}
	defer l.turn.Release(1)
	errs := make([]error, len(events))
	left := make([]int, len(events)) // the indexes of the events that are not appended yet
	for i := range left {
		left[i] = i
	}
	for failures := 0; ; {
		rest := make([]event.Event, len(left))
		for i, at := range left {
			rest[i] = events[at]
		}
		todo, refused, err := l.commitSegment(ctx, rest)
		if errors.Is(err, errUnusable) || err != nil && len(todo) == 0 {
			return bus.All(len(events), err)
		}
		for i, why := range refused {
			errs[left[i]] = why
		}
		for i, at := range todo {
			todo[i] = left[at]
		}
		if left = todo; err == nil && len(left) == 0 {
			return errs
		}
		if err == nil {
			continue
		}
		// Perhaps the segment was written all the same, or another replica wrote first. The
		// store decides: the next round compares with what this read finds.
		readErr := l.readOn(ctx, 1)
		if failures++; readErr == nil && failures < commitTries {
			continue
		}
		slog.WarnContext(ctx, "could not append", "events", len(left), "error", errors.Join(err, readErr))
		if errors.Is(readErr, errUnusable) {
			return bus.All(len(events), readErr)
		}
		for _, at := range left {
			errs[at] = err
		}
		return errs
	}
}

// commitSegment appends as many of the events that are not in the log as fit into one
// segment. It returns in todo the indexes of the events that are still not in the log, and
// in errs, by index of all events, why an event can't be in the log.
func (l *Log) commitSegment(ctx context.Context, events []event.Event) (todo []int, errs []error, err error) {
	switch broken := l.Ready(); {
	case errors.Is(broken, errLoading):
		return nil, nil, broken
	case broken != nil: // by now the whole log may be missing
		_, err := l.readFrom(ctx, l.tail.Number, 1)
		return nil, nil, err
	}
	if err := l.learnETag(ctx); err != nil {
		return nil, nil, err
	}
	todo, errs = l.missing(events)
	if len(todo) == 0 { // all are repeats: acknowledged only if the store still has the log
		_, err = l.readFrom(ctx, l.tail.Number, 1)
		return nil, errs, err
	}
	rest := make([]event.Event, len(todo))
	for i, at := range todo {
		rest[i] = events[at]
	}
	n, err := l.write(ctx, rest)
	return todo[n:], errs, err
}

// learnETag reads the tail, and what others have appended to it, if its ETag is not known: not
// every component's is known before it is read.
func (l *Log) learnETag(ctx context.Context) error {
	if l.etag != "" || l.tail.Count() == 0 || l.tail.Full() {
		return nil
	}
	_, err := l.readFrom(ctx, l.tail.Number, 1)
	return err
}

// missing returns in todo the indexes of the events that are not in the log, of equal events
// only the first, and in errs, by index of all events, why an event can't be in the log.
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

// write appends as many of the events as fit into one segment, and returns how many. At the
// same time it verifies that the store still has the events before them: Dapr's Redis
// component writes a key that is missing, whatever the ETag. If the store loses the log
// right after that read, these events are lost like those that were acknowledged before.
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
			l.takeBack(ctx, grown, etag, verifyErr)
		}
		return 0, verifyErr
	}
	if err != nil {
		return 0, err
	}
	if err := l.followsFull(ctx, grown, etag); err != nil {
		return 0, err
	}
	l.sawEnd(began) // if another replica had appended since, the write would have failed
	after, _ := l.Store.ETagAfter(etag)
	return n, l.take(grown, after)
}

// followsFull looks whether the segment before one that was just begun is in the store, all of
// it. Only a read after the write shows that: the store may have been set back between the read
// beside the write and the write itself. Later reads look at the tail alone.
func (l *Log) followsFull(ctx context.Context, begun *eventlog.Segment, etag string) error {
	if etag != "" || begun.Number == 0 {
		return nil
	}
	isFull, err := l.isFull(ctx, begun.Number-1)
	if err != nil || isFull {
		return err
	}
	err = l.lose(ctx, fmt.Sprintf("segment %d is not full any more", begun.Number-1))
	if errors.Is(err, errUnusable) {
		l.takeBack(ctx, begun, etag, err)
	}
	return err
}

// takeBack removes a segment that was just written to a key that the store had lost. If the
// segment before it is missing or not full, it would become part of the log once that one
// is full. A segment without such a hole before it stays: it brings back the events that
// this replica knew. A segment that existed before, or that others have appended to, stays,
// too.
func (l *Log) takeBack(ctx context.Context, written *eventlog.Segment, etag string, why error) {
	if written.Number == 0 && !errors.Is(why, errLogMissing) {
		return
	}
	if written.Number > 0 {
		if full, err := l.isFull(ctx, written.Number-1); full || err != nil {
			return
		}
	}
	if item, isMade := l.made(ctx, written, etag); isMade {
		_ = l.Store.Delete(ctx, item)
	}
}

// made returns the document that the write of a segment with an ETag has made, if it has made
// one and not replaced one, and if it has not changed since.
func (l *Log) made(ctx context.Context, written *eventlog.Segment, etag string) (item state.Item, isMade bool) {
	item.Key = l.key(l.origin, written.Number)
	var isKnown bool
	if item.ETag, isKnown = l.Store.ETagAfter(""); isKnown || etag != "" {
		return item, isKnown
	}
	items, err := l.Store.Get(ctx, item.Key)
	if err != nil {
		return item, false
	}
	return items[0], bytes.Equal(items[0].Value, written.Encode())
}
