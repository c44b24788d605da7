package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/moderation/policy"
)

// decisions keeps one document a comment, "decision-<id>". It is written once and
// never changes, so the first decision stands: an event that is delivered again
// after the policy has changed is answered as it was before.
type decisions struct{ store state.Swapper }

// decision is what was decided of a comment.
type decision struct {
	// Comment is the SHA-256 of the comment as it was created, in hexadecimal.
	Comment string       `json:"comment"`
	Status  event.Status `json:"status"`
	Reason  string       `json:"reason,omitempty"`
}

// of returns the decisions on the events' comments, by index as the errors are.
// Another comment of an id that was decided on is an ErrPoison.
func (d *decisions) of(ctx context.Context, events []event.Event) ([]decision, []error) {
	made, items := make([]decision, len(events)), make([]state.Item, len(events))
	for i, e := range events {
		comment, err := event.Marshal(e.Comment)
		if err != nil {
			return nil, bus.All(len(events), err)
		}
		sum := sha256.Sum256(comment)
		made[i].Comment = hex.EncodeToString(sum[:])
		made[i].Status, made[i].Reason = policy.Default.Decide(*e.Comment)
		value, err := event.Marshal(made[i])
		if err != nil {
			return nil, bus.All(len(events), err)
		}
		items[i] = state.Item{Key: "decision-" + e.Comment.ID, Value: value}
	}
	kept, errs := state.Keep(ctx, d.store, items)
	stand := make([]decision, len(events))
	for i := range events {
		if errs[i] != nil {
			continue
		}
		if err := json.Unmarshal(kept[i], &stand[i]); err != nil {
			errs[i] = fmt.Errorf("decoding %s: %w", items[i].Key, err)
		} else if stand[i].Comment != made[i].Comment {
			errs[i] = fmt.Errorf("%w: comment %s exists with other content", bus.ErrPoison, events[i].Comment.ID)
		}
	}
	return stand, errs
}
