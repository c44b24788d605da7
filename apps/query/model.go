package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// errGap is returned for an event that isn't the next one of the log.
var errGap = errors.New("not the next event")

// version is which event an entity stands at: the highest revision wins, and of
// equal ones the first in the log.
type version struct {
	sequence uint64
	revision int
}

func (v version) loses(to version) bool {
	return to.revision > v.revision || to.revision == v.revision && to.sequence < v.sequence
}

// post is a post with its comments. One without a head is not there yet: its
// comments came first and are parked, invisible.
type post struct {
	id uuid.UUID
	version
	// head is the post's JSON without its closing brace.
	head     []byte
	comments []comment // by id, so by age
	// rendered is the post as pages show it, or nil after a change.
	rendered atomic.Pointer[rendered]
}

type comment struct {
	id uuid.UUID
	version
	json []byte
}

// model is the read model: what the events up to a number fold to. Its order is
// that of the ids, which is that of the making, and depends on no order of events.
type model struct {
	mu sync.RWMutex
	// sequence, log and lastID are the position that the model stands at. The log is
	// empty until one has been read, lastID where it is not known.
	sequence uint64
	log      string
	lastID   string
	posts    map[uuid.UUID]*post
	visible  []*post // by id, so by age
	changes  changes
	grown    chan struct{} // closed when sequence or end has changed
	ready    bool
	// life is done when the model begins anew, with another log.
	life    context.Context
	endLife context.CancelFunc
	// end is the number of the log's last event as it was at the time seen, or later.
	end  uint64
	seen time.Time

	// front is the first page as it was last rendered.
	front atomic.Pointer[page]
}

func newModel() *model {
	m := &model{grown: make(chan struct{})}
	m.clear()
	return m
}

// clear empties the model. The caller holds the lock, or nobody else has the model.
func (m *model) clear() {
	m.sequence, m.log, m.lastID, m.posts, m.visible, m.changes = 0, "", "", map[uuid.UUID]*post{}, nil, changes{}
	m.ready, m.end, m.seen = false, 0, time.Time{}
	m.front.Store(nil)
	m.life, m.endLife = context.WithCancel(context.Background())
}

// wake wakes those who wait for the model to change. The caller holds the lock.
func (m *model) wake() {
	close(m.grown)
	m.grown = make(chan struct{})
}

// apply folds the next events of the log. Those that it has are skipped; one that
// leaves a gap, and all after it, are refused with errGap.
func (m *model) apply(events []event.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func(before uint64) {
		if m.sequence > before {
			m.lastID = strings.Clone(m.lastID) // it may be a part of the whole batch
			if !m.ready {                      // nobody is told of changes before that
				m.changes.from, m.changes.fromID = m.sequence, m.lastID
			}
			m.wake()
		}
	}(m.sequence)
	for _, e := range events {
		sequence := uint64(e.Sequence)
		if sequence <= m.sequence {
			continue
		}
		if sequence != m.sequence+1 {
			return fmt.Errorf("%w: event %d after %d", errGap, sequence, m.sequence)
		}
		if err := m.fold(e); err != nil {
			return fmt.Errorf("event %d: %w", sequence, err)
		}
		m.sequence, m.lastID = sequence, e.ID
		if m.ready {
			m.changes.add(change{sequence, strings.Clone(e.ID), m.frame(e)})
		}
	}
	return nil
}

// fold applies one event. Any permutation of events, with any repeated, folds to
// the same model.
func (m *model) fold(e event.Event) error {
	v := version{sequence: uint64(e.Sequence)}
	switch e.Type {
	case event.PostCreated:
		v.revision = e.Post.Revision
		p, err := m.post(e.Post.ID)
		if err != nil {
			return err
		}
		if p.head != nil && !p.loses(v) {
			return nil
		}
		head, err := renderHead(e.Post)
		if err != nil {
			return err
		}
		m.show(p, v, head)
	case event.CommentCreated, event.CommentUpdated:
		v.revision = e.Comment.Revision
		p, err := m.post(e.Comment.PostID)
		if err != nil {
			return err
		}
		id, err := uuid.Parse(e.Comment.ID)
		if err != nil {
			return err
		}
		at, found := p.find(id)
		if found && !p.comments[at].loses(v) {
			return nil
		}
		rendered, err := renderComment(e.Comment)
		if err != nil {
			return err
		}
		p.set(at, found, comment{id, v, rendered})
	case event.CommentModerated:
		// What readers see of it is the CommentUpdated that it leads to.
	}
	return nil
}

// post returns the post with the id, which may be a new one without head.
func (m *model) post(id string) (*post, error) {
	key, err := uuid.Parse(id)
	if err != nil {
		return nil, err
	}
	p, ok := m.posts[key]
	if !ok {
		p = &post{id: key}
		m.posts[key] = p
	}
	return p, nil
}

// show gives a post its head and, if it had none, its place among the visible.
func (m *model) show(p *post, v version, head []byte) {
	if p.head == nil {
		at, _ := m.find(p.id)
		m.visible = slices.Insert(m.visible, at, p)
	}
	p.version, p.head = v, head
	p.rendered.Store(nil)
}

// find returns where among the visible posts the id is, or would be.
func (m *model) find(id uuid.UUID) (int, bool) {
	if n := len(m.visible); n == 0 || bytes.Compare(m.visible[n-1].id[:], id[:]) < 0 {
		return n, false // the usual case: younger than all
	}
	return slices.BinarySearchFunc(m.visible, id, func(p *post, id uuid.UUID) int { return bytes.Compare(p.id[:], id[:]) })
}

// find returns where among the comments the id is, or would be.
func (p *post) find(id uuid.UUID) (int, bool) {
	if n := len(p.comments); n == 0 || bytes.Compare(p.comments[n-1].id[:], id[:]) < 0 {
		return n, false
	}
	return slices.BinarySearchFunc(p.comments, id, func(c comment, id uuid.UUID) int { return bytes.Compare(c.id[:], id[:]) })
}

func (p *post) set(at int, found bool, c comment) {
	if found {
		p.comments[at] = c
	} else {
		p.comments = slices.Insert(p.comments, at, c)
	}
	p.rendered.Store(nil)
}

// lookup returns the post that e is about and, for a comment's event, the comment;
// nil for what is not in the model. The caller holds the lock.
func (m *model) lookup(e event.Event) (*post, *comment) {
	entity := e.Subject
	if e.Comment != nil {
		entity = e.Comment.PostID
	}
	id, err := uuid.Parse(entity)
	if err != nil {
		return nil, nil
	}
	p := m.posts[id]
	if p == nil || e.Comment == nil {
		return p, nil
	}
	if id, err = uuid.Parse(e.Comment.ID); err != nil {
		return p, nil
	}
	if at, found := p.find(id); found {
		return p, &p.comments[at]
	}
	return p, nil
}

// has says whether what e tells is in the model.
func (m *model) has(e event.Event) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p, c := m.lookup(e)
	if e.Comment == nil {
		return p != nil && p.head != nil
	}
	return c != nil && c.revision >= e.Comment.Revision
}

// contradicts says whether e and what is in the model can't both be versions of
// one post or comment: the id was used again for something else.
func (m *model) contradicts(e event.Event) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p, c := m.lookup(e)
	switch {
	case e.Post != nil && p != nil && p.head != nil:
		head, err := renderHead(e.Post)
		return err == nil && e.Post.Revision == p.revision && !bytes.Equal(head, p.head)
	case e.Comment != nil && c != nil:
		claimed := *e.Comment
		if claimed.Revision != c.revision {
			// Moderation changes these two, and nothing else.
			var moderated event.Comment
			if json.Unmarshal(c.json, &moderated) != nil {
				return false
			}
			claimed.Status, claimed.Reason = moderated.Status, moderated.Reason
		}
		rendered, err := renderComment(&claimed)
		return err == nil && !bytes.Equal(rendered, c.json)
	}
	return false
}

func (m *model) at() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.sequence
}

// newest is what the event with the highest number of all in the model was about; the
// number is 0 if there is none.
func (m *model) newest() (number uint64, id uuid.UUID) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, p := range m.posts {
		if p.sequence > number {
			number, id = p.sequence, p.id
		}
		for _, c := range p.comments {
			if c.sequence > number {
				number, id = c.sequence, c.id
			}
		}
	}
	return number, id
}

func (m *model) isReady() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.ready
}

// reset empties the model and ends what is told of it: it is not ready until it has
// caught up with another log.
func (m *model) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endLife()
	m.clear()
	m.wake()
}

// setLog says which log the model is read from, once that is known.
func (m *model) setLog(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.log == "" {
		m.log = id
	}
}

// sawEnd notes that at that time the log ended with the event of that number, or later.
func (m *model) sawEnd(number uint64, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.After(m.seen) {
		m.end, m.seen = max(number, m.sequence), at
		m.wake()
	}
}

// position is where the model stands. The caller holds the lock.
func (m *model) position() eventlog.Position {
	return eventlog.Position{Sequence: m.sequence, Log: m.log, Event: m.lastID}
}

// standing is where the model stands at one moment.
type standing struct {
	at    eventlog.Position
	ready bool
	grown <-chan struct{}
	life  context.Context //nolint:containedctx // it is the model's
	end   uint64
	seen  time.Time
}

func (m *model) standing() standing {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.standingLocked()
}

func (m *model) standingLocked() standing {
	return standing{m.position(), m.ready, m.grown, m.life, m.end, m.seen}
}

func (m *model) setReady() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready = true
}

// growth returns the number that the model stands at, and what is closed when it
// has grown.
func (m *model) growth() (uint64, <-chan struct{}) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.sequence, m.grown
}
