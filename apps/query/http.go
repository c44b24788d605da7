package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/web"
)

// sequenceHeader carries the number of the log that an answer stands at.
const sequenceHeader = "Postbus-Sequence"

// minSequenceWait bounds how long ?min_sequence= waits.
const minSequenceWait = 2 * time.Second

// pageTimeout bounds how long a reader may take to accept a page: 200 KB as a rule,
// and 50 MB of the longest comments.
const pageTimeout = 2 * time.Minute

// logReaders bounds how many streams read the log at once, for changes that are no
// longer in memory: any visitor may ask for them.
const logReaders = 4

type api struct {
	model    *model
	log      *logClient
	stopping context.Context
	reading  chan struct{} // has room for the logReaders
}

func newAPI(stopping context.Context, model *model, log *logClient) *api {
	return &api{model: model, log: log, stopping: stopping, reading: make(chan struct{}, logReaders)}
}

func (a *api) routes(r gin.IRoutes) {
	read := []string{http.MethodGet, http.MethodHead}
	r.Match(read, "/posts", a.whenReady, a.posts)
	r.Match(read, "/posts/:id", a.whenReady, a.post)
}

// whenReady refuses reads until the model has caught up, and holds those that
// ask for a number until the model stands there.
func (a *api) whenReady(c *gin.Context) {
	if !a.model.isReady() {
		web.Fail(c, web.Unavailable("Query is catching up with the event log."))
		return
	}
	text, given := c.GetQuery("min_sequence")
	if !given {
		return
	}
	least, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		web.Fail(c, web.NewProblem(http.StatusBadRequest, fmt.Sprintf("min_sequence is %q; a number is expected.", text)))
		return
	}
	timeout := time.NewTimer(minSequenceWait)
	defer timeout.Stop()
	for {
		at, grown := a.model.growth()
		if at >= least {
			return
		}
		select {
		case <-grown:
			continue
		case <-timeout.C:
		case <-a.stopping.Done():
		case <-c.Request.Context().Done():
		}
		web.Fail(c, web.Unavailable(fmt.Sprintf("This replica stands at event %d, not yet at %d.", at, least)))
		return
	}
}

func (a *api) posts(c *gin.Context) {
	if c.Request.Method == http.MethodGet && strings.Contains(c.GetHeader("Accept"), "text/event-stream") {
		a.stream(c)
		return
	}
	before, limit, err := paging(c, defaultPosts)
	if err != nil {
		web.Fail(c, err)
		return
	}
	a.answer(c, "/posts", limit, a.model.postsPage(before, limit))
}

func (a *api) post(c *gin.Context) {
	before, limit, err := paging(c, defaultComments)
	if err != nil {
		web.Fail(c, err)
		return
	}
	var found *page
	if _, ok := event.IDTime(c.Param("id")); ok {
		found = a.model.postPage(uuid.MustParse(c.Param("id")), before, limit)
	}
	if found == nil {
		c.Header(sequenceHeader, strconv.FormatUint(a.model.at(), 10))
		web.Fail(c, web.NewProblem(http.StatusNotFound, "There is no post with this id."))
		return
	}
	a.answer(c, "/posts/"+c.Param("id"), limit, found)
}

// answer sends a page, or 304 (RFC 9110, section 13.1.2) if the client has it.
func (a *api) answer(c *gin.Context, path string, limit int, p *page) {
	defer p.release()
	// Net/http takes the deadline back at the end of each answer. Not every writer has
	// deadlines (a test's has none); then there is none.
	_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(pageTimeout))
	h := c.Writer.Header()
	h.Set("Etag", p.etag)
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept")
	h.Set(sequenceHeader, strconv.FormatUint(p.sequence, 10))
	if p.next != "" {
		h.Set("Link", fmt.Sprintf(`<%s?limit=%d&cursor=%s>; rel="next"`, path, limit, p.next))
	}
	if matches(c.GetHeader("If-None-Match"), p.etag) {
		c.Status(http.StatusNotModified)
		return
	}
	c.Data(http.StatusOK, "application/json; charset=utf-8", p.json)
}

// matches says whether an If-None-Match header names the tag. The comparison is
// the weak one.
func matches(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}

// paging reads ?limit= and ?cursor=. A cursor is the id of the last thing on the
// page before.
func paging(c *gin.Context, otherwise int) (before *uuid.UUID, limit int, err error) {
	if limit, err = web.Number(c, "limit", otherwise, 1, maxLimit); err != nil {
		return nil, 0, err
	}
	if text, given := c.GetQuery("cursor"); given {
		if _, ok := event.IDTime(text); !ok {
			return nil, 0, web.NewProblem(http.StatusBadRequest, "This cursor is none that a Link header gave.")
		}
		id := uuid.MustParse(text)
		before = &id
	}
	return before, limit, nil
}

const (
	// heartbeat is how often a quiet stream shows that it lives.
	heartbeat = 15 * time.Second
	// frameTimeout bounds how long a reader may take to accept what there is for it at
	// once: the changes in memory after its number, or some framesBytes from the log.
	frameTimeout = 30 * time.Second
)

// stream sends every change after the one in Last-Event-ID, or from now on, as
// server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func (a *api) stream(c *gin.Context) {
	cursor, _ := a.model.growth()
	if text := c.GetHeader("Last-Event-ID"); text != "" {
		var err error
		if cursor, err = strconv.ParseUint(text, 10, 64); err != nil {
			web.Fail(c, web.NewProblem(http.StatusBadRequest, fmt.Sprintf("Last-Event-ID is %.40q; the id of an event of this stream is expected.", text)))
			return
		}
	}
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set(sequenceHeader, strconv.FormatUint(cursor, 10))
	c.Status(http.StatusOK)

	out := http.NewResponseController(c.Writer)
	send := func(chunks ...[]byte) bool {
		// Not every writer has deadlines (a test's has none); then there is none.
		if err := out.SetWriteDeadline(time.Now().Add(frameTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return false
		}
		for _, b := range chunks {
			if _, err := c.Writer.Write(b); err != nil {
				return false
			}
		}
		return out.Flush() == nil
	}
	// An id without data: a reader that is cut off before the first change knows
	// where it stood.
	if !send(fmt.Appendf(nil, "id: %d\n\n", cursor)) {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	ctx, cancel := context.WithCancel(c.Request.Context())
	defer cancel()
	defer context.AfterFunc(a.stopping, cancel)()
	for {
		frames, at, grown, ok := a.model.changesAfter(cursor)
		if !ok {
			var err error
			if frames, at, err = a.changesFromLog(ctx, cursor, at); err != nil {
				return // the reader comes back, with the id of what it got
			}
		}
		chunks := make([][]byte, len(frames))
		for i, f := range frames {
			chunks[i] = f.frame
		}
		if len(chunks) > 0 && !send(chunks...) {
			return
		}
		cursor = max(cursor, at)
		if !ok {
			continue
		}
		select {
		case <-grown:
		case <-beat.C:
			if !send([]byte(": still here\n\n")) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// changesFromLog returns changes after the number that are no longer in memory,
// and the number that they go up to; none is beyond at, where the model stands.
func (a *api) changesFromLog(ctx context.Context, after, at uint64) ([]change, uint64, error) {
	select {
	case a.reading <- struct{}{}:
		defer func() { <-a.reading }()
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	events, _, err := a.log.read(ctx, after, 0, nil)
	if err != nil {
		return nil, 0, err
	}
	for len(events) > 0 && uint64(events[len(events)-1].Sequence) > at {
		events = events[:len(events)-1]
	}
	if len(events) == 0 {
		return nil, 0, errors.New("the log has no events that the model has")
	}
	frames, at := a.model.frames(events)
	return frames, at, nil
}
