package statetest

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/apps/internal/state"
)

// Put writes a value, at any ETag.
func (m *Memory) Put(key, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(state.Item{Key: key, Value: []byte(value)})
}

// Remove removes keys, at any ETag.
func (m *Memory) Remove(keys ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		delete(m.docs, key)
	}
}

// Clear removes all keys, as FLUSHALL does.
func (m *Memory) Clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.docs)
}

// Save remembers all that is there now. SetBack goes back to it, ETags included, as a store
// does that comes back without what it wrote last.
func (m *Memory) Save() (setBack func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	docs := maps.Clone(m.docs)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.docs = maps.Clone(docs)
	}
}

// Value is the value of a key, or empty for a key that does not exist.
func (m *Memory) Value(key string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, _ := m.doc(key)
	return string(d.value)
}

// Version counts the writes of a key since it was created. 0 means that it does not
// exist.
func (m *Memory) Version(key string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, _ := m.doc(key)
	return d.version
}

// TTL is the time to live of a key's last write with a TTL. 0 means for ever.
func (m *Memory) TTL(key string) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, _ := m.doc(key)
	return d.ttl
}

// Keys are the existing keys with the prefix, sorted.
func (m *Memory) Keys(prefix string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(m.docs)) {
		if _, exists := m.doc(key); exists && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Written counts the items that Swap has written.
func (m *Memory) Written() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.written
}

// Calls are the calls of op so far, including failed ones.
func (m *Memory) Calls(op Op) []Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	var calls []Call
	for _, c := range m.calls {
		if c.Op == op {
			calls = append(calls, c)
		}
	}
	return calls
}

// Named counts the keys with the prefix in calls of op, including failed ones.
func (m *Memory) Named(op Op, prefix string) int {
	n := 0
	for _, c := range m.Calls(op) {
		for _, key := range c.Keys() {
			if strings.HasPrefix(key, prefix) {
				n++
			}
		}
	}
	return n
}
