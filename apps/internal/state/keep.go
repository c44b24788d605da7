package state

import "context"

// Swapper is what Keep needs of a Store.
type Swapper interface {
	Get(ctx context.Context, keys ...string) ([]Item, error)
	Swap(ctx context.Context, items ...Item) error
}

// Keep writes documents that never change: each whose key does not exist yet. It
// returns, by index, the value that the key holds from now on: the item's own, or
// the one that was there first (of two in items, the first). Where the error, by
// index too, is not nil, the value isn't known.
//
// It writes before it reads, because nearly all documents are new.
func Keep(ctx context.Context, store Swapper, items []Item) (kept [][]byte, errs []error) {
	values := make(map[string][]byte, len(items))
	firsts := make([]Item, 0, len(items))
	for _, item := range items {
		if _, seen := values[item.Key]; !seen {
			values[item.Key] = item.Value
			firsts = append(firsts, item)
		}
	}
	failed := map[string]error{}
	if len(firsts) > 0 && store.Swap(ctx, firsts...) != nil {
		failed = keepRead(ctx, store, firsts, values)
	}
	kept, errs = make([][]byte, len(items)), make([]error, len(items))
	for i, item := range items {
		if errs[i] = failed[item.Key]; errs[i] == nil {
			kept[i] = values[item.Key]
		}
	}
	return kept, errs
}

// keepRead reads which of items exist and writes the others. It sets values to
// what is there, and returns the errors by key.
func keepRead(ctx context.Context, store Swapper, items []Item, values map[string][]byte) map[string]error {
	failed := map[string]error{}
	keys := make([]string, len(items))
	for i, item := range items {
		keys[i] = item.Key
	}
	found, err := store.Get(ctx, keys...)
	if err != nil {
		for _, key := range keys {
			failed[key] = err
		}
		return failed
	}
	var missing []Item
	for i, item := range found {
		if item.Exists() {
			values[item.Key] = item.Value
		} else {
			missing = append(missing, items[i])
		}
	}
	if len(missing) == 0 {
		return failed
	}
	if err := store.Swap(ctx, missing...); err != nil {
		for _, item := range missing {
			failed[item.Key] = err
		}
	}
	return failed
}
