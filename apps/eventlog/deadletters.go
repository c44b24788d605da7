package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// deadLetters keeps the dead letters as it keeps the events: in a log, numbered,
// each once.
type deadLetters struct{ log *eventLog }

func (d deadLetters) keep(ctx context.Context, letters []bus.DeadLetter) []error {
	events := make([]event.Event, len(letters))
	for i, letter := range letters {
		data, err := event.Marshal(letter)
		if err != nil {
			return bus.All(len(letters), err)
		}
		events[i] = event.Event{
			SpecVersion: "1.0", ID: letter.ID, Source: "/" + letter.Service, Type: "DeadLetter", Subject: letter.Topic,
			Time: time.Now().UTC(), DataContentType: "application/json", Data: data,
		}
	}
	errs := d.log.append(ctx, events)
	for i, err := range errs {
		if errors.Is(err, bus.ErrPoison) {
			// The same message, and the reason is worded in another way: the first stands.
			errs[i] = nil
		}
	}
	return errs
}

// prefixed is a part of a store, whose keys have a prefix there.
type prefixed struct {
	segmentStore
	prefix string
}

func (p prefixed) Get(ctx context.Context, keys ...string) ([]state.Item, error) {
	whole := make([]string, len(keys))
	for i, key := range keys {
		whole[i] = p.prefix + key
	}
	items, err := p.segmentStore.Get(ctx, whole...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.TrimSuffix(p.prefix, "-"), err)
	}
	for i := range items {
		items[i].Key = keys[i]
	}
	return items, nil
}

func (p prefixed) Swap(ctx context.Context, items ...state.Item) error {
	whole := make([]state.Item, len(items))
	for i, item := range items {
		item.Key = p.prefix + item.Key
		whole[i] = item
	}
	return p.segmentStore.Swap(ctx, whole...)
}

func (p prefixed) Delete(ctx context.Context, item state.Item) error {
	item.Key = p.prefix + item.Key
	return p.segmentStore.Delete(ctx, item)
}
