// Package state keeps a service's documents in its Dapr state store. Every write is a
// compare-and-swap of one key, because a write that timed out may still happen later.
// Nothing here relies on more than one key at a time.
package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	dapr "github.com/dapr/go-sdk/client"
)

// ErrUnknown is the error of Swap when it is not known which writes happened: another
// writer was first, or the store could not be reached. (Dapr's Redis component reports
// both alike.) Read again before the next try.
var ErrUnknown = errors.New("it is not known whether the write happened")

// Item is a document in the store.
type Item struct {
	Key   string
	Value []byte
	// ETag is the version that was read. It is empty for a key that does not exist.
	ETag string
	// TTL is how long a written item lives, in whole seconds. 0 means for ever. It may begin
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
	// that is empty. Each item is written or not for itself. A key that does not exist is
	// written with any ETag. A nil error means that all items were written. Any other
	// error is an ErrUnknown.
	Swap(ctx context.Context, items ...Item) error

	// Delete removes an item if its key is still at the item's ETag, or does not exist.
	Delete(ctx context.Context, item Item) error

	// Drop removes keys at whatever version they are, each for itself, in one call. A key
	// that does not exist is no error.
	Drop(ctx context.Context, keys ...string) error
}

// sidecarStore is a state store component of Dapr.
type sidecarStore struct {
	client    dapr.Client
	component string
}

// New returns the state store component of the sidecar that client is connected to.
func New(client dapr.Client, component string) Store { return &sidecarStore{client, component} }

// readParallelism is how many keys the sidecar reads at once for one call.
const readParallelism = 32

func (s *sidecarStore) Get(ctx context.Context, keys ...string) ([]Item, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	if len(keys) == 1 {
		got, err := s.client.GetState(ctx, s.component, keys[0], nil)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", keys[0], err)
		}
		return []Item{{Key: keys[0], Value: got.Value, ETag: got.Etag}}, nil
	}
	got, err := s.client.GetBulkState(ctx, s.component, keys, nil, readParallelism)
	if err != nil {
		return nil, fmt.Errorf("reading %d keys from %s on: %w", len(keys), keys[0], err)
	}
	byKey := make(map[string]*dapr.BulkStateItem, len(got))
	for _, g := range got {
		byKey[g.Key] = g
	}
	items := make([]Item, len(keys))
	for i, key := range keys {
		g, ok := byKey[key]
		if !ok {
			return nil, fmt.Errorf("reading %s: the store did not answer for it", key)
		}
		if g.Error != "" {
			return nil, fmt.Errorf("reading %s: %s", key, g.Error)
		}
		items[i] = Item{Key: key, Value: g.Value, ETag: g.Etag}
	}
	return items, nil
}

// absent is an ETag that no key has. A write with it succeeds only if the key does not
// exist.
const absent = "-1"

// Swap sends several items as a transaction, because the Redis component then sends them
// at once (../README.md, "One key a write"). It uses nothing else of the transaction: if
// one item conflicts, the others are written.
func (s *sidecarStore) Swap(ctx context.Context, items ...Item) error {
	set := make([]*dapr.SetStateItem, len(items))
	for i, item := range items {
		set[i] = &dapr.SetStateItem{
			Key: item.Key, Value: item.Value, Etag: &dapr.ETag{Value: cmp.Or(item.ETag, absent)},
			Options: &dapr.StateOptions{Concurrency: dapr.StateConcurrencyFirstWrite, Consistency: dapr.StateConsistencyStrong},
		}
		if item.TTL > 0 {
			set[i].Metadata = map[string]string{"ttlInSeconds": strconv.Itoa(int(item.TTL.Seconds()))}
		}
	}
	if err := s.save(ctx, set); err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return nil
}

func (s *sidecarStore) save(ctx context.Context, set []*dapr.SetStateItem) error {
	if len(set) < 2 {
		return s.client.SaveBulkState(ctx, s.component, set...)
	}
	return s.together(ctx, dapr.StateOperationTypeUpsert, set)
}

// together sends operations of one type as a transaction.
func (s *sidecarStore) together(ctx context.Context, operation dapr.OperationType, items []*dapr.SetStateItem) error {
	operations := make([]*dapr.StateOperation, len(items))
	for i, item := range items {
		operations[i] = &dapr.StateOperation{Type: operation, Item: item}
	}
	return s.client.ExecuteStateTransaction(ctx, s.component, nil, operations)
}

// ETagAfter is the ETag that a key is expected to have after a successful Swap of an item
// with etag, so that it need not be read: Redis counts a key's writes. With another
// component the next Swap fails, and the key is read again.
func ETagAfter(etag string) string {
	n, err := strconv.ParseUint(etag, 10, 64)
	if err != nil {
		n = 0
	}
	return strconv.FormatUint(n+1, 10)
}

func (s *sidecarStore) Delete(ctx context.Context, item Item) error {
	err := s.client.DeleteStateWithETag(ctx, s.component, item.Key, &dapr.ETag{Value: item.ETag}, nil,
		&dapr.StateOptions{Concurrency: dapr.StateConcurrencyFirstWrite, Consistency: dapr.StateConsistencyStrong})
	if err != nil {
		return fmt.Errorf("deleting %s: %w", item.Key, err)
	}
	return nil
}

func (s *sidecarStore) Drop(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	items := make([]*dapr.SetStateItem, len(keys))
	for i, key := range keys {
		items[i] = &dapr.SetStateItem{Key: key}
	}
	if err := s.together(ctx, dapr.StateOperationTypeDelete, items); err != nil {
		return fmt.Errorf("removing %d keys from %s on: %w", len(keys), keys[0], err)
	}
	return nil
}
