// Package revised keeps entities of which the highest revision stands: a document each in a
// service's store, written from the events that carry them.
package revised

import (
	"context"
	"fmt"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// Entity is what an event carries, whole.
type Entity[T any] interface {
	// Version is the revision, from 1.
	Version() int
	// Contradicts reports whether the two cannot both be versions of one entity.
	Contradicts(other T) bool
}

// Documents are the documents of entities of one kind. They are safe for concurrent use.
type Documents[T Entity[T]] struct {
	// Store is the service's.
	Store state.Store
	// Of returns the entity that an event carries, and the key of its document.
	Of func(e event.Event) (key string, entity T)
	// Written, if set, is called for each entity that an event has brought, once the store has
	// it or a later revision.
	Written func(key string, entity T)
}

// Consumer consumes the events of a type.
func (d *Documents[T]) Consumer(t event.Type) catchup.Consumer {
	return catchup.Consumer{Type: t, Missing: d.missing, Effect: d.Put, Restore: d.restore}
}

// Get returns the entity of a key. It is nil if there is none.
func (d *Documents[T]) Get(ctx context.Context, key string) (*T, error) {
	items, err := d.Store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	stored, err := state.Decode[*T](items...)
	if err != nil {
		return nil, err
	}
	return stored[0], nil
}

// Put stores what events carry, where that is of a higher revision than what is stored. The
// errors are by index: a bus.ErrPoison for an event that contradicts what is stored.
func (d *Documents[T]) Put(ctx context.Context, events []event.Event) []error {
	return d.write(ctx, events, false)
}

// restore is Put for events that were read in the log: of equal revisions that of the log
// stands, and of two in the log the first of the batch.
func (d *Documents[T]) restore(ctx context.Context, events []event.Event) []error {
	return d.write(ctx, events, true)
}

func (d *Documents[T]) write(ctx context.Context, events []event.Event, isLogged bool) []error {
	carried, keys := map[string][]T{}, []string{}
	for _, e := range events {
		key, entity := d.Of(e)
		if carried[key] == nil {
			keys = append(keys, key)
		}
		carried[key] = append(carried[key], entity)
	}
	stands := map[string]T{} // as the store has it after the update
	err := state.Update(ctx, d.Store, keys, func(items []state.Item) (writes []state.Item, err error) {
		stored, err := state.Decode[*T](items...)
		if err != nil {
			return nil, err
		}
		for i, item := range items {
			latest := highest(stored[i], carried[item.Key], isLogged)
			if stands[item.Key] = *latest; latest == stored[i] {
				continue
			}
			if item.Value, err = event.Marshal(latest); err != nil {
				return nil, err
			}
			writes = append(writes, item)
		}
		return writes, nil
	})
	if err != nil {
		return bus.All(len(events), err)
	}
	errs := make([]error, len(events))
	for i, e := range events {
		key, entity := d.Of(e)
		if entity.Contradicts(stands[key]) {
			errs[i] = fmt.Errorf("%w: revision %d of %s is another one", bus.ErrPoison, entity.Version(), key)
			continue
		}
		if d.Written != nil {
			d.Written(key, stands[key])
		}
	}
	return errs
}

// highest returns the highest revision: stored, which is nil for a new entity, or one of those
// that events carry. Of equal ones stored stands, unless the events are the log's.
func highest[T Entity[T]](stored *T, carried []T, isLogged bool) *T {
	var latest *T
	for i := range carried {
		if latest == nil || carried[i].Version() > (*latest).Version() {
			latest = &carried[i]
		}
	}
	if stored == nil || (*latest).Version() > (*stored).Version() || isLogged && (*latest).Contradicts(*stored) {
		return latest
	}
	return stored
}

// missing says, by index, which events have brought something that the store does not have.
func (d *Documents[T]) missing(ctx context.Context, events []event.Event) ([]bool, error) {
	keys := make([]string, len(events))
	for i, e := range events {
		keys[i], _ = d.Of(e)
	}
	items, err := d.Store.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	stored, err := state.Decode[*T](items...)
	if err != nil {
		return nil, err
	}
	missing := make([]bool, len(events))
	for i, e := range events {
		_, entity := d.Of(e)
		missing[i] = stored[i] == nil || (*stored[i]).Version() < entity.Version() || (*stored[i]).Contradicts(entity)
	}
	return missing, nil
}
