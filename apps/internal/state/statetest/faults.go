package statetest

import (
	"context"

	"github.com/postbus/postbus/apps/internal/state"
)

// Fail makes every call of the ops fail with err and do nothing, until Fail is called for
// them with nil. Without ops it applies to all.
func (m *Memory) Fail(err error, ops ...Op) {
	if len(ops) == 0 {
		ops = []Op{Get, Swap, Delete, Drop}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, op := range ops {
		m.failing[op] = err
	}
}

// Before runs hook before each call. The hook may block, to delay the call. It may call
// the store, as another writer would. If it returns an error, the call fails with that
// error and does nothing. Nil removes the hook.
func (m *Memory) Before(hook func(context.Context, Call) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = hook
}

// Decide lets fate decide what becomes of the write of each item. It runs with the
// store's lock, so it must not call the store. With nil, all items are written.
func (m *Memory) Decide(fate func(state.Item) Fate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fate = fate
}

// Always is the same fate for every write.
func Always(fate Fate) func(state.Item) Fate {
	return func(state.Item) Fate { return fate }
}

// Land performs the late writes, in their order. A write whose ETag no longer matches is
// lost.
func (m *Memory) Land() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, item := range m.late {
		if m.check(item) == nil {
			m.put(item)
			m.written++
		}
	}
	m.late = nil
}
