package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/web"
)

type api struct {
	source   string
	commands *command.Commands
}

func (a *api) routes(r gin.IRoutes) {
	r.POST("/posts/create", a.create)
}

// create publishes PostCreated and answers with the post. It writes nothing
// itself: the store is written when the event comes back.
func (a *api) create(c *gin.Context) {
	var in struct {
		Title string `json:"title"`
		Body  string `json:"body"`
	}
	body, err := web.Decode(c, &in)
	if err != nil {
		web.Fail(c, err)
		return
	}
	now := time.Now().UTC()
	post := event.Post{ID: event.NewID(), Title: in.Title, Body: in.Body, CreatedAt: now, Revision: 1}
	if err := post.ValidateText(); err != nil {
		web.Fail(c, err)
		return
	}
	post.Body = event.Optional(post.Body)

	ctx, cancel := context.WithTimeout(c.Request.Context(), command.Deadline)
	defer cancel()
	created, err := event.OfPost(event.PostCreated, a.source, post, now, web.TraceParent(ctx))
	if err != nil {
		web.Fail(c, err)
		return
	}
	created, err = a.commands.Publish(ctx, c.GetHeader("Idempotency-Key"), body, created)
	if err != nil {
		web.Fail(c, err)
		return
	}
	slog.InfoContext(ctx, "post created", "post", created.Post.ID, "repeat", created.Post.ID != post.ID)
	c.Header("Location", "/posts/"+created.Post.ID)
	c.PureJSON(http.StatusCreated, created.Post)
}
