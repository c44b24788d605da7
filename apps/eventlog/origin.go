package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// originKey is the key of the document that says which log the store holds.
const originKey = "log"

// formerSegments is the prefix of the segments' keys in a log that began before logs had
// ids (3b4f435), whose replicas may run beside this one and append to it.
const formerSegments = "segment-"

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
// one, and of replicas that do so at the same time one wins. A store that has segments of
// a log without an id gives it one, unless this replica knows that its log is gone: then
// those were written since, by a replica that did not know.
func (l *eventLog) findOrigin(ctx context.Context) (origin, error) {
	items, err := l.store.Get(ctx, originKey)
	if err != nil {
		return origin{}, err
	}
	if items[0].Exists() {
		return decodeOrigin(items[0].Value)
	}
	o := origin{ID: event.NewID()}
	o.Segments = formerSegments + o.ID + "-"
	if l.origin.ID == "" {
		isFormer, err := l.hasFormer(ctx)
		if err != nil {
			return origin{}, err
		}
		if isFormer {
			o.Segments = formerSegments
		}
	}
	value, err := event.Marshal(o)
	if err != nil {
		return origin{}, err
	}
	kept, errs := state.Keep(ctx, l.store, []state.Item{{Key: originKey, Value: value}})
	if errs[0] != nil {
		return origin{}, errs[0]
	}
	return decodeOrigin(kept[0])
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
