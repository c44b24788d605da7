// Package api answers readers from query's read model, over HTTP.
package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/web"
	"github.com/postbus/postbus/apps/query/model"
)

// logReaders bounds how many requests read the log at once: any visitor may have it read.
const logReaders = 4

// API serves GET /posts and GET /posts/:id.
type API struct {
	model *model.Model
	log   eventlog.Reader
	// askLog has the follower find out where the log ends now.
	askLog   func()
	stopping context.Context
	streams  web.Streams
	now      func() time.Time
	reading  *semaphore.Weighted
	forms    *forms
}

// New returns the API of a model that is read from a log. AskLog has the model's follower
// find out where the log ends. Stopping ends the streams and all that waits. The clock is
// the follower's.
func New(stopping context.Context, m *model.Model, log eventlog.Reader, askLog func(), streams web.Streams, now func() time.Time) *API {
	return &API{m, log, askLog, stopping, streams, now, semaphore.NewWeighted(logReaders), newForms(maxForms)}
}

// Routes adds the API's routes.
func (a *API) Routes(r gin.IRoutes) {
	read := []string{http.MethodGet, http.MethodHead}
	r.Match(read, "/posts", a.whenReady(a.posts))
	r.Match(read, "/posts/:id", a.whenReady(a.post))
}

// whenReady refuses reads until the model has caught up, and has those that ask for a
// position wait until the model stands there. They are answered from the model in its
// present life: when that is over the model has begun anew, and is not ready.
func (a *API) whenReady(answer func(life context.Context, c *gin.Context)) gin.HandlerFunc {
	return func(c *gin.Context) {
		var least eventlog.Position
		if text, given := c.GetQuery("min_sequence"); given {
			var err error
			if least, err = eventlog.ParsePosition(text); err != nil {
				web.Fail(c, web.NewProblem(http.StatusBadRequest, fmt.Sprintf("min_sequence is %.40q; a number or a position is expected.", text)))
				return
			}
		}
		life, err := a.reach(c.Request.Context(), least)
		if err == nil {
			err = a.compare(c.Request.Context(), least)
		}
		if err != nil {
			web.Fail(c, err)
			return
		}
		answer(life, c)
	}
}

func (a *API) posts(life context.Context, c *gin.Context) {
	if c.Request.Method == http.MethodGet && web.Accepts(c.Request, "application/json", "text/event-stream") == "text/event-stream" {
		a.stream(c)
		return
	}
	before, limit, err := paging(c, model.DefaultPosts)
	list, next := a.model.Posts, "/posts?"
	if text, given := c.GetQuery("comments"); given {
		list, next = a.model.Summaries, "/posts?comments=0&"
		if err == nil && text != "0" {
			err = web.NewProblem(http.StatusBadRequest, fmt.Sprintf("comments is %.40q; it may only be 0, for posts without their comments.", text))
		}
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	a.answer(life, c, next, limit, list(before, limit))
}

func (a *API) post(life context.Context, c *gin.Context) {
	before, limit, err := paging(c, model.DefaultComments)
	if err != nil {
		web.Fail(c, err)
		return
	}
	// Read before the page is: a post that comes between the two is missing up to here.
	missingUpTo := a.model.Status().At
	var page *model.Page
	if _, ok := event.IDTime(c.Param("id")); ok {
		page = a.model.Post(uuid.MustParse(c.Param("id")), before, limit)
	}
	if page == nil && life.Err() == nil {
		missingUpTo.SetHeaders(c.Writer.Header())
		web.Fail(c, web.NewProblem(http.StatusNotFound, "There is no post with this id."))
		return
	}
	a.answer(life, c, "/posts/"+c.Param("id")+"?", limit, page)
}

// paging reads ?limit= and ?cursor=. A cursor is the id of the last entity on the page
// before.
func paging(c *gin.Context, otherwise int) (before uuid.UUID, limit int, err error) {
	if limit, err = web.Number(c, "limit", otherwise, 1, model.MaxLimit); err != nil {
		return before, 0, err
	}
	text, given := c.GetQuery("cursor")
	if !given {
		return model.Newest, limit, nil
	}
	if _, ok := event.IDTime(text); !ok {
		return before, 0, web.NewProblem(http.StatusBadRequest, "This cursor is none that a Link header gave.")
	}
	return uuid.MustParse(text), limit, nil
}

// answer sends a page that was made in a life of the model, or 304 (RFC 9110, section
// 13.1.2) if the client has it. Next is the address of the next page up to its limit.
func (a *API) answer(life context.Context, c *gin.Context, next string, limit int, p *model.Page) {
	if life.Err() != nil {
		web.Fail(c, errCatchingUp)
		return
	}
	defer p.Release()
	coding := codingFor(c.Request, len(p.JSON))
	tag := coding.tag(p.ETag)
	h := c.Writer.Header()
	h.Set("Etag", tag)
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept, Accept-Encoding")
	p.At.SetHeaders(h)
	if p.Next != "" {
		h.Set("Link", fmt.Sprintf(`<%slimit=%d&cursor=%s>; rel="next"`, next, limit, p.Next))
	}
	if matches(c.GetHeader("If-None-Match"), tag) {
		c.Status(http.StatusNotModified)
		return
	}
	parts := [][]byte{p.JSON, []byte("\n")} // the line's end is for terminals
	if coding != nil {
		h.Set("Content-Encoding", coding.name)
		parts = [][]byte{a.forms.of(coding, tag, parts)}
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(size(parts)))
	c.Status(http.StatusOK)
	for _, part := range parts {
		_, _ = c.Writer.Write(part)
	}
}

// matches says whether an If-None-Match header names the tag. The comparison is the weak
// one.
func matches(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}
