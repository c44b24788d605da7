package moderation

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// decision is what was decided on a comment. It is stored as one document a comment,
// "decision-<id>", which is written once and never changes: an event that is delivered
// again after the policy has changed is answered as it was before.
type decision struct {
	// Comment is the event.Digest of the comment as it was created.
	Comment string       `json:"comment"`
	Status  event.Status `json:"status"`
	Reason  string       `json:"reason,omitempty"`
}

// ruling is the decision that stands for an event, or why there is none.
type ruling struct {
	decision
	err error
}

// rule decides on the events' comments, and returns the decisions that stand, by index.
// For another comment of an id that was decided on, the ruling's error is a bus.ErrPoison.
func (s *Service) rule(ctx context.Context, events []event.Event) ([]ruling, error) {
	made, items := make([]decision, len(events)), make([]state.Item, len(events))
	for i, e := range events {
		digest, err := event.Digest(e.Comment)
		if err != nil {
			return nil, err
		}
		made[i].Comment = digest
		made[i].Status, made[i].Reason = s.rules.Decide(*e.Comment)
		value, err := event.Marshal(made[i])
		if err != nil {
			return nil, err
		}
		items[i] = state.Item{Key: "decision-" + e.Comment.ID, Value: value}
	}
	kept := state.Keep(ctx, s.store, items...)
	rulings := make([]ruling, len(events))
	for i, item := range items {
		rulings[i] = standing(item.Key, made[i], kept[item.Key])
	}
	return rulings, nil
}

// standing is the ruling by the decision that is kept under the key, where made is the
// one of this time.
func standing(key string, made decision, kept state.Kept) ruling {
	r := ruling{err: kept.Err}
	if r.err == nil {
		r.err = json.Unmarshal(kept.Value, &r.decision)
	}
	switch {
	case r.err != nil:
		r.err = fmt.Errorf("reading %s: %w", key, r.err)
	case r.Comment != made.Comment:
		r.err = fmt.Errorf("%w: %s is of a comment with other content", bus.ErrPoison, key)
	}
	return r
}
