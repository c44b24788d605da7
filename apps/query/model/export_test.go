package model

import "github.com/postbus/postbus/apps/internal/event"

// FramesBytes is framesBytes.
const FramesBytes = framesBytes

// Fold applies an event whatever its number, and counts it, so that no page is taken for
// current.
func (m *Model) Fold(e event.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.At.Sequence++
	return m.fold(e)
}
