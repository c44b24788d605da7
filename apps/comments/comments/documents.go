package comments

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// document is a comment as it is stored, "comment-<id>".
type document struct {
	event.Comment
	// Unlisted says that the comment is in no list yet: its moderation came first.
	Unlisted bool `json:"unlisted,omitzero"`
}

func documentKey(id string) string { return "comment-" + id }

// with returns the document after e; nil stands for none. Of the revisions the highest
// wins, and an event that contradicts the comment changes nothing.
func (d *document) with(e event.Event) *document {
	created := e.Type == event.CommentCreated
	switch {
	case d == nil:
		return &document{*e.Comment, !created}
	case d.Contradicts(*e.Comment):
		return d
	}
	after := *d
	if e.Comment.Revision > d.Revision {
		after.Comment = *e.Comment
	}
	after.Unlisted = d.Unlisted && !created
	return &after
}

// merged are the documents of the comments that a batch of events is about, by key.
type merged struct {
	docs map[string]*document
	// listed are those that had a CommentCreated before: they are in a list, unless the
	// service died before it wrote that.
	listed map[string]bool
}

// merge brings the documents up to events.
func merge(ctx context.Context, store state.Store, events []event.Event) (merged, error) {
	byKey := map[string][]event.Event{}
	for _, e := range events {
		key := documentKey(e.Comment.ID)
		byKey[key] = append(byKey[key], e)
	}
	m := merged{map[string]*document{}, map[string]bool{}}
	err := state.Update(ctx, store, slices.Collect(maps.Keys(byKey)), func(items []state.Item) (writes []state.Item, err error) {
		stored, err := state.Decode[*document](items...)
		if err != nil {
			return nil, err
		}
		for i, item := range items {
			before, after := stored[i], stored[i]
			for _, e := range byKey[item.Key] {
				after = after.with(e)
			}
			if m.docs[item.Key] == nil { // a later try may read what the first one wrote
				m.listed[item.Key] = before != nil && !before.Unlisted
			}
			m.docs[item.Key] = after
			if before != nil && *before == *after {
				continue
			}
			if item.Value, err = event.Marshal(after); err != nil {
				return nil, err
			}
			writes = append(writes, item)
		}
		return writes, nil
	})
	return m, err
}

// check returns a bus.ErrPoison if e can't be about the comment that is stored.
func (m merged) check(e event.Event) error {
	if m.docs[documentKey(e.Comment.ID)].Contradicts(*e.Comment) {
		return fmt.Errorf("%w: comment %s exists with other content", bus.ErrPoison, e.Comment.ID)
	}
	return nil
}

// load returns the comments of ids that are stored, in that order.
func load(ctx context.Context, store state.Store, ids ...string) ([]event.Comment, error) {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = documentKey(id)
	}
	items, err := store.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	docs, err := state.Decode[*document](items...)
	comments := make([]event.Comment, 0, len(docs))
	for _, doc := range docs {
		if doc != nil {
			comments = append(comments, doc.Comment)
		}
	}
	return comments, err
}
