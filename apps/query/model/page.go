package model

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/eventlog"
)

// Bounds of pages: how many posts, and how many comments of a post, there are on one.
const (
	DefaultPosts    = 20
	DefaultComments = 50
	MaxLimit        = 100
)

// view is how much of each post is on a page of posts.
type view int

const (
	whole   view = iota // with its newest DefaultComments comments
	summary             // its beginning, and how many comments it has

	views
)

// Newest is the cursor of the first page.
var Newest = uuid.Max

// Page is a part of the model as readers see it.
type Page struct {
	// At is where the model stood.
	At eventlog.Position
	// JSON is valid until Release.
	JSON []byte
	// ETag is a strong entity tag (RFC 9110, section 8.8.3): the same bytes have the same
	// one on every replica.
	ETag string
	// Next is the cursor of the next page, or empty.
	Next string

	buffer *[]byte
}

// buffers hold pages on their way to readers. As garbage, 200 KB a read, they would have
// the whole model marked several times a second.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// Release gives the memory of the page's JSON back.
func (p *Page) Release() {
	if p.buffer != nil {
		*p.buffer = p.JSON[:0]
		buffers.Put(p.buffer)
	}
}

// rendered is a post in a view. Next is the cursor of the comments that are not in it, or
// empty.
type rendered struct {
	json   []byte
	digest [sha256.Size]byte
	next   string
}

// render returns the post in a view. It is rendered once for each change, when it is first
// read.
func (p *post) render(v view) *rendered {
	r := p.rendered[v].Load()
	if r == nil {
		r = new(rendered)
		if v == summary {
			r.json = p.summary()
		} else {
			r.json, r.next = p.page(Newest, DefaultComments)
		}
		r.digest = sha256.Sum256(r.json)
		p.rendered[v].Store(r)
	}
	return r
}

// changed forgets the post as it was rendered.
func (p *post) changed() {
	for v := range p.rendered {
		p.rendered[v].Store(nil)
	}
}

// Posts returns the posts that are older than a cursor, newest first and at most limit of
// them, as a JSON object keyed by their ids.
func (m *Model) Posts(before uuid.UUID, limit int) *Page { return m.list(whole, before, limit) }

// Summaries is as Posts, without the comments, and with the beginning of each post.
func (m *Model) Summaries(before uuid.UUID, limit int) *Page { return m.list(summary, before, limit) }

func (m *Model) list(v view, before uuid.UUID, limit int) *Page {
	m.mu.RLock()
	defer m.mu.RUnlock()
	isFirst := before == Newest && limit == DefaultPosts
	if p := m.firstPage[v].Load(); isFirst && p != nil && p.At == m.status.At {
		return p
	}
	end, _ := find(m.visible, before)
	begin := max(0, end-limit)
	posts := m.visible[begin:end]
	size, digest := len("{}"), sha256.New()
	for _, p := range posts {
		r := p.render(v)
		size += len(r.json) + 40
		_, _ = digest.Write(r.digest[:])
	}
	page := &Page{At: m.status.At, ETag: etag(digest.Sum(nil))}
	if !isFirst { // that one stays
		page.buffer = buffers.Get().(*[]byte) //nolint:errcheck,forcetypeassert // nothing else is put there
		page.JSON = *page.buffer
	}
	page.JSON = append(slices.Grow(page.JSON, size), '{')
	for i, p := range slices.Backward(posts) {
		page.JSON = append(page.JSON, '"')
		page.JSON = append(page.JSON, p.ID.String()...)
		page.JSON = append(page.JSON, `":`...)
		page.JSON = append(page.JSON, p.render(v).json...)
		if i > 0 {
			page.JSON = append(page.JSON, ',')
		}
	}
	page.JSON = append(page.JSON, '}')
	if begin > 0 {
		page.Next = posts[0].ID.String()
	}
	if isFirst {
		m.firstPage[v].Store(page)
	}
	return page
}

// Post returns one post with its comments that are older than a cursor, newest first and
// at most limit of them. It is nil when there is no such post.
func (m *Model) Post(id, before uuid.UUID, limit int) *Page {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p, ok := m.posts[id]
	if !ok || !p.isVisible() {
		return nil
	}
	if before == Newest && limit == DefaultComments {
		r := p.render(whole)
		return &Page{At: m.status.At, JSON: r.json, ETag: etag(r.digest[:]), Next: r.next}
	}
	json, next := p.page(before, limit)
	digest := sha256.Sum256(json)
	return &Page{At: m.status.At, JSON: json, ETag: etag(digest[:]), Next: next}
}

func etag(digest []byte) string { return `"` + hex.EncodeToString(digest[:16]) + `"` }
