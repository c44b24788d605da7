package main

import (
	"context"
	"log/slog"

	"github.com/postbus/postbus/apps/internal/event"
)

type publisher interface {
	PublishAll(ctx context.Context, t event.Type, events []event.Event) []error
}

type handlers struct {
	source   string
	bus      publisher
	posts    *knownPosts
	comments *comments
}

func (h *handlers) postCreated(ctx context.Context, events []event.Event) []error {
	return h.posts.add(ctx, events)
}

func (h *handlers) commentCreated(ctx context.Context, events []event.Event) []error {
	return h.comments.merge(ctx, events, true)
}

// commentModerated stores the decisions and then publishes a CommentUpdated for
// each: a crash in between has the event delivered, and both done, again.
func (h *handlers) commentModerated(ctx context.Context, events []event.Event) []error {
	errs := h.comments.merge(ctx, events, false)
	updated := make([]event.Event, 0, len(events))
	index := make([]int, 0, len(events))
	for i, e := range events {
		if errs[i] != nil {
			continue
		}
		u, err := event.OfComment(event.CommentUpdated, h.source, *e.Comment, e.Time, e.TraceParent)
		if err != nil {
			errs[i] = err
			continue
		}
		updated, index = append(updated, u), append(index, i)
	}
	for i, err := range h.bus.PublishAll(ctx, event.CommentUpdated, updated) {
		errs[index[i]] = err
	}
	slog.DebugContext(ctx, "comments updated", "events", len(updated))
	return errs
}
