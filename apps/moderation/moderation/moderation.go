// Package moderation is the service that decides which comments readers get to see.
package moderation

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// Policy decides on comments. It must depend on the comment's text alone: otherwise a
// redelivered event could get another decision.
type Policy interface {
	// Decide returns the comment's status and, for a rejection, the reason.
	Decide(c event.Comment) (status event.Status, reason string)
}

// Service answers each comment with its moderation. It is safe for concurrent use.
type Service struct {
	source    string
	publisher bus.Publisher
	store     state.Store
	rules     Policy
}

// New returns a service that publishes with the given source, its app id.
func New(source string, publisher bus.Publisher, store state.Store, rules Policy) *Service {
	return &Service{source, publisher, store, rules}
}

// decision is the decision on a comment. It is one document a comment, "decision-<id>",
// written once and never changed. So an event that is redelivered after a change of the
// policy gets the same answer.
type decision struct {
	// Comment is the event.Digest of the comment as it was created.
	Comment string       `json:"comment"`
	Status  event.Status `json:"status"`
	Reason  string       `json:"reason,omitempty"`
}

// Created answers each CommentCreated with a CommentModerated. It stores the decision
// before it publishes it, and derives the event's id from the comment's. So a redelivered
// event gets the same answer. Another comment with the same id is a bus.ErrPoison.
func (s *Service) Created(ctx context.Context, events []event.Event) []error {
	decisions, items := make([]decision, len(events)), make([]state.Item, len(events))
	for i, e := range events {
		digest, err := event.Digest(e.Comment)
		if err != nil {
			return bus.All(len(events), err)
		}
		status, reason := s.rules.Decide(*e.Comment)
		decisions[i] = decision{Comment: digest, Status: status, Reason: reason}
		value, err := event.Marshal(decisions[i])
		if err != nil {
			return bus.All(len(events), err)
		}
		items[i] = state.Item{Key: "decision-" + e.Comment.ID, Value: value}
	}
	kept := state.Keep(ctx, s.store, items...)
	return bus.React(ctx, s.publisher, event.CommentModerated, events, func(i int) (event.Event, error) {
		stands, err := standing(decisions[i], kept[items[i].Key])
		if err != nil {
			return event.Event{}, fmt.Errorf("%s: %w", items[i].Key, err)
		}
		comment := *events[i].Comment
		comment.Status, comment.Reason = stands.Status, stands.Reason
		comment.Revision++
		// The time is that of the CommentCreated, so that the answer is the same to the
		// byte.
		return event.OfComment(event.CommentModerated, s.source, comment, events[i].Time, events[i].TraceParent)
	})
}

// standing returns the decision that counts: the one that was stored first, which may not
// be the one made now.
func standing(made decision, kept state.Kept) (stands decision, err error) {
	if kept.Err != nil {
		return stands, kept.Err
	}
	if err := json.Unmarshal(kept.Value, &stands); err != nil {
		return stands, err
	}
	if stands.Comment != made.Comment {
		return stands, fmt.Errorf("%w: it is of a comment with other content", bus.ErrPoison)
	}
	return stands, nil
}
