package main

import (
	"context"
	"log/slog"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
)

type publisher interface {
	PublishAll(ctx context.Context, t event.Type, events []event.Event) []error
}

type moderator struct {
	source string
	bus    publisher
}

// created answers each CommentCreated with a CommentModerated. The decision is a
// function of the comment, and the event's id of the comment's: an event that is
// delivered again is answered by the same event again.
func (m *moderator) created(ctx context.Context, events []event.Event) []error {
	moderated := make([]event.Event, len(events))
	for i, e := range events {
		comment := *e.Comment
		comment.Status, comment.Reason = decide(comment)
		comment.Revision++
		// The time is the comment's own too: the answer is the same to the byte.
		answer, err := event.OfComment(event.CommentModerated, m.source, comment, e.Time, e.TraceParent)
		if err != nil {
			return bus.All(len(events), err)
		}
		moderated[i] = answer
	}
	errs := m.bus.PublishAll(ctx, event.CommentModerated, moderated)
	slog.DebugContext(ctx, "comments moderated", "events", len(events))
	return errs
}
