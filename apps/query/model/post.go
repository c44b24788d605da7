package model

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
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

// Post is a post with its comments, by id and so by age. Without JSON it is not there yet:
// its own event has yet to come, and nobody sees its comments.
type Post struct {
	Entry
	Comments []Entry
}

type post struct {
	Post
	// newest is the post with its newest comments, or nil after a change.
	newest atomic.Pointer[rendered]
}

func (e Entry) id() uuid.UUID { return e.ID }

// wins says whether the entry counts and not the other: the highest revision does, and of
// equal ones the first in the log.
func (e Entry) wins(over Entry) bool {
	return e.Revision > over.Revision || e.Revision == over.Revision && e.Sequence < over.Sequence
}

func (p *Post) isVisible() bool { return len(p.JSON) > 0 }

// entryOf returns the entry of an event's entity.
func entryOf(e event.Event) (entry Entry, err error) {
	entry = Entry{ID: uuid.MustParse(e.Subject), Sequence: uint64(e.Sequence), Revision: revisionOf(e)}
	if e.Comment == nil {
		entry.JSON, err = renderPost(e.Post)
	} else {
		entry.JSON, err = renderComment(e.Comment)
	}
	return entry, err
}

func revisionOf(e event.Event) int {
	if e.Comment == nil {
		return e.Post.Revision
	}
	return e.Comment.Revision
}

// postOf returns the id of the post that an event is about.
func postOf(e event.Event) uuid.UUID {
	if e.Comment == nil {
		return uuid.MustParse(e.Subject)
	}
	return uuid.MustParse(e.Comment.PostID)
}

// post returns the post with the id, which may be a new one that is not visible.
func (m *Model) post(id uuid.UUID) *post {
	p, ok := m.posts[id]
	if !ok {
		p = &post{Post: Post{Entry: Entry{ID: id}}}
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
		at, _ := find(m.visible, e.ID)
		m.visible = slices.Insert(m.visible, at, p)
	}
	p.Entry = e
	p.newest.Store(nil)
}

// put takes the entry of a comment, unless the post has one of that comment that wins.
func (p *post) put(e Entry) {
	at, found := find(p.Comments, e.ID)
	switch {
	case !found:
		p.Comments = slices.Insert(p.Comments, at, e)
	case e.wins(p.Comments[at]):
		p.Comments[at] = e
	default:
		return
	}
	p.newest.Store(nil)
}

// find returns where in a list by id the id is, or would be.
func find[T interface{ id() uuid.UUID }](sorted []T, id uuid.UUID) (int, bool) {
	compare := func(t T, id uuid.UUID) int {
		other := t.id()
		return bytes.Compare(other[:], id[:])
	}
	if n := len(sorted); n == 0 || compare(sorted[n-1], id) < 0 {
		return n, false // the usual case: younger than all
	}
	return slices.BinarySearchFunc(sorted, id, compare)
}

// Copy returns where the model stands, and all posts as they stand there, by id.
func (m *Model) Copy() (eventlog.Position, []Post) {
	m.mu.RLock()
	posts := make([]Post, 0, len(m.posts))
	for _, p := range m.posts {
		posts = append(posts, Post{p.Entry, slices.Clone(p.Comments)})
	}
	at := m.status.At
	m.mu.RUnlock()
	slices.SortFunc(posts, func(a, b Post) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return at, posts
}

// Restore adds copied posts to a model that is not ready. They may come in parts, and a
// post in more than one part. Any order gives the same model, but only that of Copy is
// fast: a comment that comes after younger ones of its post has to move them. RestoreAt
// follows the last part.
func (m *Model) Restore(posts []Post) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range posts {
		if p.isVisible() {
			m.putPost(p.Entry)
		}
		to := m.post(p.ID)
		for _, c := range p.Comments {
			to.put(c)
		}
	}
}

// RestoreAt says where the restored posts stand.
func (m *Model) RestoreAt(at eventlog.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.At, m.changes = at, changesFrom(at)
}
