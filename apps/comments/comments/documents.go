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

// missing says, by index, which events have brought something that the store does not have.
func (s *Service) missing(ctx context.Context, events []event.Event) ([]bool, error) {
	keys := make([]string, len(events))
	for i, e := range events {
		keys[i] = documentKey(e.Comment.ID)
	}
	items, err := s.store.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	stored, err := state.Decode[*event.Comment](items...)
	if err != nil {
		return nil, err
	}
	missing := make([]bool, len(events))
	for i, e := range events {
		missing[i] = stored[i] == nil || stored[i].Revision < e.Comment.Revision || stored[i].Contradicts(*e.Comment)
	}
	return missing, nil
}

// merge stores each comment's highest revision, in its document "comment-<id>", and wakes up
// the requests that wait for the comment. The errors are by index: a bus.ErrPoison for an
// event that contradicts the comment that is stored.
func (s *Service) merge(ctx context.Context, events []event.Event) []error {
	return s.write(ctx, events, highest)
}

// restore is merge for events that were read in the log. What the log says of a revision
// stands, and replaces what the store has of the same revision.
func (s *Service) restore(ctx context.Context, events []event.Event) []error {
	return s.write(ctx, events, asLogged)
}

// write stores of each comment what choose returns: given the stored comment, which is nil
// for a new one, and the revisions that the events carry.
func (s *Service) write(ctx context.Context, events []event.Event, choose func(*event.Comment, []*event.Comment) *event.Comment) []error {
	delivered := map[string][]*event.Comment{} // the revisions of each comment, by key
	for _, e := range events {
		key := documentKey(e.Comment.ID)
		delivered[key] = append(delivered[key], e.Comment)
	}
	// merged is each comment as the store has it after the update, by key. The update may run
	// several times; each run sets all keys, so the last run counts.
	merged := map[string]*event.Comment{}
	err := state.Update(ctx, s.store, slices.Collect(maps.Keys(delivered)), func(items []state.Item) (writes []state.Item, err error) {
		stored, err := state.Decode[*event.Comment](items...)
		if err != nil {
			return nil, err
		}
		for i, item := range items {
			latest := choose(stored[i], delivered[item.Key])
			merged[item.Key] = latest
			if latest == stored[i] {
				continue // the very pointer that was decoded: nothing is new
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

// highest returns the highest of a comment's revisions: stored, which is nil for a new
// comment, or one of those that were delivered and do not contradict it.
func highest(stored *event.Comment, delivered []*event.Comment) *event.Comment {
	latest := stored
	for _, c := range delivered {
		if latest == nil || c.Revision > latest.Revision && !latest.Contradicts(*c) {
			latest = c
		}
	}
	return latest
}

// asLogged returns the highest of a comment's revisions. Of equal ones that of the log
// stands. Revisions of another comment with the same id do not count.
func asLogged(stored *event.Comment, logged []*event.Comment) *event.Comment {
	if stored == nil {
		return highest(nil, logged)
	}
	latest := highest(nil, slices.DeleteFunc(slices.Clone(logged), func(c *event.Comment) bool { return !stored.IsVersionOf(*c) }))
	isNew := latest != nil && (latest.Revision > stored.Revision || latest.Revision == stored.Revision && latest.Contradicts(*stored))
	if isNew {
		return latest
	}
	return stored
}

// load returns the comments with those ids as they are stored, in that order, without
// those that are not stored.
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
