package main

import (
	"context"
	"log/slog"

	"github.com/postbus/postbus/apps/internal/event"
)

type publisher interface {
	PublishAll(ctx context.Context, t event.Type, events []event.Event) []error
}

type moderator struct {
	source    string
	bus       publisher
	decisions *decisions
}

// created answers each CommentCreated with a CommentModerated. The decision is
// kept before it is published, and the event's id is derived from the comment's:
// an event that is delivered again is answered by the same event again.
func (m *moderator) created(ctx context.Context, events []event.Event) []error {
	made, errs := m.decisions.of(ctx, events)
	moderated := make([]event.Event, 0, len(events))
	index := make([]int, 0, len(events))
	for i, e := range events {
		if errs[i] != nil {
			continue
		}
		comment := *e.Comment
		comment.Status, comment.Reason = made[i].Status, made[i].Reason
		comment.Revision++
		// The time is the comment's own too: the answer is the same to the byte.
		answer, err := event.OfComment(event.CommentModerated, m.source, comment, e.Time, e.TraceParent)
		if err != nil {
			errs[i] = err
			continue
		}
		moderated, index = append(moderated, answer), append(index, i)
	}
	for i, err := range m.bus.PublishAll(ctx, event.CommentModerated, moderated) {
		errs[index[i]] = err
	}
	slog.DebugContext(ctx, "comments moderated", "events", len(moderated))
	return errs
}
