package moderation

import (
	"context"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// decisionOf returns the decision that a CommentModerated or a CommentUpdated carries.
func decisionOf(e event.Event) (decision, error) {
	created := *e.Comment
	created.Status, created.Reason = event.Pending, ""
	created.Revision--
	digest, err := event.Digest(&created)
	return decision{Comment: digest, Status: e.Comment.Status, Reason: e.Comment.Reason}, err
}

// decisionsOf returns the decisions of a batch of these events, and their keys.
func decisionsOf(events []event.Event) (decisions []decision, keys []string, err error) {
	for _, e := range events {
		d, err := decisionOf(e)
		if err != nil {
			return nil, nil, err
		}
		decisions, keys = append(decisions, d), append(keys, decisionKey(e.Comment.ID))
	}
	return decisions, keys, nil
}

// missing says, by index, which decisions the store does not have as the log has them.
func (s *Service) missing(ctx context.Context, events []event.Event) ([]bool, error) {
	decisions, keys, err := decisionsOf(events)
	if err != nil {
		return nil, err
	}
	items, err := s.Store.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	stored, err := state.Decode[decision](items...)
	if err != nil {
		return nil, err
	}
	missing := make([]bool, len(events))
	for i := range events {
		missing[i] = stored[i] != decisions[i]
	}
	return missing, nil
}

// restore stores the decisions of a batch of CommentModerated that were read in the log. Of
// two decisions on one comment in one batch the first stands.
func (s *Service) restore(ctx context.Context, events []event.Event) []error {
	decisions, keys, err := decisionsOf(events)
	if err == nil {
		err = state.Update(ctx, s.Store, keys, func(items []state.Item) (writes []state.Item, err error) {
			stored, err := state.Decode[decision](items...)
			written := map[string]bool{}
			for i, item := range items {
				if err != nil {
					break
				}
				if written[item.Key] || stored[i] == decisions[i] {
					continue
				}
				written[item.Key] = true
				item.Value, err = event.Marshal(decisions[i])
				writes = append(writes, item)
			}
			return writes, err
		})
	}
	if err != nil {
		return bus.All(len(events), err)
	}
	return nil
}
