package posts

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// Created stores the posts of a batch of PostCreated, each as one document,
// "post-<id>". A post is written once and never changes: an event that is delivered again
// finds its post and does nothing, and another post with the same id is a bus.ErrPoison.
func (s *Service) Created(ctx context.Context, events []event.Event) []error {
	items := make([]state.Item, len(events))
	for i, e := range events {
		value, err := event.Marshal(e.Post)
		if err != nil {
			return bus.All(len(events), err)
		}
		items[i] = state.Item{Key: "post-" + e.Post.ID, Value: value}
	}
	kept := state.Keep(ctx, s.store, items...)
	errs := make([]error, len(events))
	for i, e := range events {
		errs[i] = same(*e.Post, kept[items[i].Key])
	}
	return errs
}

// same returns an error unless what is kept is the post: another one is a bus.ErrPoison.
func same(post event.Post, kept state.Kept) error {
	if kept.Err != nil {
		return kept.Err
	}
	var stored event.Post
	if json.Unmarshal(kept.Value, &stored) != nil || stored.Contradicts(post) {
		return fmt.Errorf("%w: post %s exists with other content", bus.ErrPoison, post.ID)
	}
	return nil
}
