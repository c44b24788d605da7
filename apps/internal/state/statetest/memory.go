// Package statetest has a state store in memory, for the tests of all services.
package statetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/postbus/postbus/apps/internal/state"
)

// ErrDown is the error of a store that cannot be reached.
var ErrDown = errors.New("store is down")

// Op is one of the calls of state.Store.
type Op string

// The calls.
const (
	Get    Op = "get"
	Swap   Op = "swap"
	Delete Op = "delete"
	Drop   Op = "drop"
)

// Call is one call of the store. The items of a Get have only keys.
type Call struct {
	Op    Op
	Items []state.Item
}

// Keys are the keys of the call, in its order.
func (c Call) Keys() []string {
	keys := make([]string, len(c.Items))
	for i, item := range c.Items {
		keys[i] = item.Key
	}
	return keys
}

// Fate is what becomes of the write of one item.
type Fate int

// The four fates. For all but Written, Swap fails.
const (
	Written Fate = iota // unless another writer was first
	Refused             // it does not happen
	Lost                // it happens, and its answer is lost
	Late                // it happens when Land is called, unless another writer is first
)

// Memory is a store with the semantics of Dapr's Redis component
// (components-contrib 1.18.4, state/redis):
//   - A key's ETag counts its writes, from 1 again after a Delete.
//   - A conflict is that of one key alone. The other items of the Swap are written.
//   - A key that does not exist takes a write, and a Delete, with any ETag.
//   - A conflict looks like any other failure.
//   - A write without TTL leaves the key's time to live as it was.
//
// NewOpaque returns one with those of the PostgreSQL component, version 2
// (state/postgresql/v2):
//   - ETags are opaque, and no two are equal.
//   - A key that does not exist takes no write and no Delete with an ETag.
//   - A write without TTL has the key live for ever.
//
// It is safe for concurrent use. The hook of Before runs without its lock.
type Memory struct {
	mu      sync.Mutex
	docs    map[string]doc
	late    []state.Item
	calls   []Call
	written int

	failing map[Op]error
	before  func(context.Context, Call) error
	fate    func(state.Item) Fate
	// isOpaque says that the store has the semantics of PostgreSQL's component.
	isOpaque bool
	made     int // the opaque ETags that were made
}

var _ state.Store = (*Memory)(nil)

type doc struct {
	value   []byte
	version int
	etag    string
	ttl     time.Duration // 0 is for ever
	expires time.Time
}

// New returns an empty store.
func New() *Memory {
	return &Memory{docs: map[string]doc{}, failing: map[Op]error{}}
}

// NewOpaque returns an empty store with the semantics of the PostgreSQL component.
func NewOpaque() *Memory {
	m := New()
	m.isOpaque = true
	return m
}

// Get implements state.Store.
func (m *Memory) Get(ctx context.Context, keys ...string) ([]state.Item, error) {
	items := make([]state.Item, len(keys))
	for i, key := range keys {
		items[i].Key = key
	}
	read := func() error {
		for i, key := range keys {
			if d, exists := m.doc(key); exists {
				items[i].Value, items[i].ETag = slices.Clone(d.value), d.etag
			}
		}
		return nil
	}
	if err := m.do(ctx, Call{Get, slices.Clone(items)}, read); err != nil {
		return nil, fmt.Errorf("reading %v: %w", keys, err)
	}
	return items, nil
}

// Swap implements state.Store.
func (m *Memory) Swap(ctx context.Context, items ...state.Item) error {
	write := func() error {
		var failed error
		for _, item := range items {
			if err := m.write(item); err != nil {
				failed = err
			}
		}
		return failed
	}
	if err := m.do(ctx, Call{Swap, items}, write); err != nil {
		return fmt.Errorf("%w: %w", state.ErrUnknown, err)
	}
	return nil
}

// ETagAfter implements state.Store.
func (m *Memory) ETagAfter(etag string) (after string, isKnown bool) {
	if m.isOpaque {
		return "", false
	}
	n, _ := strconv.Atoi(etag)
	return strconv.Itoa(n + 1), true
}

// Delete implements state.Store.
func (m *Memory) Delete(ctx context.Context, item state.Item) error {
	remove := func() error {
		if err := m.check(item); err != nil {
			return err
		}
		delete(m.docs, item.Key)
		return nil
	}
	if err := m.do(ctx, Call{Delete, []state.Item{item}}, remove); err != nil {
		return fmt.Errorf("deleting %s: %w", item.Key, err)
	}
	return nil
}

// Drop implements state.Store.
func (m *Memory) Drop(ctx context.Context, keys ...string) error {
	items := make([]state.Item, len(keys))
	for i, key := range keys {
		items[i].Key = key
	}
	remove := func() error {
		for _, key := range keys {
			delete(m.docs, key)
		}
		return nil
	}
	if err := m.do(ctx, Call{Drop, items}, remove); err != nil {
		return fmt.Errorf("removing %v: %w", keys, err)
	}
	return nil
}

// do records a call, applies the faults, and runs effect with the lock.
func (m *Memory) do(ctx context.Context, c Call, effect func() error) error {
	m.mu.Lock()
	m.calls = append(m.calls, c)
	before := m.before
	m.mu.Unlock()
	if before != nil {
		if err := before(ctx, c); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(m.failing[c.Op], ctx.Err()); err != nil {
		return err
	}
	return effect()
}

// write applies the fate of one write.
func (m *Memory) write(item state.Item) error {
	fate := Written
	if m.fate != nil {
		fate = m.fate(item)
	}
	switch fate {
	case Refused:
		return fmt.Errorf("writing %s was refused", item.Key)
	case Late:
		item.Value = slices.Clone(item.Value)
		m.late = append(m.late, item)
		return fmt.Errorf("writing %s takes too long", item.Key)
	}
	if err := m.check(item); err != nil {
		return err
	}
	m.put(item)
	m.written++
	if fate == Lost {
		return fmt.Errorf("the answer to writing %s was lost", item.Key)
	}
	return nil
}

// check says whether a key is at an item's ETag.
func (m *Memory) check(item state.Item) error {
	d, exists := m.doc(item.Key)
	switch {
	case exists && item.ETag != d.etag:
		return fmt.Errorf("%s is at %s, not %q", item.Key, d.etag, item.ETag)
	case !exists && item.ETag != "" && m.isOpaque:
		return fmt.Errorf("%s does not exist, and so is not at %q", item.Key, item.ETag)
	default:
		return nil
	}
}

func (m *Memory) put(item state.Item) {
	d, _ := m.doc(item.Key)
	d.value, d.version = slices.Clone(item.Value), d.version+1
	d.etag = strconv.Itoa(d.version)
	if m.isOpaque {
		m.made++
		d.etag, d.ttl = "v"+strconv.Itoa(m.made), 0
	}
	if item.TTL > 0 {
		d.ttl, d.expires = item.TTL, time.Now().Add(item.TTL)
	}
	m.docs[item.Key] = d
}

// doc is the document of a key, unless it has expired.
func (m *Memory) doc(key string) (doc, bool) {
	d, exists := m.docs[key]
	if exists && d.ttl > 0 && !time.Now().Before(d.expires) {
		delete(m.docs, key)
		return doc{}, false
	}
	return d, exists
}
