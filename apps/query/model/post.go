package model

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// Entry is a post, a comment, or whether a post's comments are open, as it stands.
type Entry struct {
	ID uuid.UUID
	// Sequence is the number, and Revision the revision, of the event that it stands at.
	Sequence uint64
	Revision int
	// JSON is what readers see: all of a comment, of a post what comes before its comments,
	// and {"commenting":"closed"} or "open". Its bytes never change.
	JSON []byte
}

// Post is a post with its comments, by id and so by age. Without JSON it is not there yet:
// its own event has yet to come, and nobody sees its comments.
type Post struct {
	Entry
	Comments []Entry
	// Commenting is whether comments are open. Its revision is 0 until a moderator has decided.
	Commenting Entry
	// Stale are the numbers of the events of the post and its comments that told readers
	// nothing new, ascending: repeats, and revisions that came too late. Nearly always there
	// are none. Streams that are read from the log leave them out.
	Stale []uint64
	// Early are the comments, by id, whose CommentUpdated is in the log and whose
	// CommentCreated has not come. Without them that could not be told from a repeat.
	Early []uuid.UUID
}

type post struct {
	Post
	// counts are how many comments have each of event.Statuses, in that order.
	counts []int
	// begun is the post's summary up to its counts, or nil until it is first read.
	begun atomic.Pointer[[]byte]
	// rendered is the post in each view, or nil after a change.
	rendered [views]atomic.Pointer[rendered]
}

// count adds to the number of comments with the status of one.
func (p *post) count(comment Entry, by int) {
	if p.counts == nil {
		p.counts = make([]int, len(event.Statuses))
	}
	if at := slices.Index(event.Statuses, statusOf(comment.JSON)); at >= 0 {
		p.counts[at] += by
	}
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
	switch {
	case e.Comment != nil:
		entry.JSON, err = renderComment(e.Comment)
	case e.Commenting != nil:
		entry.JSON, err = renderCommenting(e.Commenting)
	default:
		entry.JSON, err = renderPost(e.Post)
	}
	return entry, err
}

func revisionOf(e event.Event) int {
	switch {
	case e.Comment != nil:
		return e.Comment.Revision
	case e.Commenting != nil:
		return e.Commenting.Revision
	}
	return e.Post.Revision
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

// putPost takes the entry for its post, unless the post has one that wins. It says whether
// it has taken it.
func (m *Model) putPost(e Entry) bool {
	p := m.post(e.ID)
	if p.isVisible() && !e.wins(p.Entry) {
		return false
	}
	if !p.isVisible() {
		at, _ := find(m.visible, e.ID)
		m.visible = slices.Insert(m.visible, at, p)
	}
	p.Entry = e
	p.begun.Store(nil)
	p.changed()
	return true
}

// putCommenting takes the entry, unless the post has one that wins. It says whether it has
// taken it.
func (p *post) putCommenting(e Entry) bool {
	if !e.wins(p.Commenting) {
		return false
	}
	p.Commenting = e
	p.changed()
	return true
}

// put takes the entry of a comment, unless the post has one of that comment that wins. It
// says whether it has taken it, and whether it is the first one of the comment.
func (p *post) put(e Entry) (taken, isFirst bool) {
	at, found := find(p.Comments, e.ID)
	switch {
	case !found:
		p.Comments = slices.Insert(p.Comments, at, e)
	case e.wins(p.Comments[at]):
		p.count(p.Comments[at], -1)
		p.Comments[at] = e
	default:
		return false, false
	}
	p.count(e, 1)
	p.changed()
	return true, !found
}

// putComment takes the entry of a comment as put does, from an event of the type. It says
// whether readers are shown the event: it has changed the comment, or it is the first
// CommentCreated, which readers count, and an update came before it.
func (p *post) putComment(t event.Type, e Entry) (isNews bool) {
	taken, isFirst := p.put(e)
	at, isEarly := slices.BinarySearchFunc(p.Early, e.ID, compareIDs)
	switch {
	case isFirst && t != event.CommentCreated:
		p.Early = slices.Insert(p.Early, at, e.ID)
	case isEarly && t == event.CommentCreated:
		p.Early = slices.Delete(p.Early, at, at+1)
		return true
	}
	return taken
}

func compareIDs(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }

// markStale notes the number of an event that told readers nothing new.
func (p *post) markStale(sequence uint64) {
	at, found := slices.BinarySearch(p.Stale, sequence)
	if !found {
		p.Stale = slices.Insert(p.Stale, at, sequence)
	}
}

func (p *post) isStale(sequence uint64) bool {
	_, found := slices.BinarySearch(p.Stale, sequence)
	return found
}

// find returns where in a list by id the id is, or would be.
func find[T interface{ id() uuid.UUID }](sorted []T, id uuid.UUID) (int, bool) {
	compare := func(t T, id uuid.UUID) int { return compareIDs(t.id(), id) }
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
		posts = append(posts, Post{p.Entry, slices.Clone(p.Comments), p.Commenting, slices.Clone(p.Stale), slices.Clone(p.Early)})
	}
	at := m.status.At
	m.mu.RUnlock()
	slices.SortFunc(posts, func(a, b Post) int { return compareIDs(a.ID, b.ID) })
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
		to.putCommenting(p.Commenting) // none has revision 0, and never wins
		for _, c := range p.Comments {
			to.put(c)
		}
		for _, sequence := range p.Stale {
			to.markStale(sequence)
		}
		for _, id := range p.Early {
			if at, found := slices.BinarySearchFunc(to.Early, id, compareIDs); !found {
				to.Early = slices.Insert(to.Early, at, id)
			}
		}
	}
}

// RestoreAt says where the restored posts stand.
func (m *Model) RestoreAt(at eventlog.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.At, m.changes = at, changesFrom(at)
}
