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
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/web"
)

// minSequenceWait bounds how long ?min_sequence= waits.
const minSequenceWait = 2 * time.Second

// logReaders bounds how many streams read the log at once, for changes that are no
// longer in memory: any visitor may ask for them.
const logReaders = 4

type api struct {
	model *model
	log   eventlog.Reader
	// look has the model find out where the log ends.
	look     func()
	stopping context.Context
	reading  chan struct{} // has room for the logReaders
	streams  web.Streams
}

func newAPI(stopping context.Context, model *model, log eventlog.Reader, look func(), streams web.Streams) *api {
	return &api{model: model, log: log, look: look, stopping: stopping, reading: make(chan struct{}, logReaders), streams: streams}
}

func (a *api) routes(r gin.IRoutes) {
	read := []string{http.MethodGet, http.MethodHead}
	r.Match(read, "/posts", a.whenReady(a.posts))
	r.Match(read, "/posts/:id", a.whenReady(a.post))
}

// errCatchingUp is what readers get until the model is ready.
var errCatchingUp = web.Unavailable("Query is catching up with the event log.")

// whenReady refuses reads until the model has caught up, and holds those that ask for a
// position until the model stands there. What is answered is of the model in its present
// life: once that is over it has begun anew, and is not ready.
func (a *api) whenReady(answer func(life context.Context, c *gin.Context)) gin.HandlerFunc {
	return func(c *gin.Context) {
		var least eventlog.Position
		var err error
		if text, given := c.GetQuery("min_sequence"); given {
			if least, err = eventlog.ParsePosition(text); err != nil {
				web.Fail(c, web.NewProblem(http.StatusBadRequest, fmt.Sprintf("min_sequence is %.40q; a number or a position is expected.", text)))
				return
			}
		}
		ctx := c.Request.Context()
		life, err := a.reach(ctx, least)
		if err == nil {
			err = a.compare(ctx, least)
		}
		if err != nil {
			web.Fail(c, err)
			return
		}
		answer(life, c)
	}
}

// reach waits until the model stands at a position or beyond it. The error is a
// *web.Problem: 503 if the model is not ready or does not get there within
// minSequenceWait, 409 once it is known that the log does not have the position.
func (a *api) reach(ctx context.Context, p eventlog.Position) (life context.Context, err error) {
	arrived := time.Now()
	timeout := time.NewTimer(minSequenceWait)
	defer timeout.Stop()
	for {
		now := a.model.standing()
		isElsewhere := p.Log != "" && now.at.Log != "" && p.Log != now.at.Log
		switch {
		case !now.ready:
			return nil, errCatchingUp
		case !isElsewhere && p.Sequence <= now.at.Sequence:
			return now.life, nil
		// Another replica may know more than this one, so the log is asked first.
		case now.seen.After(arrived) && isElsewhere:
			return nil, web.NewProblem(http.StatusConflict, fmt.Sprintf("This is not log %s but %s, which ends at event %d.", p.Log, now.at.Log, now.end))
		case now.seen.After(arrived) && p.Sequence > now.end:
			return nil, web.NewProblem(http.StatusConflict, fmt.Sprintf("There is no event %d: the log ends at event %d.", p.Sequence, now.end))
		}
		a.look()
		select {
		case <-now.grown:
			continue
		case <-timeout.C:
		case <-a.stopping.Done():
		case <-ctx.Done():
		}
		return nil, web.Unavailable(fmt.Sprintf("This replica stands at event %d, not yet at %d.", now.at.Sequence, p.Sequence))
	}
}

// compare returns nil if the model has been at a position, which it stands at or beyond.
// The error is a *web.Problem: 409 if the log has another event there, 503 if the log
// can't be asked.
func (a *api) compare(ctx context.Context, p eventlog.Position) error {
	fits, known := a.model.compare(p)
	if !known {
		ctx, cancel := context.WithTimeout(ctx, minSequenceWait)
		defer cancel()
		done, err := a.takeReading(ctx)
		if err != nil {
			return web.Unavailable("The event log can't be asked now.")
		}
		defer done()
		if err = eventlog.Compare(ctx, a.log, p); err != nil && !errors.Is(err, eventlog.ErrMisfit) {
			return web.Unavailable("The event log can't be asked now.")
		}
		fits = err == nil
	}
	if !fits {
		return web.NewProblem(http.StatusConflict, fmt.Sprintf("Event %d of the log is not %.40q.", p.Sequence, p.Event))
	}
	return nil
}

// takeReading waits until this may read the log, and returns what ends that.
func (a *api) takeReading(ctx context.Context) (done func(), err error) {
	select {
	case a.reading <- struct{}{}:
		return func() { <-a.reading }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *api) posts(life context.Context, c *gin.Context) {
	if c.Request.Method == http.MethodGet && web.Accepts(c.Request, "application/json", "text/event-stream") == "text/event-stream" {
		a.stream(c)
		return
	}
	before, limit, err := paging(c, defaultPosts)
	if err != nil {
		web.Fail(c, err)
		return
	}
	a.answer(life, c, "/posts", limit, a.model.postsPage(before, limit))
}

func (a *api) post(life context.Context, c *gin.Context) {
	before, limit, err := paging(c, defaultComments)
	if err != nil {
		web.Fail(c, err)
		return
	}
	var found *page
	if _, ok := event.IDTime(c.Param("id")); ok {
		found = a.model.postPage(uuid.MustParse(c.Param("id")), before, limit)
	}
	if found == nil && life.Err() == nil {
		a.model.standing().at.SetHeaders(c.Writer.Header())
		web.Fail(c, web.NewProblem(http.StatusNotFound, "There is no post with this id."))
		return
	}
	a.answer(life, c, "/posts/"+c.Param("id"), limit, found)
}

// answer sends a page that was made in a life of the model, or 304 (RFC 9110, section
// 13.1.2) if the client has it.
func (a *api) answer(life context.Context, c *gin.Context, path string, limit int, p *page) {
	if life.Err() != nil {
		web.Fail(c, errCatchingUp)
		return
	}
	defer p.release()
	h := c.Writer.Header()
	h.Set("Etag", p.etag)
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept")
	p.at.SetHeaders(c.Writer.Header())
	if p.next != "" {
		h.Set("Link", fmt.Sprintf(`<%s?limit=%d&cursor=%s>; rel="next"`, path, limit, p.next))
	}
	if matches(c.GetHeader("If-None-Match"), p.etag) {
		c.Status(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(p.json)+len("\n")))
	c.Status(http.StatusOK)
	_, _ = c.Writer.Write(p.json)
	_, _ = c.Writer.WriteString("\n") // for terminals
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

// heartbeat is how often a quiet stream shows that it lives.
const heartbeat = 15 * time.Second

// resume returns the position in the log that a stream goes on from, and in which life
// of the model: the one in Last-Event-ID, or now. One that is not in the log has the
// stream begin anew, now. A number alone, which the version before (3b4f435) gave, is
// taken unless it is ahead of the log: it does not say which log it is of.
func (a *api) resume(c *gin.Context) (from eventlog.Position, life context.Context, isAnew bool, err error) {
	text := c.GetHeader("Last-Event-ID")
	if text == "" {
		return a.fromNow(false)
	}
	if from, err = eventlog.ParsePosition(text); err != nil {
		return from, nil, false, web.NewProblem(http.StatusBadRequest, fmt.Sprintf("Last-Event-ID is %.40q; the id of an event of this stream is expected.", text))
	}
	if life, err = a.reach(c.Request.Context(), from); err == nil {
		err = a.compare(c.Request.Context(), from)
	}
	problem := new(web.Problem)
	switch {
	case errors.As(err, &problem) && problem.Status == http.StatusConflict:
		return a.fromNow(true)
	case life != nil:
		return from, life, false, nil // what can't be compared now is compared when it is read
	}
	return from, life, false, err
}

func (a *api) fromNow(isAnew bool) (eventlog.Position, context.Context, bool, error) {
	now := a.model.standing()
	if !now.ready {
		return eventlog.Position{}, nil, false, errCatchingUp
	}
	return now.at, now.life, isAnew, nil
}

// stream sends every change after the one in Last-Event-ID, or from now on, as
// server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
// Their ids are positions. A stream that begins anew says so with the event "reset": what
// its reader has is not of this log, or not any more.
func (a *api) stream(c *gin.Context) {
	end, err := a.streams.Begin()
	if err != nil {
		web.Fail(c, err)
		return
	}
	defer end()
	cursor, life, isAnew, err := a.resume(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream")
	// A proxy that compresses (such as Express's compression) would hold events back
	// until it has enough of them, and one that buffers (nginx), too.
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	cursor.SetHeaders(c.Writer.Header())
	c.Status(http.StatusOK)

	// An id without data: a reader that is cut off before the first change knows
	// where it stood.
	first := fmt.Appendf(nil, "id: %s\n\n", cursor)
	if isAnew {
		first = fmt.Appendf(nil, "id: %s\nevent: reset\ndata: {\"position\":%q}\n\n", cursor, cursor)
	}
	send := sender(c)
	if !send(first) {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	ctx, cancel := context.WithCancel(c.Request.Context())
	defer cancel()
	defer context.AfterFunc(a.stopping, cancel)()
	defer context.AfterFunc(life, cancel)()
	for {
		frames, now, ok := a.model.changesAfter(cursor.Sequence)
		if life.Err() != nil {
			return // the reader comes back, and is told that the stream begins anew
		}
		at := now.at
		if !ok {
			if frames, at, err = a.changesFromLog(ctx, cursor, at.Sequence); err != nil {
				return // the reader comes back, with the id of what it got
			}
		}
		if chunks := chunksOf(frames); len(chunks) > 0 && !send(chunks...) {
			return
		}
		cursor = at
		if !ok {
			continue
		}
		select {
		case <-now.grown:
		case <-beat.C:
			if !send([]byte(": still here\n\n")) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// chunksOf are the frames of those changes that have one.
func chunksOf(changes []change) [][]byte {
	chunks := make([][]byte, 0, len(changes))
	for _, c := range changes {
		if c.frame != nil {
			chunks = append(chunks, c.frame)
		}
	}
	return chunks
}

// sender returns what sends chunks to the reader at once, and says whether it took them.
func sender(c *gin.Context) func(chunks ...[]byte) bool {
	out := http.NewResponseController(c.Writer)
	return func(chunks ...[]byte) bool {
		for _, b := range chunks {
			if _, err := c.Writer.Write(b); err != nil {
				return false
			}
		}
		return out.Flush() == nil
	}
}

// changesFromLog returns changes after the position that are no longer in memory, and
// the position that they go up to; none is beyond at, where the model stands.
func (a *api) changesFromLog(ctx context.Context, from eventlog.Position, at uint64) ([]change, eventlog.Position, error) {
	done, err := a.takeReading(ctx)
	if err != nil {
		return nil, eventlog.Position{}, err
	}
	defer done()
	events, _, err := a.log.Read(ctx, from, eventlog.ReadLimit, 0)
	if err != nil {
		return nil, eventlog.Position{}, err
	}
	for len(events) > 0 && uint64(events[len(events)-1].Sequence) > at {
		events = events[:len(events)-1]
	}
	if len(events) == 0 {
		return nil, eventlog.Position{}, errors.New("the log has no events that the model has")
	}
	frames, upTo := a.model.frames(events)
	return frames, upTo, nil
}
