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

func documentKey(id string) string { return "comment-" + id }

// merge brings the documents of the comments, "comment-<id>", up to the events, and wakes
// up the requests that wait for them. The errors are by index: a bus.ErrPoison for an event
// that can't be about the comment that is stored.
func (s *Service) merge(ctx context.Context, events []event.Event) []error {
	revisions := map[string][]*event.Comment{} // by key
	for _, e := range events {
		key := documentKey(e.Comment.ID)
		revisions[key] = append(revisions[key], e.Comment)
	}
	merged := map[string]*event.Comment{} // by key
	err := state.Update(ctx, s.store, slices.Collect(maps.Keys(revisions)), func(items []state.Item) (writes []state.Item, err error) {
		stored, err := state.Decode[*event.Comment](items...)
		if err != nil {
			return nil, err
		}
		for i, item := range items {
			latest := highest(stored[i], revisions[item.Key])
			merged[item.Key] = latest
			if latest == stored[i] {
				continue
			}
			if item.Value, err = event.Marshal(latest); err != nil {
				return nil, err
			}
			writes = append(writes, item)
		}
		return writes, nil
	})
	if err != nil {
		return bus.All(len(events), err)
	}
	errs := make([]error, len(events))
	for i, e := range events {
		s.arrivals.wake(e.Comment.ID)
		if merged[documentKey(e.Comment.ID)].Contradicts(*e.Comment) {
			errs[i] = fmt.Errorf("%w: comment %s exists with other content", bus.ErrPoison, e.Comment.ID)
		}
	}
	return errs
}

// highest returns the highest of a comment's revisions: the stored one, which is nil for a
// new comment, or one of those that were delivered and don't contradict it.
func highest(stored *event.Comment, delivered []*event.Comment) *event.Comment {
	for _, c := range delivered {
		if stored == nil || c.Revision > stored.Revision && !stored.Contradicts(*c) {
			stored = c
		}
	}
	return stored
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
	stored, err := state.Decode[*event.Comment](items...)
	comments := make([]event.Comment, 0, len(stored))
	for _, c := range stored {
		if c != nil {
			comments = append(comments, *c)
		}
	}
	return comments, err
}
