package state

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// memory is a store with the semantics of Dapr's Redis component: a key's ETag
// counts its writes, an ETag that isn't the key's is a conflict of that key
// alone (and none where there is no such key), and a conflict looks like any other failure.
type memory struct {
	versions map[string]int
	values   map[string][]byte
	// failGet and failSwap are the errors of the calls to come, nil for none. A
	// Swap that fails with errLost has happened.
	failGet, failSwap []error
	gets, swaps       int
	// beforeSwap, if set, is what another writer does just before the next Swap.
	beforeSwap func()
}

var (
	errDown = errors.New("store is down")
	errLost = fmt.Errorf("%w: the answer was lost", ErrUnknown)
)

func newMemory() *memory {
	return &memory{versions: map[string]int{}, values: map[string][]byte{}}
}

func (m *memory) Get(_ context.Context, keys ...string) ([]Item, error) {
	m.gets++
	if err := next(&m.failGet); err != nil {
		return nil, err
	}
	items := make([]Item, len(keys))
	for i, key := range keys {
		items[i] = Item{Key: key}
		if v := m.versions[key]; v > 0 {
			items[i].Value, items[i].ETag = append([]byte(nil), m.values[key]...), strconv.Itoa(v)
		}
	}
	return items, nil
}

func (m *memory) Swap(_ context.Context, items ...Item) error {
	m.swaps++
	if other := m.beforeSwap; other != nil {
		m.beforeSwap = nil
		other()
	}
	err := next(&m.failSwap)
	if err != nil && !errors.Is(err, errLost) {
		return err
	}
	for _, item := range items {
		if v := m.versions[item.Key]; v > 0 && item.ETag != strconv.Itoa(v) {
			err = fmt.Errorf("%w: %s is at %d, not %q", ErrUnknown, item.Key, v, item.ETag)
			continue
		}
		m.versions[item.Key]++
		m.values[item.Key] = append([]byte(nil), item.Value...)
	}
	return err
}

func next(errs *[]error) error {
	if len(*errs) == 0 {
		return nil
	}
	err := (*errs)[0]
	*errs = (*errs)[1:]
	return err
}
