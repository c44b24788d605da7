package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/postbus/postbus/apps/internal/state"
)

// errLost is why nothing is appended or served: the store has the log, but not all of it.
var errLost = errors.New("the store has lost events of the log")

// lose notes that the log has lost events, unless the whole log is gone: the store reads
// keys one by one, so the log may go between its origin and a segment.
func (l *eventLog) lose(ctx context.Context, why string) error {
	if err := l.verify(ctx); err != nil {
		return err
	}
	err := fmt.Errorf("%w: %s; a restart goes on from where the log ends now, if that can be read", errLost, why)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost == nil {
		l.lost = err
		l.wake() // nothing more follows
	}
	return l.lost
}

// startsOver says whether a tail that was known with an ETag was gone since, and written
// again as it is now: the count of its writes starts over. Where ETags are no counts, or
// none is known, it says no.
func startsOver(known *segment, etag string, now *segment, etagNow string) bool {
	first := state.ETagAfter("")
	return etag != "" && etagNow == first && (etag != first || now.count != known.count)
}

// verifyWrite returns errGone or errLost unless the store has what the segment follows:
// item is about to be written over base, or is just written. A key that is gone takes any
// ETag, so the write alone does not tell.
func (l *eventLog) verifyWrite(ctx context.Context, base *segment, item state.Item) error {
	keys := []string{originKey}
	switch {
	case base.count > 0:
		keys = append(keys, item.Key)
	case base.number > 0:
		keys = append(keys, l.origin.key(base.number-1))
	}
	items, err := l.store.Get(ctx, keys...)
	if err != nil {
		return err
	}
	if err := l.sameOrigin(items[0]); err != nil || len(items) == 1 {
		return err
	}
	why := ""
	switch before := items[1]; {
	case !before.Exists():
		why = "its end is not there any more"
	case base.count == 0:
		full, err := decodeSegment(l.tail.number, before.Value)
		if err != nil || !full.full() || l.tail.packed != nil && !bytes.Equal(before.Value, l.tail.packed) {
			why = l.tail.name() + " was full, and is another"
		}
	case bytes.Equal(before.Value, item.Value): // written
		if before.ETag == state.ETagAfter("") {
			why = base.name() + " was not there any more"
		}
	case before.ETag == l.etag && !bytes.Equal(before.Value, base.encode()):
		why = base.name() + " has other events"
	}
	if why == "" {
		return nil
	}
	return l.lose(ctx, why)
}

// swap writes a segment over base and verifies at the same time that the store still has
// what it follows. If that is lost in that very instant, what is then acknowledged is
// lost as what was acknowledged just before.
func (l *eventLog) swap(ctx context.Context, base *segment, item state.Item) error {
	verified := make(chan error, 1)
	go func() { verified <- l.verifyWrite(ctx, base, item) }()
	err := l.store.Swap(ctx, item)
	verifyErr := <-verified
	if verifyErr == nil {
		return err
	}
	if err == nil {
		l.takeBack(ctx, verifyErr, base.number)
	}
	return verifyErr
}

// takeBack removes the segment that this replica has just written where the store had
// lost the key: behind a hole it would become part of the log when that is filled. What
// follows no hole stays, and brings back what this replica knew. A segment that was there
// before, or that others have gone on from, has another ETag and stays.
func (l *eventLog) takeBack(ctx context.Context, why error, number int) {
	isGone := errors.Is(why, errGone)
	if !isGone && (!errors.Is(why, errLost) || number == 0) {
		return
	}
	if number > 0 {
		if full, err := l.isFull(ctx, number-1); full || err != nil {
			return
		}
	}
	_ = l.store.Delete(ctx, state.Item{Key: l.origin.key(number), ETag: state.ETagAfter("")})
}

// isFull says whether the segment is full in the store.
func (l *eventLog) isFull(ctx context.Context, number int) (bool, error) {
	items, err := l.store.Get(ctx, l.origin.key(number))
	if err != nil {
		return false, err
	}
	s, err := decodeSegment(number, items[0].Value)
	if err != nil {
		return false, err
	}
	return s.full(), nil
}

// endsAtTail returns an error if the store has a segment behind the tail, which isn't
// full: once it is, the log would go on with events that follow others.
func (l *eventLog) endsAtTail(ctx context.Context) error {
	next, err := l.store.Get(ctx, l.origin.key(l.tail.number+1))
	if err != nil || !next[0].Exists() {
		return err
	}
	// Read in this order: others may fill the tail and go on.
	if full, err := l.isFull(ctx, l.tail.number); full || err != nil {
		return err
	}
	return fmt.Errorf("the log is damaged: %s has %d events, and the store has a segment behind it, %s", l.tail.name(), l.tail.count, next[0].Key)
}
