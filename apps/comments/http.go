package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/web"
)

// Bounds of a page of the list.
const (
	defaultLimit = 50
	maxLimit     = 100
)

type api struct {
	source   string
	commands *command.Commands
	posts    *knownPosts
	comments *comments
}

func (a *api) routes(r gin.IRoutes) {
	r.POST("/posts/:id/comments", a.create)
	read := []string{http.MethodGet, http.MethodHead}
	r.Match(read, "/posts/:id/comments", a.list)
	r.Match(read, "/posts/:id/comments/:commentId", a.get)
}

// create publishes CommentCreated and answers with the comment, pending. It
// writes nothing itself: the store is written when the event comes back.
func (a *api) create(c *gin.Context) {
	var in struct {
		Content string `json:"content"`
		Author  string `json:"author"`
	}
	body, err := web.Decode(c, &in)
	if err != nil {
		web.Fail(c, err)
		return
	}
	now := time.Now().UTC()
	comment := event.Comment{
		ID: event.NewID(), PostID: c.Param("id"), Author: in.Author, Content: in.Content,
		Status: event.Pending, CreatedAt: now, Revision: 1,
	}
	if err := comment.ValidateText(); err != nil {
		web.Fail(c, err)
		return
	}
	comment.Author = event.Optional(comment.Author)

	ctx, cancel := context.WithTimeout(c.Request.Context(), command.Deadline)
	defer cancel()
	if err := a.posts.await(ctx, comment.PostID); err != nil {
		web.Fail(c, postProblem(err))
		return
	}
	created, err := event.OfComment(event.CommentCreated, a.source, comment, now, web.TraceParent(ctx))
	if err != nil {
		web.Fail(c, err)
		return
	}
	request := append([]byte(comment.PostID+"\n"), body...)
	created, err = a.commands.Publish(ctx, c.GetHeader("Idempotency-Key"), request, created)
	if err != nil {
		web.Fail(c, err)
		return
	}
	slog.InfoContext(ctx, "comment created", "comment", created.Comment.ID, "post", created.Comment.PostID, "repeat", created.Comment.ID != comment.ID)
	c.Header("Location", "/posts/"+created.Comment.PostID+"/comments/"+created.Comment.ID)
	c.PureJSON(http.StatusCreated, created.Comment)
}

// list answers with a page of the post's comments, newest first.
func (a *api) list(c *gin.Context) {
	limit, err := web.Number(c, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		web.Fail(c, err)
		return
	}
	before, err := web.Number(c, "cursor", fromNewest, 1, fromNewest)
	if err != nil {
		web.Fail(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), command.Deadline)
	defer cancel()
	post := c.Param("id")
	if err := a.posts.await(ctx, post); err != nil {
		web.Fail(c, postProblem(err))
		return
	}
	page, next, err := a.comments.page(ctx, post, before, limit)
	if err != nil {
		web.Fail(c, storeProblem(err))
		return
	}
	if next > 0 {
		c.Header("Link", fmt.Sprintf(`</posts/%s/comments?limit=%d&cursor=%d>; rel="next"`, post, limit, next))
	}
	c.PureJSON(http.StatusOK, page)
}

// get answers with one comment as it stands.
func (a *api) get(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), command.Deadline)
	defer cancel()
	comment, err := a.comments.await(ctx, c.Param("commentId"))
	switch {
	case errors.Is(err, errTooManyWait):
		web.Fail(c, web.Unavailable("This comment is not there. If it was just created, it is on its way; try again."))
	case err != nil:
		web.Fail(c, storeProblem(err))
	case comment == nil || comment.PostID != c.Param("id"):
		web.Fail(c, web.NewProblem(http.StatusNotFound, "There is no such comment on this post."))
	default:
		c.PureJSON(http.StatusOK, comment)
	}
}

func postProblem(err error) error {
	switch {
	case errors.Is(err, errNoPost):
		return web.NewProblem(http.StatusNotFound, "There is no post with this id.")
	case errors.Is(err, errNotArrived), errors.Is(err, errTooManyWait):
		return web.Unavailable("This post is not there. If it was just created, it is on its way; try again.")
	}
	return storeProblem(err)
}

func storeProblem(err error) error {
	if !errors.Is(err, context.Canceled) { // the client has gone away
		slog.Warn("store failed", "error", err)
	}
	return web.Unavailable("The service's store did not answer in time. Try again.")
}
