package moderation

import (
	"context"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// logged is a decision as an event has it.
type logged struct {
	later
	key, comment string // the key of its document, and the digest of its comment
}

// loggedIn returns the decisions of a batch of events, and their keys, each once.
func loggedIn(events []event.Event) (decisions []logged, keys []string, err error) {
	known := map[string]bool{}
	for _, e := range events {
		l, digest, err := decisionIn(*e.Comment)
		if err != nil {
			return nil, nil, err
		}
		key := decisionKey(e.Comment.ID)
		if decisions = append(decisions, logged{l, key, digest}); !known[key] {
			known[key], keys = true, append(keys, key)
		}
	}
	return decisions, keys, nil
}

// missing says, by index, which decisions the store does not have as the log has them.
func (s *Service) missing(ctx context.Context, events []event.Event) ([]bool, error) {
	decisions, keys, err := loggedIn(events)
	if err != nil {
		return nil, err
	}
	items, err := s.Store.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	stored, err := state.Decode[document](items...)
	if err != nil {
		return nil, err
	}
	byKey := map[string]*document{}
	for i, key := range keys {
		byKey[key] = &stored[i]
	}
	missing := make([]bool, len(events))
	for i, d := range decisions {
		missing[i] = byKey[d.key].Comment != d.comment || !byKey[d.key].has(d.later)
	}
	return missing, nil
}

// restore stores the decisions of a batch of events that were read in the log. Of two
// decisions on one revision in one batch the first stands.
func (s *Service) restore(ctx context.Context, events []event.Event) []error {
	decisions, keys, err := loggedIn(events)
	if err == nil {
		err = s.putAll(ctx, decisions, keys)
	}
	if err != nil {
		return bus.All(len(events), err)
	}
	return nil
}

// putAll puts decisions into their documents.
func (s *Service) putAll(ctx context.Context, decisions []logged, keys []string) error {
	return state.Update(ctx, s.Store, keys, func(items []state.Item) (writes []state.Item, err error) {
		stored, err := state.Decode[document](items...)
		if err != nil {
			return nil, err
		}
		for i, item := range items {
			if !putInto(&stored[i], item.Key, decisions) {
				continue
			}
			if item.Value, err = event.Marshal(stored[i]); err != nil {
				return nil, err
			}
			writes = append(writes, item)
		}
		return writes, nil
	})
}

// putInto puts the decisions of a key into its document, and says whether that has changed.
func putInto(d *document, key string, decisions []logged) (changed bool) {
	done := map[int]bool{} // revisions
	for _, l := range decisions {
		if l.key != key || done[l.Revision] {
			continue
		}
		done[l.Revision] = true
		if d.Comment != l.comment || !d.has(l.later) {
			d.Comment, changed = l.comment, true
			d.put(l.later)
		}
	}
	return changed
}
