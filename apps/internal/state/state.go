// Package state keeps a service's documents in its Dapr state store. Every write is a
// compare-and-swap of one key, because a write that timed out may still happen later.
// Nothing here relies on more than one key at a time.
//
// Store is all that a service asks of a state store: the state contract. Each component of
// Dapr is made to keep it in a file of its own, and Prove says whether it does.
package state

import (
	"context"
	"errors"
	"time"
)

// ErrUnknown is the error of Swap when it is not known which writes happened: another
// writer was first, or the store could not be reached. (Dapr's Redis component reports
// both alike.) Read again before the next try.
var ErrUnknown = errors.New("it is not known whether the write happened")

// Item is a document in the store.
type Item struct {
	Key   string
	Value []byte
	// ETag is the version that was read. It is empty for a key that does not exist. Otherwise
	// it means nothing but its equality.
	ETag string
	// TTL is how long a written item lives, in whole seconds. 0 means for ever, but for a key
	// that has a time to live already: whether it keeps that is the component's. It may begin
	// again for the value that is there if the write conflicts.
	TTL time.Duration
}

// Exists reports whether the key existed when the item was read.
func (i Item) Exists() bool { return i.ETag != "" }

// Store is one service's state store. It is safe for concurrent use.
type Store interface {
	// Get reads keys. The items are in the order of the keys. A key that does not exist
	// has an item without ETag.
	Get(ctx context.Context, keys ...string) ([]Item, error)

	// Swap writes each item if its key is still at the item's ETag, or does not exist if
	// that is empty. Each item is written or not for itself. Whether a key that does not
	// exist is written with an ETag is the component's: Redis's writes it. A nil error means
	// that all items were written. Any other error is an ErrUnknown.
	Swap(ctx context.Context, items ...Item) error

	// ETagAfter is the ETag that a key has after a Swap of an item with etag, if the component
	// makes ETags that can be known without a read.
	ETagAfter(etag string) (after string, isKnown bool)

	// Delete removes an item if its key is still at the item's ETag. Whether it is an error
	// that the key does not exist is the component's.
	Delete(ctx context.Context, item Item) error

	// Drop removes keys at whatever version they are, in one call. A key that does not exist is
	// no error. If the call fails, some of the keys may be removed.
	Drop(ctx context.Context, keys ...string) error
}
