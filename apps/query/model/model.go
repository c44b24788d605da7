// Package model is query's read model: what the events of the log up to a number fold
// to, in memory and already rendered.
package model

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
)

// ErrGap is returned for an event that is not the next one of the log.
var ErrGap = errors.New("not the next event")

// Model is the read model. It is a prefix of the log and nothing else: Apply takes the
// next event only. It is safe for concurrent use; nobody else has its lock.
type Model struct {
	mu sync.RWMutex
	// at is where in the log the model stands. The log's id and the event's are empty
	// where they are not known.
	at event.Position
	// posts are all posts, and those that are not there yet but have comments.
	posts map[uuid.UUID]*post
	// visible are the posts that are there, by id, and so by age.
	visible []*post
	changes changes
	ready   bool
	// end is the number of the log's last event as it was at the time endSeen, or later.
	end     uint64
	endSeen time.Time
	// changed is closed, and replaced, when at or end has changed.
	changed chan struct{}
	// life is done when the model begins anew, with another log.
	life    context.Context
	endLife context.CancelFunc

	// firstPage is the page that nearly all readers ask for, as it was last rendered.
	firstPage atomic.Pointer[Page]
}

// New returns an empty model, which stands at the start of a log.
func New() *Model {
	m := &Model{changed: make(chan struct{})}
	m.clear()
	return m
}

// Reset empties the model and ends its life. It is not ready until it has caught up with
// another log.
func (m *Model) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endLife()
	m.clear()
	m.wakeUp()
}

func (m *Model) clear() {
	m.at, m.posts, m.visible, m.changes = event.Position{}, map[uuid.UUID]*post{}, nil, changes{}
	m.ready, m.end, m.endSeen = false, 0, time.Time{}
	m.firstPage.Store(nil)
	m.life, m.endLife = context.WithCancel(context.Background())
}

func (m *Model) wakeUp() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Apply folds the next events of the log. Events that it has are skipped. One that
// leaves a gap, and all after it, are refused with ErrGap.
func (m *Model) Apply(events []event.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.at.Sequence
	err := m.applyInOrder(events)
	if m.at.Sequence > before {
		m.at.Event = strings.Clone(m.at.Event) // it may be a part of the whole batch
		if !m.ready {                          // no stream needs the changes before that
			m.changes = changesFrom(m.at)
		}
		m.wakeUp()
	}
	return err
}

func (m *Model) applyInOrder(events []event.Event) error {
	for _, e := range events {
		sequence := uint64(e.Sequence)
		if sequence <= m.at.Sequence {
			continue
		}
		if sequence != m.at.Sequence+1 {
			return fmt.Errorf("%w: event %d after %d", ErrGap, sequence, m.at.Sequence)
		}
		if err := m.fold(e); err != nil {
			return fmt.Errorf("event %d: %w", sequence, err)
		}
		m.at.Sequence, m.at.Event = sequence, e.ID
		if m.ready {
			m.changes.add(change{strings.Clone(e.ID), m.frame(e)})
		}
	}
	return nil
}

// fold applies one event. Any permutation of events, with any of them repeated, folds to
// the same model.
func (m *Model) fold(e event.Event) error {
	switch e.Type {
	case event.PostCreated:
		entry, err := entryOf(e, e.Post.ID, e.Post.Revision)
		if err == nil {
			entry.JSON, err = renderPost(e.Post)
		}
		if err != nil {
			return err
		}
		m.putPost(entry)
	case event.CommentCreated, event.CommentUpdated:
		postID, err := uuid.Parse(e.Comment.PostID)
		if err != nil {
			return err
		}
		entry, err := entryOf(e, e.Comment.ID, e.Comment.Revision)
		if err == nil {
			entry.JSON, err = renderComment(e.Comment)
		}
		if err != nil {
			return err
		}
		m.post(postID).put(entry)
	case event.CommentModerated:
		// Readers see of it the CommentUpdated that follows.
	}
	return nil
}

// Has says whether the model has the entity of an event at the event's revision or a
// later one.
func (m *Model) Has(e event.Event) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, have := m.lookup(e)
	if e.Comment == nil {
		return have != nil
	}
	return have != nil && have.Revision >= e.Comment.Revision
}

// Contradicts says whether an event and the model can't both be right about an entity:
// its id was used again for something else.
func (m *Model) Contradicts(e event.Event) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, have := m.lookup(e)
	if have == nil {
		return false
	}
	entity, err := have.event(e)
	return err == nil && event.Contradicts(entity, e)
}

// lookup returns the post that an event is about, and the entry of the event's entity:
// nil for what is not in the model.
func (m *Model) lookup(e event.Event) (*post, *Entry) {
	postID := e.Subject
	if e.Comment != nil {
		postID = e.Comment.PostID
	}
	id, err := uuid.Parse(postID)
	p := m.posts[id]
	switch {
	case err != nil || p == nil:
		return nil, nil
	case e.Comment != nil:
		return p, p.comment(e.Comment.ID)
	case p.isVisible():
		return p, &p.Entry
	}
	return p, nil
}

// Status is where a model stands at one moment.
type Status struct {
	At    event.Position
	Ready bool
	// Changed is closed when At or LogEnd has changed.
	Changed <-chan struct{}
	// Life is done when the model begins anew, with another log.
	Life context.Context //nolint:containedctx // it is the model's
	// LogEnd is the number of the log's last event as it was at the time LogEndSeen, or
	// later.
	LogEnd     uint64
	LogEndSeen time.Time
}

// Status returns where the model stands.
func (m *Model) Status() Status {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.status()
}

func (m *Model) status() Status {
	return Status{m.at, m.ready, m.changed, m.life, m.end, m.endSeen}
}

// SetReady says that readers may see the model: it has caught up with the log.
func (m *Model) SetReady() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready = true
}

// SetLog says which log the model is read from. Once that is known it stays so until
// Reset.
func (m *Model) SetLog(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at.Log == "" {
		m.at.Log = id
	}
}

// SawLogEnd notes that at that time the log ended with the event of that number, or later.
func (m *Model) SawLogEnd(number uint64, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.After(m.endSeen) {
		m.end, m.endSeen = max(number, m.at.Sequence), at
		m.wakeUp()
	}
}
