// Package statetest has a state store in memory for unit tests.
package statetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/postbus/postbus/apps/internal/state"
)

// ErrDown is what a store answers that can't be reached.
var ErrDown = errors.New("store is down")

// Memory is a store with the semantics of Dapr's Redis component: an ETag counts
// a key's writes, a conflict is that of one key alone, and looks like any other
// failure. It is not safe for concurrent use.
type Memory struct {
	// Versions and Values are what the keys are at.
	Versions map[string]int
	Values   map[string]string
	// Writes counts the keys that were written.
	Writes int
	// GetErr and SwapErr are the answers while they are set; with Lands, a Swap
	// that answers with SwapErr has happened.
	GetErr, SwapErr error
	Lands           bool
}

// New returns an empty store.
func New() *Memory {
	return &Memory{Versions: map[string]int{}, Values: map[string]string{}}
}

// Get is that of state.Store.
func (m *Memory) Get(_ context.Context, keys ...string) ([]state.Item, error) {
	if m.GetErr != nil {
		return nil, m.GetErr
	}
	items := make([]state.Item, len(keys))
	for i, key := range keys {
		items[i] = state.Item{Key: key}
		if v := m.Versions[key]; v > 0 {
			items[i].Value, items[i].ETag = []byte(m.Values[key]), strconv.Itoa(v)
		}
	}
	return items, nil
}

// Swap is that of state.Store.
func (m *Memory) Swap(_ context.Context, items ...state.Item) error {
	if m.SwapErr != nil && !m.Lands {
		return m.SwapErr
	}
	err := m.SwapErr
	for _, item := range items {
		if v := m.Versions[item.Key]; v > 0 && item.ETag != strconv.Itoa(v) {
			err = fmt.Errorf("%w: conflict", state.ErrUnknown)
			continue
		}
		m.Writes++
		m.Versions[item.Key]++
		m.Values[item.Key] = string(item.Value)
	}
	return err
}
