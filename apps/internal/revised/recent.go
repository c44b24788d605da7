package revised

import (
	"context"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// rememberFor is for how long what the store says of an entity is not read again. A
	// replica that did not get an event knows what it says so much later.
	rememberFor = 2 * time.Second
	// maxRemembered bounds how many entities are remembered.
	maxRemembered = 10_000
)

// Recent are Documents that are not read for each request. They are safe for concurrent use.
type Recent[T Entity[T]] struct {
	documents *Documents[T]
	now       func() time.Time
	seen      *lru.Cache[string, sighting[T]]
}

// sighting is what the store said, nil for nothing, and when.
type sighting[T any] struct {
	entity *T
	at     time.Time
}

// NewRecent returns the documents of a store. Of returns the entity that an event carries, and
// the key of its document.
func NewRecent[T Entity[T]](store state.Store, now func() time.Time, of func(event.Event) (string, T)) *Recent[T] {
	r := &Recent[T]{now: now}
	r.seen, _ = lru.New[string, sighting[T]](maxRemembered) // the size is valid
	r.documents = &Documents[T]{Store: store, Of: of, Written: func(key string, entity T) {
		r.seen.Add(key, sighting[T]{&entity, now()})
	}}
	return r
}

// Consumer consumes the events of a type.
func (r *Recent[T]) Consumer(t event.Type) catchup.Consumer { return r.documents.Consumer(t) }

// Get returns the entity of a key as it was at most some seconds ago. It is nil if there is
// none.
func (r *Recent[T]) Get(ctx context.Context, key string) (*T, error) {
	now := r.now()
	if seen, known := r.seen.Get(key); known && now.Sub(seen.at).Abs() < rememberFor {
		return seen.entity, nil
	}
	entity, err := r.documents.Get(ctx, key)
	if err == nil {
		r.seen.Add(key, sighting[T]{entity, now})
	}
	return entity, err
}
