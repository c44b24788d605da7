package comments

import (
	"sync"
	"time"
)

// rememberFor bounds how long a replica takes for true what it saw in the store: the store
// may lose its data, and begin anew under a running service.
const rememberFor = 2 * time.Second

// memory holds what was seen in the store in the last rememberFor. It is safe for
// concurrent use.
type memory[Value any] struct {
	now func() time.Time

	mu     sync.Mutex
	begun  time.Time
	values map[string]Value
}

// get returns the value, if there is one that is not too old.
func (m *memory[Value]) get(key string) (value Value, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget()
	value, ok = m.values[key]
	return value, ok
}

func (m *memory[Value]) put(key string, value Value) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget()
	m.values[key] = value
}

// forget drops all values at once, so that no value outlives rememberFor by being put again.
func (m *memory[Value]) forget() {
	if now := m.now(); m.values == nil || now.Sub(m.begun) >= rememberFor {
		m.begun, m.values = now, map[string]Value{}
	}
}
