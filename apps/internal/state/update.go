package state

import (
	"context"
	"fmt"

	jsonv2 "github.com/go-json-experiment/json"
)

// updateTries is how often Update writes when other writers are first.
const updateTries = 4

// Update reads keys, has change say what to write of them, and writes that. Where the
// write may not have happened it does all of it again: change may run several times, and
// its last result stands. The error is the store's, or that of change.
func Update(ctx context.Context, store Store, keys []string, change func([]Item) (writes []Item, err error)) error {
	var failed error
	for range updateTries {
		items, err := store.Get(ctx, keys...)
		if err != nil {
			return err
		}
		writes, err := change(items)
		if err != nil || len(writes) == 0 {
			return err
		}
		if failed = store.Swap(ctx, writes...); failed == nil {
			return nil
		}
	}
	return failed
}

// Decode decodes the JSON of items, by index. A key that does not exist is a zero Value.
func Decode[Value any](items ...Item) ([]Value, error) {
	values := make([]Value, len(items))
	for i, item := range items {
		if !item.Exists() {
			continue
		}
		if err := jsonv2.Unmarshal(item.Value, &values[i]); err != nil {
			return nil, fmt.Errorf("decoding %s: %w", item.Key, err)
		}
	}
	return values, nil
}
