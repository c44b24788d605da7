package model

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
)

// Entry is a post or a comment as it stands.
type Entry struct {
	ID uuid.UUID
	// Sequence is the number, and Revision the revision, of the event that it stands at.
	Sequence uint64
	Revision int
	// JSON is what readers see: all of a comment, and of a post what comes before its
	// comments. Its bytes never change.
	JSON []byte
}

// entryOf returns the entry of an event's entity, without JSON.
func entryOf(e event.Event, id string, revision int) (Entry, error) {
	key, err := uuid.Parse(id)
	return Entry{ID: key, Sequence: uint64(e.Sequence), Revision: revision}, err
}

// wins says whether the entry counts and not the other: the highest revision does, and of
// equal ones the first in the log.
func (e Entry) wins(over Entry) bool {
	return e.Revision > over.Revision || e.Revision == over.Revision && e.Sequence < over.Sequence
}

// post is a post with its comments. It has no JSON until its own event has come: comments
// that come before it are kept, and nobody sees them.
type post struct {
	Entry
	comments []Entry // by id, and so by age
	// newest is the post with its newest comments, or nil after a change.
	newest atomic.Pointer[rendered]
}

func (p *post) isVisible() bool { return p.JSON != nil }

// post returns the post with the id, which may be a new one that is not visible.
func (m *Model) post(id uuid.UUID) *post {
	p, ok := m.posts[id]
	if !ok {
		p = &post{Entry: Entry{ID: id}}
		m.posts[id] = p
	}
	return p
}

// putPost takes the entry for its post, unless the post has one that wins.
func (m *Model) putPost(e Entry) {
	p := m.post(e.ID)
	if p.isVisible() && !e.wins(p.Entry) {
		return
	}
	if !p.isVisible() {
		at, _ := m.findVisible(e.ID)
		m.visible = slices.Insert(m.visible, at, p)
	}
	p.Entry = e
	p.newest.Store(nil)
}

// put takes the entry of a comment, unless the post has one of that comment that wins.
func (p *post) put(e Entry) {
	at, found := p.find(e.ID)
	switch {
	case !found:
		p.comments = slices.Insert(p.comments, at, e)
	case e.wins(p.comments[at]):
		p.comments[at] = e
	default:
		return
	}
	p.newest.Store(nil)
}

// comment returns the entry of the comment with the id, or nil.
func (p *post) comment(id string) *Entry {
	key, err := uuid.Parse(id)
	if err != nil {
		return nil
	}
	at, found := p.find(key)
	if !found {
		return nil
	}
	return &p.comments[at]
}

// findVisible returns where among the visible posts the id is, or would be.
func (m *Model) findVisible(id uuid.UUID) (int, bool) {
	return find(m.visible, id, func(p *post) uuid.UUID { return p.ID })
}

// find returns where among the comments the id is, or would be.
func (p *post) find(id uuid.UUID) (int, bool) {
	return find(p.comments, id, func(e Entry) uuid.UUID { return e.ID })
}

func find[T any](sorted []T, id uuid.UUID, idOf func(T) uuid.UUID) (int, bool) {
	compare := func(t T, id uuid.UUID) int {
		other := idOf(t)
		return bytes.Compare(other[:], id[:])
	}
	if n := len(sorted); n == 0 || compare(sorted[n-1], id) < 0 {
		return n, false // the usual case: younger than all
	}
	return slices.BinarySearchFunc(sorted, id, compare)
}

// Post is a post with its comments, as snapshots keep it. Without JSON it is not there
// yet, and has comments only.
type Post struct {
	Entry
	Comments []Entry // by id
}

// Copy returns where the model stands, and all posts as they stand there, by id.
func (m *Model) Copy() (event.Position, []Post) {
	m.mu.RLock()
	posts := make([]Post, 0, len(m.posts))
	for _, p := range m.posts {
		posts = append(posts, Post{p.Entry, slices.Clone(p.comments)})
	}
	at := m.at
	m.mu.RUnlock()
	slices.SortFunc(posts, func(a, b Post) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return at, posts
}

// Restore adds posts of a snapshot to a model that is not ready. They may come in parts,
// and a post in more than one of them; RestoreAt follows the last.
func (m *Model) Restore(posts []Post) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range posts {
		if len(p.JSON) > 0 {
			m.putPost(p.Entry)
		}
		to := m.post(p.ID)
		for _, c := range p.Comments {
			to.put(c)
		}
	}
}

// RestoreAt says where a model stands whose posts were all restored.
func (m *Model) RestoreAt(at event.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at, m.changes = at, changesFrom(at)
}

// Newest returns which event of all in the model has the highest number, and the id of
// its entity. The number is 0 if there is none.
func (m *Model) Newest() (number uint64, id uuid.UUID) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	compare := func(e Entry) {
		if e.Sequence > number {
			number, id = e.Sequence, e.ID
		}
	}
	for _, p := range m.posts {
		compare(p.Entry)
		for _, c := range p.comments {
			compare(c)
		}
	}
	return number, id
}
