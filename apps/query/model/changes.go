package model

import (
	"strings"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// What is kept in memory for streams: the last changesKept changes, or as many as
// changesBytes holds, and at most twice that, because the older half goes at once. A
// reader that is further behind gets them from the log.
const (
	changesKept  = 16_384
	changesBytes = 64 << 20
)

// framesBytes is when Frames has made enough at once for one reader: a post's frame
// has its newest comments, and so may be a thousand times as large as its event.
const framesBytes = 4 << 20

// changes are the last events, without gaps. From is the number, and fromID the id, of the
// event before the first; the id is empty where it is not known.
type changes struct {
	from   uint64
	fromID string
	last   []change
	bytes  int // of the frames
}

// change is an event's id, and what streams send of the event: nil if readers see nothing
// of it.
type change struct {
	id    string
	frame []byte
}

func changesFrom(at eventlog.Position) changes { return changes{from: at.Sequence, fromID: at.Event} }

func (c *changes) add(next change) {
	for len(c.last) >= 2*changesKept || c.bytes+len(next.frame) > 2*changesBytes && len(c.last) > 1 {
		half := len(c.last) / 2
		c.from, c.fromID = c.from+uint64(half), c.last[half-1].id //nolint:gosec // never negative
		for _, old := range c.last[:half] {
			c.bytes -= len(old.frame)
		}
		c.last = append(make([]change, 0, 2*changesKept), c.last[half:]...)
	}
	c.last = append(c.last, next)
	c.bytes += len(next.frame)
}

// after returns the changes after the event with the number; ok is false when they are no
// longer here.
func (c *changes) after(sequence uint64) (later []change, ok bool) {
	if sequence < c.from {
		return nil, false
	}
	return c.last[min(sequence-c.from, uint64(len(c.last))):], true
}

// idAt returns the id of the event with the number; ok is false when it is not here.
func (c *changes) idAt(sequence uint64) (id string, ok bool) {
	switch {
	case sequence == c.from:
		return c.fromID, c.fromID != "" || sequence == 0
	case sequence > c.from && sequence-c.from <= uint64(len(c.last)):
		return c.last[sequence-c.from-1].id, true
	}
	return "", false
}

// Compare says whether a position, which the model stands at or beyond, is one where it
// was. Known is false when only the log can say.
func (m *Model) Compare(p eventlog.Position) (fits, known bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if p.Log != "" && m.status.At.Log != "" && p.Log != m.status.At.Log {
		return false, true
	}
	id, known := m.changes.idAt(p.Sequence)
	return p.Event == "" || p.Event == id, p.Event == "" || known
}

// ChangesAfter returns the frames of the events after the number, up to where the model
// stands. ok is false when they have to be read from the log.
func (m *Model) ChangesAfter(sequence uint64) (frames [][]byte, now Status, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	later, ok := m.changes.after(sequence)
	for _, c := range later {
		if c.frame != nil {
			frames = append(frames, c.frame)
		}
	}
	return frames, m.status, ok
}

// Frames returns the frames of the first of these events, all of which the model has, as
// their entities now stand: of at least one event, and of no more once the frames have
// framesBytes. It returns the position that it got to.
func (m *Model) Frames(events []event.Event) (frames [][]byte, at eventlog.Position) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for i, size := 0, 0; i < len(events) && size < framesBytes; i++ {
		at = m.positionOf(events[i])
		if frame := m.frame(events[i]); frame != nil {
			frames = append(frames, frame)
			size += len(frame)
		}
	}
	at.Event = strings.Clone(at.Event) // it may be a part of the whole batch
	return frames, at
}

func (m *Model) positionOf(e event.Event) eventlog.Position {
	return eventlog.Position{Sequence: uint64(e.Sequence), Log: m.status.At.Log, Event: e.ID}
}

// frame is a change as a server-sent event: the event's entity as it now stands, or nil if
// readers see nothing of it. The model has folded the event.
func (m *Model) frame(e event.Event) []byte {
	if !isShown(e.Type) {
		return nil
	}
	p, entry := m.posts[postOf(e)], m.entry(e)
	if entry == nil || !p.isVisible() || p.isStale(uint64(e.Sequence)) {
		return nil
	}
	var data []byte
	if e.Post != nil {
		data = p.render(whole).json
	} else { // with the post's id as the first member, and its counts as the last ones
		data = append([]byte(`{"postId":"`+p.ID.String()+`",`), entry.JSON[1:len(entry.JSON)-len("}")]...)
		if e.Comment != nil {
			data = p.appendCounts(append(data, ','))
		}
		data = append(data, '}')
	}
	frame := make([]byte, 0, len(data)+128)
	frame = append(frame, "id: "...)
	frame = append(frame, m.positionOf(e).String()...)
	frame = append(frame, "\nevent: "...)
	frame = append(frame, e.Type...)
	frame = append(frame, "\ndata: "...)
	frame = append(frame, data...)
	return append(frame, "\n\n"...)
}
