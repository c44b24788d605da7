package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// Bounds of pages.
const (
	defaultPosts    = 20
	defaultComments = 50
	maxLimit        = 100
)

// rendered is a post with its newest comments, as JSON.
type rendered struct {
	json   []byte
	digest [sha256.Size]byte
}

// page is a part of an answer's JSON and what its headers say.
type page struct {
	at   eventlog.Position
	json []byte
	etag string
	next string // cursor of the next page, or empty
	// buffer is what json is in, if that is to be used again.
	buffer *[]byte
}

// buffers hold pages on their way to readers. As garbage, 200 KB a read, they would
// have the whole model marked several times a second.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// release gives the page's buffer back; its json is not to be read after that.
func (p *page) release() {
	if p.buffer != nil {
		*p.buffer = p.json[:0]
		buffers.Put(p.buffer)
	}
}

func renderHead(p *event.Post) ([]byte, error) {
	head, err := event.Marshal(struct {
		ID        string    `json:"id"`
		Title     string    `json:"title"`
		Body      string    `json:"body"`
		CreatedAt time.Time `json:"createdAt"`
	}{p.ID, p.Title, p.Body, p.CreatedAt})
	return bytes.TrimSuffix(head, []byte("}")), err
}

// renderComment is the comment as readers see it. It is most of what folding an
// event costs, and so it is written out here: a third of what a struct's encoding
// takes.
func renderComment(c *event.Comment) ([]byte, error) {
	b := make([]byte, 0, 512)
	var err error
	member := func(name, text string) {
		b = append(append(b, name...), ':')
		var quoteErr error
		if b, quoteErr = jsontext.AppendQuote(b, text); err == nil {
			err = quoteErr
		}
	}
	member(`{"id"`, c.ID)
	member(`,"content"`, c.Content)
	member(`,"status"`, string(c.Status))
	if c.Reason != "" {
		member(`,"reason"`, c.Reason)
	}
	if c.Author != "" {
		member(`,"author"`, c.Author)
	}
	b = append(b, `,"createdAt":"`...)
	b = c.CreatedAt.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `"}`...)
	return bytes.Clone(b), err // of just its size: it stays in memory
}

// render is the post with the comments, at most limit of them, that are older
// than before (nil: than none), newest first.
func (p *post) render(before *uuid.UUID, limit int) (json []byte, next string) {
	end := len(p.comments)
	if before != nil {
		end, _ = p.find(*before)
	}
	begin := max(0, end-limit)
	json = make([]byte, 0, len(p.head)+64+256*(end-begin))
	json = append(json, p.head...)
	json = append(json, `,"comments":[`...)
	for i, c := range slices.Backward(p.comments[begin:end]) {
		json = append(json, c.json...)
		if i > 0 {
			json = append(json, ',')
		}
	}
	json = append(json, `],"commentCount":`...)
	json = strconv.AppendInt(json, int64(len(p.comments)), 10)
	json = append(json, '}')
	if begin > 0 {
		next = p.comments[begin].id.String()
	}
	return json, next
}

// newest is the post with its newest comments. It is rendered once for each
// change, by whoever reads it first; the caller holds the model's read lock.
func (p *post) newest() *rendered {
	if r := p.rendered.Load(); r != nil {
		return r
	}
	json, _ := p.render(nil, defaultComments)
	r := &rendered{json, sha256.Sum256(json)}
	p.rendered.Store(r)
	return r
}

// postsPage returns at most limit posts that are older than before (nil: than
// none), newest first, as a JSON object keyed by their ids.
func (m *model) postsPage(before *uuid.UUID, limit int) *page {
	m.mu.RLock()
	defer m.mu.RUnlock()
	front := before == nil && limit == defaultPosts
	if front {
		if p := m.front.Load(); p != nil && p.at == m.position() {
			return p
		}
	}
	end := len(m.visible)
	if before != nil {
		end, _ = m.find(*before)
	}
	begin := max(0, end-limit)
	posts := m.visible[begin:end]
	size, digest := 2, sha256.New()
	for _, p := range posts {
		r := p.newest()
		size += len(r.json) + 40
		_, _ = digest.Write(r.digest[:])
	}
	result := &page{at: m.position()}
	if !front { // that one stays
		result.buffer = buffers.Get().(*[]byte) //nolint:errcheck,forcetypeassert // nothing else is put there
		result.json = *result.buffer
	}
	result.json = append(slices.Grow(result.json, size), '{')
	for i, p := range slices.Backward(posts) {
		result.json = append(result.json, '"')
		result.json = append(result.json, p.id.String()...)
		result.json = append(result.json, `":`...)
		result.json = append(result.json, p.newest().json...)
		if i > 0 {
			result.json = append(result.json, ',')
		}
	}
	result.json = append(result.json, '}')
	if begin > 0 {
		result.next = posts[0].id.String()
	}
	result.etag = etag(digest.Sum([]byte(nil)))
	if front {
		m.front.Store(result)
	}
	return result
}

// postPage returns one post with at most limit of its comments that are older
// than before, or nil when there is no such post.
func (m *model) postPage(id uuid.UUID, before *uuid.UUID, limit int) *page {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p, ok := m.posts[id]
	if !ok || p.head == nil {
		return nil
	}
	result := &page{at: m.position()}
	if before == nil && limit == defaultComments {
		r := p.newest()
		result.json, result.etag = r.json, etag(r.digest[:])
		if n := len(p.comments); n > limit {
			result.next = p.comments[n-limit].id.String()
		}
		return result
	}
	result.json, result.next = p.render(before, limit)
	sum := sha256.Sum256(result.json)
	result.etag = etag(sum[:])
	return result
}

// etag is a strong entity tag (RFC 9110, section 8.8.3): the same bytes have the
// same one on every replica.
func etag(digest []byte) string { return `"` + hex.EncodeToString(digest[:16]) + `"` }
