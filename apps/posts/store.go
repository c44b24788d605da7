package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// posts keeps one document a post, under "post-<id>".
type posts struct{ store state.Swapper }

// created stores the posts of a batch of PostCreated. A post is written once and
// never changes, so an event that comes again finds its post and does nothing.
func (p *posts) created(ctx context.Context, events []event.Event) []error {
	items := make([]state.Item, len(events))
	for i, e := range events {
		value, err := event.Marshal(e.Post)
		if err != nil {
			return bus.All(len(events), err)
		}
		items[i] = state.Item{Key: "post-" + e.Post.ID, Value: value}
	}
	kept, errs := state.Keep(ctx, p.store, items)
	for i, err := range errs {
		if err == nil && !bytes.Equal(kept[i], items[i].Value) {
			errs[i] = fmt.Errorf("%w: post %s exists with other content", bus.ErrPoison, events[i].Post.ID)
		}
	}
	return errs
}
