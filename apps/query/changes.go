package main

import (
	"sort"
	"strconv"

	"github.com/postbus/postbus/apps/internal/event"
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

// changes are the last changes, each as the event that streams send.
type changes struct {
	// from is the number after which every change is here.
	from  uint64
	last  []change
	bytes int // of the frames
}

type change struct {
	sequence uint64
	frame    []byte
}

func (c *changes) add(sequence uint64, frame []byte) {
	if frame == nil {
		return
	}
	for len(c.last) >= 2*changesKept || c.bytes+len(frame) > 2*changesBytes && len(c.last) > 1 {
		c.forgetOlderHalf()
	}
	c.last = append(c.last, change{sequence, frame})
	c.bytes += len(frame)
}

func (c *changes) forgetOlderHalf() {
	half := len(c.last) / 2
	c.from = c.last[half-1].sequence
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
	at := sort.Search(len(c.last), func(i int) bool { return c.last[i].sequence > sequence })
	return c.last[at:], true
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
	frame = strconv.AppendUint(frame, uint64(e.Sequence), 10)
	frame = append(frame, "\nevent: "...)
	frame = append(frame, e.Type...)
	frame = append(frame, "\ndata: "...)
	frame = append(frame, data...)
	return append(frame, "\n\n"...)
}

// frames makes the changes of the first of events that the model has, as they now
// stand: of at least one, and of no more once they have framesBytes. It returns the
// number that it got to.
func (m *model) frames(events []event.Event) (made []change, at uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for i, size := 0, 0; i < len(events) && size < framesBytes; i++ {
		at = uint64(events[i].Sequence)
		if frame := m.frame(events[i]); frame != nil {
			made = append(made, change{at, frame})
			size += len(frame)
		}
	}
	return made, at
}

// changesAfter returns the changes after the number, up to the model's own
// number; ok is false when they have to be read from the log.
func (m *model) changesAfter(sequence uint64) (frames []change, at uint64, grown <-chan struct{}, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	frames, ok = m.changes.after(sequence)
	return frames, m.sequence, m.grown, ok
}
