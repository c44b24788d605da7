package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
)

// originKey is the key of the document that says which log the store holds.
const originKey = eventlog.OriginKey

// formerSegments is the prefix of the segments' keys in a log that began before logs had
// ids (3b4f435), whose replicas may run beside this one and append to it.
const formerSegments = eventlog.FormerPrefix

// errGone is why nothing of a commit is acknowledged: the store no longer has the log.
var errGone = errors.New("the store has lost the log")

// origin is the document that a log begins with.
//
// The keys of its segments carry its id. Dapr's Redis component writes a key that is gone
// whatever the ETag, so a replica that has not noticed yet that the store lost its log
// can still write that log's tail. Under the id it becomes part of no other log.
type origin struct {
	// ID is the log's id, a UUIDv7: of two logs the younger sorts last.
	ID string `json:"id"`
	// Segments is the prefix of the segments' keys.
	Segments string `json:"segments"`
}

// key is that of the segment with the number.
func (o origin) key(number int) string { return fmt.Sprintf("%s%08d", o.Segments, number) }

func decodeOrigin(value []byte) (origin, error) {
	var o origin
	if err := json.Unmarshal(value, &o); err != nil {
		return origin{}, fmt.Errorf("the log's origin is damaged: %w", err)
	}
	if _, ok := event.IDTime(o.ID); !ok || o.Segments == "" {
		return origin{}, fmt.Errorf("the log's origin is damaged: %.200s", value)
	}
	return o, nil
}

// findOrigin returns the origin of the log in the store. Where there is none it makes
// one, and of replicas that do so at the same time one wins.
func (l *eventLog) findOrigin(ctx context.Context) (origin, error) {
	items, err := l.store.Get(ctx, originKey)
	if err != nil {
		return origin{}, err
	}
	if items[0].Exists() {
		return decodeOrigin(items[0].Value)
	}
	o, err := l.makeOrigin(ctx)
	if err != nil {
		return origin{}, err
	}
	value, err := event.Marshal(o)
	if err != nil {
		return origin{}, err
	}
	kept := state.Keep(ctx, l.store, state.Item{Key: originKey, Value: value})[originKey]
	if kept.Err != nil {
		return origin{}, kept.Err
	}
	return decodeOrigin(kept.Value)
}

// makeOrigin returns an origin for what is in the store, which has none: the one that it
// had, if that alone is gone; a new one for what is left of a log from before ids; else
// that of a new log.
func (l *eventLog) makeOrigin(ctx context.Context) (origin, error) {
	o := origin{ID: event.NewID()}
	o.Segments = formerSegments + o.ID + "-"
	var isFormer bool
	var err error
	switch {
	case l.was != nil:
		var isThere bool
		if isThere, err = l.isThere(ctx, l.was); isThere && err == nil {
			return l.was.origin, nil
		}
		if err == nil && l.was.origin.Segments == formerSegments {
			isFormer, err = l.isLeft(ctx, l.was)
		}
	case l.origin.ID == "" || l.origin.Segments == formerSegments:
		isFormer, err = l.hasFormer(ctx)
	}
	if isFormer {
		o.Segments = formerSegments
	}
	return o, err
}

// remembered is what a replica knew of a log whose origin is gone.
type remembered struct {
	origin origin
	tail   *segment
	lastID string
	etag   string // of the tail
	seen   *seen
}

// isThere says whether the store has all that is remembered of the log, and not because
// a replica that had not noticed the loss has written its tail again.
func (l *eventLog) isThere(ctx context.Context, was *remembered) (bool, error) {
	items, err := l.store.Get(ctx, was.origin.key(was.tail.number))
	if err != nil {
		return false, err
	}
	s, err := decodeSegment(was.tail.number, items[0].Value)
	if err != nil {
		return false, err
	}
	if !items[0].Exists() || s.count < was.tail.count || startsOver(was.tail, was.etag, s, items[0].ETag) {
		return false, nil
	}
	if was.tail.count == 0 {
		return true, nil
	}
	ids, err := s.identities(was.tail.last() - 1)
	return err == nil && ids[0].ID == was.lastID, err
}

// isLeft says whether the store has a beginning of the log, which is from before ids: a
// store that comes back as it was before has no origin then, and an earlier end. Of what
// others have written since the loss, some event is not remembered. (A first segment that
// is full may be too old to be.)
func (l *eventLog) isLeft(ctx context.Context, was *remembered) (bool, error) {
	items, err := l.store.Get(ctx, was.origin.key(0))
	if err != nil || !items[0].Exists() {
		return false, err
	}
	first, err := decodeSegment(0, items[0].Value)
	if err != nil {
		return false, err
	}
	if was.tail.number > 0 && first.full() {
		return true, nil
	}
	ids, err := first.identities(0)
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		if known, same := was.seen.find(id); !known || !same {
			return false, nil
		}
	}
	return true, nil
}

// hasFormer says whether replicas from before logs had ids may append to this log.
func (l *eventLog) hasFormer(ctx context.Context) (bool, error) {
	for _, store := range append([]state.Swapper{l.store}, l.beside...) {
		items, err := store.Get(ctx, origin{Segments: formerSegments}.key(0))
		if err != nil {
			return false, err
		}
		if items[0].Exists() {
			return true, nil
		}
	}
	return false, nil
}

// sameOrigin returns errGone unless the item is the origin of this replica's log.
func (l *eventLog) sameOrigin(item state.Item) error {
	if !item.Exists() {
		return fmt.Errorf("%w: %s is not there any more", errGone, l.origin.ID)
	}
	if now, err := decodeOrigin(item.Value); err != nil || now.ID != l.origin.ID {
		return fmt.Errorf("%w: %s is not there any more, but %.200s", errGone, l.origin.ID, item.Value)
	}
	return nil
}

// verify returns errGone if the store no longer has this replica's log.
func (l *eventLog) verify(ctx context.Context) error {
	items, err := l.store.Get(ctx, originKey)
	if err != nil {
		return err
	}
	return l.sameOrigin(items[0])
}
