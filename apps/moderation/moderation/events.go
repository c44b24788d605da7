// Package moderation is the service that decides which comments readers get to see.
package moderation

import (
	"context"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// Policy decides on comments. It depends on the comment's text alone: with anything else
// an event that is delivered again could be decided on in another way.
type Policy interface {
	// Decide returns the comment's status and, for a rejection, the reason.
	Decide(c event.Comment) (status event.Status, reason string)
}

// Service answers each comment with its moderation. It is safe for concurrent use.
type Service struct {
	source string
	events bus.Publisher
	store  state.Store
	rules  Policy
}

// New returns the service that publishes as source, the app id.
func New(source string, events bus.Publisher, store state.Store, rules Policy) *Service {
	return &Service{source, events, store, rules}
}

// Created answers each CommentCreated with a CommentModerated. The decision is kept
// before it is published, and the event's id is derived from the comment's: an event that
// is delivered again is answered by the same event again.
func (s *Service) Created(ctx context.Context, events []event.Event) []error {
	rulings, err := s.rule(ctx, events)
	if err != nil {
		return bus.All(len(events), err)
	}
	return bus.React(ctx, s.events, event.CommentModerated, events, func(i int) (event.Event, error) {
		if rulings[i].err != nil {
			return event.Event{}, rulings[i].err
		}
		comment := *events[i].Comment
		comment.Status, comment.Reason = rulings[i].Status, rulings[i].Reason
		comment.Revision++
		// The time is the comment's own too: the answer is the same to the byte.
		return event.OfComment(event.CommentModerated, s.source, comment, events[i].Time, events[i].TraceParent)
	})
}
