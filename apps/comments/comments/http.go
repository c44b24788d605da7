package comments

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/limit"
	"github.com/postbus/postbus/apps/internal/web"
)

// Bounds of a page of the list.
const (
	defaultLimit = 50
	maxLimit     = 100
)

// commentDelay is how long after its creation a comment may still be on its way to the
// store. A request for a younger comment waits for it; one for an older comment does not.
const commentDelay = 10 * time.Second

// Routes adds the service's API to r.
func (s *Service) Routes(r gin.IRoutes) {
	r.Use(s.guard.Identify)
	r.POST("/posts/:id/comments", s.guard.Allow(identity.Comment), s.limits.Of(limit.Comment), s.create)
	read := []string{http.MethodGet, http.MethodHead}
	r.Match(read, "/posts/:id/comments", s.limits.Of(limit.Read), s.list)
	r.Match(read, "/posts/:id/comments/:commentId", s.limits.Of(limit.Read), s.get)
}

// create commits CommentCreated and answers with the comment, pending. It does not store
// the comment: that happens when the event comes back.
func (s *Service) create(c *gin.Context) {
	var in struct {
		Content string `json:"content"`
		Author  string `json:"author"`
	}
	body, err := web.Decode(c, &in)
	if err != nil {
		web.Fail(c, err)
		return
	}
	now, author := s.now().UTC(), identity.Of(c)
	comment := event.Comment{
		ID: event.NewID(), PostID: c.Param("id"), Author: in.Author, AuthorID: author.Subject, Content: in.Content,
		Status: event.Pending, CreatedAt: now, Revision: 1,
	}
	if err := comment.ValidateText(); err != nil {
		web.Fail(c, err)
		return
	}
	comment.Author = event.EmptyIfBlank(comment.Author)
	if !author.IsGuest() {
		comment.Author = author.Name // whatever the request says
	}

	ctx, cancel := context.WithTimeout(c.Request.Context(), command.Deadline)
	defer cancel()
	created, err := event.OfComment(event.CommentCreated, s.source, comment, now, web.TraceParent(ctx))
	if err != nil {
		web.Fail(c, err)
		return
	}
	var receipts receiptKey
	if author.IsGuest() { // before the commit: each 201 has a receipt, and that of a repeat the same one
		if receipts, err = s.receipts.sharedKey(ctx); err != nil {
			web.Fail(c, storeProblem(err))
			return
		}
	}
	// The same body for another post is another request.
	request := append([]byte(comment.PostID+"\n"), body...)
	committed, err := s.commands.Commit(ctx, s.mayComment(ctx, comment.PostID, author.Subject), command.KeyOf(c), request, created)
	if err != nil {
		web.Fail(c, err)
		return
	}
	answer := createdComment{Comment: committed.Comment}
	isRepeat := answer.ID != comment.ID // the first request's event was committed again
	slog.InfoContext(ctx, "comment created", "comment", answer.ID, "post", answer.PostID, "repeat", isRepeat)
	if author.IsGuest() {
		answer.Receipt = receipts.receipt(answer.ID)
	}
	c.Header("Location", "/posts/"+answer.PostID+"/comments/"+answer.ID)
	c.PureJSON(http.StatusCreated, answer)
}

// createdComment is the answer to a comment.
type createdComment struct {
	*event.Comment
	// Receipt shows later that a guest wrote it, as web.Receipt. It is empty for somebody who is
	// signed in.
	Receipt string `json:"receipt,omitempty"`
}

// mayComment returns why a person may not comment on a post, as a *web.Problem.
func (s *Service) mayComment(ctx context.Context, post, subject string) error {
	if err := s.people.Check(ctx, subject); err != nil {
		return err
	}
	if err := s.posts.await(ctx, post); err != nil {
		return postProblem(err)
	}
	stands, err := s.commentings.Get(ctx, commentingKey(post))
	switch {
	case err != nil:
		return storeProblem(err)
	case stands != nil && stands.Comments == event.Closed:
		return web.NewProblem(http.StatusForbidden, "A moderator has closed the comments of this post.")
	}
	return nil
}

func commentingKey(post string) string { return "commenting-" + post }

// list answers with a page of the post's comments, newest first. The read model says which
// comments are on the page; this service's store has their content.
func (s *Service) list(c *gin.Context) {
	limit, err := web.Number(c, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		web.Fail(c, err)
		return
	}
	cursor, given := c.GetQuery("cursor")
	if _, isID := event.IDTime(cursor); given && !isID { // query's cursors are ids
		web.Fail(c, readModelProblem(ErrCursor))
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), command.Deadline)
	defer cancel()
	post := c.Param("id")
	if err := s.posts.await(ctx, post); err != nil {
		web.Fail(c, postProblem(err))
		return
	}
	ids, next, err := s.readModel.Comments(ctx, post, cursor, limit)
	if err != nil {
		web.Fail(c, readModelProblem(err))
		return
	}
	comments, err := load(ctx, s.store, ids...)
	if err != nil {
		web.Fail(c, storeProblem(err))
		return
	}
	page := make([]event.PublicComment, len(comments))
	for i, comment := range comments {
		page[i] = comment.Public()
	}
	if next != "" {
		c.Header("Link", fmt.Sprintf(`</posts/%s/comments?limit=%d&cursor=%s>; rel="next"`, post, limit, url.QueryEscape(next)))
	}
	c.Header("Cache-Control", "no-cache")
	c.PureJSON(http.StatusOK, page)
}

// get answers with one comment, as its author may see it or as all readers may.
func (s *Service) get(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), command.Deadline)
	defer cancel()
	comment, err := s.find(ctx, c.Param("commentId"))
	switch {
	case errors.Is(err, errTooManyWaiting):
		web.Fail(c, web.Unavailable("This comment is not there. If it was just created, it is on its way; try again."))
	case err != nil:
		web.Fail(c, storeProblem(err))
	case comment == nil || comment.PostID != c.Param("id"):
		web.Fail(c, web.NewProblem(http.StatusNotFound, "There is no such comment on this post."))
	default:
		s.answer(ctx, c, comment)
	}
}

// answer answers with what the sender of the request may see of a comment.
func (s *Service) answer(ctx context.Context, c *gin.Context, comment *event.Comment) {
	c.Header("Vary", "Authorization, "+web.Receipt)
	isAuthor, err := s.isAuthor(ctx, c, comment)
	switch {
	case err != nil:
		web.Fail(c, storeProblem(err))
	case isAuthor:
		c.Header("Cache-Control", "private, no-store")
		c.PureJSON(http.StatusOK, comment.ForAuthor())
	default:
		c.Header("Cache-Control", "no-cache") // a moderator may decide otherwise
		c.PureJSON(http.StatusOK, comment.Public())
	}
}

// find returns the comment, or nil if the store does not have it. If the comment was created
// less than commentDelay ago it may be on its way, and find waits for at most arrivalWait.
// The error is errTooManyWaiting, the store's or that of ctx.
func (s *Service) find(ctx context.Context, id string) (found *event.Comment, err error) {
	made, ok := event.IDTime(id)
	if !ok {
		return nil, nil
	}
	read := func() (bool, error) {
		comments, err := load(ctx, s.store, id)
		if len(comments) > 0 {
			found = &comments[0]
		}
		return found != nil, err
	}
	if s.now().Sub(made).Abs() >= commentDelay {
		_, err = read()
	} else if err = s.arrivals.await(ctx, id, read); errors.Is(err, errNotArrived) {
		err = nil
	}
	return found, err
}

func postProblem(err error) error {
	switch {
	case errors.Is(err, errNoPost):
		return web.NewProblem(http.StatusNotFound, "There is no post with this id.")
	case errors.Is(err, errNotArrived), errors.Is(err, errTooManyWaiting):
		return web.Unavailable("This post is not there. If it was just created, it is on its way; try again.")
	}
	return storeProblem(err)
}

func readModelProblem(err error) error {
	if errors.Is(err, ErrCursor) {
		return web.NewProblem(http.StatusBadRequest, "This cursor is none that a Link header gave.")
	}
	if !errors.Is(err, context.Canceled) { // the client has gone away
		slog.Warn("query can't be asked", "error", err)
	}
	return web.Unavailable("Query, which knows the post's comments, can't answer now. Try again; a single comment can be read at its own address.")
}

func storeProblem(err error) error {
	if !errors.Is(err, context.Canceled) { // the client has gone away
		slog.Warn("store failed", "error", err)
	}
	return web.Unavailable("The service's store did not answer in time. Try again.")
}
