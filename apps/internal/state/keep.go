package state

import (
	"bytes"
	"context"
	"errors"
)

// ErrOther is returned by Keep for a key that holds another value.
var ErrOther = errors.New("the key holds another value")

// Swapper is what Keep needs of a Store.
type Swapper interface {
	Get(ctx context.Context, keys ...string) ([]Item, error)
	Swap(ctx context.Context, items ...Item) error
}

// Keep writes documents that never change: each key that does not exist yet. The
// errors are by index, nil where the key now holds the value, ErrOther where it
// holds another one (the first of two in items counts, too), and otherwise what
// reading or writing said.
func Keep(ctx context.Context, store Swapper, items []Item) []error {
	errs := make([]error, len(items))
	keys := make([]string, len(items))
	for i, item := range items {
		keys[i] = item.Key
	}
	found, err := store.Get(ctx, keys...)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	values := make(map[string][]byte, len(items))
	var missing []Item
	for i, item := range items {
		value, seen := values[item.Key]
		switch {
		case seen:
		case found[i].Exists():
			value = found[i].Value
		default:
			value = item.Value
			missing = append(missing, item)
		}
		values[item.Key] = value
		if !bytes.Equal(value, item.Value) {
			errs[i] = ErrOther
		}
	}
	if len(missing) > 0 {
		if err := store.Swap(ctx, missing...); err != nil {
			for i := range errs {
				if !found[i].Exists() { // so that which of two is first isn't known either
					errs[i] = err
				}
			}
		}
	}
	return errs
}
