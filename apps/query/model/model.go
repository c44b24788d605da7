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
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// ErrGap is returned for an event that is not the next one of the log.
var ErrGap = errors.New("not the next event")

// Model is the read model. It is a prefix of the log and nothing else: Apply takes the
// next event only. It is safe for concurrent use, and nothing outside has its lock. The
// events that its methods take are valid, as event.ParseBatch leaves them.
type Model struct {
	mu     sync.RWMutex
	status Status
	// changed and endLife end status.Changed and status.Life.
	changed chan struct{}
	endLife context.CancelFunc
	// posts are all posts, and those that are not there yet but have comments.
	posts map[uuid.UUID]*post
	// visible are the posts that are there, by id, and so by age.
	visible []*post
	changes changes
	// firstPage is the page that nearly all readers ask for, in each view, as it was last
	// rendered.
	firstPage [views]atomic.Pointer[Page]
}

// Status is where a model stands at one moment.
type Status struct {
	// At is a position in the log. Its log's id and its event's are empty where they are
	// not known.
	At eventlog.Position
	// Ready says that readers may see the model: it has caught up with the log.
	Ready bool
	// LogEnd is the number of the log's last event as it was at the time LogEndSeen, or
	// later.
	LogEnd     uint64
	LogEndSeen time.Time
	// Changed is closed when At or LogEnd has changed.
	Changed <-chan struct{}
	// Life is done when the model begins anew, with another log.
	Life context.Context //nolint:containedctx // it is the model's
}

// New returns an empty model, which stands at the start of a log.
func New() *Model {
	m := new(Model)
	m.clear()
	return m
}

// Reset empties the model and ends its life. It is not ready until it has caught up with
// another log.
func (m *Model) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endLife()
	close(m.changed)
	m.clear()
}

func (m *Model) clear() {
	m.changed = make(chan struct{})
	m.status = Status{Changed: m.changed}
	m.status.Life, m.endLife = context.WithCancel(context.Background())
	m.posts, m.visible, m.changes = map[uuid.UUID]*post{}, nil, changes{}
	for v := range m.firstPage {
		m.firstPage[v].Store(nil)
	}
}

// Status returns where the model stands.
func (m *Model) Status() Status {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.status
}

// SetReady says that the model has caught up with the log.
func (m *Model) SetReady() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.Ready = true
}

// SawLogEnd notes that at that time the log ended with the event of that number, or later.
func (m *Model) SawLogEnd(number uint64, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.After(m.status.LogEndSeen) {
		m.status.LogEnd, m.status.LogEndSeen = max(number, m.status.At.Sequence), at
		m.wakeUp()
	}
}

func (m *Model) wakeUp() {
	close(m.changed)
	m.changed = make(chan struct{})
	m.status.Changed = m.changed
}

// Apply folds the next events of a log, whose id may be unknown. Events that the model has
// are skipped. One that leaves a gap, and all after it, are refused with ErrGap. The error
// is an eventlog.ErrMisfit if another event comes where the model stands.
func (m *Model) Apply(log string, events []event.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := &m.status.At
	if at.Log == "" {
		at.Log = log
	}
	before := at.Sequence
	err := m.applyInOrder(events)
	if at.Sequence > before {
		at.Event = strings.Clone(at.Event) // it may be a part of the whole batch
		if !m.status.Ready {               // no stream needs the changes before that
			m.changes = changesFrom(*at)
		}
		m.wakeUp()
	}
	return err
}

func (m *Model) applyInOrder(events []event.Event) error {
	at := &m.status.At
	for _, e := range events {
		sequence := uint64(e.Sequence)
		switch {
		case sequence == at.Sequence && at.Event != "" && at.Event != e.ID:
			return fmt.Errorf("%w: event %d is %.40q, and was %.40q", eventlog.ErrMisfit, sequence, e.ID, at.Event)
		case sequence <= at.Sequence:
			continue
		case sequence > at.Sequence+1:
			return fmt.Errorf("%w: event %d after %d", ErrGap, sequence, at.Sequence)
		}
		hadText := m.status.Ready && m.hasText(e) // before that there are no frames
		if err := m.fold(e); err != nil {
			return fmt.Errorf("event %d: %w", sequence, err)
		}
		if hadText && !m.hasText(e) { // which the frames until now have, and readers get no more
			m.changes = changesFrom(*at)
		}
		at.Sequence, at.Event = sequence, e.ID
		if m.status.Ready {
			m.changes.add(change{strings.Clone(e.ID), m.frame(e)})
		}
	}
	return nil
}

// isShown says whether readers may see an event of the type. Of a CommentModerated they see
// the CommentUpdated that follows, and of a type that is not known nothing.
func isShown(t event.Type) bool {
	return t == event.PostCreated || t == event.CommentCreated || t == event.CommentUpdated || t == event.PostCommentingChanged
}

// hasText says whether an event is about a comment whose text readers see.
func (m *Model) hasText(e event.Event) bool {
	if e.Comment == nil {
		return false
	}
	entry := m.entry(e)
	return entry != nil && statusOf(entry.JSON) == event.Approved
}

// fold applies one event. Any permutation of events, with any of them repeated, folds to
// the same model.
func (m *Model) fold(e event.Event) error {
	if !isShown(e.Type) {
		return nil
	}
	entry, err := entryOf(e)
	if err != nil {
		return err
	}
	isNews := false
	switch {
	case e.Comment != nil:
		isNews = m.post(postOf(e)).putComment(e.Type, entry)
	case e.Commenting != nil:
		isNews = m.post(postOf(e)).putCommenting(entry)
	default:
		isNews = m.putPost(entry)
	}
	if !isNews {
		m.post(postOf(e)).markStale(entry.Sequence)
	}
	return nil
}

// Has says whether the model has the entity of an event at the event's revision or a
// later one.
func (m *Model) Has(e event.Event) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	have := m.entry(e)
	return have != nil && have.Revision >= revisionOf(e)
}

// Contradicts says whether an event and the model can't both be right about an entity:
// its id was used again for something else.
func (m *Model) Contradicts(e event.Event) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	have := m.entry(e)
	if have == nil {
		return false
	}
	if e.Comment != nil {
		return event.Contradicts(asShown(e, m.hasText(e)), have.shown(e))
	}
	claimed, err := entryOf(e)
	return err == nil && event.Contradicts(claimed.shown(e), have.shown(e))
}

// asShown is the event of a comment with what can be compared with the model: without what
// nobody sees, and without its text if the model does not have that.
func asShown(e event.Event, hasText bool) event.Event {
	c := &event.Comment{ID: e.Comment.ID, PostID: e.Comment.PostID, Status: e.Comment.Status, Revision: e.Comment.Revision}
	if hasText {
		c.Author, c.AuthorID, c.Content, c.CreatedAt = e.Comment.Author, e.Comment.AuthorID, e.Comment.Content, e.Comment.CreatedAt
	}
	return event.Event{Comment: c}
}

// entry returns the entry of an event's entity, or nil if it is not in the model.
func (m *Model) entry(e event.Event) *Entry {
	if e.Post == nil && e.Comment == nil && e.Commenting == nil {
		return nil
	}
	p := m.posts[postOf(e)]
	switch {
	case p == nil, e.Post != nil && !p.isVisible(), e.Commenting != nil && p.Commenting.Revision == 0:
		return nil
	case e.Post != nil:
		return &p.Entry
	case e.Commenting != nil:
		return &p.Commenting
	}
	if at, found := find(p.Comments, uuid.MustParse(e.Subject)); found {
		return &p.Comments[at]
	}
	return nil
}
