package main

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

// framesBytes is when frames has made enough at once for one reader: a post's frame
// has its newest comments, and so may be a thousand times as large as its event.
const framesBytes = 4 << 20

// changes are the last events, each with what streams send of it.
type changes struct {
	// from is the number after which every event is here, and fromID the id of the event
	// with that number, empty where that is not known.
	from   uint64
	fromID string
	last   []change // without gaps
	bytes  int      // of the frames
}

type change struct {
	sequence uint64
	id       string // of the event
	frame    []byte // nil if readers see nothing of it
}

func (c *changes) add(next change) {
	for len(c.last) >= 2*changesKept || c.bytes+len(next.frame) > 2*changesBytes && len(c.last) > 1 {
		c.forgetOlderHalf()
	}
	c.last = append(c.last, next)
	c.bytes += len(next.frame)
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

func (c *changes) forgetOlderHalf() {
	half := len(c.last) / 2
	c.from, c.fromID = c.last[half-1].sequence, c.last[half-1].id
	for _, old := range c.last[:half] {
		c.bytes -= len(old.frame)
	}
	c.last = append(make([]change, 0, 2*changesKept), c.last[half:]...)
}

// after returns the changes after the number, or ok false when they are no longer here.
func (c *changes) after(sequence uint64) (frames []change, ok bool) {
	if sequence < c.from {
		return nil, false
	}
	return c.last[min(sequence-c.from, uint64(len(c.last))):], true
}

// frame is a change as a server-sent event: what e is about as it now stands, or
// nil if readers see nothing of it. The caller holds the model's lock.
func (m *model) frame(e event.Event) []byte {
	p, c := m.lookup(e)
	if p == nil || p.head == nil {
		return nil
	}
	var data []byte
	switch {
	case e.Type == event.PostCreated:
		data = p.newest().json
	case c != nil && (e.Type == event.CommentCreated || e.Type == event.CommentUpdated):
		// The comment's JSON, with its post in front.
		data = append([]byte(`{"postId":"`+e.Comment.PostID+`",`), c.json[1:]...)
	default:
		return nil
	}
	frame := make([]byte, 0, len(data)+64)
	frame = append(frame, "id: "...)
	frame = append(frame, eventlog.Position{Sequence: uint64(e.Sequence), Log: m.log, Event: e.ID}.String()...)
	frame = append(frame, "\nevent: "...)
	frame = append(frame, e.Type...)
	frame = append(frame, "\ndata: "...)
	frame = append(frame, data...)
	return append(frame, "\n\n"...)
}

// frames makes the changes of the first of events that the model has, as they now
// stand: of at least one, and of no more once they have framesBytes. It returns the
// position that it got to.
func (m *model) frames(events []event.Event) (made []change, at eventlog.Position) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for i, size := 0, 0; i < len(events) && size < framesBytes; i++ {
		at = eventlog.Position{Sequence: uint64(events[i].Sequence), Log: m.log, Event: strings.Clone(events[i].ID)}
		if frame := m.frame(events[i]); frame != nil {
			made = append(made, change{at.Sequence, at.Event, frame})
			size += len(frame)
		}
	}
	return made, at
}

// changesAfter returns the events after the number, up to where the model stands; ok
// is false when they have to be read from the log.
func (m *model) changesAfter(sequence uint64) (frames []change, now standing, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	frames, ok = m.changes.after(sequence)
	return frames, m.standingLocked(), ok
}

// compare says whether a position is where the model was; known is false when only the
// log can say.
func (m *model) compare(p eventlog.Position) (fits, known bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if p.Log != "" && m.log != "" && p.Log != m.log {
		return false, true
	}
	id, known := m.changes.idAt(p.Sequence)
	return !known || p.Event == "" || p.Event == id, known || p.Event == ""
}
