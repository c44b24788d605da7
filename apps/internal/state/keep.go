package state

import "context"

// Kept is the value of a key after Keep.
type Kept struct {
	// Value is nil if Err is not nil, because it is then unknown.
	Value []byte
	Err   error
}

// Keep writes documents that never change: each whose key does not exist yet. It returns
// the value that each key has from now on: the item's own, or the one that was there
// first. Of two items with one key the first counts.
//
// It writes before it reads, because nearly all documents are new.
func Keep(ctx context.Context, store Store, items ...Item) map[string]Kept {
	kept := make(map[string]Kept, len(items))
	var firsts []Item
	var keys []string
	for _, item := range items {
		if _, again := kept[item.Key]; !again {
			kept[item.Key] = Kept{Value: item.Value}
			firsts, keys = append(firsts, item), append(keys, item.Key)
		}
	}
	if len(firsts) == 0 || store.Swap(ctx, firsts...) == nil {
		return kept
	}
	found, err := store.Get(ctx, keys...)
	missing := firsts
	if err == nil {
		missing = nil
		for i, item := range found {
			if item.Exists() {
				kept[item.Key] = Kept{Value: item.Value}
			} else {
				missing = append(missing, firsts[i])
			}
		}
		if len(missing) > 0 {
			err = store.Swap(ctx, missing...)
		}
	}
	if err != nil {
		for _, item := range missing {
			kept[item.Key] = Kept{Err: err}
		}
	}
	return kept
}

// Missing says, by index, which of the keys do not exist.
func Missing(ctx context.Context, store Store, keys ...string) ([]bool, error) {
	items, err := store.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	missing := make([]bool, len(keys))
	for i, item := range items {
		missing[i] = !item.Exists()
	}
	return missing, nil
}
