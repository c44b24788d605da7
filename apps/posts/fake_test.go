package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

var errDown = errors.New("store is down")

// memory is a store with the semantics of Dapr's Redis component: an ETag counts
// a key's writes, and a conflict looks like any other failure.
type memory struct {
	versions map[string]int
	values   map[string]string
	writes   int
	// getErr and swapErr are the answers while they are set; with lands, a Swap
	// that answers with swapErr has happened.
	getErr, swapErr error
	lands           bool
}

func newMemory() *memory {
	return &memory{versions: map[string]int{}, values: map[string]string{}}
}

func (m *memory) Get(_ context.Context, keys ...string) ([]state.Item, error) {
	if m.getErr != nil {
		return nil, m.getErr
	}
	items := make([]state.Item, len(keys))
	for i, key := range keys {
		items[i] = state.Item{Key: key}
		if v := m.versions[key]; v > 0 {
			items[i].Value, items[i].ETag = []byte(m.values[key]), strconv.Itoa(v)
		}
	}
	return items, nil
}

func (m *memory) Swap(_ context.Context, items ...state.Item) error {
	if m.swapErr != nil && !m.lands {
		return m.swapErr
	}
	err := m.swapErr
	for _, item := range items {
		if v := m.versions[item.Key]; item.ETag == "" && v > 0 || item.ETag != "" && item.ETag != strconv.Itoa(v) {
			err = fmt.Errorf("%w: conflict", state.ErrUnknown)
			continue
		}
		m.writes++
		m.versions[item.Key]++
		m.values[item.Key] = string(item.Value)
	}
	return err
}

// topic is a bus that keeps what was published.
type topic struct {
	events []event.Event
	err    error
}

func (p *topic) Publish(_ context.Context, e event.Event) error {
	if p.err != nil {
		return p.err
	}
	p.events = append(p.events, e)
	return nil
}
